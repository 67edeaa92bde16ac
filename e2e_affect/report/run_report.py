"""`report.html` of a run: one file, images inside, nothing fetched, light or dark as the reader's system is."""

import math
import os
import pathlib

from data_prep.core import atomic, json_text
from data_prep.core.errors import DataError
from e2e_affect.evaluate import groups
from e2e_affect.evaluate.results import read_results
from e2e_affect.heads import Head, HEADS
from e2e_affect.report.page import figure, render, text_rows
from e2e_affect.run import origin
from e2e_affect.run import workdir as workdirs
from e2e_affect.traces import band

REPORT_FILE = 'report.html'
SEARCH_FILE = 'search.json'
_NOT_PARTITIONS = ('postprocessing', 'checkpoint')
_ORDER = ('test', 'validation', 'train')  # what the reader came for is first
STAGES = (('postprocessed', 'post-processed'), ('raw', 'raw'))


def write_report(workdir) -> pathlib.Path:
  """Writes `report.html` from what lies in the run's folder.

  Args:
    workdir: with `results.json`; `config.json`, `search.json` and `figures/*.png` are shown where they are.

  Returns:
    The path of the page.

  Raises:
    DataError: `results.json` is absent or damaged, `config.json`, `dataset.json` or `search.json` is damaged, or of an
      unknown head.
    WorkdirError, DiskFullError: the page cannot be written.
  """
  workdir = pathlib.Path(workdir)
  results = read_results(workdir)
  head = head_of(workdir)
  grid = workdirs.grid_of(workdirs.dataset_if_written(workdir))
  figures = [figure(workdir / 'figures' / f'{stem}.png', caption) for stem, caption in figure_captions(results, head)]
  fitted = results['postprocessing']
  path = workdir / REPORT_FILE
  atomic.write(
    path,
    render(
      'report/templates/run.html',
      title=os.path.basename(os.path.realpath(workdir)),
      headline=_headline(results, head),
      simulated=origin.SIMULATED_NUMBERS if origin_of(workdir).simulated else None,
      origin=origin_of(workdir).for_json(),
      table_head=head.table_head,
      partitions=_metrics(results, head),
      confusions=_confusions(results, head),
      reasons=_reasons(results, head),
      own_clock=_own_clock(results),
      uncertainty=_uncertainty(results, head),
      groups=_groups(results, head),
      figures=[shown for shown in figures if shown],
      meaning=head.meaning,
      fitted=fitted,
      fitted_steps=head.in_words(fitted, grid) if fitted['fitted_on'] else {},
      checkpoint=text_rows(results['checkpoint']),
      searches=searches(_read_json(workdir / SEARCH_FILE)),
      config=_config_rows(read_config(workdir)),
    ),
  )
  return path


def origin_of(workdir: pathlib.Path) -> origin.Origin:
  """On whom a run learnt."""
  train_on = (read_config(workdir) or {}).get('data', {}).get('train_on', ('train',))
  return origin.of(workdirs.dataset_if_written(workdir), train_on=train_on)


def _partitions(results):
  known = [p for p in _ORDER if p in results]
  return known + [p for p in results if p not in known and p not in _NOT_PARTITIONS]


def head_of(workdir: pathlib.Path) -> Head:
  """The head whose results a folder holds; regression, where nothing says so.

  Raises:
    DataError: `config.json` is damaged, or its head is not known here.
  """
  name = (read_config(workdir) or {}).get('head', 'regression')
  if name not in HEADS:
    raise DataError(
      f'{workdir / workdirs.CONFIG_FILE}: head {name!r}, expected one of {", ".join(HEADS)}; register it with '
      'e2e_affect.heads.register'
    )
  return HEADS[name]


def measure(r: dict) -> dict[str, float]:
  """Name -> number, what a head puts first in R of `results.json`."""
  return next(iter(r.values()))


def names(results):
  """What is scored, in the order of the head."""
  for partition in _partitions(results):
    if results[partition]['raw']:
      return list(measure(results[partition]['raw']))
  return list(results['postprocessing'].get('targets', {}))


def _headline(results, head):
  for partition in _partitions(results):
    for stage, words in STAGES:
      if results[partition][stage]:
        numbers = ', '.join(f'{t} {number(x)}' for t, x in measure(results[partition][stage]).items())
        return f'{head.measure} on {partition}, {words}: {numbers} ({", ".join(_counts(results[partition]))})'
  return 'No partition has labels: predictions only.'


def several(count: int, word: str) -> str:
  """'1 subject', '2 subjects'."""
  return f'{count} {word}{"" if count == 1 else "s"}'


