"""The table of several runs, like the paper's Table VI, and the page that compares them."""

from collections.abc import Sequence
import os
import pathlib

from e2e_affect.report import run_report
from e2e_affect.report.page import figure, render


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
    targets += [t for t in run_report.targets(results) if t not in targets]

  def cell(results, partition, target):
    of_stage = (results.get(partition) or {}).get(stage)
    return run_report.number(of_stage['ccc'].get(target)) if of_stage else '–'

  rows = [['', *targets]]
  for name, results in runs:
    rows.append([name, *(f'{cell(results, "test", t)} ({cell(results, "validation", t)})' for t in targets)])
  return rows


def comparison(runs: Sequence[tuple[str, dict]], workdirs: Sequence[pathlib.Path], out: pathlib.Path) -> str:
  """The page of several runs: Table VI, raw and post-processed, and a recording of each."""
  tables = []
  for stage, words in run_report.STAGES:
    header, *rows = table_vi(runs, stage)
    tables.append({'stage': words.capitalize(), 'header': header, 'rows': rows})
  shown = []
  for (name, results), workdir in zip(runs, workdirs, strict=True):
    link = pathlib.Path(os.path.relpath((workdir / run_report.REPORT_FILE).resolve(), out.resolve().parent)).as_posix()
    stem, caption = next(iter(run_report.figure_captions(results)))
    shown.append({'name': name, 'link': link, 'figure': figure(workdir / 'figures' / f'{stem}.png', caption)})
  return render('report/templates/comparison.html', title='Comparison', tables=tables, runs=shown)
