"""Whether a run that goes on is the one that was begun: the same data, and the same step on all hosts."""

import jax
from jax.experimental import multihost_utils
import numpy as np

from data_prep.core.errors import DataError, UserError
from e2e_affect.config.on_resume import differences
from e2e_affect.run import workdir as workdirs


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
    for what, before, found in differences(begun, now):
      raise DataError(
        f'{folder}: was begun with other data: {what} was {str(before)[:100]}, in --config.data.dir it '
        f'is {str(found)[:100]}; name the folder that the same data were moved to, or choose another '
        '--workdir'
      )


def refuse_hosts_that_differ(first_step):
  """All hosts must see the same checkpoints: with a disk each, only the first would resume."""
  if jax.process_count() > 1:
    steps_of_hosts = multihost_utils.process_allgather(np.asarray(first_step))
    if len(set(steps_of_hosts.tolist())) > 1:
      raise UserError(
        f'the hosts would start at updates {steps_of_hosts.tolist()}; --workdir must be a folder that all of them share'
      )
