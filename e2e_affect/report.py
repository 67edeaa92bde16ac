"""`report.html` of a run, and the table of several: `python -m e2e_affect.report RUN [RUN …] [--out=FILE.html]`.

A page is one file: images inside, nothing fetched, light or dark as the reader's system is. The command writes the
page of every run again, prints where its results lie, and a table like the paper's Table VI.
"""

import json
import math
import os
import pathlib
import sys
from collections.abc import Sequence
from html import escape

from absl import app
from absl.flags import argparse_flags

from data_prep import cli
from data_prep.errors import DataError, UserError
from e2e_affect import postprocess
from e2e_affect.page import figure, page, section, text_table
from e2e_affect.results import read_results
from e2e_affect.traces import write_atomically

REPORT_FILE = 'report.html'
_NOT_PARTITIONS = ('postprocessing', 'checkpoint')
_ORDER = ('test', 'validation', 'train')  # what the reader came for is first
_STAGES = (('postprocessed', 'post-processed'), ('raw', 'raw'))

_CCC = """<p><b>CCC</b>, the concordance correlation coefficient, is 1 where the prediction equals the gold standard, 0
where it says nothing about it, and falls with a wrong offset or scale too. It is taken over all steps of all recordings
of the partition in one row"""
_SCALES = '<p>Arousal runs from calm (−1) to excited (1), valence from unpleasant (−1) to pleasant (1).'
_MEANING = _CCC + """; <b>per recording</b> is the mean of the recordings' own CCCs, which leaves out how well the
levels of different people are told apart.</p>
<p><b>95 %</b> is a bootstrap over subjects: how far the CCC would move with other people drawn from the same kind.
With few subjects it is wide, and two networks whose intervals overlap much may be equally good.</p>
<p><b>Raw</b> is what the network says. <b>Post-processed</b> adds the steps below, fitted on the validation partition:
validation's own post-processed numbers have seen their labels, those of test have not.</p>
""" + _SCALES + ' RMSE is in these units.</p>'
_MEANING_OF_SEVERAL = _CCC + """.</p>
<p><b>Raw</b> is what a network says. <b>Post-processed</b> adds steps that were fitted on the validation partition, as
the report of each run lists: the numbers in parentheses have then seen their labels, those of test have not. The report
also tells how far a CCC would move with other people.</p>
""" + _SCALES + '</p>'


def write_report(workdir) -> pathlib.Path:
  """Writes `report.html` from what lies in the run's folder.

  Args:
    workdir: with `results.json`; `config.json` and `figures/*.png` are shown where they are.

  Returns:
    The path of the page.

  Raises:
    DataError: `results.json` is absent or damaged.
    WorkdirError, DiskFullError: the page cannot be written.
  """
  workdir = pathlib.Path(workdir)
  results = read_results(workdir)
  name = workdir.resolve().name
  sections = [
      f'<h1>{escape(name)}</h1><p class="soft">{escape(_headline(results))}</p>',
      section('Results', f'<div class="scroll">{_metrics_table(results)}</div>{_reasons(results)}'),
  ]
  figures = [figure(workdir / 'figures' / f'{stem}.png', caption) for stem, caption in _figures(results)]
  if any(figures):
    sections.append(section('Figures', ''.join(figures)))
  sections += [
      section('What the numbers mean', _MEANING),
      section('Post-processing', _postprocessing(results['postprocessing'])),
      section('Checkpoint', text_table(results['checkpoint'])),
  ]
  config = _read_config(workdir / 'config.json')
  if config is not None:
    sections.append(f'<section><details><summary>Configuration</summary>{text_table(config)}</details></section>')
  path = workdir / REPORT_FILE
  write_atomically(path, page(name, sections))
  return path


def table_vi(runs: Sequence[tuple[str, dict]], stage: str) -> list[list[str]]:
  """Rows of a table like the paper's Table VI: 'test (validation)' of each run and target.

  Args:
    runs: (name, content of its `results.json`).
    stage: 'raw' or 'postprocessed'.

  Returns:
    A header row and one row per run; '–' where there is no number.
  """
  targets = []
  for _, results in runs:
    targets += [t for t in _targets(results) if t not in targets]

  def cell(results, partition, target):
    of_stage = (results.get(partition) or {}).get(stage)
    return _number(of_stage['ccc'].get(target)) if of_stage else '–'

  rows = [['', *targets]]
  for name, results in runs:
    rows.append([name, *(f'{cell(results, "test", t)} ({cell(results, "validation", t)})' for t in targets)])
  return rows


