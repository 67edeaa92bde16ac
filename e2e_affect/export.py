"""A trained network -> a folder to pass on.

    python -m e2e_affect.export --workdir=RUN --out=DIR

The folder holds parameters, config, labels, post-processing and a model card; `predict --checkpoint=DIR` and
`e2e_affect.load(DIR)` need neither Orbax nor the training data for it.
"""

import os

from absl import flags, logging

from data_prep.core import cli
from data_prep.core.errors import UserError
from e2e_affect.run.log import ours_or_warning


def export(workdir: str, out: str):
  """Writes the folder and reads it back, which gives a `Network`; errors as `of_run.network` and `exported.save`."""
  from e2e_affect.clips import exported, of_run

  if os.path.realpath(out) == os.path.realpath(workdir):
    raise UserError(f'--out={out}: is the run itself; give another folder')
  exported.save(of_run.network(workdir), out)
  return exported.load(out)


def _define_flags():
  cli.define_path('workdir', None, 'Folder of the run.', required=True)
  cli.define_path('out', None, 'Folder to write.', required=True)


def main() -> None:
  """Does what the flags say."""
  logging.get_absl_handler().addFilter(ours_or_warning)
  import jax

  from e2e_affect.run.origin import SIMULATED

  network = export(flags.FLAGS.workdir, flags.FLAGS.out)
  count = sum(leaf.size for leaf in jax.tree.leaves(network.variables['params']))
  cli.say(
    f'{flags.FLAGS.out}: {" + ".join(network.modalities)} network, {count:,} parameters, update '
    f'{network.about["checkpoint"]["step"]}; read back and whole. Read its README.md before you pass it on.'
  )
  if network.simulated:
    cli.warn(SIMULATED)


if __name__ == '__main__':
  cli.run(main, _define_flags)
