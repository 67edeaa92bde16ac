"""`report.html` of runs, and the table of several: `python -m e2e_affect.report RUN [RUN …] [--out=FILE.html]`.

The command writes the page of every run again, prints where its results lie, and a table like the paper's Table VI.
The folder of a sweep over folds stands for all of its runs, and several such folders are the rows of one more table.
"""

import argparse
import os
import pathlib

from absl import app
from absl.flags import argparse_flags

from data_prep.core import atomic, cli
from e2e_affect.evaluate.results import read_results
from e2e_affect.report import comparison, folds, run_report


def _print_table(rows):
  widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
  for row in rows:
    cli.say('  '.join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]))


def _names(folders):
  """What they are called; two of one name are told apart by their paths."""
  short = [os.path.basename(os.path.realpath(folder)) for folder in folders]
  return [n if short.count(n) == 1 else str(folder) for n, folder in zip(short, folders, strict=True)]


def _parse(argv):
  # argparse: an absl flag named --out would collide with that of other modules of the same process.
  parser = argparse_flags.ArgumentParser(prog='python -m e2e_affect.report', description=__doc__.split('\n', 1)[0])
  parser.add_argument(
    'runs', metavar='RUN', nargs='+', type=os.path.expanduser, help='workdir of a run, or --out of a sweep over folds'
  )
  parser.add_argument(
    '--out', metavar='FILE.html', type=os.path.expanduser, help='also write one page that compares the runs'
  )
  return parser.parse_args(argv[1:])


def main(args: argparse.Namespace) -> None:
  """Writes the report of each run, prints their comparison and, where it is asked for, writes its page."""
  with cli.one_line():
    asked = [pathlib.Path(run) for run in args.runs]
    workdirs: list[pathlib.Path] = []
    predictors: dict[str, dict[str, pathlib.Path]] = {}
    for name, folder in zip(_names(asked), asked, strict=True):
      sweep = folds.of_sweep(folder)
      predictors |= {f'{name} {setting}' if len(sweep) > 1 else name: of for setting, of in sweep.items()}
      workdirs += [workdir for of in sweep.values() for workdir in of.values()] or [folder]
    over_folds = folds.compared(predictors) if predictors else []
    names = _names(workdirs)
    runs = [(name, read_results(w)) for name, w in zip(names, workdirs, strict=True)]
    among = comparison.across(runs, workdirs)
    for name, workdir in zip(names, workdirs, strict=True):
      cli.say(f'{name}: {workdir / "results.json"}, {run_report.write_report(workdir)}')
    if over_folds:
      in_folds = [workdir for of in predictors.values() for workdir in of.values()]
      cli.say(f'\n{comparison.measures(in_folds)} on test, validation in parentheses; raw')
      _print_table(over_folds)
    for stage, words in run_report.STAGES:
      cli.say(f'\n{comparison.measures(workdirs)} on test, validation in parentheses; {words}')
      _print_table(comparison.table_vi(runs, stage))
    for stage, words in run_report.STAGES if among else ():
      cli.say(f'\nacross corpora; {words}')
      _print_table(comparison.table_vi(among, stage))
    if args.out:
      out = pathlib.Path(args.out)
      atomic.write(out, comparison.comparison(runs, workdirs, out, over_folds))
      cli.say(f'\ncomparison: {out}')


if __name__ == '__main__':
  cli.start(lambda: app.run(main, flags_parser=_parse))