def _counts(entry):
  """('3 recordings', '2 subjects') that were scored."""
  scored = entry['recordings'] - len(entry['recordings_without_labels'])
  subjects = several(entry.get('scored_subjects', entry['subjects']), 'subject')  # older results count all of them
  if scored == entry['recordings']:
    return several(scored, 'recording'), subjects
  return f'{scored} of {several(entry["recordings"], "recording")} scored', subjects


def _metrics(results, head):
  """The table of scores: of each partition its name, counts and rows."""
  partitions = []
  for partition in _partitions(results):
    entry = results[partition]
    if not entry['raw']:
      continue
    rows = []
    of_stage = {stage: head.table(entry[stage]) for stage, _ in STAGES if entry[stage]}
    for name in of_stage['raw']:
      for stage, words in STAGES:
        if stage in of_stage:
          final = stage == 'postprocessed' or not entry['postprocessed']
          rows.append({'label': f'{name}, {words}', 'final': final, 'cells': _cells(of_stage[stage][name])})
    counts = ', '.join([*_counts(entry), f'{entry["scored_steps"]:,} steps'])
    partitions.append({'name': partition.capitalize(), 'counts': counts, 'rows': rows})
  return partitions


def _cells(cells):
  return [(number(value), _between(interval)) for value, interval in cells]


def _uncertainty(results, head):
  """What the band is: sentences, and a table of its width and of how much of each partition it holds; or None."""
  fitted = head.band(results['postprocessing'])
  targets = list(fitted.get('half_width', {}))
  if not fitted:
    return None
  measured = {name: of for name in _partitions(results) if (of := results[name].get('coverage'))}
  return {
    'said': band.in_words(fitted, targets),
    'head': ['half width', 'of always saying the mean', *(f'in the band, {name}' for name in measured)],
    'rows': [
      {
        'label': target,
        'cells': [
          number(x)
          for x in (
            fitted['half_width'][target],
            fitted['of_constant'][target],
            *(coverage[target] for coverage in measured.values()),
          )
        ],
      }
      for target in targets
    ],
  }


def _groups(results, head):
  """The scores of each column's groups, of every partition that has any."""
  found = []
  for partition in _partitions(results):
    columns = []
    for column, of in (results[partition].get('groups') or {}).items():
      covered = any(group['coverage'] for group in of['groups'].values())
      groups_of = []
      for value, group in of['groups'].items():
        rows = []
        for name, cells in head.table(group['score']).items():
          shown = _cells(cells) if column != groups.SUBJECT else [(number(cell.value), None) for cell in cells]
          shown += [(number(group['coverage'][name]), None)] if covered else []
          rows.append({'label': name, 'final': False, 'cells': shown})
        groups_of.append({'name': value, 'counts': ', '.join(_of_group(group)), 'rows': rows})
      columns.append(
        {
          'name': column,
          'alone': column == groups.SUBJECT,
          'head': [*head.table_head, *(['in the band'] if covered else [])],
          'groups': groups_of,
          'note': _note_of_groups(column, of),
        }
      )
    if columns:
      found.append({'partition': partition.capitalize(), 'columns': columns})
  return found


def _of_group(group):
  return several(group['subjects'], 'subject'), several(group['recordings'], 'recording')


def _note_of_groups(column, of):
  """A sentence about the groups of a column, or ''."""
  if 'values' in of:
    return f'{of["values"]} values are too many for groups; give ranges, as “20 to 29”.'
  if column == groups.SUBJECT:
    return 'Each is one person: the numbers are about that person alone, and have no interval.'
  if of['few']:
    few = ', '.join(f'{value} ({several(of["groups"][value]["subjects"], "subject")})' for value in of['few'])
    return f'Too small to say anything of: {few}; {groups.FEW} people are needed.'
  return ''


def _confusions(results, head):
  """(partition, head's table of classes, share of its row that each count is) of every partition that is scored."""
  found = []
  for partition in _partitions(results):
    table = head.confusion(results[partition]['raw']) if results[partition]['raw'] else None
    if table is not None:
      rows = [
        {
          'name': name,
          'counts': [(f'{count:,}', round(100 * count / max(sum(counts), 1))) for count in counts],
          'shares': [number(share) for share in (recall, precision)],
        }
        for name, counts, recall, precision in table.rows
      ]
      found.append({'partition': partition.capitalize(), 'classes': table.classes, 'rows': rows})
  return found


_WORDS = {'ccc': 'CCC', 'pearson': 'Pearson', 'rmse': 'RMSE'}


