"""From traces to `results.json` and `predictions/<partition>.csv`.

`results.json`: `{"<partition>": {"raw": R, "postprocessed": R, …counts}, "postprocessing": {…}, "checkpoint": {…}}`
with R = `{"ccc": {target: x}, "ccc_recording_mean": {…}, "ccc_interval": {target: [low, high]}, "rmse": {…},
"pearson": {…}}`. Where there is no number there is null, and a `reason` beside it.
"""

from collections.abc import Mapping, Sequence
import json
import math
import pathlib

import numpy as np

from data_prep.core import atomic
from data_prep.core.errors import DataError
from e2e_affect.traces import metrics, postprocess
from e2e_affect.traces.table import write_csv
from e2e_affect.traces.traces import Trace

RESULTS_FILE = 'results.json'
PREDICTIONS_FOLDER = 'predictions'


def evaluate_traces(
  traces: Mapping[str, Sequence[Trace]],
  targets: Sequence[str],
  seed: int,
  checkpoint: dict,
  min_gain: float = postprocess.MIN_GAIN,
  fitted: dict | None = None,
) -> dict:
  """Scores every partition, raw and post-processed; the post-processing is fitted on 'validation'.

  Args:
    traces: partition -> its recordings. Without 'validation', or without its labels, nothing is post-processed.
    targets: K names, in the order of the traces' last axis.
    seed: of the bootstrap.
    checkpoint: what the predictions were made with, for the record (step, path, …); JSON.
    min_gain: see `postprocess.fit`.
    fitted: the `postprocessing` of another run's results, to be applied instead, by the names of the targets.

  Returns:
    The content of `results.json`.
  """
  validation = traces.get(postprocess.FITTED_ON)
  if fitted is not None:
    fitted = postprocess.of_targets(fitted, targets)
  elif not validation:
    fitted = {'fitted_on': None, 'reason': 'the validation partition was not evaluated'}
  elif not any(t.scored.any() for t in validation):
    fitted = {'fitted_on': None, 'reason': 'the validation partition has no labels'}
  else:
    fitted = postprocess.fit(validation, targets, min_gain)

  results = {}
  for partition, of_partition in traces.items():
    results[partition] = entry = {'raw': None, 'postprocessed': None}
    entry['recordings'] = len(of_partition)
    entry['subjects'] = len({t.subject for t in of_partition})
    entry['scored_subjects'] = len({t.subject for t in of_partition if t.scored.any()})
    entry['scored_steps'] = int(sum(t.scored.sum() for t in of_partition))
    entry['recordings_without_labels'] = [t.recording for t in of_partition if not t.scored.any()]
    if not entry['scored_steps']:
      entry['reason'] = 'no labels in this partition'
      continue
    entry['raw'] = score(of_partition, targets, seed)
    if fitted['fitted_on']:
      entry['postprocessed'] = score(postprocess.apply(fitted, of_partition), targets, seed)
    else:
      entry['reason'] = f'not post-processed: {fitted["reason"]}'
  return {**results, 'postprocessing': fitted, 'checkpoint': checkpoint}


def score(traces: Sequence[Trace], targets: Sequence[str], seed: int) -> dict:
  """R of `results.json`: the metrics of one partition, all but `ccc_recording_mean` pooled over its recordings.

  Raises:
    ValueError: no step has a gold standard.
  """
  prediction, gold = metrics.pooled(traces)
  if not len(gold):
    raise ValueError('no step has a gold standard')

  def per_target(metric):
    return {target: metric(prediction[:, k], gold[:, k]) for k, target in enumerate(targets)}

  recording_mean = metrics.ccc_recording_mean(traces)
  interval = metrics.ccc_interval(traces, seed)
  return {
    'ccc': per_target(metrics.ccc),
    'ccc_recording_mean': {target: float(recording_mean[k]) for k, target in enumerate(targets)},
    # null: fewer than two subjects
    'ccc_interval': {
      target: None if math.isnan(interval[k, 0]) else [float(x) for x in interval[k]]
      for k, target in enumerate(targets)
    },
    'rmse': per_target(metrics.rmse),
    # null: a constant
    'pearson': {target: None if math.isnan(r) else r for target, r in per_target(metrics.pearson).items()},
  }


def write_results(workdir, results: dict, traces: Mapping[str, Sequence[Trace]], targets: Sequence[str]) -> None:
  """Writes `predictions/<partition>.csv` of every partition, then `results.json`, each whole or not at all.

  `results.json` comes last: where it is, the rest is.

  Args:
    workdir: of the run.
    results: what `evaluate_traces` returned for these traces.
    traces: partition -> raw predictions.
    targets: K names.

  Raises:
    WorkdirError, DiskFullError: a file cannot be written.
  """
  workdir = pathlib.Path(workdir)
  fitted = results['postprocessing']
  for partition, of_partition in traces.items():
    processed = postprocess.apply(fitted, of_partition) if fitted['fitted_on'] else None
    write_csv(workdir / PREDICTIONS_FOLDER / f'{partition}.csv', of_partition, targets, processed)
  atomic.write(workdir / RESULTS_FILE, json.dumps(results, indent=1, allow_nan=False) + '\n')


def read_results(workdir) -> dict:
  """Reads `results.json`.

  Raises:
    DataError: it is absent or damaged.
  """
  path = pathlib.Path(workdir) / RESULTS_FILE
  try:
    results = json.loads(path.read_text(encoding='utf-8'))
    results['postprocessing']['fitted_on'], results['checkpoint']
    return results
  except (FileNotFoundError, NotADirectoryError):
    raise DataError(f'{path}: not found; let the training end, or evaluate with `--mode=evaluate`') from None
  except (ValueError, KeyError, TypeError) as e:
    raise DataError(f'{path}: damaged ({e!r}); make it again with `--mode=evaluate`') from None


def read_postprocessing(workdir, targets: Sequence[str]) -> dict:
  """The post-processing that another run fitted, for these targets.

  Raises:
    DataError: its results are absent or damaged; it fitted none, or for other targets.
  """
  path = pathlib.Path(workdir) / RESULTS_FILE
  fitted = read_results(workdir)['postprocessing']
  hint = 'name another run with --config.postprocessing_from, or none'
  if not fitted['fitted_on']:
    raise DataError(f'{path}: holds no post-processing ({fitted.get("reason")}); {hint}')
  blank = np.zeros((3, len(targets)), np.float32)
  try:
    fitted = postprocess.of_targets(fitted, targets)
    postprocess.apply(fitted, [Trace('', '', '', blank, blank, blank[:, 0], blank[:, 0])])
  except ValueError as e:
    raise DataError(f'{path}: {e}; {hint}') from None
  except (AttributeError, KeyError, TypeError) as e:
    raise DataError(f'{path}: damaged, its post-processing cannot be applied ({e!r}); {hint}') from None
  return fitted
