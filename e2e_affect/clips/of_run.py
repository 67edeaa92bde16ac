"""The network of a run: its best checkpoint, with what its results say of it."""

import pathlib

from absl import logging
import jax

from data_prep.core.errors import UserError
from e2e_affect import heads
from e2e_affect.clips.network import Network
from e2e_affect.evaluate import results
from e2e_affect.run import version
from e2e_affect.run import workdir as workdirs
from e2e_affect.train import checkpoint_files, train_state


def network(workdir: str) -> Network:
  """The best checkpoint of a run, with what its `results.json` says of it.

  Raises:
    UserError: no run there, its config is absurd, or its head says nothing that a clip's page could show.
    DataError: `results.json` is damaged, or nothing tells what the targets are.
    CheckpointError: no usable checkpoint.
  """
  config = workdirs.read_config(workdir)
  folder = pathlib.Path(workdir)
  if not heads.of(config).shows:
    known = ', '.join(name for name, head in heads.HEADS.items() if head.shows)
    raise UserError(f'{folder}: its head is {config.head!r}; clips are analysed by networks of {known} alone')
  dataset = workdirs.read_dataset(workdir)
  targets, scale = dataset.pop('targets'), dataset.pop('label_scale')
  if not (folder / 'checkpoints').is_dir():
    raise UserError(f'{folder}: no checkpoints in it yet; let the training go on')
  state, checkpoint = checkpoint_files.best_of_run(
    folder,
    jax.eval_shape(lambda: train_state.init_state(config, workdirs.layout_of(dataset, config, targets))),
    heads.of(config),
  )
  evaluated, fitted = {}, {'fitted_on': None, 'reason': 'the run was not evaluated; do so with --mode=evaluate'}
  if (folder / results.RESULTS_FILE).exists():
    evaluated = results.without_people(results.read_results(folder))
    of_step, fitted = evaluated.pop('checkpoint')['step'], evaluated.pop('postprocessing')
    if of_step != checkpoint['step']:
      # Fitted to the traces of another network: applied to this one it would be wrong without a sign of it.
      evaluated, fitted = (
        {},
        {
          'fitted_on': None,
          'reason': f'{results.RESULTS_FILE} is of update {of_step}, the best '
          f'checkpoint of update {checkpoint["step"]}; bring it up to date with --mode=evaluate',
        },
      )
  if not fitted['fitted_on']:
    logging.warning('%s: no post-processing: %s', folder, fitted['reason'])
  variables = jax.tree.map(jax.numpy.asarray, state.evaluated())
  return Network(
    config,
    variables,
    {
      'targets': targets,
      'label_scale': scale,
      'postprocessing': fitted,
      'checkpoint': checkpoint,
      'dataset': dataset,
      'simulated': bool(dataset['preparation'].get('simulated', False)),
      'results': evaluated,
      'commit': version.commit(),
    },
  )
