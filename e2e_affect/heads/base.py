"""What every head says of itself."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

import jax
import numpy as np


class Loss(Protocol):
  """A loss over every valid step of the global batch, a function without state."""

  def __call__(
    self, *, prediction: jax.Array, target: jax.Array, mask: jax.Array, axis_name: str | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The loss, and the sums that `Head.of_update` makes a metric of; both equal on all devices.

    Args:
      prediction: [B, T, O] outputs of the network.
      target: [B, T, K] labels; anything where the mask is 0.
      mask: [B, T], 1 where a step counts.
      axis_name: of the devices that share the batch.
    """


class Metric(Protocol):
  """What a head counts of steps. It merges exactly: the score is the same however the steps were divided.

  Attributes:
    count: what has been counted; 0: nothing to score.
  """

  @property
  def count(self) -> float: ...

  def update(self, prediction: np.ndarray, gold: np.ndarray, mask: np.ndarray) -> Self:
    """Adds a whole recording: prediction [T, O], gold [T, K], mask [T]; gold is anything where the mask is 0."""

  def merge(self, other: Self) -> Self:
    """The metric of the steps of both."""


class Head:
  """What is predicted of the labels: from the network's outputs to the loss and the scores.

  Labels are those of the records: [T, K], a column for each of `Layout.targets`. A head that learns one label for a
  whole recording finds it repeated in every step: its loss averages outputs over the mask before it compares, and its
  metric counts a call of `update` as one.

  Attributes:
    name: as in `config.head`.
    losses: name, as in `config.loss` -> loss.
    best_score: name of the number of the validation partition that chooses the checkpoint.
    best_is_lowest: whether the smallest is the best, not the largest.
  """

  name: str
  losses: Mapping[str, Loss]
  best_score: str
  best_is_lowest: bool = False

  def outputs(self, targets: Sequence[str]) -> tuple[str, ...]:
    """O names: the network's last layer has a unit for each, and the CSV of traces a column.

    Args:
      targets: K names of the labels.
    """
    return tuple(targets)

  def metric(self, targets: Sequence[str]) -> Metric:
    """The metric before the first step."""
    raise NotImplementedError

  def of_update(self, sums: Mapping[str, np.ndarray]) -> Metric:
    """The metric of one update.

    Args:
      sums: what the loss returned beside its value.
    """
    raise NotImplementedError

  def scores(self, metric: Any, targets: Sequence[str]) -> dict[str, float]:
    """What the log says of training and validation."""
    raise NotImplementedError

  def best_of(self, scores: Mapping[str, float]) -> float:
    """The number `best_score`, from `scores`."""
    return scores[self.best_score]

  def of_checkpoint(self, scores: Mapping[str, float]) -> dict:
    """What `results.json` says of the validation scores that chose the checkpoint; none, where it is the newest."""
    return {'validation_raw': dict(scores)}
