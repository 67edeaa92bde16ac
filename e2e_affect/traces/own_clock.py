"""Predictions at the labels' own times and in the corpus's own units, and their scores there.

A trace has a value for every step of the network's grid, at the end of the step, as the gold standard on the grid has.
Between two steps it is a line; before the first step's end and after the last one's, the nearest value holds, so that
every label of a corpus is counted, as its own scorer does. A label of a whole recording is compared with the mean of
the trace. All is float64.
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import math

import numpy as np

from data_prep.schema import label_clock
from data_prep.schema.label_clock import OwnLabels, Scorer
from data_prep.schema.manifest import Manifest
from e2e_affect.traces import metrics
from e2e_affect.traces.traces import Trace

_MEASURES: dict[str, Callable] = {'ccc': metrics.ccc, 'pearson': metrics.pearson, 'rmse': metrics.rmse}


@dataclasses.dataclass(frozen=True)
class OwnClock:
  """The labels of a corpus as it has them.

  Attributes:
    targets: K names.
    scale: target -> [gain, offset]: stored = gain · original + offset.
    labels: recording -> its labels, values in the order of the targets; the grid is the clock of those not in it.
    scorer: of the corpus; None: it states none.
    prediction_format: of its own prediction files, see `own_files`; '': none.
  """

  targets: tuple[str, ...]
  scale: Mapping[str, Sequence[float]]
  labels: Mapping[str, OwnLabels]
  scorer: Scorer | None
  prediction_format: str


@dataclasses.dataclass(frozen=True)
class Rows:
  """One recording at its labels' times.

  Attributes:
    recording: id.
    seconds: its length.
    labels: times and values; without any, `times` is empty.
    prediction: [N, K] float64 in the corpus's own units.
    at: [M] seconds -> [M, K], the same trace at any times.
  """

  recording: str
  seconds: float
  labels: OwnLabels
  prediction: np.ndarray
  at: Callable[[np.ndarray], np.ndarray]


def read(folder, manifest: Manifest, targets: Sequence[str]) -> OwnClock | None:
  """The labels beside the shards; None where the grid is the clock of all, or a target is one of classes.

  Args:
    folder: of the data.
    manifest: of the folder.
    targets: K names of those that are predicted, some of the manifest's.

  Raises:
    DataError: a file of labels is absent or has changed.
  """
  clock = manifest.label_clock
  if clock is None or any(target in manifest.classes for target in targets):
    return None
  labels = {name: label_clock.read(folder, file, targets) for name, file in clock.files.items()}
  scale = {target: manifest.label_scale[target] for target in targets}
  return OwnClock(tuple(targets), scale, labels, clock.scorer, clock.prediction_format)


def rows(clock: OwnClock, trace: Trace) -> Rows:
  """A trace at its labels' times, in the corpus's own units."""
  gain, offset = np.array([clock.scale[target] for target in clock.targets], np.float64).T
  ends = np.arange(1, len(trace.prediction) + 1) * trace.grid.step_seconds
  prediction = (trace.prediction.astype(np.float64) - offset) / gain

  def at(times):
    return np.stack([np.interp(times, ends, column) for column in prediction.T], axis=1)

  own = clock.labels.get(trace.recording)
  if own is None:  # labels of the grid, if there are any
    gold = (trace.gold[trace.scored].astype(np.float64) - offset) / gain
    own = OwnLabels(ends[trace.scored], gold)
  predicted = prediction.mean(axis=0, keepdims=True) if own.of_whole else at(own.times)
  return Rows(trace.recording, float(ends[-1]), own, predicted, at)


def units(clock: OwnClock) -> dict[str, list[float]]:
  """Target -> [low, high] of the corpus's own scale."""
  scales = clock.scale.items()
  return {target: [round((end - offset) / gain, 9) for end in (-1, 1)] for target, (gain, offset) in scales}


def score(clock: OwnClock, traces: Sequence[Trace]) -> dict | None:
  """Scores of a partition over all its labels; None where it has none.

  Returns:
    {'rows': {target: labels}, measure: {target: x}, …} of every measure, over all rows; and 'scorer' as the corpus's
    own scorer counts, if it is stated: {'over', 'values': {measure: {target: x}}, 'mean'}, the mean being that of the
    targets' first measure, if the corpus takes it. None where there is no number.
  """
  found = [rows(clock, trace) for trace in traces]
  pairs = {target: [_labelled(of, k) for of in found] for k, target in enumerate(clock.targets)}
  counts = {target: sum(len(gold) for _, gold in of) for target, of in pairs.items()}
  if not any(counts.values()):
    return None
  pooled = {target: tuple(map(np.concatenate, zip(*of, strict=True))) for target, of in pairs.items()}
  over_rows = {
    name: {target: _number(measure(*pooled[target])) for target in clock.targets} for name, measure in _MEASURES.items()
  }
  result: dict = {'rows': counts, **over_rows}
  if clock.scorer is not None:
    values = {name: over_rows[name] for name in clock.scorer.measures}
    if clock.scorer.over == 'recordings':
      values = {
        name: {target: _mean([_MEASURES[name](*pair) for pair in pairs[target] if len(pair[1])]) for target in pairs}
        for name in clock.scorer.measures
      }
    result['scorer'] = {'over': clock.scorer.over, 'values': values}
    if clock.scorer.mean_of_targets:
      result['scorer']['mean'] = _mean(values[clock.scorer.measures[0]].values())
  return result


def _labelled(of: Rows, k: int) -> tuple[np.ndarray, np.ndarray]:
  """Prediction and label of one target where there is a label."""
  there = np.isfinite(of.labels.values[:, k])
  return of.prediction[there, k], of.labels.values[there, k]


def _mean(values) -> float | None:
  known = [value for value in values if value is not None and not math.isnan(value)]
  return float(np.mean(known)) if known else None


def _number(value: float) -> float | None:
  return None if math.isnan(value) else float(value)
