"""The command: `python -m e2e_affect.main --config=configs/fused.py`."""

import contextlib
import difflib
import functools
import operator
import os
import re

from absl import flags, logging
from ml_collections import config_flags

from data_prep.core import cli
from data_prep.core.errors import UserError
from data_prep.schema.manifest import PARTITIONS
from e2e_affect.config import defaults
from e2e_affect.run import hold, hosts
from e2e_affect.run.log import ours_or_warning


def _define_flags():
  config_flags.DEFINE_config_file(
    'config',
    None,
    'Experiment, e.g. configs/fused.py or configs/fused.py:demo; --config.field=value changes a '
    'field; e2e_affect/config/defaults.py explains every field.',
    lock_config=True,
  )
  flags.FLAGS['config'].default_as_str = None  # the help would say (default: 'None')
  cli.define_path('workdir', None, 'Folder of the run; runs/<config.name> by default. A run in it goes on.')
  flags.DEFINE_enum(
    'mode',
    'train',
    ['train', 'evaluate'],
    'train: train and evaluate; evaluate: the best checkpoint of --workdir, with its own config.',
  )
  flags.DEFINE_enum('partition', 'test', PARTITIONS, 'What --mode=evaluate evaluates.')
  flags.DEFINE_list(
    'without',
    [],
    'Streams of a network of several, e.g. visual, that --mode=evaluate takes away: sound alone. The results are '
    'results_without_visual.json.',
  )
  flags.DEFINE_bool('distributed', False, 'Several hosts: call jax.distributed.initialize() first.')


def main() -> None:
  """Does what the flags say."""
  logging.set_verbosity(logging.INFO)
  logging.get_absl_handler().addFilter(ours_or_warning)
  asked = flags.FLAGS
  if asked.mode == 'train' and asked.config is None:
    raise UserError('--config is missing; try --config=configs/fused.py')
  if asked.mode == 'train' and asked.without:
    raise UserError('--without belongs to --mode=evaluate; config.model.modalities says what a network is trained on')
  workdir = asked.workdir or (asked.config and os.path.join('runs', asked.config.name))
  if not workdir:
    raise UserError('--workdir is missing: the folder of the run to evaluate')
  if asked.mode == 'train':
    hold.check(workdir)  # the imports below take seconds, the corpus minutes
  if asked.distributed:
    hosts.initialize()
  from e2e_affect.train import loop  # imports TensorFlow: seconds that --help and a mistyped flag need not wait for

  with hosts.together() if asked.distributed else contextlib.nullcontext():
    if asked.mode == 'evaluate':
      loop.evaluate_only(workdir, asked.partition, asked.without)
    else:
      loop.train_and_evaluate(asked.config, workdir)
  if not asked.without:
    logging.info('results: %s', os.path.join(workdir, 'report.html'))


def _parse(argv):
  """Parses the flags and loads the config; what is wrong with it is told in one line."""
  argv = [
    re.sub('^(--?config=)(~.*)', lambda found: found[1] + cli.path(found[2]), argument, flags=re.DOTALL)
    for argument in argv
  ]
  try:
    rest = flags.FLAGS(argv)
    if flags.FLAGS.config is not None:
      flags.FLAGS.config.lock()  # the first use of a config that could not be loaded raises
  except (flags.Error, OSError, ValueError, AttributeError, KeyError, TypeError) as e:
    # ml_collections passes a config file's error on with its whole traceback, the reason in the last line.
    if isinstance(e, OSError) and e.errno is not None and e.filename is None:
      raise  # of --help, which cannot be printed
    unknown = _unknown_field(argv)
    if unknown:
      raise UserError(unknown) from None
    lines = str(e.args[0] if isinstance(e, KeyError) else e).strip().splitlines() or [repr(e)]
    in_file = isinstance(e, OSError) or any('Traceback' in line for line in lines)
    raise UserError(lines[-1].strip().removeprefix('ValueError: ') if in_file else ' '.join(lines)) from None
  if flags.FLAGS.config is not None:
    for field in defaults.PATHS:  # a shell leaves the tilde of --config.field=~/x as it is
      *parents, name = field.split('.')
      of = functools.reduce(operator.getitem, parents, flags.FLAGS.config)
      of[name] = cli.path(of[name])
  return rest


def _unknown_field(argv):
  """What is wrong with the first --config.field that no config has; None where all are known."""
  from flax import traverse_util

  known = list(traverse_util.flatten_dict(defaults.get_config().to_dict(), sep='.'))
  for argument in argv[1:]:
    name = re.sub('^--?config[.]|=.*', '', argument, flags=re.DOTALL)
    if re.match('--?config[.]', argument) and name not in known:
      near = difflib.get_close_matches(name, known, 1) or [field for field in known if field.endswith('.' + name)]
      file = next((a.partition('=')[2].partition(':')[0] for a in argv if re.match('--?config=', a)), 'the config')
      return (
        f'--config.{name}: {file} has no such field; '
        f'{f"did you mean {near[0]}? " if near else ""}e2e_affect/config/defaults.py explains all'
      )
  return None


if __name__ == '__main__':
  cli.run(main, _define_flags, parse=_parse)
