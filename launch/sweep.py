r"""Trains one network, or rival, per point of a grid of overrides, and says which is best on the validation partition.

    python launch/sweep.py --config=configs/speech.py --out=runs/sweep \
        --set learning_rate=1e-4,3e-4 --set seed=0,1,2

With `--set data.fold=1,2,3` the table has instead, for each of the other settings, every fold, their mean and deviation
on validation and test, and one score of all people who were tested. Choose between settings by validation.

With `--command=baseline` the points are rivals, of a config in configs/baselines. `python -m e2e_affect.report` makes
one table of the folds of several sweeps, which it is given by their --out.

Start it in the root of a checkout, with one --out per --config. Each point is a child process
`python -m e2e_affect.main`, or of the other command, with the workdir `<out>/learning_rate=1e-4,seed=0`, which also
holds its `output.log`. The same command goes on: points with a `results.json` are skipped, others resume. SIGTERM and
SIGINT reach the children as SIGTERM, which save, and so does the end of this program by SIGKILL. Exit codes: 0 done,
1 a point failed, 64 usage, 73 --out not writable, 143 after SIGTERM, 130 after SIGINT.
"""

import argparse
import itertools
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from data_prep.core import atomic, children, cli, json_text
from data_prep.core.errors import DataError, UserError

FOLD = 'data.fold'  # the field that divides people
STOPPED = (143, 130, -signal.SIGTERM, -signal.SIGINT)  # exit codes of a trainer that a signal ended


def axis(setting: str) -> tuple[str, list[str]]:
  """'seed=0,1' -> ('seed', ['0', '1']); a tuple in its parentheses is one value."""
  name, _, text = setting.partition('=')
  values = re.split(r',(?![^(\[]*[)\]])', text)
  if not name or '' in values:
    raise argparse.ArgumentTypeError(f'found {setting!r}, expected field=value,value')
  return name, values


def score(workdir: pathlib.Path) -> tuple[str, float | None, str]:
  """What the head's first numbers are called, their mean on the validation partition, and a note for the table.

  The mean is None where the partition has no labels. It is the raw one: post-processing is fitted on this very
  partition. The test partition must not choose, so is not read.
  """
  from e2e_affect.report import run_report  # brings JAX: seconds, which a plan or a signal shall not wait for

  results = json_text.parse((workdir / 'results.json').read_text(encoding='utf-8'))
  measure, raw = run_report.head_of(workdir).measure, results.get('validation', {}).get('raw')
  if not raw:
    return measure, None, 'no labels to validate on'
  numbers = run_report.measure(raw)
  return measure, sum(numbers.values()) / len(numbers), '  '.join(f'{name} {x:.3f}' for name, x in numbers.items())


