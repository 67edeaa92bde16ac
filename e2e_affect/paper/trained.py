"""A trained network with speech that figures are made of: its config, data and the variables of its best checkpoint."""

import dataclasses
import pathlib

import jax
import ml_collections

from data_prep.core.errors import UserError
from data_prep.schema.manifest import Manifest
from e2e_affect import heads
from e2e_affect.input import recordings
from e2e_affect.run import workdir as workdirs
from e2e_affect.train import checkpoint_files, train_state


@dataclasses.dataclass(frozen=True)
class Run:
  """What is read of a workdir; nothing in it is changed.

  Attributes:
    config: that it was trained with.
    manifest: of `config.data.dir`.
    variables: `params` and `batch_stats` of the best checkpoint, as evaluation uses them.
  """

  config: ml_collections.ConfigDict
  manifest: Manifest
  variables: dict

  @classmethod
  def read(cls, workdir: str | pathlib.Path) -> 'Run':
    """Reads a run.

    Raises:
      UserError: no run of a network there, or one without speech.
      DataError: its data are absent or damaged.
      CheckpointError: no usable checkpoint.
    """
    config = workdirs.read_config(workdir)
    if 'speech' not in config.model.modalities:
      raise UserError(
        f'{workdir}: a {" + ".join(config.model.modalities)} network has no filters or units of sound; name a run with '
        'speech'
      )
    folder = pathlib.Path(workdir)
    if not (folder / 'checkpoints').is_dir():
      raise UserError(f'{folder}: no checkpoints in it; name the workdir of a trained network')
    manifest = recordings.read_manifest(config.data.dir, config.data.fold)
    template = jax.eval_shape(lambda: train_state.init_state(config, manifest))  # shapes alone: nothing is compiled
    state, _ = checkpoint_files.best_of_run(folder, template, heads.of(config))
    return cls(config, manifest, state.evaluated())
