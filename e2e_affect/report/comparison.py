"""The table of several runs, like the paper's Table VI, and the page that compares them."""

from collections.abc import Sequence
import os
import pathlib

from e2e_affect.evaluate.results import on_others
from e2e_affect.report import run_report
from e2e_affect.report.page import figure, render
from e2e_affect.run import origin


def table_vi(runs: Sequence[tuple[str, dict]], stage: str) -> list[list[str]]:
  """Rows of a table like the paper's Table VI: 'test (validation)' of each run and target.

  Args:
    runs: (name, content of its `results.json`).
    stage: 'raw' or 'postprocessed'.

  Returns:
    A header row and one row per run; '–' where there is no number.
  """
  names = []
  for _, results in runs:
    names += [name for name in run_report.names(results) if name not in names]

  def cell(results, partition, scored):
    of_stage = (results.get(partition) or {}).get(stage)
    return run_report.number(run_report.measure(of_stage).get(scored)) if of_stage else '–'

  rows = [['', *names]]
  for name, results in runs:
    rows.append([name, *(f'{cell(results, "test", t)} ({cell(results, "validation", t)})' for t in names)])
  return rows


def in_words(results: dict, measure: str) -> list[str]:
  """A line for each scored name, of the content of a `results.json`; `measure` is the head's."""
  (header, raw), (_, processed) = (table_vi([('', results)], stage) for stage in ('raw', 'postprocessed'))
  return [
    f'{name}: {measure} on test (validation) {before} raw, {after} post-processed'
    for name, before, after in zip(header[1:], raw[1:], processed[1:], strict=True)
  ]


def comparison(
  runs: Sequence[tuple[str, dict]],
  workdirs: Sequence[pathlib.Path],
  out: pathlib.Path,
  over_folds: Sequence[Sequence[str]] = (),
) -> str:
  """The page of several runs: Table VI, raw and post-processed, and a recording of each.

  Args:
    runs: (name, content of its `results.json`).
    workdirs: theirs.
    out: where the page will lie.
    over_folds: of `folds.compared`; empty where there are no sweeps over folds.
  """
  tables, among = [], across(runs, workdirs)
  if over_folds:
    header, *rows = over_folds
    tables.append({'stage': 'Over folds, raw', 'header': header, 'rows': rows})
  for stage, words in run_report.STAGES:
    header, *rows = table_vi(runs, stage)
    tables.append({'stage': words.capitalize(), 'header': header, 'rows': rows})
  for stage, words in run_report.STAGES if among else ():
    header, *rows = table_vi(among, stage)
    tables.append({'stage': f'Across corpora, {words}', 'header': header, 'rows': rows})
  shown = []
  for (name, results), workdir in zip(runs, workdirs, strict=True):
    report, here = os.path.realpath(workdir / run_report.REPORT_FILE), os.path.dirname(os.path.realpath(out))
    link = pathlib.Path(os.path.relpath(report, here)).as_posix()
    stem, caption = next(iter(run_report.figure_captions(results, run_report.head_of(workdir))))
    shown.append(
      {
        'name': name,
        'link': link,
        'origin': run_report.origin_of(workdir).line,
        'figure': figure(workdir / 'figures' / f'{stem}.png', caption),
      }
    )
  heads = dict.fromkeys(map(run_report.head_of, workdirs))
  return render(
    'report/templates/comparison.html',
    title='Comparison',
    measures=measures(workdirs),
    simulated=origin.SIMULATED_NUMBERS if any(run_report.origin_of(w).simulated for w in workdirs) else None,
    tables=tables,
    runs=shown,
    meanings=[head.meaning_of_several for head in heads],
  )


def across(runs: Sequence[tuple[str, dict]], workdirs: Sequence[pathlib.Path]) -> list[tuple[str, dict]]:
  """Rows for `table_vi` of the runs that were evaluated on other corpora: on their own data, then on each other."""
  rows = []
  for (name, results), workdir in zip(runs, workdirs, strict=True):
    others = on_others(workdir)
    if others:
      rows += [(f'{name} on its own data', results), *((f'{name} on {other}', of) for other, of in others.items())]
  return rows


def measures(workdirs: Sequence[pathlib.Path]) -> str:
  """What the table of these runs shows."""
  return ' and '.join(dict.fromkeys(run_report.head_of(workdir).measure for workdir in workdirs))
