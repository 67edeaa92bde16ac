"""The content of `paper.json` as a page and as Markdown, in the form of the paper's own tables."""

from collections.abc import Mapping, Sequence
import pathlib
import re
from typing import Any

from e2e_affect.paper.published import TARGETS
from e2e_affect.paper.times import in_words
from e2e_affect.report.page import figure, render
from e2e_affect.report.run_report import number, searches
from e2e_affect.run.origin import SIMULATED_NUMBERS

TITLE = 'The paper’s tables'
_OUTCOMES = ('converged', 'relevance vectors')  # columns of a search that were not set
_SIMULATED = f'{SIMULATED_NUMBERS}, and cannot be held against the paper’s.'


def html(content: Mapping[str, Any], out: pathlib.Path) -> str:
  """The page.

  Args:
    content: of `tables.contents`.
    out: the folder of the page, which the files of its figures are relative to.
  """
  return render(
    'paper/templates/paper.html',
    title=TITLE,
    corpus=_corpus_lines(content),
    corpus_short=short_corpus(content),
    running=re.sub(r'[^\w .,:-]', '', short_corpus(content)),
    simulated=content['corpus']['simulated'],
    targets=TARGETS,
    tables=[_table(table, content) for table in content['tables']],
    beyond=[_row(row, ['test', 'validation']) for row in content['beyond']],
    stages=[_stage_row(row) for row in content['stages']],
    searches=[_search(search) for search in content['searches']],
    figures=[shown for of in content['figures'] if (shown := figure(out / of['file'], of['caption']))],
    how=_how(content),
    seconds=[(name, in_words(seconds)) for name, seconds in content['seconds'].items()],
    whole=in_words(sum(content['seconds'].values())),
  )


def short_corpus(content: Mapping[str, Any]) -> str:
  """What corpus it is, for captions and the margin of a printed page."""
  return 'Simulated people, not RECOLA' if content['corpus']['simulated'] else f'Corpus: {content["corpus"]["name"]}'


def _here(table, content):
  """Whose numbers a table has."""
  of = content['corpus_avec'] if table['split'] == 'avec' else content['corpus']
  return f'Here: {of["name"]}, {sum(of["subjects"].values())}'


def _corpus_lines(content):
  lines = [_SIMULATED] if content['corpus']['simulated'] else []
  for name, of in (('', content['corpus']), ('Tables IV to VI: ', content['corpus_avec'])):
    if of:
      people = of['subjects']
      who = of['name'].capitalize() if of['simulated'] else of['name']
      lines.append(
        f'{name}{who}, {of["hours"]:g} h; {people["train"]} people to train on, {people["validation"]} to validate on, '
        f'{people["test"]} to test on.'
      )
  if not content['corpus_avec']:
    lines.append(
      'Tables IV to VI of the paper are of AVEC’s 27 people; here they are of the same people as the others, for want '
      'of --data_avec.'
    )
  return lines


def _how(content):
  seeds = content['seeds']
  lines = [
    'CCC on test, validation in parentheses, both post-processed. Bold is the best of what ran.',
    'The line below is a 95 % interval of the CCC on test, by bootstrap over people.',
    'The columns “paper” have the published numbers, and under them by how much ours differ.',
    'published: the row exists as published numbers alone. not run: the row was not asked for, or is not done.',
  ]
  if seeds > 1:
    lines.insert(1, f'Networks are trained with {seeds} seeds: the number is their mean, ± the deviation between them.')
  if content['demo']:
    lines.append(
      'These are the demo’s networks: a visual network of a quarter of the width, and fewer epochs. Every row names '
      'its config and what was changed.'
    )
  return lines


def _table(table, content):
  parts: dict[str, list] = {}
  for row in table['rows']:
    parts.setdefault(row['part'], []).append(_row(row, table['partitions']))
  return {
    'number': table['number'],
    'caption': table['caption'],
    'columns': table['columns'],
    'note': table['note'],
    'people': f'The paper: {table["people"]}. {_here(table, content)}.',
    'parts': parts,
    'comparisons': _comparisons(table['comparisons']),
    'tested': len(table['comparisons']),
  }


