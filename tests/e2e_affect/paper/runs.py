"""A workdir with a checkpoint of random parameters; no test of its own."""

import jax
import jax.numpy as jnp

from data_prep.schema.manifest import Manifest
from e2e_affect import heads
from e2e_affect.run import workdir as workdirs
from e2e_affect.train import checkpoint_files, train_state
from tests.networks import random_variables


def write_run(folder, config, change=lambda params: None):
  """Writes config, description of the data and one checkpoint, as a training does.

  Args:
    folder: the workdir.
    config: of the network; `data.dir` is read.
    change: what is done to the parameters before.

  Returns:
    The variables of the checkpoint.
  """
  folder.mkdir(parents=True)
  manifest = Manifest.read(config.data.dir)
  variables = random_variables(config, manifest)
  change(variables['params'])
  workdirs.write_config(folder, config)
  workdirs.write_dataset(folder, manifest)
  manager = checkpoint_files.open_manager(folder, heads.of(config))
  state = train_state.first_state(**jax.tree.map(jnp.asarray, variables), config=config)
  checkpoint_files.save(manager, state, None)
  manager.close()
  return variables
