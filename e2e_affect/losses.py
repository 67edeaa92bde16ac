"""Losses over every valid step of the global batch."""

import jax
import jax.numpy as jnp

# Added to the denominator of the CCC. It clips nothing a network meets: only where prediction and gold
# standard are both constant and equal, which is 0/0, does it decide, and gives loss 1 and gradient 0.
EPSILON = 1e-8


def ccc_loss(*, prediction: jax.Array, target: jax.Array, mask: jax.Array,
             axis_name: str | None = None) -> tuple[jax.Array, jax.Array]:
  """Mean over targets of 1 − CCC (paper, equations (3) and (5)).

  One CCC per target over all valid steps of all sequences on all devices: a mean of CCCs per device or per
  sequence is another loss, with another gradient. Population moments (ddof 0), in two passes.

  NOTE(paper): equation (4) prints (x − μ_x) in the gradient's first term; the derivative of (3) has
  (x − μ_y). The two differ wherever the means do. Automatic differentiation gives the right one.

  Args:
    prediction: [B, T, K].
    target: [B, T, K], the gold standard; finite wherever the mask is not 0.
    mask: [B, T], 1 where a step counts.
    axis_name: of the devices that share the batch. The caller then averages the gradients with `pmean`.

  Returns:
    The loss and CCC [K], both equal on all devices. A batch without a valid step gives loss 1, gradient 0.

  Raises:
    ValueError: shapes differ.
  """
  prediction, target, weight, total = _prepare(prediction, target, mask, axis_name)
  count = jnp.maximum(total(weight.sum()), 1.0)
  mean = lambda x: total((weight * x).sum((0, 1))) / count  # [B, T, K] -> [K]
  mean_x, mean_y = mean(prediction), mean(target)
  x, y = prediction - mean_x, target - mean_y
  ccc = 2 * mean(x * y) / (mean(x * x) + mean(y * y) + (mean_x - mean_y) ** 2 + EPSILON)
  return jnp.mean(1 - ccc), ccc


def mse_loss(*, prediction: jax.Array, target: jax.Array, mask: jax.Array,
             axis_name: str | None = None) -> tuple[jax.Array, jax.Array]:
  """Mean squared error over valid steps and targets, the paper's comparison (Table III, a).

  Arguments, results and errors as `ccc_loss`: the second result is the CCC, for the log.
  """
  _, ccc = ccc_loss(prediction=prediction, target=target, mask=mask, axis_name=axis_name)
  prediction, target, weight, total = _prepare(prediction, target, mask, axis_name)
  count = jnp.maximum(total(weight.sum()), 1.0)
  return jnp.mean(total((weight * (prediction - target) ** 2).sum((0, 1))) / count), ccc


LOSSES = {'ccc': ccc_loss, 'mse': mse_loss}


def _prepare(prediction, target, mask, axis_name):
  if prediction.ndim != 3 or prediction.shape != target.shape or mask.shape != target.shape[:2]:
    raise ValueError(f'loss: prediction and target [B, T, K] and mask [B, T] expected, '
                     f'got {prediction.shape}, {target.shape} and {mask.shape}')
  total = (lambda x: jax.lax.psum(x, axis_name)) if axis_name else (lambda x: x)
  weight = mask.astype(jnp.float32)[:, :, None]
  # A masked step may hold anything, NaN too: 0 · NaN would be NaN in the moments and in their gradient.
  keep = weight > 0
  prediction = jnp.where(keep, prediction.astype(jnp.float32), 0.0)
  target = jnp.where(keep, target.astype(jnp.float32), 0.0)
  return prediction, target, weight, total
