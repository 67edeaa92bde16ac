"""How work is spread over the local devices: the one place that knows of pmap."""

from collections.abc import Callable
import functools

from flax import jax_utils
import jax

AXIS = 'batch'  # the devices that share one global batch


def spread(function: Callable, *, in_axes: int | tuple = 0, donate: int) -> Callable:
  """A function of one device's share, over all local devices.

  Args:
    function: written with the axis name `AXIS`, or without one where devices need not know of each other.
    in_axes: as `jax.pmap` takes them.
    donate: the argument whose memory the result takes.
  """
  return jax.pmap(function, axis_name=AXIS, in_axes=in_axes, donate_argnums=(donate,))


@functools.partial(jax.pmap, axis_name=AXIS)
def _as_an_update_returns_it(tree):
  return tree


def replicate(tree):
  """One copy a device, placed as results of `spread` are: placed otherwise, it would have updates compiled again."""
  return _as_an_update_returns_it(jax_utils.replicate(tree))
