"""CCC and its companions in float64 NumPy, pooled over recordings; no JAX.

ddof is 0 everywhere, as in the paper's equation (3), the authors' code and `audmetric`. A CCC is not an average:
the mean of the CCCs of batches is no CCC, so every number here comes from moments over all steps.

Where there is nothing to correlate: a constant prediction equal to a constant gold standard is 0/0, which counts
as 0 (no concordance shown); over no steps at all the value is NaN.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np

from e2e_affect.traces.traces import Trace


def ccc(prediction, gold) -> float:
  """Concordance correlation coefficient, 2·cov / (var_p + var_g + (mean_p − mean_g)²), in two passes.

  Args:
    prediction: [N].
    gold: [N].
  """
  centred_p, mean_p = _centre(prediction)
  centred_g, mean_g = _centre(gold)
  _check(centred_p, centred_g)
  if not centred_p.size:
    return float('nan')
  return float(
    ratio(2 * np.mean(centred_p * centred_g), np.mean(centred_p**2) + np.mean(centred_g**2) + (mean_p - mean_g) ** 2)
  )


def pearson(prediction, gold) -> float:
  """Pearson's correlation of two [N]; NaN where either is constant, and over no steps."""
  centred_p, _ = _centre(prediction)
  centred_g, _ = _centre(gold)
  _check(centred_p, centred_g)
  if not centred_p.size:
    return float('nan')
  # Square roots first: the product of two small sums of squares could underflow.
  norms = float(np.sqrt(np.sum(centred_p**2)) * np.sqrt(np.sum(centred_g**2)))
  return float(np.sum(centred_p * centred_g)) / norms if norms else float('nan')


def rmse(prediction, gold) -> float:
  """Root of the mean squared difference of two [N]; NaN over no steps."""
  prediction, gold = np.asarray(prediction, np.float64), np.asarray(gold, np.float64)
  _check(prediction, gold)
  return float(np.sqrt(np.mean((prediction - gold) ** 2))) if prediction.size else float('nan')


def pooled(traces: Sequence[Trace]) -> tuple[np.ndarray, np.ndarray]:
  """The scored steps of all recordings in one row: prediction [N, K] and gold [N, K], float64."""
  return (
    np.concatenate([t.prediction[t.scored] for t in traces]).astype(np.float64),
    np.concatenate([t.gold[t.scored] for t in traces]).astype(np.float64),
  )


def ccc_recording_mean(traces: Sequence[Trace]) -> np.ndarray:
  """Mean of the recordings' own CCCs, [K]; recordings without any scored step do not count."""
  scored = [t for t in traces if t.scored.any()]
  if not scored:
    return np.full(traces[0].prediction.shape[1], np.nan)
  return np.mean(
    [[ccc(t.prediction[t.scored, k], t.gold[t.scored, k]) for k in range(t.prediction.shape[1])] for t in scored],
    axis=0,
  )


@dataclasses.dataclass(frozen=True)
class Moments:
  """Count, means and centred sums of K targets: all that a CCC needs, and it can be merged exactly.

  Start from `empty`, then `moments = moments.update(…)`; nothing is changed in place. Centred sums, merged by the
  formula of Chan, Golub and LeVeque (1979), keep their digits where plain sums of squares lose them.

  Attributes:
    count: steps seen.
    mean_p, mean_g: [K] means of prediction and gold standard.
    sum_pp, sum_gg, sum_pg: [K] sums of products of the deviations from these means.
  """

  count: float
  mean_p: np.ndarray
  mean_g: np.ndarray
  sum_pp: np.ndarray
  sum_gg: np.ndarray
  sum_pg: np.ndarray

  @classmethod
  def empty(cls, num_targets: int) -> 'Moments':
    """Of no step."""
    return cls(0.0, *(np.zeros(num_targets) for _ in range(5)))

  def update(self, prediction, gold, mask) -> 'Moments':
    """Adds steps; what stands where the mask is 0 may be anything, NaN too.

    Args:
      prediction: [N, K] (or [B, T, K]).
      gold: the same shape.
      mask: [N] (or [B, T]); steps above 0 count once.
    """
    prediction, gold, mask = np.asarray(prediction), np.asarray(gold), np.asarray(mask)
    num_targets = len(self.mean_p)
    if prediction.shape != gold.shape or prediction.shape != (*mask.shape, num_targets):
      raise ValueError(
        f'prediction {prediction.shape}, gold {gold.shape}, mask {mask.shape}, expected '
        f'[N, {num_targets}], [N, {num_targets}], [N]'
      )
    counted = mask > 0
    if not counted.any():
      return self
    # [N, K], only the steps that count
    centred_p, mean_p = _centre(prediction[counted])
    centred_g, mean_g = _centre(gold[counted])
    return self.merge(
      Moments(
        float(counted.sum()),
        mean_p,
        mean_g,
        np.sum(centred_p**2, axis=0),
        np.sum(centred_g**2, axis=0),
        np.sum(centred_p * centred_g, axis=0),
      )
    )

  def merge(self, other: 'Moments') -> 'Moments':
    """Moments of the steps of both."""
    if not self.count or not other.count:
      return self if self.count else other
    count = self.count + other.count
    delta_p, delta_g = other.mean_p - self.mean_p, other.mean_g - self.mean_g
    weight = self.count * other.count / count
    return Moments(
      count,
      self.mean_p + delta_p * (other.count / count),
      self.mean_g + delta_g * (other.count / count),
      self.sum_pp + other.sum_pp + weight * delta_p**2,
      self.sum_gg + other.sum_gg + weight * delta_g**2,
      self.sum_pg + other.sum_pg + weight * delta_p * delta_g,
    )

  def ccc(self) -> np.ndarray:
    """[K] CCC over all steps seen; 0 where it is 0/0, NaN over no steps."""
    if not self.count:
      return np.full(len(self.mean_p), np.nan)
    return ratio(2 * self.sum_pg, self.sum_pp + self.sum_gg + self.count * (self.mean_p - self.mean_g) ** 2)


def _centre(values):
  """[N, …] -> (deviations from the mean [N, …], mean […]), float64.

  The first value is subtracted before the mean is taken: the deviations of a constant are then exactly zero, where
  rounding of the mean would leave 1e-17, and two such residues divide to a CCC of 1.
  """
  values = np.asarray(values, dtype=np.float64)
  if not values.shape[0]:
    return values, np.zeros(values.shape[1:])
  from_first = values - values[0]
  mean = from_first.mean(axis=0)
  return from_first - mean, values[0] + mean


def _check(prediction, gold):
  if prediction.ndim != 1 or prediction.shape != gold.shape:
    raise ValueError(f'prediction {prediction.shape} and gold {gold.shape}, expected [N] twice')


def ratio(numerator, denominator):
  """numerator / denominator, 0 where the denominator is 0."""
  positive = denominator > 0
  return np.where(positive, numerator, 0.0) / np.where(positive, denominator, 1.0)
