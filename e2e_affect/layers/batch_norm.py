"""Batch normalisation over what counts of the global batch."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp


class MaskedBatchNorm(nn.Module):
  """Batch normalisation over the valid frames of the global batch.

  Flax's own weighs uneven devices equally and returns NaN where one device holds nothing but padding. A batch without a
  single valid frame leaves the running statistics as they are.

  Attributes:
    axis_name: of the devices that share the batch, or None for one device.
    momentum: of the running statistics.
    epsilon: added to the variance.
    initial_variance: where the running variance starts.
    initial_scale: where the gain starts.
    frozen: normalise by the running statistics in training, too, and leave them as they are.
    dtype: of the output; statistics are float32.
  """

  axis_name: str | None = None
  momentum: float = 0.9
  epsilon: float = 1e-5
  initial_variance: float = 1.0
  initial_scale: float = 1.0
  frozen: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, mask: jax.Array, train: bool, conv: nn.Module | None = None) -> jax.Array:
    """Normalises per channel, after a convolution into whose kernel running statistics are folded.

    Args:
      x: [N, ...].
      mask: [N], frames of 0 do not enter the statistics.
      train: statistics of this batch, unless frozen.
      conv: the convolution, `resnet.Conv`, or None: x is its result.

    Returns:
      [N, ..., C].
    """
    channels = x.shape[-1] if conv is None else conv.features
    scale = self.param('scale', nn.initializers.constant(self.initial_scale), (channels,), jnp.float32)
    bias = self.param('bias', nn.initializers.zeros_init(), (channels,), jnp.float32)
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, (channels,), jnp.float32)
    running_var = self.variable('batch_stats', 'var', jnp.full, (channels,), self.initial_variance, jnp.float32)
    running = not train or self.frozen
    if running and conv is not None:
      gain = scale * jax.lax.rsqrt(running_var.value + self.epsilon)
      # A large mean cancels here: no more is lost than the convolution's own rounding took.
      return (conv(x, gain) + (bias - running_mean.value * gain)).astype(self.dtype)
    x32 = (x if conv is None else conv(x)).astype(jnp.float32)
    if running:
      mean, var = running_mean.value, running_var.value
    else:
      total = functools.partial(jax.lax.psum, axis_name=self.axis_name) if self.axis_name else (lambda s: s)
      weight = mask.astype(jnp.float32)[:, None]
      within = tuple(range(1, x32.ndim - 1))  # a frame's own sum first: the mask then weighs [N, C]
      # max(…, 1) clips nothing but a batch without a single valid frame.
      count = jnp.maximum(total(weight.sum() * (x32.size // (channels * len(x32)))), 1.0)
      mean = total((weight * x32.sum(within)).sum(0)) / count
      # The gradient of the variance by the mean is 0 over the global batch: without it, a pass over activations less.
      deviation = x32 - jax.lax.stop_gradient(mean)
      var = total((weight * (deviation**2).sum(within)).sum(0)) / count
      if not self.is_initializing():
        seen = total(weight.sum()) > 0
        for running_value, of_batch in ((running_mean, mean), (running_var, var)):
          new = self.momentum * running_value.value + (1 - self.momentum) * of_batch
          running_value.value = jnp.where(seen, new, running_value.value)
    # The mean first: x · gain − mean · gain would cancel where the mean is large.
    return ((x32 - mean) * (scale * jax.lax.rsqrt(var + self.epsilon)) + bias).astype(self.dtype)
