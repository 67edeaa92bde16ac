"""From traces to `results.json` and `predictions/<partition>.csv`.

`results.json`: `{"<partition>": {"raw": R, "postprocessed": R, …counts}, "postprocessing": {…}, "checkpoint": {…}}`
with R as the head scores, of regression `{"ccc": {target: x}, "ccc_recording_mean": {…}, "ccc_interval": {target: [low,
high]}, "rmse": {…}, "rmse_interval": {…}, "pearson": {…}}`. Where there is no number there is null, and a `reason`
beside it.

Of a partition with labels, `"coverage"` is how much of the gold standard lies in the band that `postprocessing` has,
see `traces.band`, or null. `"groups"` are the scores by person and by the manifest's columns, of post-processed traces
where there are any, see `groups.evaluate`. `"seen"`, of validation alone, is what its recordings are like, see
`traces.seen`: clips are compared with it.

Where a corpus has its labels at times or in units of its own, a partition has `"own_clock"`, too: `{"units": {target:
[low, high]}, "raw": S, "postprocessed": S}` with S as `own_clock.score` makes it, and the predictions are written in
the corpus's own files, `predictions/<format>/<partition>/raw/`.

What a network says while streams are taken away from it lies beside these: `results_without_visual.json`, which also
has `"without": ["visual"]`, and `predictions_without_visual/`. What it says of another corpus is
`results_on_NAME.json`, NAME being the folder of its data.
"""

from collections.abc import Mapping, Sequence
import json
import pathlib
import types
from typing import Any

import numpy as np

from data_prep.core import atomic, json_text
from data_prep.core.errors import DataError
from e2e_affect.evaluate import groups
from e2e_affect.heads import Head
from e2e_affect.traces import band, own_clock, own_files, postprocess, seen, table
from e2e_affect.traces.own_clock import OwnClock
from e2e_affect.traces.traces import Trace

RESULTS_FILE = 'results.json'
PREDICTIONS_FOLDER = table.FOLDER


def results_file(without: Sequence[str] = (), suffix: str = '') -> str:
  """The name of the results with this suffix, or without these streams, in the order of the network's modalities."""
  return f'results{suffix or _suffix(without)}.json'


def _suffix(without):
  return '_'.join(['_without', *without]) if without else ''


def evaluate_traces(
  traces: Mapping[str, Sequence[Trace]],
  head: Head,
  targets: Sequence[str],
  seed: int,
  checkpoint: dict,
  fitted: dict | None = None,
  own: OwnClock | None = None,
  about: Mapping[str, Mapping[str, str]] = types.MappingProxyType({}),
) -> dict:
  """Scores every partition, raw and post-processed; the head fits its post-processing, if it has any.

  Args:
    traces: partition -> its recordings. Without the one to fit on, or without its labels, nothing is post-processed.
    head: whose outputs the predictions are.
    targets: K names, in the order of the gold standard's last axis.
    seed: of the bootstrap.
    checkpoint: what the predictions were made with, for the record (step, path, …); JSON.
    fitted: the `postprocessing` of another run's results, to be applied instead, by the names of the targets.
    own: the labels at their own times, which heads with an output a target are scored on, too; None: there are none.
    about: recording -> column -> value, see `Manifest.about`.

  Returns:
    The content of `results.json`.

  Raises:
    ValueError: traces with another number of outputs or targets.
  """
  for trace in (trace for of_partition in traces.values() for trace in of_partition):
    found, expected = (trace.prediction.shape[1], trace.gold.shape[1]), (len(head.outputs(targets)), len(targets))
    if found != expected:
      raise ValueError(
        f'{trace.recording}: (outputs, targets) are {found}, expected {expected} of the head {head.name}'
      )
  if fitted is not None:
    fitted = head.of_targets(fitted, targets)
  elif head.fitted_on is None:
    fitted = {'fitted_on': None, 'reason': f'the head {head.name} has no post-processing'}
  elif not traces.get(head.fitted_on):
    fitted = {'fitted_on': None, 'reason': f'the {head.fitted_on} partition was not evaluated'}
  elif not any(t.scored.any() for t in traces[head.fitted_on]):
    fitted = {'fitted_on': None, 'reason': f'the {head.fitted_on} partition has no labels'}
  else:
    fitted = head.fit(traces[head.fitted_on], targets)

  results: dict[str, dict[str, Any]] = {}
  for partition, of_partition in traces.items():
    entry: dict[str, Any] = {'raw': None, 'postprocessed': None}
    results[partition] = entry
    entry['recordings'] = len(of_partition)
    entry['subjects'] = len({t.subject for t in of_partition})
    entry['scored_subjects'] = len({t.subject for t in of_partition if t.scored.any()})
    entry['scored_steps'] = int(sum(t.scored.sum() for t in of_partition))
    entry['recordings_without_labels'] = [t.recording for t in of_partition if not t.scored.any()]
    if partition == postprocess.FITTED_ON:
      entry['seen'] = seen.ranges(of_partition, head.outputs(targets))
    if not entry['scored_steps']:
      entry['reason'] = 'no labels in this partition'
      continue
    entry['raw'] = head.score(of_partition, targets, seed)
    processed = head.apply(fitted, of_partition) if fitted['fitted_on'] else None
    if processed:
      entry['postprocessed'] = head.score(processed, targets, seed)
    else:
      entry['reason'] = f'not post-processed: {fitted["reason"]}'
    of_band = head.band(fitted)
    entry['coverage'] = head.coverage(of_band, processed or of_partition, targets)
    entry['groups'] = groups.evaluate(processed or of_partition, about, head, targets, seed, of_band)
    if own and head.outputs(targets) == own.targets:
      entry['own_clock'] = {
        'units': own_clock.units(own),
        'raw': own_clock.score(own, of_partition),
        'postprocessed': own_clock.score(own, processed) if processed else None,
      }
  return {**results, 'postprocessing': fitted, 'checkpoint': checkpoint}


