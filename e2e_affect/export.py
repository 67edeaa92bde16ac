"""The network of a run, and its export: `python -m e2e_affect.export --workdir=RUN --out=DIR`.

The folder holds parameters, config, labels, post-processing and a model card; `predict --checkpoint=DIR` and
`e2e_affect.load(DIR)` need neither Orbax nor the training data for it.
"""

import pathlib

from absl import flags, logging
import jax

from data_prep.core import cli
from data_prep.core.errors import UserError
from e2e_affect import heads
from e2e_affect.clips import model_card, network
from e2e_affect.evaluate import results
from e2e_affect.run import version
from e2e_affect.run import workdir as workdirs
from e2e_affect.run.log import ours_or_warning
from e2e_affect.train import checkpoints, train_state


def from_run(workdir: str) -> network.Network:
  """The best checkpoint of a run, with what its `results.json` says of it.

  Raises:
    UserError: no run there, its config is absurd, or its head is another one than regression.
    DataError: `results.json` is damaged, or nothing tells what the targets are.
    CheckpointError: no usable checkpoint.
  """
  config = workdirs.read_config(workdir)
  folder = pathlib.Path(workdir)
  if config.head != 'regression':
    raise UserError(f'{folder}: its head is {config.head!r}; clips are analysed by networks of regression alone')
  dataset = workdirs.read_dataset(workdir)
  targets, scale = dataset.pop('targets'), dataset.pop('label_scale')
  if not (folder / 'checkpoints').is_dir():
    raise UserError(f'{folder}: no checkpoints in it yet; let the training go on')
  state, checkpoint = checkpoints.best_of_run(
    folder,
    jax.eval_shape(lambda: train_state.init_state(config, workdirs.layout_of(dataset, config, targets))),
    heads.of(config),
  )
  evaluated, fitted = {}, {'fitted_on': None, 'reason': 'the run was not evaluated; do so with --mode=evaluate'}
  if (folder / results.RESULTS_FILE).exists():
    evaluated = results.read_results(folder)
    of_step, fitted = evaluated.pop('checkpoint')['step'], evaluated.pop('postprocessing')
    if of_step != checkpoint['step']:
      # Fitted to the traces of another network: applied to this one it would be wrong without a sign of it.
      evaluated, fitted = (
        {},
        {
          'fitted_on': None,
          'reason': f'{results.RESULTS_FILE} is of step {of_step}, the best '
          f'checkpoint of step {checkpoint["step"]}; bring it up to date with --mode=evaluate',
        },
      )
  if not fitted['fitted_on']:
    logging.warning('%s: no post-processing: %s', folder, fitted['reason'])
  variables = jax.tree.map(jax.numpy.asarray, state.evaluated())
  return network.Network(
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


def export(workdir: str, out: str) -> network.Network:
  """Writes the folder and reads it back; errors as `from_run` and `network.save`."""
  if pathlib.Path(out).resolve() == pathlib.Path(workdir).resolve():
    raise UserError(f'--out={out}: is the run itself; give another folder')
  exported = from_run(workdir)
  network.save(exported, out, model_card.card(exported))
  return network.load(out)


def _define_flags():
  cli.define_path('workdir', None, 'Folder of the run.', required=True)
  cli.define_path('out', None, 'Folder to write.', required=True)


def main() -> None:
  """Does what the flags say."""
  logging.get_absl_handler().addFilter(ours_or_warning)
  exported = export(flags.FLAGS.workdir, flags.FLAGS.out)
  count = sum(leaf.size for leaf in jax.tree.leaves(exported.variables['params']))
  cli.say(
    f'{flags.FLAGS.out}: {" + ".join(exported.modalities)} network, {count:,} parameters, step '
    f'{exported.about["checkpoint"]["step"]}; read back and whole. Read its README.md before you pass it on.'
  )
  if exported.simulated:
    cli.say(f'warning: {network.SIMULATED}')


if __name__ == '__main__':
  cli.run(main, _define_flags)
