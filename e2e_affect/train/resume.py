"""Whether a run that goes on is the one that was begun: the same config, the same data, the same step on all hosts."""

import json

from flax import traverse_util
import jax
from jax.experimental import multihost_utils
import numpy as np

from data_prep.core.errors import DataError, UserError
from e2e_affect.run import workdir as workdirs

# What a run that goes on may have otherwise: where things lie, how long, how fast, how much is said.
_MAY_CHANGE = (
  'name',
  'log_every_steps',
  'total_steps',
  'epochs',
  'evaluate_chunk_seconds',
  'postprocessing_from',
  'data.dir',
  'data.cache',
  'data.read_threads',
)


def refuse_other_config(folder, begun, config) -> None:
  """A resumed run must be the one that was begun: another order or rate would make it neither."""
  for field, before, now in _differences(begun.to_json(), config.to_json()):
    if field not in _MAY_CHANGE:
      raise UserError(
        f'{folder}: was begun with config.{field} = {before!r}, now {now!r}; choose another --workdir, or the old value'
      )


def refuse_other_data(folder, manifest, moved):
  """The network's outputs go by position: data that were prepared again may name them in another order.

  Args:
    folder: of the run.
    manifest: of the data now.
    moved: their folder is another one than before: all that is known of them must be as it was.
  """
  begun, now = workdirs.read_dataset(folder), workdirs.describe(manifest)
  now = {name: now[name] for name in begun if name in now}  # earlier versions said less
  if begun['targets'] != now['targets']:
    raise DataError(
      f'{folder}: was trained on the targets {", ".join(begun["targets"])}, the data now have '
      f'{", ".join(now["targets"])}; prepare them as they were, or choose another --workdir'
    )
  if moved:
    for what, before, found in _differences(json.dumps(begun), json.dumps(now)):
      raise DataError(
        f'{folder}: was begun with other data: {what} was {str(before)[:100]}, in --config.data.dir it '
        f'is {str(found)[:100]}; name the folder that the same data were moved to, or choose another '
        '--workdir'
      )


def _differences(before, now):
  """(name, value before, value now) of what two JSON objects have otherwise."""
  before, now = (traverse_util.flatten_dict(json.loads(text), sep='.') for text in (before, now))
  for name in dict.fromkeys([*before, *now]):
    if before.get(name) != now.get(name):
      yield name, before.get(name), now.get(name)


def refuse_hosts_that_differ(first_step):
  """All hosts must see the same checkpoints: with a disk each, only the first would resume."""
  if jax.process_count() > 1:
    steps_of_hosts = multihost_utils.process_allgather(np.asarray(first_step))
    if len(set(steps_of_hosts.tolist())) > 1:
      raise UserError(
        f'the hosts would start at steps {steps_of_hosts.tolist()}; --workdir must be a folder that all of them share'
      )