def write_results(
  workdir,
  results: dict,
  traces: Mapping[str, Sequence[Trace]],
  head: Head,
  targets: Sequence[str],
  without: Sequence[str] = (),
  own: OwnClock | None = None,
  suffix: str = '',
  simulated: bool = False,
) -> None:
  """Writes `predictions/<partition>.csv` of every partition, then `results.json`, each whole or not at all.

  Predictions in the corpus's own files lie beside the first. `results.json` comes last: where it is, the rest is.

  Args:
    workdir: of the run.
    results: what `evaluate_traces` returned for these traces.
    traces: partition -> raw predictions.
    head: whose outputs they are.
    targets: K names.
    without: streams that were taken away; they are part of the names of file and folder.
    own: as in `evaluate_traces`.
    suffix: of the names of file and folder, of results that are not those of the run's own data.
    simulated: whether what predicts learnt from simulated people; the files of predictions say so.

  Raises:
    DataError: the corpus's own files cannot be made.
    WorkdirError, DiskFullError: a file cannot be written.
  """
  workdir = pathlib.Path(workdir)
  fitted = results['postprocessing']
  for partition, of_partition in traces.items():
    processed = head.apply(fitted, of_partition) if fitted['fitted_on'] else None
    path = workdir / f'{PREDICTIONS_FOLDER}{suffix or _suffix(without)}' / f'{partition}.csv'
    table.write_csv(path, of_partition, head.outputs(targets), targets, processed, simulated)
    if own and own.prediction_format and head.outputs(targets) == own.targets:
      stages = {'raw': of_partition} | ({'postprocessed': processed} if processed else {})
      for stage, of_stage in stages.items():
        folder = path.parent / own.prediction_format / partition / stage
        own_files.write(own.prediction_format, folder, [own_clock.rows(own, t) for t in of_stage], targets)
  content = results | ({'without': list(without)} if without else {})
  atomic.write(workdir / results_file(without, suffix), json.dumps(content, indent=1, allow_nan=False) + '\n')


def on_others(workdir) -> dict[str, dict]:
  """NAME -> the results of a run on other corpora, see `train.across`; none where it was evaluated on its own alone.

  Raises:
    DataError: one is damaged.
  """
  names = [path.stem.removeprefix('results_on_') for path in sorted(pathlib.Path(workdir).glob('results_on_*.json'))]
  return {name: read_results(workdir, suffix=f'_on_{name}') for name in names}


def read_results(workdir, without: Sequence[str] = (), suffix: str = '') -> dict:
  """Reads `results.json`, or that of a network from which streams were taken away, or that of this suffix.

  Raises:
    DataError: it is absent or damaged.
  """
  path = pathlib.Path(workdir) / results_file(without, suffix)
  command = '--mode=evaluate' + (f' --without={",".join(without)}' if without else ' --on=…' if suffix else '')
  try:
    results = json_text.parse(path.read_text(encoding='utf-8'))
    results['postprocessing']['fitted_on'], results['checkpoint']
    return results
  except (FileNotFoundError, NotADirectoryError):
    raise DataError(f'{path}: not found; let the training end, or evaluate with `{command}`') from None
  except (ValueError, KeyError, TypeError) as e:
    raise DataError(f'{path}: damaged ({e!r}); make it again with `{command}`') from None


def without_people(results: dict) -> dict:
  """The content of `results.json` without its groups, which name people and say what they are: for what travels."""
  return {name: {field: value for field, value in of.items() if field != 'groups'} for name, of in results.items()}


def read_postprocessing(workdir, head: Head, targets: Sequence[str], without: Sequence[str] = ()) -> dict:
  """The post-processing that another run fitted, without the same streams, for a head and its targets.

  Raises:
    DataError: its results are absent or damaged; it fitted none, or for another head or targets.
  """
  path = pathlib.Path(workdir) / results_file(without)
  fitted = read_results(workdir, without)['postprocessing']
  hint = 'name another run with --config.postprocessing_from, or none'
  if not fitted['fitted_on']:
    raise DataError(f'{path}: holds no post-processing ({fitted.get("reason")}); {hint}')
  prediction, gold = (np.zeros((3, len(names)), np.float32) for names in (head.outputs(targets), targets))
  none = np.zeros(3, np.float32)
  try:
    fitted = head.of_targets(fitted, targets)
    head.apply(fitted, [Trace('', '', '', prediction, gold, none, none)])
  except ValueError as e:
    raise DataError(f'{path}: {e}; {hint}') from None
  except (ArithmeticError, AttributeError, LookupError, TypeError) as e:
    raise DataError(f'{path}: damaged, its post-processing cannot be applied ({e!r}); {hint}') from None
  return band.of_another_run(fitted)