def comparison(runs: Sequence[tuple[str, dict]], workdirs: Sequence[pathlib.Path], out: pathlib.Path) -> str:
  """The page of several runs: Table VI, raw and post-processed, and a recording of each."""
  sections = ['<h1>Comparison</h1><p class="soft">Pooled CCC on test, validation in parentheses.</p>']
  for stage, words in _STAGES:
    header, *rows = table_vi(runs, stage)
    body = ''.join('<tr>' + ''.join(f'<td>{escape(cell)}</td>' for cell in row) + '</tr>' for row in rows)
    head = ''.join(f'<th>{escape(cell)}</th>' for cell in header)
    sections.append(section(words.capitalize(), f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'))
  for (name, results), workdir in zip(runs, workdirs, strict=True):
    link = pathlib.Path(os.path.relpath((workdir / REPORT_FILE).resolve(), out.resolve().parent)).as_posix()
    stem, caption = next(iter(_figures(results)))
    sections.append(section(name, f'<p><a href="{escape(link)}">Report of this run</a></p>'
                             + figure(workdir / 'figures' / f'{stem}.png', caption)))
  sections.append(section('What the numbers mean', _MEANING_OF_SEVERAL))
  return page('Comparison', sections)


def _partitions(results):
  known = [p for p in _ORDER if p in results]
  return known + [p for p in results if p not in known and p not in _NOT_PARTITIONS]


def _targets(results):
  for partition in _partitions(results):
    if results[partition]['raw']:
      return list(results[partition]['raw']['ccc'])
  return list(results['postprocessing'].get('targets', {}))


def _headline(results):
  for partition in _partitions(results):
    for stage, words in _STAGES:
      if results[partition][stage]:
        numbers = ', '.join(f'{t} {_number(x)}' for t, x in results[partition][stage]['ccc'].items())
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


def _metrics_table(results):
  head = ('', 'CCC (95\u00a0%)', 'per recording', 'Pearson', 'RMSE')
  rows = ['<tr>' + ''.join(f'<th>{x}</th>' for x in head) + '</tr>']
  for partition in _partitions(results):
    entry = results[partition]
    if not entry['raw']:
      continue
    counts = ', '.join([*_counts(entry), f'{entry["scored_steps"]:,} steps'])
    rows.append(f'<tr class="group"><th colspan="{len(head)}">{escape(partition.capitalize())} '
                f'<span class="soft">{escape(counts)}</span></th></tr>')
    for target in _targets(results):
      for stage, words in _STAGES:
        if entry[stage]:
          r, interval = entry[stage], entry[stage]['ccc_interval'][target]
          between = f'<span class="interval">{_number(interval[0])}…{_number(interval[1])}</span>' if interval else ''
          final = stage == 'postprocessed' or not entry['postprocessed']
          others = (_number(r[name][target]) for name in ('ccc_recording_mean', 'pearson', 'rmse'))
          rows.append(f'<tr{" class=final" if final else ""}><td>{escape(target)}, {words}</td>'
                      f'<td>{_number(r["ccc"][target])}{between}</td>'
                      + ''.join(f'<td>{number}</td>' for number in others) + '</tr>')
  return f'<table>{"".join(rows)}</table>'


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
  return ''.join(f'<p class="soft">{escape(line)}</p>' for line in lines)


def _figures(results):
  """(file stem, caption) of the figures that a run may have, in the page's order."""
  for partition in _partitions(results):
    yield f'{partition}_trace', f'One recording of {partition}: the one whose CCC is the median of the partition.'
    yield (f'{partition}_scatter',
           f'Prediction against gold standard over all scored steps of {partition}; darker is more.')
  yield 'learning_curves', 'Training. The dotted line marks the step with the best mean CCC on validation.'


def _postprocessing(params):
  if not params['fitted_on']:
    return f'<p>Not fitted: {escape(params["reason"])}.</p>'
  parts = [f'<p class="soft">In this order, fitted on {escape(params["fitted_on"])}, '
           'applied unchanged to the rest.</p>']
  for target, sentences in postprocess.in_words(params).items():
    parts.append(f'<h3>{escape(target.capitalize())}</h3><ul>'
                 + ''.join(f'<li>{escape(sentence)}</li>' for sentence in sentences) + '</ul>')
  return ''.join(parts)


def _read_config(path):
  try:
    config = json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    return None
  except ValueError as e:
    raise DataError(f'{path}: damaged ({e}); start the run again to write it') from None
  return dict(_flatten(config))


def _flatten(tree, prefix=''):
  for key, value in tree.items():
    if isinstance(value, dict) and value:
      yield from _flatten(value, f'{prefix}{key}.')
    else:
      yield f'{prefix}{key}', value


def _number(value):
  return '–' if value is None or math.isnan(value) else f'{value:z.3f}'.replace('-', '−')


def _print_table(rows):
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  for row in rows:
    print('  '.join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]))


def _parse(argv):
  # argparse: an absl flag named --out would collide with that of other modules of the same process.
  parser = argparse_flags.ArgumentParser(prog='python -m e2e_affect.report', description=__doc__.split('\n', 1)[0])
  parser.add_argument('runs', metavar='RUN', nargs='+', type=os.path.expanduser, help='workdir of a run')
  parser.add_argument('--out', metavar='FILE.html', type=os.path.expanduser,
                      help='also write one page that compares the runs')
  return parser.parse_args(argv[1:])


def main(args):
  try:
    workdirs = [pathlib.Path(run) for run in args.runs]
    short = [w.resolve().name for w in workdirs]
    # Two runs of one name are told apart by their paths.
    names = [n if short.count(n) == 1 else str(w) for n, w in zip(short, workdirs, strict=True)]
    runs = [(name, read_results(w)) for name, w in zip(names, workdirs, strict=True)]
    for name, workdir in zip(names, workdirs, strict=True):
      print(f'{name}: {workdir / "results.json"}, {write_report(workdir)}')
    for stage, words in _STAGES:
      print(f'\nCCC on test, validation in parentheses; {words}')
      _print_table(table_vi(runs, stage))
    if args.out:
      out = pathlib.Path(args.out)
      write_atomically(out, comparison(runs, workdirs, out))
      print(f'\ncomparison: {out}')
  except UserError as e:
    print(f'error: {e}', file=sys.stderr)
    sys.exit(e.exit_code)


if __name__ == '__main__':
  cli.start(lambda: app.run(main, flags_parser=_parse))
