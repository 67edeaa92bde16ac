"""The paper's staged training as one command: speech, visual, fused, geometric, and the final runs of Table VI.

    python launch/reproduce.py --data=data/recola --out=runs/recola --imagenet=resnet_v1_50.ckpt

Start it in the root of a checkout. Stages, each a child process with a workdir of its own under --out:

    speech      from scratch
    visual      from ImageNet's weights (--imagenet; without, from scratch)
    fused       from the features of both, whose recurrent parts are discarded
    geometric   landmarks beside the fused features; only the recurrent part is trained
    final       fused and geometric once more, on train + validation for twice the epochs (section V-D), with the
                post-processing that was fitted on validation before, evaluated on test once

The same command goes on where it stopped: stages with results are skipped, the one that was running resumes. SIGTERM
and SIGINT reach the child as SIGTERM, and it saves; so does the end of this program by SIGKILL. Exit codes: 0 done, 64
usage, 143 after SIGTERM, 130 after SIGINT, else that of the stage that failed.
"""

import argparse
import dataclasses
import importlib
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for configs and e2e_affect, too
from data_prep.core import children, cli, json_text  # noqa: E402

STAGES = ('speech', 'visual', 'fused', 'geometric', 'final')


@dataclasses.dataclass(frozen=True)
class Step:
  """One child process.

  Attributes:
    name: of the step, and of its folder.
    command: what follows `python`; `{landmarks}` stands for the number of landmarks, known once they are there.
    done: the file that it writes last.
    what: in words.
  """

  name: str
  command: list[str]
  done: pathlib.Path
  what: str


def plan(args: argparse.Namespace) -> list[Step]:
  """All steps, in order."""
  steps, out = [], args.out
  geometric_data = out / 'geometric_data'

  def train(name, config, what, data=args.data, **fields):
    pairs = {'data.dir': data, **fields, **dict(args.set)}
    steps.append(
      Step(
        name,
        [
          '-m',
          'e2e_affect.main',
          f'--config=configs/{config}.py' + args.variant,
          f'--workdir={out / name}',
          *(f'--config.{field}={value}' for field, value in pairs.items()),
        ],
        out / name / 'results.json',
        what,
      )
    )

  def final(of, config, what, **fields):
    epochs = 2 * float(dict(args.set).get('epochs', default_epochs(config, args.variant)))
    fields |= {'data.train_on': "('train','validation')", 'postprocessing_from': out / of}
    train(f'final_{of}', config, f'{what}, on train + validation, {epochs:g} epochs', **fields)
    command = [part for part in steps[-1].command if not part.startswith('--config.epochs=')]
    steps[-1] = dataclasses.replace(steps[-1], command=[*command, f'--config.epochs={epochs:g}'])

  starts = lambda speech, visual: {'init_from.speech': out / speech, 'init_from.visual': out / visual}
  if 'speech' in args.stages:
    train('speech', 'speech', 'the speech network, from scratch')
  if 'visual' in args.stages:
    if args.imagenet:
      steps.append(
        Step(
          'imagenet',
          ['-m', 'e2e_affect.import_weights', args.imagenet, f'--out={out / "imagenet"}'],
          out / 'imagenet' / 'weights.safetensors',
          'the weights of ImageNet, imported',
        )
      )
    what, fields = ('from ImageNet', {'pretrained': out / 'imagenet'}) if args.imagenet else ('from scratch', {})
    train('visual', 'visual', f'the visual network, {what}', **fields)
  if 'fused' in args.stages:
    train('fused', 'fused', 'both, from their features', **starts('speech', 'visual'))
  geometric = {'data': geometric_data, 'model.geometric.landmarks': '{landmarks}'}
  if 'geometric' in args.stages:
    steps.append(
      Step(
        'landmarks',
        ['-m', 'data_prep.landmarks', f'--data={args.data}', f'--out={geometric_data}', f'--source={args.landmarks}'],
        geometric_data / 'manifest.json',
        f'landmarks, by {args.landmarks}',
      )
    )
    train(
      'geometric',
      'fused_geometric',
      'landmarks, too; only the recurrent part is trained',
      **geometric,
      **starts('fused', 'fused'),
    )
  if 'final' in args.stages:
    final('fused', 'fused', 'both', **starts('speech', 'visual'))
    if 'geometric' in args.stages or (out / 'geometric' / 'results.json').exists():
      final('geometric', 'fused_geometric', 'landmarks, too', **geometric, **starts('final_fused', 'final_fused'))
  return steps


def default_epochs(config: str, variant: str) -> float:
  """Epochs of a file in configs/."""
  return importlib.import_module(f'configs.{config}').get_config(variant.removeprefix(':')).epochs


def missing(args: argparse.Namespace, steps: list[Step]) -> str | None:
  """What is not there and will not be made: the data, the published weights, what a step starts from."""
  embedded = importlib.import_module('e2e_affect.config.defaults').get_config().data.dir  # the first training makes it
  if str(args.data) != embedded and not (args.data / 'manifest.json').is_file():
    return f'{args.data}/manifest.json: not found; make the shards with `python -m data_prep.prepare`'
  made = {step.name for step in steps}
  for step in steps:
    if step.done.exists():
      continue
    # A run that goes on does not need what it started from.
    begun = any((step.done.parent / 'checkpoints').glob('[0-9]*'))
    if step.name == 'imagenet' and not any(pathlib.Path(args.imagenet + end).is_file() for end in ('', '.index')):
      return f'--imagenet={args.imagenet}: not found; expected weights, or the beginning of a TensorFlow checkpoint'
    for part in step.command:
      field, _, value = part.partition('=')
      source = pathlib.Path(value)
      needed = ('--config.postprocessing_from',) if begun else ('--config.init_from', '--config.postprocessing_from')
      if field.startswith(needed) and source.name not in made and not (source / 'results.json').exists():
        return f'{step.name} starts from {source}, which is not there; add {source.name} to --stages'
  return None


