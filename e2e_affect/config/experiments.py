"""The built-in experiments by name: `--config=fused:demo`, wherever the command is called.

They are the files of configs/, which the package holds as `e2e_affect/experiments`: a link in a checkout, a copy in a
wheel.
"""

import importlib.util
import pathlib

import ml_collections

from data_prep.core import cli
from data_prep.core.errors import UserError

_FOLDER = pathlib.Path(__file__).resolve().parents[1] / 'experiments'


def files() -> dict[str, pathlib.Path]:
  """Name -> config file; the rivals' are among them."""
  return {path.stem: path for path in sorted([*_FOLDER.glob('[!_]*.py'), *_FOLDER.glob('baselines/[!_]*.py')])}


def located(config: str) -> str:
  """What `--config` was given, a built-in name replaced by its file; what follows a colon stays.

  Args:
    config: 'fused', 'fused:demo', or a file: it ends in `.py`, or its path has a folder.

  Raises:
    UserError: there is no experiment of that name, or a file is absent and a built-in one has its name.
  """
  name, colon, argument = config.partition(':')
  path = pathlib.Path(name)
  if path.suffix == '.py' or path.name != name:
    if not path.exists() and path.stem in files():
      raise UserError(f'{name}: not found; --config={path.stem} names the built-in one, in any folder')
    return config
  if name not in files():
    raise UserError(
      f'no built-in experiment {name!r}; {cli.nearest(name, files())}expected one of {", ".join(files())}, '
      'or a file that ends in .py'
    )
  return f'{files()[name]}{colon}{argument}'


def config(name: str) -> ml_collections.ConfigDict:
  """The config that `--config` gives for a name; errors as `located`."""
  file, *argument = located(name).split(':', 1)
  spec = importlib.util.spec_from_file_location('experiment', file)
  if spec is None or spec.loader is None:
    raise UserError(f'{file}: no Python file')
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module.get_config(*argument)
