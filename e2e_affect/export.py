"""A trained network -> a folder to pass on.

    python -m e2e_affect.export --workdir=RUN --out=DIR

The folder holds parameters, config, labels, post-processing and a model card; `predict --checkpoint=DIR` and
`e2e_affect.load(DIR)` need neither Orbax nor the training data for it. With `--to`, other programs get `network.onnx`
or `network.stablehlo`, beside a `graph.json` that says what goes in and comes out.
"""

import os

from absl import flags, logging

from data_prep.core import cli
from data_prep.core.errors import UserError
from e2e_affect.run.log import ours_or_warning


def export(workdir: str, out: str):
  """Writes the folder and reads it back, which gives a `Network`; errors as `of_run.network` and `exported.save`."""
  from e2e_affect.clips import exported, of_run

  _check_out(workdir, out)
  exported.save(of_run.network(workdir), out)
  return exported.load(out)


def export_graph(workdir: str, out: str, to: str):
  """Writes the network as a graph, 'onnx' or 'stablehlo', and runs that.

  Returns:
    The `Network`, and how much else the graph says at most.

  Raises:
    UserError, CheckpointError, WorkdirError, DiskFullError: as `graphs.check`, `of_run.network` and `graphs.save`.
  """
  from e2e_affect.clips import graphs, of_run
  from e2e_affect.run import workdir as workdirs

  _check_out(workdir, out)
  graphs.check(workdirs.read_config(workdir), to)
  network = of_run.network(workdir)
  return network, graphs.save(network, out, to)


def _check_out(workdir, out):
  if os.path.realpath(out) == os.path.realpath(workdir):
    raise UserError(f'--out={out}: is the run itself; give another folder')


def _define_flags():
  cli.define_path('workdir', None, 'Folder of the run.', required=True)
  cli.define_path('out', None, 'Folder to write.', required=True)
  flags.DEFINE_enum('to', 'folder', ['folder', 'onnx', 'stablehlo'], 'For this program, or what others read.')


def main() -> None:
  """Does what the flags say."""
  logging.get_absl_handler().addFilter(ours_or_warning)
  import jax

  from e2e_affect.run.origin import SIMULATED

  if flags.FLAGS.to == 'folder':
    network, proof = export(flags.FLAGS.workdir, flags.FLAGS.out), 'read back and whole'
  else:
    network, difference = export_graph(flags.FLAGS.workdir, flags.FLAGS.out, flags.FLAGS.to)
    proof = f'{flags.FLAGS.to} was run and says the same within {difference:.1g}'
  count = sum(leaf.size for leaf in jax.tree.leaves(network.variables['params']))
  cli.say(
    f'{flags.FLAGS.out}: {" + ".join(network.modalities)} network, {count:,} parameters, update '
    f'{network.about["checkpoint"]["step"]}; {proof}. Read its README.md before you pass it on.'
  )
  if network.simulated:
    cli.warn(SIMULATED)


if __name__ == '__main__':
  cli.run(main, _define_flags)
