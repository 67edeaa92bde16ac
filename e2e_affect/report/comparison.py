"""The table of several runs, like the paper's Table VI, and the page that compares them."""

from collections.abc import Sequence
from html import escape
import os
import pathlib

from e2e_affect.report import run_report
from e2e_affect.report.page import figure, page, section

_MEANING_OF_SEVERAL = (
  run_report.CCC
  + """.</p>
<p><b>Raw</b> is what a network says. <b>Post-processed</b> adds steps that were fitted on the validation partition, as
the report of each run lists: the numbers in parentheses have then seen their labels, those of test have not. The report
also tells how far a CCC would move with other people.</p>
"""
  + run_report.SCALES
  + '</p>'
)


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
  sections = ['<h1>Comparison</h1><p class="soft">Pooled CCC on test, validation in parentheses.</p>']
  for stage, words in run_report.STAGES:
    header, *rows = table_vi(runs, stage)
    body = ''.join('<tr>' + ''.join(f'<td>{escape(cell)}</td>' for cell in row) + '</tr>' for row in rows)
    head = ''.join(f'<th>{escape(cell)}</th>' for cell in header)
    sections.append(section(words.capitalize(), f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'))
  for (name, results), workdir in zip(runs, workdirs, strict=True):
    link = pathlib.Path(os.path.relpath((workdir / run_report.REPORT_FILE).resolve(), out.resolve().parent)).as_posix()
    stem, caption = next(iter(run_report.figure_captions(results)))
    sections.append(
      section(
        name,
        f'<p><a href="{escape(link)}">Report of this run</a></p>'
        + figure(workdir / 'figures' / f'{stem}.png', caption),
      )
    )
  sections.append(section('What the numbers mean', _MEANING_OF_SEVERAL))
  return page('Comparison', sections)
