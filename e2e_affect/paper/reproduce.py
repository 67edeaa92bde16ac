"""The paper's tables and figures: its networks, their rivals, and one page that holds both to the paper.

    python -m e2e_affect.paper.reproduce --data=data/recola --out=runs/recola --imagenet=resnet_v1_50.ckpt

It plans, runs what is missing one after the other, and writes `paper.html`, `paper.md` and `paper.json` under --out;
`--dry_run` prints the plan alone, and how long it takes by past runs. What runs is data:
`e2e_affect/paper/experiments.py` names every experiment, its config and what it starts from. Each is a child process
with a workdir of its own under --out; those of the seeds after 0 are in `seed1/`, `seed2/` …

The same command goes on where it stopped: what has results is skipped, what was running resumes. SIGTERM and SIGINT
reach the child as SIGTERM, and it saves; so does the end of this program by SIGKILL. Exit codes: 0 done, 64 usage, 143
after SIGTERM, 130 after SIGINT, else that of the experiment that failed; the page is then written of what there is.
"""

import argparse
import importlib.util
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import time

from data_prep.core import children, cli
from e2e_affect.config import defaults
from e2e_affect.config import experiments as built_in
from e2e_affect.paper import experiments, plan, times
from e2e_affect.paper.plan import Options, Step
from e2e_affect.paper.published import TABLES

STOPPED = (128 + signal.SIGINT, 128 + signal.SIGTERM)  # exit codes


def epochs_of(config: str) -> float:
  """Epochs of a config, named as `--config` takes it."""
  return built_in.config(config).epochs


def _is_of_features(step: Step) -> bool:
  return bool(step.config) and pathlib.Path(built_in.located(step.config)).parent.name == 'baselines'


def missing(options: Options, steps: list[Step]) -> str | None:
  """What is not there and will not be made: libraries, the data, the published weights."""
  to_do = [step for step in steps if not step.done.exists()]
  needed = ['opensmile', 'skimage', 'sklearn'] * any(map(_is_of_features, to_do))
  needed += [options.landmarks] * any(step.experiment == 'landmarks' for step in to_do if options.landmarks == 'mtcnn')
  absent = [name for name in needed if importlib.util.find_spec(name) is None]
  if absent:
    return (
      f'{", ".join(absent)} not installed, which rivals or landmarks need; '
      "`pip install 'e2e_affect[features,landmarks]'` (openSMILE's licence allows research only)"
    )
  embedded = defaults.get_config().data.dir  # the first training makes it
  for data in filter(None, (options.data, options.data_avec)):
    if str(data) != embedded and not (data / 'manifest.json').is_file():
      return f'{data}/manifest.json: not found; make the shards with `python -m data_prep.prepare`'
  to_import = any(step.name == 'imagenet' and not step.done.exists() for step in steps)
  if to_import and not any(pathlib.Path(f'{options.imagenet}{end}').is_file() for end in ('', '.index')):
    return f'--imagenet={options.imagenet}: not found; expected weights, or the beginning of a TensorFlow checkpoint'
  return None


def run(step: Step) -> int:
  """Runs a step to its end; returns its exit code, 128 + the signal after one."""
  asked, child = [], None

  def pass_on(number, _):
    asked.append(number)
    if child is not None:
      child.terminate()

  old = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
  try:
    command = [sys.executable, *plan.parts(step)]
    cli.say(f'\n== {step.name}: {step.what}\n{shown(command)}')
    child = children.start(command, stdin=subprocess.DEVNULL, start_new_session=True)
    code = child.wait()
    if asked:
      return 128 + asked[0]
    return code if code >= 0 else 128 - code  # a child that a signal killed
  finally:
    for number, handler in old.items():
      signal.signal(number, handler)


def shown(command: list[str]) -> str:
  """The command as a shell takes it."""
  quoted = lambda part: part if shlex.quote(part) == part else '"' + re.sub(r'(["\\$`])', r'\\\1', part) + '"'
  return ' '.join(map(quoted, command))


def show(steps: list[Step], options: Options, commands: bool) -> None:
  """Prints the plan: of each step its state and how long it takes, and its command where that is asked for."""
  past = times.read(options.out)
  for step in steps:
    state = 'done' if step.done.exists() else 'goes on' if begun(step) else 'to do'
    seconds = past.get(step.name, {}).get('seconds') if step.done.exists() else None
    about = times.estimate(step, steps, past, options.demo)
    took = (
      times.in_words(seconds)
      if seconds
      else ''
      if step.done.exists() or about is None
      else 'about ' + times.in_words(about)
    )
    cli.say(f'{step.name:<28} {state:<8} {took:<15} {step.what}')
    if commands:
      cli.say(f'  {shown([sys.executable, *plan.parts(step, landmark_word="N")])}\n')
  if commands and any('{landmarks}' in part for step in steps for part in plan.parts(step)):
    cli.say('N: the number of landmarks, known once they are found')
  cli.say(what_is_left(steps, options))


def begun(step: Step) -> bool:
  """Whether a run that is not done has begun. The folder of figures is shared, and tells nothing."""
  return step.folder.exists() and experiments.EXPERIMENTS[step.experiment].kind not in ('absent', 'figure')