def _row(row, partitions):
  """A row in words: of each target what ran, its interval, what is published and the difference."""
  cells = []
  for target in TARGETS:
    cell = row['cells'].get(target, {})
    first = cell.get(partitions[0])
    published = {p: of.get(target) for p, of in row['published'].items()}
    cells.append(
      {
        'value': _first_and_rest(_pair({p: cell[p]['mean'] for p in cell}, partitions)) if cell else None,
        'deviation': _pair({p: cell[p]['deviation'] for p in cell}, partitions)
        if first and first['deviation'] is not None
        else None,
        'interval': _between(first['interval']) if first else None,
        'best': bool(first and first['best']),
        'published': _first_and_rest(_pair(published, partitions)) if published else None,
        'published_bold': target in row['published_bold'],
        'difference': _pair({p: cell[p]['difference'] for p in cell}, partitions, signed=True)
        if any(cell[p]['difference'] is not None for p in cell)
        else None,
      }
    )
  return {
    'predictor': row['predictor'],
    'features': row['features'],
    'status': row['status'],
    'runs': row.get('runs', []),
    'config': row.get('config', ''),
    'fields': ', '.join(f'{name}={value}' for name, value in row.get('fields', {}).items()),
    'meaning': row.get('meaning', ''),
    'searched': [(name, number(score)) for name, score in row.get('searched', {}).items()],
    'cells': cells,
  }


def _pair(values, partitions, signed=False):
  """'0.699 (0.752)', test and validation; validation alone where a table has no other."""
  shown = lambda value: ('+' if signed and value is not None and value > 0 else '') + number(value)
  if list(partitions) == ['validation']:
    return shown(values.get('validation'))
  return f'{shown(values.get("test"))} ({shown(values.get("validation"))})'


def _first_and_rest(text):
  """'0.699 (0.752)' -> ('0.699', ' (0.752)'): the paper prints the number on test in bold, not that on validation."""
  first, space, rest = (text or '').partition(' ')
  return first, space + rest


def _between(interval):
  return '…'.join(map(number, interval)) if interval else None


def _comparisons(comparisons):
  """Ours -> a row for each other, with a cell for each target."""
  ours: dict[str, dict[str, dict]] = {}
  for of in comparisons:
    row = ours.setdefault(of['ours'], {}).setdefault(of['other'], {})
    row[of['target']] = {
      'difference': ('+' if (of['difference'] or 0) > 0 else '') + number(of['difference']),
      'interval': _between(of['interval']),
      'p': probability(of['p']),
    }
  return ours


def probability(p: float | None) -> str:
  """'0.031', '< 0.001'; a dash where there is none."""
  if p is None:
    return '–'
  return '< 0.001' if p < 0.001 else f'{p:.3f}'


def _stage_row(row):
  return {
    **row,
    'cells': [
      _pair(row['cells'][target][stage], ['test', 'validation'])
      for target in TARGETS
      for stage in ('raw', 'postprocessed')
    ],
  }


def _search(run):
  """The searches of a rival: the grid in a line, what was chosen, and all that was tried."""
  shown = []
  for search in searches(run['search']):
    fields = search['head'][: len(search['rows'][0]['cells'])]
    settings = [place for place, name in enumerate(fields) if name not in _OUTCOMES]
    named = lambda cells: [(search['head'][place], cells[place]) for place in settings]
    tried = {search['head'][place]: dict.fromkeys(row['cells'][place] for row in search['rows']) for place in settings}
    shown.append(
      {
        **search,
        'grid': [(name, ', '.join(values)) for name, values in tried.items()],
        'chosen': [
          (row['chosen'], ', '.join(f'{name} {value}' for name, value in named(row['cells'])))
          for row in search['rows']
          if row['chosen']
        ],
      }
    )
  return {**run, 'searches': shown}