def run(step: Step, out: pathlib.Path) -> int:
  """Runs a step to its end; returns its exit code, 128 + the signal after one."""
  asked, child = [], None

  def pass_on(number, _):
    asked.append(number)
    if child is not None:
      child.terminate()

  old = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
  try:
    command = [sys.executable, *(part.replace('{landmarks}', landmarks(out)) for part in step.command)]
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
  """The command as a shell takes it; N stands for the number of landmarks, where that is not known yet."""
  quoted = lambda part: part if shlex.quote(part) == part else '"' + re.sub(r'(["\\$`])', r'\\\1', part) + '"'
  return ' '.join(quoted(part.replace('{landmarks}', 'N')) for part in command)


def landmarks(out: pathlib.Path) -> str:
  """The number of landmarks, '{landmarks}' as long as there are none."""
  try:
    manifest = json_text.parse((out / 'geometric_data' / 'manifest.json').read_text(encoding='utf-8'))
    return str(manifest['streams']['geometric'][0]['shape'][0])
  except (OSError, ValueError, KeyError):
    return '{landmarks}'


def setting(text: str) -> tuple[str, str]:
  """'seed=1' -> ('seed', '1')."""
  name, found, value = text.partition('=')
  if not name or not found:
    raise argparse.ArgumentTypeError(f'found {text!r}, expected field=value')
  config = importlib.import_module('e2e_affect.config.defaults').get_config().to_dict()
  for part in name.split('.'):
    config = config.get(part) if isinstance(config, dict) else None
  if config is None or isinstance(config, dict):
    raise argparse.ArgumentTypeError(f'no config has a field {name!r}; e2e_affect/config/defaults.py explains all')
  return name, value


def path(text: str) -> pathlib.Path:
  """`~` is the home folder: a shell leaves it as it is in --out=~/x."""
  return pathlib.Path(os.path.expanduser(text))


def stages(text: str) -> tuple[str, ...]:
  """'fused,final' -> ('fused', 'final'), in the order they are trained in."""
  asked = text.split(',')
  if not set(asked) <= set(STAGES):
    raise argparse.ArgumentTypeError(f'found {text!r}, expected some of {",".join(STAGES)}')
  return tuple(stage for stage in STAGES if stage in asked)


def parse() -> argparse.Namespace:
  """The flags; a wrong one ends the program with one line and 64."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.error = lambda message: parser.exit(64, f'error: {message}\n')
  parser.add_argument('--data', required=True, type=path, help='data folder, as data_prep.prepare wrote it')
  parser.add_argument('--out', required=True, type=path, help='folder of all workdirs')
  parser.add_argument('--stages', type=stages, default=STAGES, help=f'some of {",".join(STAGES)}; default: all')
  parser.add_argument(
    '--imagenet', type=os.path.expanduser, help='published weights of ResNet-50, any file that import_weights takes'
  )
  parser.add_argument('--landmarks', default='mtcnn', help='--source of data_prep.landmarks; default: mtcnn')
  parser.add_argument(
    '--demo',
    dest='variant',
    action='store_const',
    const=':demo',
    default='',
    help='the small networks of `make demo`, from scratch',
  )
  parser.add_argument(
    '--set',
    type=setting,
    action='append',
    default=[],
    metavar='FIELD=VALUE',
    help='a field of the config, for every training',
  )
  parser.add_argument('--dry_run', action='store_true', help='print the plan and do nothing')
  args = parser.parse_args()
  if args.variant and args.imagenet:
    parser.error('--demo trains a narrower network, for which there are no ImageNet weights; leave one of them out')
  return args


def stop(number: int, _) -> None:
  """The answer to a signal between two steps."""
  os.write(2, f'stopped by {signal.Signals(number).name}: the same command goes on\n'.encode())
  os._exit(128 + number)


def main() -> int:
  """Plans, runs what is missing, prints the tables; returns the exit code."""
  args = parse()
  steps = plan(args)
  lacking = missing(args, steps)
  if lacking:
    cli.complain(f'error: {lacking}')
    return 64
  state = lambda step: 'done' if step.done.exists() else 'goes on' if step.done.parent.exists() else 'to do'
  for step in steps:
    cli.say(f'{step.name:<15} {state(step):<8} {step.what}')
    if args.dry_run:
      command = [part.replace('{landmarks}', landmarks(args.out)) for part in step.command]
      cli.say(f'  {shown([sys.executable, *command])}\n')
  if args.dry_run:
    if any('{landmarks}' in part for step in steps for part in step.command) and landmarks(args.out) == '{landmarks}':
      cli.say('N: the number of landmarks, known once they are found')
    return 0
  for step in steps:
    if not step.done.exists():
      code = run(step, args.out)
      if code:
        cli.complain(f'error: {step.name} ended with exit code {code}; the same command goes on from there')
        return code
  runs = [str(step.done.parent) for step in steps if step.done.name == 'results.json']
  cli.say('')
  return (
    children.run([sys.executable, '-m', 'e2e_affect.report', *runs, f'--out={args.out / "report.html"}']).returncode
    if runs
    else 0
  )


if __name__ == '__main__':
  for n in (signal.SIGINT, signal.SIGTERM):
    signal.signal(n, stop)
  cli.script(main)