def what_is_left(steps: list[Step], options: Options) -> str:
  """How many steps are done, and how long the others take."""
  rest = [step for step in steps if not step.done.exists()]
  seconds, unknown = times.left(rest, steps, times.read(options.out), options.demo)
  line = f'{len(steps) - len(rest)} of {len(steps)} done'
  if len(rest) > unknown:
    line += f', about {times.in_words(seconds)} left'
  if unknown:
    line += f'{", and" if len(rest) > unknown else ","} {unknown} whose like has not run here: nobody knows how long'
  return line


def setting(text: str) -> tuple[str, str]:
  """'seed=1' -> ('seed', '1')."""
  name, found, value = text.partition('=')
  if not name or not found:
    raise argparse.ArgumentTypeError(f'found {text!r}, expected field=value')
  if name == 'seed':
    raise argparse.ArgumentTypeError('--seeds says how many seeds are trained, from 0')
  config = defaults.get_config().to_dict()
  for part in name.split('.'):
    config = config.get(part) if isinstance(config, dict) else None
  if config is None or isinstance(config, dict):
    raise argparse.ArgumentTypeError(f'no config has a field {name!r}; e2e_affect/config/defaults.py explains all')
  return name, value


def some_of(known):
  """A type of argument: 'III,II' -> ('II', 'III'), in the order of what is known; '' is none."""

  def parsed(text: str) -> tuple[str, ...]:
    asked = text.split(',') if text else []
    if not set(asked) <= set(known):
      raise argparse.ArgumentTypeError(f'found {text!r}, expected some of {",".join(known)}')
    return tuple(name for name in known if name in asked)

  return parsed


def count(text: str) -> int:
  """A whole number above 0."""
  if not text.isdecimal() or not int(text):
    raise argparse.ArgumentTypeError(f'found {text!r}, expected a whole number from 1')
  return int(text)


def parse() -> tuple[Options, bool]:
  """The options, and whether to print the plan alone; a wrong flag ends the program with one line and 64."""
  parser = cli.Parser(__doc__)
  add = parser.add_argument
  add(
    '--data',
    required=True,
    type=cli.argument,
    metavar='PATH',
    help='Data folder of the whole corpus, as data_prep.prepare wrote it.',
  )
  add(
    '--data_avec',
    type=cli.argument,
    metavar='PATH',
    help="That of AVEC's 27 people, for Tables IV to VI; default: they run on --data.",
  )
  add('--out', required=True, type=cli.argument, metavar='PATH', help='Folder of all workdirs.')
  add(
    '--tables',
    type=some_of(TABLES),
    default=tuple(TABLES),
    metavar='II,VI',
    help=f'Some of {",".join(TABLES)}; default: all.',
  )
  figures = tuple(experiments.FIGURES)
  add('--figures', type=some_of(figures), default=figures, metavar='2,3', help='2, 3 or 2,3, the default; empty: none.')
  add(
    '--seeds', type=count, metavar='N', help='How many seeds each network is trained with; default: 3, with --demo 1.'
  )
  add('--beyond', action='store_true', help='Also what the paper does not have: delays, missing modalities, …')
  add(
    '--imagenet',
    type=lambda text: str(cli.argument(text)),
    metavar='PATH',
    help='Published weights of ResNet-50, any file that import_weights takes.',
  )
  add('--landmarks', default='mtcnn', metavar='SOURCE', help='--source of data_prep.landmarks; default: mtcnn.')
  add('--demo', action='store_true', help='The small networks of `make demo`, from scratch.')
  add('--set', type=setting, action='append', default=[], metavar='FIELD=VALUE', help='A field, for every network.')
  add('--dry_run', action='store_true', help='Print the plan and do nothing.')
  args = parser.parse_args()
  if args.demo and args.imagenet:
    parser.error('--demo trains a narrower network, for which there are no ImageNet weights; leave one of them out')
  asked = {name: value for name, value in vars(args).items() if name not in ('set', 'dry_run', 'seeds')}
  seeds = args.seeds or (1 if args.demo else 3)
  return Options(**asked, seeds=seeds, fields=tuple(args.set)), args.dry_run


def stop(number: int, _) -> None:
  """The answer to a signal between two steps."""
  os.write(2, f'stopped by {signal.Signals(number).name}: the same command goes on\n'.encode())
  os._exit(128 + number)


def main() -> int:
  """Plans, runs what is missing, writes the page; returns the exit code."""
  options, dry_run = parse()
  steps = plan.plan(options, epochs_of)
  lacking = missing(options, steps)
  if lacking:
    cli.complain(f'error: {lacking}')
    return 64
  show(steps, options, commands=dry_run)
  if dry_run:
    return 0
  plan.write(options, epochs_of)
  code = 0
  for step in steps:
    if not step.done.exists():
      begin = time.monotonic()
      code = run(step)
      times.add(options.out, step.name, time.monotonic() - begin, ended=not code)
      if code in STOPPED:
        cli.complain(f'stopped by {signal.Signals(code - 128).name} in {step.name}: the same command goes on')
        return code
      if code:
        cli.complain(f'error: {step.name} ended with exit code {code}; the same command goes on from there')
        break
      cli.say(f'\n{what_is_left(steps, options)}')
  page = children.run([sys.executable, '-m', 'e2e_affect.paper', str(options.out)]).returncode
  return code or page


def command() -> None:
  """The program: `main` with its answer to signals."""
  for n in (signal.SIGINT, signal.SIGTERM):
    signal.signal(n, stop)
  cli.script(main)


if __name__ == '__main__':
  command()