def run_all(commands: dict[pathlib.Path, list[str]], jobs: int) -> tuple[dict[pathlib.Path, int], int | None]:
  """Runs the commands, `jobs` at once; returns the exit code of each workdir and the signal that ended it early."""
  asked = []
  for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, lambda number, _: asked.append(number))
  waiting, running, codes, told = list(commands), {}, dict.fromkeys(commands, 143), False
  while running or waiting and not asked:
    if asked and not told:
      told = True  # once: a second SIGTERM would find a trainer that has saved and no longer listens
      for training in running.values():
        training.terminate()
    elif waiting and len(running) < jobs and not asked:
      workdir = waiting.pop(0)
      with atomic.writing(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        log = (workdir / 'output.log').open('a', encoding='utf-8')
      with log:
        running[workdir] = children.start(commands[workdir], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    else:
      time.sleep(0.1)
    for workdir in [w for w, training in running.items() if training.poll() is not None]:
      codes[workdir] = running.pop(workdir).returncode
      cli.say(f'{workdir}: exit {codes[workdir]}')
  return codes, asked[0] if asked else None


def table(codes: dict[pathlib.Path, int]) -> bool:
  """Prints a row per point, the best first; returns whether every point has its results."""
  rows, measures = [], []
  for workdir, code in codes.items():
    mean, note = None, f'failed (exit {code}), see {workdir}/output.log'
    if code in STOPPED:
      note = 'stopped; start the same command again to go on'
    elif code == 0:
      try:
        measure, mean, note = score(workdir)
        measures.append(measure)
      except (DataError, OSError, ValueError, LookupError, TypeError, AttributeError) as e:
        codes[workdir], note = 65, f'failed: {workdir}/results.json: {e!r}'
    rows.append((mean, workdir.name, note))
  rows.sort(key=lambda row: (row[0] is None, -(row[0] or 0), row[1]))
  width = max(len(name) for _, name, _ in rows)
  cli.say(f'\nMean {" and ".join(dict.fromkeys(measures)) or "score"} on the validation partition, raw')
  for mean, name, note in rows:
    cli.say(f'{"-" if mean is None else format(mean, ".3f"):>6}  {name:<{width}}  {note}')
  return not any(codes.values())


def table_of_folds(codes: dict[pathlib.Path, int], points: dict[pathlib.Path, dict[str, str]]) -> bool:
  """Prints the folds of each of the other settings; returns whether every point has its results."""
  from e2e_affect.report import folds, run_report  # brings JAX: see `score`

  settings: dict[str, dict[str, pathlib.Path]] = {}
  for workdir, point in points.items():
    name = ' '.join(f'{field}={value}' for field, value in point.items() if field != FOLD)
    settings.setdefault(name, {})[f'fold {point[FOLD]}'] = workdir
  for name, runs in settings.items():
    done = {fold: workdir for fold, workdir in runs.items() if not codes[workdir]}
    lines = []
    for fold, workdir in runs.items():
      if codes[workdir] in STOPPED:
        lines.append(f'{fold}: stopped; start the same command again to go on')
      elif codes[workdir]:
        lines.append(f'{fold}: failed (exit {codes[workdir]}), see {workdir}/output.log')
    if done:
      try:
        measures = dict.fromkeys(run_report.head_of(workdir).measure for workdir in done.values())
        rows = folds.rows(done)
        widths = [max(map(len, column)) for column in zip(*rows)]
        found = ['  '.join(f'{cell:<{width}}' for cell, width in zip(row, widths)).rstrip() for row in rows]
        lines = [f'{" and ".join(measures)}, raw', *found, *lines]
      except (DataError, UserError, OSError, ValueError, LookupError, TypeError, AttributeError) as e:
        codes |= dict.fromkeys(done.values(), 65)
        lines.append(f'failed: {e if isinstance(e, UserError) else repr(e)}')
    cli.say('\n'.join(['', *([name] if name else []), *lines]))
  return not any(codes.values())


def main() -> int:
  """Trains every point that is not done and prints them, the best first; returns the exit code."""
  parser = cli.Parser(__doc__)
  parser.add_argument('--config', required=True, help='Experiment, e.g. speech, speech:demo or configs/speech.py.')
  parser.add_argument('--command', choices=('main', 'baseline'), default='main', help='For networks, or for rivals.')
  parser.add_argument('--out', required=True, type=cli.argument, metavar='PATH', help='Folder of all workdirs.')
  parser.add_argument(
    '--set', required=True, type=axis, action='append', metavar='FIELD=A,B', help='Values of a field; once for each.'
  )
  parser.add_argument(
    '--jobs', type=int, default=1, metavar='N', help='Points at once; more than one compete for one GPU.'
  )
  parser.add_argument('--dry_run', action='store_true', help='Print the commands and do nothing.')
  args = parser.parse_args()
  commands, points = {}, {}
  base = [sys.executable, '-m', f'e2e_affect.{args.command}', f'--config={args.config}']
  for values in itertools.product(*(values for _, values in args.set)):
    point = [f'{name}={value}' for (name, _), value in zip(args.set, values)]
    workdir = args.out / ','.join(point).replace('/', '_')  # a value may be a path
    if workdir in commands or len(dict(args.set)) < len(args.set) or args.jobs < 1:
      parser.error('expected each field once, values that differ in more than / and _, and --jobs of at least 1')
    points[workdir] = {name: value for (name, _), value in zip(args.set, values)}
    commands[workdir] = [*base, f'--workdir={workdir}', *(f'--config.{setting}' for setting in point)]
  done = {workdir: 0 for workdir in commands if (workdir / 'results.json').exists()}
  todo = {workdir: argv for workdir, argv in commands.items() if workdir not in done}
  if args.dry_run:
    cli.say('\n'.join([f'# {workdir}: done' for workdir in done] + [shlex.join(argv) for argv in todo.values()]))
    return 0
  try:
    args.out.mkdir(parents=True, exist_ok=True)
  except OSError as e:
    parser.exit(73, f'error: {args.out}: cannot be written ({e.strerror}); choose another --out\n')
  codes, stopped = run_all(todo, args.jobs)
  codes = {workdir: (done | codes)[workdir] for workdir in commands}
  complete = table_of_folds(codes, points) if any(name == FOLD for name, _ in args.set) else table(codes)
  return 128 + stopped if stopped else 0 if complete else 1


def stop(number: int, _) -> None:
  """The answer to a signal while nothing is trained."""
  os.write(2, f'stopped by {signal.Signals(number).name}: the same command goes on\n'.encode())
  os._exit(128 + number)


if __name__ == '__main__':
  for n in (signal.SIGINT, signal.SIGTERM):
    signal.signal(n, stop)
  cli.script(main)
