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
    if not train or self.frozen:
      gain = scale * jax.lax.rsqrt(running_var.value + self.epsilon)
      if conv is None:
        return ((x.astype(jnp.float32) - running_mean.value) * gain + bias).astype(self.dtype)
      # A large mean cancels here: no more is lost than the convolution's own rounding took.
      return (conv(x, gain) + (bias - running_mean.value * gain)).astype(self.dtype)
    x = x if conv is None else conv(x)
    y, mean, var, seen = _normalise(x, mask.astype(jnp.float32), scale, bias, self.axis_name, self.epsilon)
    if not self.is_initializing():
      for running_value, of_batch in ((running_mean, mean), (running_var, var)):
        new = self.momentum * running_value.value + (1 - self.momentum) * of_batch
        running_value.value = jnp.where(seen, new, running_value.value)
    return y.astype(self.dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def _normalise(x, mask, scale, bias, axis_name, epsilon):
  """x [N, ..., C] float32 normalised by the statistics of its valid frames, with a derivative of two sums and one pass.

  Autodiff takes three sums and two passes over the activations.

  Returns:
    [N, ..., C], the mean and variance [C], of which nobody takes the gradient, and whether any frame was valid.
  """
  return _normalise_forward(x, mask, scale, bias, axis_name, epsilon)[0]


def _normalise_forward(x, mask, scale, bias, axis_name, epsilon):
  total = _total_over(axis_name)
  x32 = x.astype(jnp.float32)
  within = tuple(range(1, x.ndim - 1))  # a frame's own sum first: the mask then weighs [N, C]
  # max(…, 1) clips nothing but a batch without a single valid frame.
  valid = total(mask.sum())
  count = jnp.maximum(valid * (x.size // (x.shape[-1] * len(x))), 1.0)
  mean = total((mask[:, None] * x32.sum(within)).sum(0)) / count
  var = total((mask[:, None] * ((x32 - mean) ** 2).sum(within)).sum(0)) / count
  # The mean first: x · gain − mean · gain would cancel where the mean is large.
  y = (x32 - mean) * (scale * jax.lax.rsqrt(var + epsilon)) + bias
  return (y, mean, var, valid > 0), (x, mask, scale, mean, var, count)


def _normalise_backward(axis_name, epsilon, residuals, gradients):
  x, mask, scale, mean, var, count = residuals
  total = _total_over(axis_name)
  d_y = gradients[0]
  deviation = x.astype(jnp.float32) - mean
  over_all = tuple(range(x.ndim - 1))
  inverse = jax.lax.rsqrt(var + epsilon)
  d_bias, d_gain = d_y.sum(over_all), (d_y * deviation).sum(over_all)
  d_mean = total(-scale * inverse * d_bias) / count
  d_var = total(-0.5 * d_gain * scale * inverse**3) / count
  weight = mask.reshape(-1, *[1] * (x.ndim - 1))
  # The gradient of the variance by the mean is 0 over the global batch.
  d_x = scale * inverse * d_y + weight * (d_mean + 2 * d_var * deviation)
  return d_x.astype(x.dtype), jnp.zeros_like(mask), d_gain * inverse, d_bias


_normalise.defvjp(_normalise_forward, _normalise_backward)


def _total_over(axis_name):
  """The sum over the devices that share the batch."""
  return functools.partial(jax.lax.psum, axis_name=axis_name) if axis_name else lambda s: s
