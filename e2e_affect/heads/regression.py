"""Each target as a number for every step, learnt and judged by CCC (paper, section III-C)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from e2e_affect.heads.base import Head
from e2e_affect.heads.losses import LOSSES
from e2e_affect.traces.metrics import Moments


class Regression(Head):
  """An output for every target; the best checkpoint has the highest mean validation CCC."""

  name = 'regression'
  losses = LOSSES
  best_score = 'ccc_mean'

  def metric(self, targets: Sequence[str]) -> Moments:
    return Moments.empty(len(targets))

  def of_update(self, sums: Mapping[str, np.ndarray]) -> Moments:
    values: dict[str, Any] = {name: np.asarray(value, np.float64) for name, value in sums.items()}
    return Moments(**values)

  def scores(self, metric: Moments, targets: Sequence[str]) -> dict[str, float]:
    return {f'ccc_{target}': float(value) for target, value in zip(targets, metric.ccc(), strict=True)}

  def best_of(self, scores: Mapping[str, float]) -> float:
    return float(np.mean(list(scores.values())))

  def of_checkpoint(self, scores: Mapping[str, float]) -> dict:
    return {'validation_raw_ccc': {name.removeprefix('ccc_'): value for name, value in scores.items()}}
