"""Which fields a run that goes on may have otherwise than when it was begun."""

from collections.abc import Iterator
import json
import os
import pathlib
from typing import Any

from flax import traverse_util
import ml_collections

from data_prep.core.errors import UserError

# They say where things lie, how long and how fast it goes, how much is logged, and what is left out of data that were
# damaged meanwhile.
MAY_CHANGE = (
  'name',
  'log_every_steps',
  'total_steps',
  'epochs',
  'evaluate_chunk_seconds',
  'postprocessing_from',
  'data.dir',
  'data.cache',
  'data.read_threads',
  'data.max_bad_records',
  'model.visual.remat',
)
_FOLDERS = ('pretrained', 'init_from.speech', 'init_from.visual', 'init_from.physiology')


def refuse_other(folder: pathlib.Path, begun: ml_collections.ConfigDict, now: ml_collections.ConfigDict) -> None:
  """A resumed run must be the one that was begun: another order or rate would make it neither.

  Args:
    folder: of the run.
    begun: the config it was begun with.
    now: the config it is to go on with.

  Raises:
    UserError: a field that may not change has changed.
  """
  for field, before, after in differences(json.loads(begun.to_json()), json.loads(now.to_json())):
    is_same_folder = field in _FOLDERS and before and after and os.path.realpath(before) == os.path.realpath(after)
    if field not in MAY_CHANGE and not is_same_folder:
      raise UserError(
        f'{folder}: was begun with config.{field} = {before!r}, now {after!r}; choose another --workdir, or the old '
        'value'
      )


def differences(before: dict, now: dict) -> Iterator[tuple[str, Any, Any]]:
  """(dotted name, value before, value now) of every leaf that differs between two trees as JSON has them.

  Args:
    before, now: a field that one of them lacks is None there; a tuple equals the list that JSON makes of it.
  """
  before, now = (traverse_util.flatten_dict(json.loads(json.dumps(tree)), sep='.') for tree in (before, now))
  for name in dict.fromkeys([*before, *now]):
    if before.get(name) != now.get(name):
      yield name, before.get(name), now.get(name)