def _own_clock(results):
  """The scores at the labels' own times, in the corpus's own units: of each partition its name, counts and rows."""
  partitions = []
  for partition in _partitions(results):
    own = results[partition].get('own_clock')
    if not own or not own['raw']:
      continue
    rows, said = [], []
    stages = [(stage, words) for stage, words in STAGES if own[stage]]
    for target, (low, high) in own['units'].items():
      for stage, words in stages:
        cells = [number(own[stage][measure][target]) for measure in _WORDS]
        units = f'{low:g} … {high:g}'.replace('-', '−')
        rows.append({'name': target, 'stage': words, 'cells': [units, f'{own[stage]["rows"][target]:,}', *cells]})
    for stage, words in stages:
      if 'scorer' in own[stage]:
        said.append(_scorer_in_words(own[stage]['scorer'], words))
    partitions.append({'name': partition.capitalize(), 'rows': rows, 'said': said})
  return {'head': ['scale', 'labels', *_WORDS.values()], 'partitions': partitions}


def _scorer_in_words(scorer, stage):
  """What the corpus's own scorer says, in a sentence."""
  over = {'rows': 'over all labels in one row', 'recordings': 'the mean of the recordings'}[scorer['over']]
  measures = [
    f'{_WORDS[measure]} {", ".join(f"{target} {number(x)}" for target, x in values.items())}'
    for measure, values in scorer['values'].items()
  ]
  mean = f'; mean of the targets {number(scorer["mean"])}' if 'mean' in scorer else ''
  return f"The corpus's own scorer, {stage}, {over}: {'; '.join(measures)}{mean}."


def _between(interval):
  """What stands beside a number; None: nothing does."""
  if interval is None:
    return None
  return '…'.join(map(number, interval)) or '–'


def _reasons(results, head):
  """Why a number is missing, in words."""
  lines = []
  for partition in _partitions(results):
    entry = results[partition]
    if 'reason' in entry:
      lines.append(f'{partition}: {entry["reason"]}')
    elif entry['recordings_without_labels']:
      lines.append(f'{partition}: not scored for want of labels: {", ".join(entry["recordings_without_labels"])}')
    if entry['raw']:
      lines += [f'{partition}: {note}' for note in head.notes(entry['raw'])]
  return lines


def figure_captions(results, head):
  """(file stem, caption) of the figures that a run may have, in the page's order."""
  for partition in _partitions(results):
    for name, caption in head.captions.items():
      yield f'{partition}_{name}', caption.format(partition=partition)
  yield 'learning_curves', f'Training. The dotted line marks the update with the best {head.best_words} on validation.'


def read_config(workdir):
  """`config.json` as it is, of whatever version; None where there is none."""
  return _read_json(workdir / workdirs.CONFIG_FILE)


def _read_json(path):
  try:
    return json_text.parse(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    return None
  except ValueError as e:
    raise DataError(f'{path}: damaged ({e}); start the run again to write it') from None


def searches(record: dict | None) -> list[dict]:
  """What a rival tried on validation: of each search its name and a table, in which the chosen lines are marked.

  Args:
    record: the content of `search.json`, or None.
  """
  tables = []
  for search in record['searches'] if record else []:
    first = search['tried'][0]
    (measure,) = [name for name, value in first.items() if isinstance(value, dict)]
    fields = [name for name in first if name != measure]
    rows = []
    for tried in search['tried']:
      candidate = {name: tried[name] for name in fields}
      chosen = [target for target, best in search['chosen'].items() if best == candidate]
      rows.append(
        {
          'cells': [_setting(candidate[name]) for name in fields],
          'scores': [number(tried[measure][target]) for target in first[measure]],
          'chosen': ', '.join(chosen),
        }
      )
    head = [*(name.replace('_', ' ') for name in fields), *(f'{measure.upper()} {target}' for target in first[measure])]
    tables.append({'what': search['what'], 'head': head, 'rows': rows})
  return tables


def _setting(value):
  if isinstance(value, bool):
    return 'yes' if value else 'no'
  return f'{value:g}' if isinstance(value, (int, float)) else '–' if value is None else str(value)


def _config_rows(config):
  return None if config is None else text_rows(dict(_flatten(config)))


def _flatten(tree, prefix=''):
  for key, value in tree.items():
    if isinstance(value, dict) and value:
      yield from _flatten(value, f'{prefix}{key}.')
    else:
      yield f'{prefix}{key}', value


def number(value: float | None) -> str:
  """Three decimals, with a minus sign; a dash where there is no number."""
  return '–' if value is None or math.isnan(value) else f'{value:z.3f}'.replace('-', '−')