def markdown(content: Mapping[str, Any]) -> str:
  """The same as Markdown, without figures' images."""
  lines = [f'# {TITLE}', '']
  for line in _corpus_lines(content):
    lines += [f'**{line}**' if line == _SIMULATED else line, '']
  lines += [*(f'* {line}' for line in _how(content)), '']
  for of in content['tables']:
    table = _table(of, content)
    lines += [f'## Table {table["number"]}: {table["caption"]}', '', f'*{table["people"]}* {table["note"]}', '']
    titles = [title for target in TARGETS for title in (target.capitalize(), '95 %', 'paper', 'difference')]
    lines += _markdown_table(
      [*table['columns'], *titles, 'config'], _markdown_rows(table['parts'], len(table['columns']))
    )
    if table['comparisons']:
      lines += [
        'Ours against the others, on test: difference, 95 % interval, two-sided p of a paired bootstrap over people.',
        '',
      ]
      lines += _markdown_table(
        ['ours', 'against', *TARGETS],
        [
          [ours, other, *(_compared(cells[target]) if target in cells else '' for target in TARGETS)]
          for ours, others in table['comparisons'].items()
          for other, cells in others.items()
        ],
      )
  if any(row['status'] == 'ran' for row in content['beyond']):
    lines += ['## Beyond the paper', '', f'*{short_corpus(content)}.*', '']
    rows = {'': [_row(row, ['test', 'validation']) for row in content['beyond']]}
    titles = [title for target in TARGETS for title in (target.capitalize(), '95 %')]
    lines += _markdown_table(
      ['Predictor', 'Features', *titles, 'meaning', 'config'],
      [
        [
          row['predictor'],
          *row['features'],
          *(x for cell in row['cells'] for x in _markdown_cell(row, cell)[:2]),
          row['meaning'],
          _config(row),
        ]
        for row in rows['']
      ],
    )
  if content['stages']:
    lines += ['## Raw against post-processed', '', f'*{short_corpus(content)}.*', '']
    titles = [f'{target}, {stage}' for target in TARGETS for stage in ('raw', 'post-processed')]
    lines += _markdown_table(
      ['run', *titles], [[f'[{row["name"]}]({row["link"]})', *_stage_row(row)['cells']] for row in content['stages']]
    )
  if content['searches']:
    lines += ['## What the rivals were tuned on', '']
  for of in map(_search, content['searches']):
    for search in of['searches']:
      grid = '; '.join(f'{name} {values}' for name, values in search['grid'])
      lines.append(f'* [{of["name"]}]({of["link"]}), {search["what"]}: {len(search["rows"])} tried, {grid}')
      lines += [f'    * {targets}: {chosen}' for targets, chosen in search['chosen']]
  lines.append('')
  for of in content['figures']:
    lines += [f'![{of["name"]}]({of["file"]})', '', f'{short_corpus(content)}. {of["caption"]}', '']
  return '\n'.join(lines)


def _compared(cell):
  return f'{cell["difference"]} ({cell["interval"]}), p {cell["p"]}'


def _markdown_rows(parts, width):
  rows = []
  for part, of_part in parts.items():
    if part:
      rows.append([f'*{part}*'])
    for row in of_part:
      names = [row['predictor'], *row['features']][:width]
      rows.append([*names, *(x for cell in row['cells'] for x in _markdown_cell(row, cell)), _config(row)])
  return rows


def _markdown_cell(row, cell):
  """Value, interval, published, difference."""
  if cell['value'] is None:
    return [f'*{row["status"]}*', '', _bold(cell['published'], cell['published_bold']), '']
  value = _bold(cell['value'], cell['best']) + (f' ± {cell["deviation"]}' if cell['deviation'] else '')
  linked = f'[{value}]({row["runs"][0]["link"]})' if row['runs'] else value
  return [linked, cell['interval'] or '', _bold(cell['published'], cell['published_bold']), cell['difference'] or '']


def _bold(value, yes):
  first, rest = value or ('', '')
  return (f'**{first}**' if yes and first else first) + rest


def _config(row):
  return ' '.join(f'`{text}`' for text in (row['config'], row['fields']) if text)


def _markdown_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
  line = lambda cells: '| ' + ' | '.join(cells) + ' |'
  filled = [[*row, *[''] * (len(titles) - len(row))] for row in rows]
  return [line(titles), line(['---'] * len(titles)), *map(line, filled), '']
