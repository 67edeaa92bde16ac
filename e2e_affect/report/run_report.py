"""`report.html` of a run: one file, images inside, nothing fetched, light or dark as the reader's system is."""

import json
import math
import pathlib

from data_prep.core import atomic
from data_prep.core.errors import DataError
from e2e_affect.evaluate.results import read_results
from e2e_affect.report.page import figure, render, text_rows
from e2e_affect.run import workdir as workdirs
from e2e_affect.traces import postprocess

REPORT_FILE = 'report.html'
_NOT_PARTITIONS = ('postprocessing', 'checkpoint')
_ORDER = ('test', 'validation', 'train')  # what the reader came for is first
STAGES = (('postprocessed', 'post-processed'), ('raw', 'raw'))


def write_report(workdir) -> pathlib.Path:
  """Writes `report.html` from what lies in the run's folder.

  Args:
    workdir: with `results.json`; `config.json` and `figures/*.png` are shown where they are.

  Returns:
    The path of the page.

  Raises:
    DataError: `results.json` is absent or damaged, or `dataset.json` is damaged.
    WorkdirError, DiskFullError: the page cannot be written.
  """
  workdir = pathlib.Path(workdir)
  results = read_results(workdir)
  grid = workdirs.grid_of(workdirs.dataset_if_written(workdir))
  figures = [figure(workdir / 'figures' / f'{stem}.png', caption) for stem, caption in figure_captions(results)]
  fitted = results['postprocessing']
  path = workdir / REPORT_FILE
  atomic.write(
    path,
    render(
      'report/templates/run.html',
      title=workdir.resolve().name,
      headline=_headline(results),
      partitions=_metrics(results),
      reasons=_reasons(results),
      figures=[shown for shown in figures if shown],
      fitted=fitted,
      fitted_steps=postprocess.in_words(fitted, grid) if fitted['fitted_on'] else {},
      checkpoint=text_rows(results['checkpoint']),
      config=_config_rows(workdir / 'config.json'),
    ),
  )
  return path


def _partitions(results):
  known = [p for p in _ORDER if p in results]
  return known + [p for p in results if p not in known and p not in _NOT_PARTITIONS]


def targets(results):
  for partition in _partitions(results):
    if results[partition]['raw']:
      return list(results[partition]['raw']['ccc'])
  return list(results['postprocessing'].get('targets', {}))


def _headline(results):
  for partition in _partitions(results):
    for stage, words in STAGES:
      if results[partition][stage]:
        numbers = ', '.join(f'{t} {number(x)}' for t, x in results[partition][stage]['ccc'].items())
        return f'CCC on {partition}, {words}: {numbers} ({", ".join(_counts(results[partition]))})'
  return 'No partition has labels: predictions only.'


def _counts(entry):
  """('3 recordings', '2 subjects') that were scored."""

  def several(number, word):
    return f'{number} {word}{"" if number == 1 else "s"}'

  scored = entry['recordings'] - len(entry['recordings_without_labels'])
  subjects = several(entry.get('scored_subjects', entry['subjects']), 'subject')  # older results count all of them
  if scored == entry['recordings']:
    return several(scored, 'recording'), subjects
  return f'{scored} of {several(entry["recordings"], "recording")} scored', subjects


def _metrics(results):
  """The table of scores: of each partition its name, counts and rows."""
  partitions = []
  for partition in _partitions(results):
    entry = results[partition]
    if not entry['raw']:
      continue
    rows = []
    for target in targets(results):
      for stage, words in STAGES:
        if entry[stage]:
          r, interval = entry[stage], entry[stage]['ccc_interval'][target]
          rows.append(
            {
              'target': target,
              'stage': words,
              'final': stage == 'postprocessed' or not entry['postprocessed'],
              'ccc': number(r['ccc'][target]),
              'interval': f'{number(interval[0])}…{number(interval[1])}' if interval else '–',
              'others': [number(r[name][target]) for name in ('ccc_recording_mean', 'pearson', 'rmse')],
            }
          )
    counts = ', '.join([*_counts(entry), f'{entry["scored_steps"]:,} steps'])
    partitions.append({'name': partition.capitalize(), 'counts': counts, 'rows': rows})
  return partitions


def _reasons(results):
  """Why a number is missing, in words."""
  lines = []
  for partition in _partitions(results):
    entry = results[partition]
    if 'reason' in entry:
      lines.append(f'{partition}: {entry["reason"]}')
    elif entry['recordings_without_labels']:
      lines.append(f'{partition}: not scored for want of labels: {", ".join(entry["recordings_without_labels"])}')
    if entry['raw'] and None in entry['raw']['ccc_interval'].values():
      lines.append(f'{partition}: no 95 % interval, too few subjects with labels (two needed)')
  return lines


def figure_captions(results):
  """(file stem, caption) of the figures that a run may have, in the page's order."""
  for partition in _partitions(results):
    yield f'{partition}_trace', f'One recording of {partition}: the one whose CCC is the median of the partition.'
    yield (
      f'{partition}_scatter',
      f'Prediction against gold standard over all scored steps of {partition}; darker is more.',
    )
  yield 'learning_curves', 'Training. The dotted line marks the update with the best mean CCC on validation.'


def _config_rows(path):
  try:
    config = json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    return None
  except ValueError as e:
    raise DataError(f'{path}: damaged ({e}); start the run again to write it') from None
  return text_rows(dict(_flatten(config)))


def _flatten(tree, prefix=''):
  for key, value in tree.items():
    if isinstance(value, dict) and value:
      yield from _flatten(value, f'{prefix}{key}.')
    else:
      yield f'{prefix}{key}', value


def number(value):
  return '–' if value is None or math.isnan(value) else f'{value:z.3f}'.replace('-', '−')
