"""A config as an earlier run, perhaps of an earlier version, stored it."""

import json
import pathlib

from absl import logging
import ml_collections

from data_prep.core import remote
from data_prep.core.errors import UserError
from e2e_affect.config import defaults, ranges


def complete(content: dict, path: pathlib.Path) -> ml_collections.ConfigDict:
  """A config as it was stored; fields that a later version of this program added take their defaults, and are named.

  Args:
    content: of `config.json`.
    path: of the file, for the log.

  Raises:
    UserError: it is no config, or holds a value that no config may have.
  """
  added = []

  def fill(found, expected, prefix):
    if not isinstance(found, dict):
      raise damaged(path, f'{prefix[:-1] or "content"} {found!r:.80}, expected fields and their values')
    for field, default in expected.items():
      if field not in found:
        found[field] = default
        added.append(prefix + field)
      elif isinstance(default, dict):
        fill(found[field], default, f'{prefix}{field}.')
      elif type(found[field]) not in (type(default), int if isinstance(default, float) else None):
        raise damaged(path, f'{prefix}{field} = {found[field]!r:.80}, expected {type(default).__name__}')

  fill(content, json.loads(defaults.get_config().to_json()), '')
  for field in ('data', 'data.dir', 'model', 'model.modalities'):  # every version wrote them
    if field in added:
      raise damaged(path, f'without {field}')
  try:
    config = ml_collections.ConfigDict(_with_tuples(content)).lock()
    ranges.check(config)
  except (UserError, TypeError, ValueError, AttributeError) as e:  # names with points, or those of methods, too
    raise damaged(path, str(e).split('; set it')[0][:300]) from None
  if added:
    logging.debug('%s: written before there were %s: their defaults are taken', path, ', '.join(added))
  return config


def written(config: ml_collections.ConfigDict) -> dict:
  """A config as JSON has it, with addresses in the place of the paths that mirror them on this machine."""
  return _with_names(json.loads(config.to_json()))


def _with_names(value):
  if isinstance(value, dict):
    return {name: _with_names(of) for name, of in value.items()}
  if isinstance(value, list):
    return [_with_names(of) for of in value]
  return remote.named(value) if isinstance(value, str) else value


def _with_tuples(value):
  """JSON has lists where a config has tuples, and addresses where it has the paths that mirror them."""
  if isinstance(value, dict):
    return {name: _with_tuples(of) for name, of in value.items()}
  if isinstance(value, list):
    return tuple(map(_with_tuples, value))
  return remote.local(value) if isinstance(value, str) and remote.is_address(value) else value


def damaged(path: pathlib.Path, reason: object) -> UserError:
  """The error that says why a stored config cannot be used."""
  return UserError(f'{path}: damaged ({reason}); copy it from another run of the same config')
