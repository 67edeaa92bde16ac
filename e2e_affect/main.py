"""The command: `python -m e2e_affect.main --config=configs/fused.py`."""

import difflib
import os
import re
import sys

from absl import app
from absl import flags
from absl import logging
import jax
from ml_collections import config_flags

from data_prep.errors import UserError
from data_prep.records import PARTITIONS
from e2e_affect.log import ours_or_warning

_CONFIG = config_flags.DEFINE_config_file(
    'config', None, 'Experiment, e.g. configs/fused.py or configs/fused.py:demo; --config.field=value changes a field; '
    'configs/common.py explains every field.', lock_config=True)
flags.FLAGS['config'].default_as_str = None  # the help would say (default: 'None')
_WORKDIR = flags.DEFINE_string('workdir', None,
                               'Folder of the run; runs/<config.name> by default. A run in it goes on.')
_MODE = flags.DEFINE_enum('mode', 'train', ['train', 'evaluate'],
                          'train: train and evaluate; evaluate: the best checkpoint of --workdir, with its own config.')
_PARTITION = flags.DEFINE_enum('partition', 'test', PARTITIONS, 'What --mode=evaluate evaluates.')
_DISTRIBUTED = flags.DEFINE_bool('distributed', False, 'Several hosts: call jax.distributed.initialize() first.')


def run() -> None:
  """Does what the flags say."""
  if _MODE.value == 'train' and _CONFIG.value is None:
    raise UserError('--config is missing; try --config=configs/fused.py')
  workdir = _WORKDIR.value or (_CONFIG.value and os.path.join('runs', _CONFIG.value.name))
  if not workdir:
    raise UserError('--workdir is missing: the folder of the run to evaluate')
  if _DISTRIBUTED.value:
    jax.distributed.initialize()
  from e2e_affect import train  # imports TensorFlow: seconds that --help and a mistyped flag need not wait for
  if _MODE.value == 'evaluate':
    train.evaluate_only(workdir, _PARTITION.value)
  else:
    train.train_and_evaluate(_CONFIG.value, workdir)
  logging.info('results: %s', os.path.join(workdir, 'report.html'))


def main() -> None:
  """Parses the flags; every error that a user can cause ends as one line and its exit code."""
  def parse(argv):
    try:
      rest = flags.FLAGS(argv)
      if _CONFIG.value is not None:
        _CONFIG.value.lock()  # the first use of a config that could not be loaded raises
    except (flags.Error, OSError, ValueError, AttributeError, KeyError, TypeError) as e:
      # ml_collections passes a config file's error on with its whole traceback, the reason in the last line.
      unknown = _unknown_field(argv)
      if unknown:
        fail(UserError(unknown))
      lines = str(e.args[0] if isinstance(e, KeyError) else e).strip().splitlines() or [repr(e)]
      in_file = isinstance(e, OSError) or any('Traceback' in line for line in lines)
      fail(UserError(lines[-1].strip().removeprefix('ValueError: ') if in_file else ' '.join(lines)))
    except SystemExit:
      sys.exit(0)  # absl ends --help with 1
    if len(rest) > 1:
      fail(UserError(f'{rest[1]!r} is no flag; expected --name=value'))
    return rest

  def fail(error):
    print(f'error: {error}', file=sys.stderr)
    sys.exit(error.exit_code)

  def guarded(_):
    logging.set_verbosity(logging.INFO)
    logging.get_absl_handler().addFilter(ours_or_warning)
    try:
      run()
    except UserError as e:
      fail(e)

  app.run(guarded, flags_parser=parse)


def _unknown_field(argv):
  """What is wrong with the first --config.field that no config has; None where all are known."""
  from configs import common
  from flax import traverse_util
  known = list(traverse_util.flatten_dict(common.get_config().to_dict(), sep='.'))
  for argument in argv[1:]:
    name = re.sub('^--?config[.]|=.*', '', argument, flags=re.DOTALL)
    if re.match('--?config[.]', argument) and name not in known:
      near = difflib.get_close_matches(name, known, 1) or [field for field in known if field.endswith('.' + name)]
      file = next((a.partition('=')[2].partition(':')[0] for a in argv if re.match('--?config=', a)), 'the config')
      return (f'--config.{name}: {file} has no such field; '
              f'{f"did you mean {near[0]}? " if near else ""}configs/common.py explains all')
  return None


if __name__ == '__main__':
  main()
