"""Each target as one number for a whole recording: the mean of its steps' outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from e2e_affect.heads import recordings
from e2e_affect.heads.base import Cell, Loss
from e2e_affect.heads.losses import LOSSES
from e2e_affect.heads.regression import Regression, rmse_cell, SCALES
from e2e_affect.traces import band
from e2e_affect.traces.traces import Trace

_CCC = """<p><b>CCC</b>, the concordance correlation coefficient, is 1 where the prediction equals the gold standard, 0
where it says nothing about it, and falls with a wrong offset or scale too. Each recording counts as one: its prediction
is the mean over its steps.</p>
"""


class ClipRegression(recordings.CountsRecordings, Regression):
  """An output for every target, averaged over the recording; the best checkpoint has the highest mean validation CCC.

  The loss is one CCC, or mean squared error, over all recordings of the global batch: with CCC, a large batch tells
  more. Traces repeat the recording's number in every step, and nothing is post-processed: there is no time to shift.
  """

  name = 'clip_regression'
  losses: Mapping[str, Loss] = {name: recordings.loss(loss) for name, loss in LOSSES.items()}
  table_head = ('CCC (95\u00a0%)', 'Pearson', 'RMSE (95\u00a0%)')
  captions = {'scatter': 'Prediction against gold standard over all recordings of {partition}; darker is more.'}
  meaning = (
    _CCC
    + """<p><b>95 %</b> is a bootstrap over subjects: how far the CCC would move with other people drawn from the same
kind. With few subjects it is wide.</p>
"""
    + SCALES
    + ' RMSE is in these units.</p>'
  )
  meaning_of_several = _CCC + SCALES + '</p>'

  def prediction(self, outputs: np.ndarray) -> np.ndarray:
    """The mean of a recording's outputs, in every step."""
    return recordings.repeated(lambda mean: mean, outputs)

  def score(self, traces: Sequence[Trace], targets: Sequence[str], seed: int) -> dict:
    """The metrics of one partition, over its recordings.

    Raises:
      ValueError: no recording has a gold standard.
    """
    r = super().score(traces, targets, seed)
    del r['ccc_recording_mean']  # of one number each there is none
    return r

  def table(self, r: dict) -> dict[str, tuple[Cell, ...]]:
    """See `Head`."""
    return {
      target: (Cell(ccc, r['ccc_interval'][target] or ()), Cell(r['pearson'][target]), rmse_cell(r, target))
      for target, ccc in r['ccc'].items()
    }

  def figures(self, raw: Sequence[Trace], processed: Sequence[Trace] | None, targets: Sequence[str]) -> dict[str, Any]:
    """`scatter`, where there are labels."""
    from e2e_affect.traces import figures  # Matplotlib, which training and prediction need not wait for

    whole = [recordings.trace(t) for t in raw]
    return {'scatter': figures.scatter(whole, targets, 'raw')} if any(t.scored.any() for t in whole) else {}

  def fit(self, traces: Sequence[Trace], targets: Sequence[str]) -> dict:
    """The band alone, over recordings."""
    of_band = band.fit([recordings.trace(t) for t in traces], targets, of='recordings')
    return {'fitted_on': None, 'reason': f'the head {self.name} has no post-processing', 'band': of_band}

  def of_targets(self, fitted: dict, targets: Sequence[str]) -> dict:
    """See `Head`; only that of a run of this head fits, which holds the band alone."""
    if fitted.get('fitted_on'):
      raise ValueError(f'the head {self.name} has no post-processing')
    return fitted
