"""The pages of runs, and a table that compares them.

    python -m e2e_affect.report RUN [RUN …] [--out=FILE.html]

The command writes the page of every run again, prints where its results lie, and a table like the paper's Table VI.
The folder of a sweep over folds stands for all of its runs, and several such folders are the rows of one more table.
"""

from collections.abc import Sequence
import os
import pathlib
import sys

from absl import flags

from data_prep.core import atomic, cli
from data_prep.core.errors import UserError


def _print_table(rows):
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  for row in rows:
    cli.say('  '.join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]))


def _names(folders):
  """What they are called; two of one name are told apart by their paths."""
  short = [os.path.basename(os.path.realpath(folder)) for folder in folders]
  return [n if short.count(n) == 1 else str(folder) for n, folder in zip(short, folders, strict=True)]


def _define_flags():
  cli.define_path('out', None, 'HTML file: also write one page that compares the runs.')


def main(*runs) -> None:
  """Does what the flags say."""
  if not runs:
    raise UserError('no run given; expected `python -m e2e_affect.report RUN [RUN …]`')
  report([str(cli.argument(run)) for run in runs], flags.FLAGS.out)


def report(runs: Sequence[str], out: str | None = None) -> None:
  """Writes the report of each run, prints their comparison and, where it is asked for, writes its page.

  Args:
    runs: workdirs, and folders of sweeps over folds.
    out: HTML file of the comparison.

  Raises:
    UserError: see `read_results` and `run_report.write_report`.
  """
  from e2e_affect.evaluate.results import read_results
  from e2e_affect.report import comparison, folds, run_report

  asked = [pathlib.Path(run) for run in runs]
  workdirs: list[pathlib.Path] = []
  predictors: dict[str, dict[str, pathlib.Path]] = {}
  for name, folder in zip(_names(asked), asked, strict=True):
    sweep = folds.of_sweep(folder)
    predictors |= {f'{name} {setting}' if len(sweep) > 1 else name: of for setting, of in sweep.items()}
    workdirs += [workdir for of in sweep.values() for workdir in of.values()] or [folder]
  over_folds = folds.compared(predictors) if predictors else []
  names = _names(workdirs)
  read = [(name, read_results(w)) for name, w in zip(names, workdirs, strict=True)]
  among = comparison.across(read, workdirs)
  for name, workdir in zip(names, workdirs, strict=True):
    cli.say(f'{name}: {workdir / "results.json"}, {run_report.write_report(workdir)}')
  if over_folds:
    in_folds = [workdir for of in predictors.values() for workdir in of.values()]
    cli.say(f'\n{comparison.measures(in_folds)} on test, validation in parentheses; raw')
    _print_table(over_folds)
  for stage, words in run_report.STAGES:
    cli.say(f'\n{comparison.measures(workdirs)} on test, validation in parentheses; {words}')
    _print_table(comparison.table_vi(read, stage))
  for stage, words in run_report.STAGES if among else ():
    cli.say(f'\nacross corpora; {words}')
    _print_table(comparison.table_vi(among, stage))
  if out:
    atomic.write(pathlib.Path(out), comparison.comparison(read, workdirs, pathlib.Path(out), over_folds))
    cli.say(f'\ncomparison: {out}')


if __name__ == '__main__':
  cli.run(main, _define_flags, max_arguments=sys.maxsize)
