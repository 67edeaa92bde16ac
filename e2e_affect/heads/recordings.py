"""One label for a whole recording: what a head of steps becomes when a recording counts as one.

The records repeat such a label in every step. In training, a recording is the part of it that a sequence holds: one
longer than `config.data.sequence_steps` gives several sequences, each with the recording's label. Evaluation takes
recordings whole.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from e2e_affect.heads.base import Head, Loss, Metric
from e2e_affect.traces.traces import Trace


def loss(of_steps: Loss) -> Loss:
  """The same loss over recordings: of each sequence the mean over its valid steps, of outputs and labels alike."""

  def of_recordings(
    *, prediction: jax.Array, target: jax.Array, mask: jax.Array, axis_name: str | None = None, **options: Any
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    weight = mask.astype(jnp.float32)[:, :, None]
    steps = weight.sum(1, keepdims=True)  # [B, 1, 1]

    def mean(values):  # [B, T, N] -> [B, 1, N]; a masked step may hold anything, NaN too
      return jnp.where(weight > 0, values.astype(jnp.float32) * weight, 0.0).sum(1, keepdims=True) / jnp.maximum(
        steps, 1.0
      )

    counted = (steps[:, :, 0] > 0).astype(jnp.float32)
    return of_steps(prediction=mean(prediction), target=mean(target), mask=counted, axis_name=axis_name, **options)

  return of_recordings


@dataclasses.dataclass(frozen=True)
class OfRecordings:
  """A metric of steps that counts recordings.

  Attributes:
    metric: what has been counted; each recording is a step of it.
  """

  metric: Metric

  @property
  def count(self) -> float:
    """Recordings that have been counted."""
    return self.metric.count

  def update(self, prediction: np.ndarray, gold: np.ndarray, mask: np.ndarray) -> 'OfRecordings':
    """Adds a recording: [T, O], [T, K], [T]."""
    if not np.any(mask > 0):
      return self
    return OfRecordings(self.metric.update(*_one_step(prediction, gold, mask)))

  def merge(self, other: 'OfRecordings') -> 'OfRecordings':
    """Of the recordings of both."""
    return OfRecordings(self.metric.merge(other.metric))


class CountsRecordings(Head):
  """What a head of steps, next in line of the bases, does differently where a recording counts as one."""

  def metric(self, targets: Sequence[str]) -> Metric:
    """See `Head`."""
    return OfRecordings(super().metric(targets))

  def of_update(self, sums: Mapping[str, np.ndarray]) -> Metric:
    """See `Head`."""
    return OfRecordings(super().of_update(sums))

  def scores(self, metric: Any, targets: Sequence[str]) -> dict[str, float]:
    """See `Head`."""
    return super().scores(metric.metric, targets)

  def headline(self, metric: Any, targets: Sequence[str]) -> dict[str, float]:
    """See `Head`."""
    return super().headline(metric.metric, targets)

  def score(self, traces: Sequence[Trace], targets: Sequence[str], seed: int) -> dict:
    """See `Head`."""
    return super().score([trace(t) for t in traces], targets, seed)

  def coverage(self, of_band: Mapping, traces: Sequence[Trace], targets: Sequence[str]) -> dict[str, float] | None:
    """See `Head`."""
    return super().coverage(of_band, [trace(t) for t in traces], targets)


def trace(whole: Trace) -> Trace:
  """A recording as one step; its mask is 0 where no step has a label."""
  prediction, gold, mask = _one_step(whole.prediction, whole.gold, whole.mask)
  found = whole.face_found.mean(keepdims=True)
  return dataclasses.replace(whole, prediction=prediction, gold=gold, mask=mask, face_found=found)


def _one_step(prediction, gold, mask):
  """[T, O], [T, K], [T] -> [1, O], [1, K], [1]."""
  scored = mask > 0
  label = gold[scored].mean(0, keepdims=True) if scored.any() else np.zeros((1, gold.shape[1]), np.float32)
  return prediction.mean(0, keepdims=True), label, np.array([scored.any()], np.float32)


def repeated(of_outputs: Callable[[np.ndarray], np.ndarray], outputs: np.ndarray) -> np.ndarray:
  """What a recording gets from the mean of its outputs, in every step.

  Args:
    of_outputs: [1, O] -> [1, O].
    outputs: [T, O] of the network.
  """
  return np.repeat(of_outputs(outputs.mean(0, keepdims=True)), len(outputs), axis=0)
