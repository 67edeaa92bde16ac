"""Losses over every valid step of the global batch."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

# Added to the denominator of the CCC. It decides only where prediction and gold standard are constant and equal, which
# is 0/0: the loss is then 1 and the gradient 0. Elsewhere it is too small to change a training.
EPSILON = 1e-8


def ccc_loss(
  *, prediction: jax.Array, target: jax.Array, mask: jax.Array, axis_name: str | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
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
    The loss and the moments it is made of (see `global_moments`), both equal on all devices. A batch without
    a valid step gives loss 1, gradient 0.

  Raises:
    ValueError: shapes differ.
  """
  m = global_moments(prediction=prediction, target=target, mask=mask, axis_name=axis_name)
  n = jnp.maximum(m['count'], 1.0)
  denominator = m['sum_pp'] / n + m['sum_gg'] / n + (m['mean_p'] - m['mean_g']) ** 2 + EPSILON
  return jnp.mean(1 - 2 * m['sum_pg'] / n / denominator), m


def mse_loss(
  *, prediction: jax.Array, target: jax.Array, mask: jax.Array, axis_name: str | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Mean squared error over valid steps and targets, the paper's comparison (Table III, a).

  Arguments, results and errors as `ccc_loss`.
  """
  m = global_moments(prediction=prediction, target=target, mask=mask, axis_name=axis_name)
  # E[(p − g)²] = var p + var g − 2 cov + (mean p − mean g)²
  squares = m['sum_pp'] + m['sum_gg'] - 2 * m['sum_pg']
  return jnp.mean(squares / jnp.maximum(m['count'], 1.0) + (m['mean_p'] - m['mean_g']) ** 2), m


def cross_entropy(
  *,
  prediction: jax.Array,
  target: jax.Array,
  mask: jax.Array,
  axis_name: str | None = None,
  column: int = 0,
  weights: Sequence[float] | None = None,
  smoothing: float = 0.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Cross-entropy over all valid steps on all devices, with weights of the classes and smoothed labels.

  As `torch.nn.functional.cross_entropy` has them: with w the weights, y the class of a step, C classes and ε the
  smoothing, Σ ((1 − ε) w_y (−log p_y) + ε / C Σ_c w_c (−log p_c)) / Σ w_y. The sums are those of the global batch: a
  mean of the devices' own means would weight a class otherwise on each of them.

  Args:
    prediction: [B, T, C] logits.
    target: [B, T, K] labels; `column` holds the index of the class.
    mask: [B, T], 1 where a step counts.
    axis_name: as in `ccc_loss`.
    column: of `target`.
    weights: of the C classes; None: all alike.
    smoothing: ε in [0, 1), the share of a label that is spread evenly over all classes.

  Returns:
    The loss, and `counts` [C, C] of steps, by the class of the label and the class predicted. A batch without a valid
    step gives loss 0, gradient 0.

  Raises:
    ValueError: shapes differ.
  """
  if prediction.ndim != 3 or prediction.shape[:2] != target.shape[:2] or mask.shape != target.shape[:2]:
    raise ValueError(
      f'loss: prediction [B, T, C], target [B, T, K] and mask [B, T] expected, '
      f'got {prediction.shape}, {target.shape} and {mask.shape}'
    )
  total = (lambda x: jax.lax.psum(x, axis_name)) if axis_name else (lambda x: x)
  classes = prediction.shape[2]
  counted = mask > 0
  # A masked step may hold anything, NaN too.
  logits = jnp.where(counted[:, :, None], prediction.astype(jnp.float32), 0.0)
  gold = jax.nn.one_hot(jnp.where(counted, target[:, :, column], 0).astype(jnp.int32), classes)  # [B, T, C]
  weight = jnp.ones(classes) if weights is None else jnp.asarray(weights, jnp.float32)
  # What a step's −log p count: Σ_c of it times them is the step's loss.
  share = weight * ((1 - smoothing) * gold + smoothing / classes)
  losses = -(share * jax.nn.log_softmax(logits)).sum(-1)  # [B, T, C] -> [B, T]
  of_labels = total((mask * (weight * gold).sum(-1)).sum())
  # Masked steps add 0 to both: `mask` is 0 there.
  loss = total((mask * losses).sum()) / jnp.where(of_labels > 0, of_labels, 1.0)
  predicted = jax.nn.one_hot(logits.argmax(-1), classes)
  return loss, {'counts': total(jnp.einsum('bti,btj,bt->ij', gold, predicted, mask.astype(jnp.float32)))}


def global_moments(
  *, prediction: jax.Array, target: jax.Array, mask: jax.Array, axis_name: str | None = None
) -> dict[str, jax.Array]:
  """Moments of all valid steps on all devices, centred, in two passes, float32.

  Arguments and errors as `ccc_loss`.

  Returns:
    The fields of `metrics.Moments`: `count` [], `mean_p`, `mean_g` and the centred sums `sum_pp`, `sum_gg`,
    `sum_pg`, all [K].
  """
  if prediction.ndim != 3 or prediction.shape != target.shape or mask.shape != target.shape[:2]:
    raise ValueError(
      f'loss: prediction and target [B, T, K] and mask [B, T] expected, '
      f'got {prediction.shape}, {target.shape} and {mask.shape}'
    )
  total = (lambda x: jax.lax.psum(x, axis_name)) if axis_name else (lambda x: x)
  weight = mask.astype(jnp.float32)[:, :, None]
  # A masked step may hold anything, NaN too: 0 · NaN would be NaN in the moments and in their gradient.
  p = jnp.where(weight > 0, prediction.astype(jnp.float32), 0.0)
  g = jnp.where(weight > 0, target.astype(jnp.float32), 0.0)
  sums = lambda x: total((weight * x).sum((0, 1)))  # [B, T, K] -> [K]
  count = total(weight.sum())
  mean_p, mean_g = sums(p) / jnp.maximum(count, 1.0), sums(g) / jnp.maximum(count, 1.0)
  p, g = p - mean_p, g - mean_g
  return {
    'count': count,
    'mean_p': mean_p,
    'mean_g': mean_g,
    'sum_pp': sums(p * p),
    'sum_gg': sums(g * g),
    'sum_pg': sums(p * g),
  }


def weight_penalty(params: dict) -> jax.Array:
  """Half the sum of the squares of all convolution kernels, as slim's `l2_regularizer` has it in `resnet_arg_scope`.

  Biases, gains, the recurrent part and its head are left out, as there.

  Args:
    params: the network's, or those of its parts that are trained.
  """
  kernels = [
    leaf
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
    if path[0].key != 'recurrent' and path[-1].key.endswith('kernel')
  ]
  return 0.5 * sum((jnp.sum(kernel**2) for kernel in kernels), jnp.zeros(()))


LOSSES = {'ccc': ccc_loss, 'mse': mse_loss}
