"""`--config=NAME:argument` and `--config.field=value` of the commands that take a config."""

from collections.abc import Callable, Iterator, Sequence
import functools
import operator
import re

from absl import flags
import ml_collections
from ml_collections import config_flags

from data_prep.core import cli, remote
from data_prep.core.errors import of_import, UserError
from e2e_affect.config import experiments

flags.disclaim_key_flags()  # as in data_prep/core/cli.py


class _Parser(flags.ArgumentParser):
  """Takes the name of a built-in experiment, too; and `~`, which a shell leaves as it is in `--config=~/x.py`."""

  def __init__(self, of_files):
    self._of_files = of_files

  def parse(self, argument):
    if remote.is_address(argument):
      raise ValueError('a config is a file of this machine, or the name of one; copy it here')
    return self._of_files.parse(experiments.located(cli.path(argument)))

  def flag_type(self):
    return self._of_files.flag_type()


def define_config(examples: str, explained: str) -> None:
  """Defines --config.

  Args:
    examples: of its values.
    explained: the file that explains every field.
  """
  config_flags.DEFINE_config_file(
    'config',
    None,
    f'Experiment, e.g. {examples}; --config.field=value changes a field; {explained} explains every field.',
    lock_config=True,
  )
  flags.FLAGS['config'].parser = _Parser(flags.FLAGS['config'].parser)


def parse(
  argv: Sequence[str], known: Callable[[], ml_collections.ConfigDict], paths: Sequence[str], explained: str
) -> Sequence[str]:
  """Parses the flags and loads the config; what is wrong with it is told in one line.

  Args:
    argv: of the command.
    known: gives all fields that any config has; called where one is not known.
    paths: fields that are paths, or tuples of paths; see `cli.path`. Addresses are fetched where they are read.
    explained: the file that explains every field.

  Returns:
    The arguments that are no flags.

  Raises:
    UserError: a flag, the file or a field is unknown or wrong.
  """
  try:
    rest = flags.FLAGS(argv)
    if flags.FLAGS.config is not None:
      flags.FLAGS.config.lock()  # the first use of a config that could not be loaded raises
  except ModuleNotFoundError as e:
    raise of_import(e) from None
  except (flags.Error, OSError, ValueError, AttributeError, KeyError, TypeError) as e:
    # ml_collections passes a config file's error on with its whole traceback, the reason in the last line.
    if isinstance(e, OSError) and e.errno is not None and e.filename is None:
      raise  # of --help, which cannot be printed
    unknown = _unknown_field(argv, known, explained)
    if unknown:
      raise UserError(unknown) from None
    lines = str(e.args[0] if isinstance(e, KeyError) else e).strip().splitlines() or [repr(e)]
    in_file = isinstance(e, OSError) or any('Traceback' in line for line in lines)
    raise UserError(lines[-1].strip().removeprefix('ValueError: ') if in_file else ' '.join(lines)) from None
  if flags.FLAGS.config is not None:
    for field in paths:  # a shell leaves the tilde of --config.field=~/x as it is
      *parents, name = field.split('.')
      of = functools.reduce(operator.getitem, parents, flags.FLAGS.config)
      of[name] = cli.path(of[name]) if isinstance(of[name], str) else tuple(map(cli.path, of[name]))
  return rest


def _unknown_field(argv, known, explained):
  """What is wrong with the first --config.field that no config has; None where all are known."""
  given = [argument for argument in argv[1:] if re.match('--?config[.]', argument)]
  names = list(_fields(known())) if given else []  # of rivals it takes seconds
  for argument in given:
    name = re.sub('^--?config[.]|=.*', '', argument, flags=re.DOTALL)
    if name not in names:
      near = cli.nearest(name, names) or cli.nearest(name, [field for field in names if field.endswith('.' + name)])
      file = next((a.partition('=')[2].partition(':')[0] for a in argv if re.match('--?config=', a)), 'the config')
      return f'--config.{name}: {file} has no such field; {near}{explained} explains all'
  return None


def _fields(config, prefix='') -> Iterator[str]:
  """'data.dir' and so on."""
  for name, value in config.items():
    if isinstance(value, ml_collections.ConfigDict):
      yield from _fields(value, f'{prefix}{name}.')
    else:
      yield prefix + name
