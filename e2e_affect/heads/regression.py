"""Each target as a number for every step, learnt and judged by CCC (paper, section III-C)."""

from collections.abc import Mapping, Sequence
import dataclasses
import math
from typing import Any

import numpy as np

from data_prep.schema.grid import Grid
from e2e_affect.heads.base import Cell, classes_of, Head, Loss, Metric, numbers_of, Shared, Targets
from e2e_affect.heads.losses import LOSSES
from e2e_affect.traces import band, bootstrap, metrics, postprocess
from e2e_affect.traces.metrics import Moments
from e2e_affect.traces.traces import Trace

_CCC = """<p><b>CCC</b>, the concordance correlation coefficient, is 1 where the prediction equals the gold standard, 0
where it says nothing about it, and falls with a wrong offset or scale too. It is taken over all steps of all recordings
of the partition in one row"""
SCALES = '<p>Arousal runs from calm (−1) to excited (1), valence from unpleasant (−1) to pleasant (1).'


class Regression(Head):
  """An output for every target; the best checkpoint has the highest mean validation CCC."""

  name = 'regression'
  losses: Mapping[str, Loss] = LOSSES
  best_score = 'ccc_mean'
  best_words = 'mean CCC'
  measure = 'CCC'
  table_head: tuple[str, ...] = ('CCC (95\u00a0%)', 'per recording', 'Pearson', 'RMSE (95\u00a0%)')
  captions = {
    'trace': 'One recording of {partition}: the one whose CCC is the median of the partition.',
    'scatter': 'Prediction against gold standard over all scored steps of {partition}; darker is more.',
  }
  meaning = (
    _CCC
    + """; <b>per recording</b> is the mean of the recordings' own CCCs, which leaves out how well the
levels of different people are told apart.</p>
<p><b>95 %</b> is a bootstrap over subjects: how far the CCC would move with other people drawn from the same kind.
With few subjects it is wide, and two models whose intervals overlap much may be equally good.</p>
<p><b>Raw</b> is what the model says. <b>Post-processed</b> adds the steps below, fitted on the validation partition:
validation's own post-processed numbers have seen their labels, those of test have not.</p>
"""
    + SCALES
    + ' RMSE is in these units. Where the gold standard of a group varies little, its CCC is low; its RMSE is not.</p>'
  )
  meaning_of_several = (
    _CCC
    + """.</p>
<p><b>Raw</b> is what a model says. <b>Post-processed</b> adds steps that were fitted on the validation partition, as
the report of each run lists: the numbers in parentheses have then seen their labels, those of test have not. The report
also tells how far a CCC would move with other people.</p>
"""
    + SCALES
    + '</p>'
  )
  fitted_on: str | None = postprocess.FITTED_ON
  shows = 'numbers'

  def outputs(self, targets: Sequence[str]) -> tuple[str, ...]:
    """See `Head`."""
    return numbers_of(targets, self.name)

  def shared(self, learnt: Sequence[str], others: Sequence[str]) -> Shared | None:
    """Targets of the same name, each a number in both."""
    found = [target for target in learnt if target in others and target not in classes_of(others)]
    if not found:
      return None
    columns = [[list(names).index(target) for target in found] for names in (learnt, others)]

    def trace(whole: Trace) -> Trace:
      prediction, gold = whole.prediction[:, columns[0]], whole.gold[:, columns[1]]
      return dataclasses.replace(whole, prediction=prediction, gold=gold)

    def fitted(of_run: dict) -> dict:
      return {**of_run, 'targets': {target: of_run['targets'][target] for target in found}}

    left_out = [f'it predicts {target}, of which the data have no label' for target in learnt if target not in found]
    left_out += [
      f'the data have labels of {target}, which it does not predict' for target in others if target not in found
    ]
    return Shared(Targets(found), trace, fitted, left_out)

  def metric(self, targets: Sequence[str]) -> Metric:
    """See `Head`."""
    return Moments.empty(len(targets))

  def of_update(self, sums: Mapping[str, np.ndarray]) -> Metric:
    """See `Head`."""
    values: dict[str, Any] = {name: np.asarray(value, np.float64) for name, value in sums.items()}
    return Moments(**values)

  def scores(self, metric: Any, targets: Sequence[str]) -> dict[str, float]:
    """See `Head`."""
    return {f'ccc_{target}': float(value) for target, value in zip(targets, metric.ccc(), strict=True)}

  def headline(self, metric: Any, targets: Sequence[str]) -> dict[str, float]:
    """See `Head`."""
    return {target: float(value) for target, value in zip(targets, metric.ccc(), strict=True)}

  def best_of(self, scores: Mapping[str, float]) -> float:
    """See `Head`."""
    return float(np.mean(list(scores.values())))

  def of_checkpoint(self, scores: Mapping[str, float]) -> dict:
    """See `Head`."""
    return {'validation_raw_ccc': {name.removeprefix('ccc_'): value for name, value in scores.items()}}

  def score(self, traces: Sequence[Trace], targets: Sequence[str], seed: int) -> dict:
    """The metrics of one partition, all but `ccc_recording_mean` pooled over its recordings.

    Raises:
      ValueError: no step has a gold standard.
    """
    prediction, gold = metrics.pooled(traces)
    if not len(gold):
      raise ValueError('no step has a gold standard')

    def per_target(metric):
      return {target: metric(prediction[:, k], gold[:, k]) for k, target in enumerate(targets)}

    recording_mean = metrics.ccc_recording_mean(traces)
    return {
      'ccc': per_target(metrics.ccc),
      'ccc_recording_mean': {target: float(recording_mean[k]) for k, target in enumerate(targets)},
      'ccc_interval': _named(bootstrap.interval([traces], seed), targets),
      'rmse': per_target(metrics.rmse),
      'rmse_interval': _named(bootstrap.rmse_interval(traces, seed), targets),
      # null: a constant
      'pearson': {target: None if math.isnan(r) else r for target, r in per_target(metrics.pearson).items()},
    }

  def table(self, r: dict) -> dict[str, tuple[Cell, ...]]:
    """See `Head`."""
    return {
      target: (
        Cell(ccc, r['ccc_interval'][target] or ()),
        Cell(r['ccc_recording_mean'][target]),
        Cell(r['pearson'][target]),
        rmse_cell(r, target),
      )
      for target, ccc in r['ccc'].items()
    }

  def notes(self, r: dict) -> list[str]:
    """See `Head`."""
    few = None in r['ccc_interval'].values()
    return ['no 95 % interval, too few subjects with labels (two needed)'] if few else []

  def curves(self, targets: Sequence[str]) -> dict[str, str]:
    """See `Head`."""
    return {f'ccc_{target}': target for target in targets}

  def figures(self, raw: Sequence[Trace], processed: Sequence[Trace] | None, targets: Sequence[str]) -> dict[str, Any]:
    """`trace`: the recording whose CCC is the median; `scatter`: all steps, where there are labels."""
    from e2e_affect.traces import figures  # Matplotlib, which training and prediction need not wait for

    i = figures.typical_recording(raw)
    drawn = {'trace': figures.recording(raw[i], processed[i] if processed else None, targets)}
    if any(t.scored.any() for t in raw):
      final, stage = (processed, 'post-processed') if processed else (raw, 'raw')
      drawn['scatter'] = figures.scatter(final, targets, stage)
    return drawn

  def fit(self, traces: Sequence[Trace], targets: Sequence[str]) -> dict:
    """See `Head`."""
    return {**postprocess.fit(traces, targets), 'band': band.fit(traces, targets)}

  def of_targets(self, fitted: dict, targets: Sequence[str]) -> dict:
    """See `Head`."""
    return postprocess.of_targets(fitted, targets)

  def apply(self, fitted: dict, traces: Sequence[Trace]) -> list[Trace]:
    """See `Head`."""
    return postprocess.apply(fitted, traces)

  def in_words(self, fitted: dict, grid: Grid) -> dict[str, list[str]]:
    """See `Head`."""
    return postprocess.in_words(fitted, grid)

  def band(self, fitted: dict) -> dict:
    """See `Head`."""
    return fitted.get('band', {})


def rmse_cell(r: dict, target: str) -> Cell:
  """RMSE and its interval; results of earlier versions have none."""
  return Cell(r['rmse'][target], (r['rmse_interval'][target] or ()) if 'rmse_interval' in r else None)


def _named(intervals, targets):
  """[K, 2] -> target -> [low, high]; None: fewer than two subjects."""
  return {
    target: None if math.isnan(low) else [float(low), float(high)]
    for target, (low, high) in zip(targets, intervals, strict=True)
  }
