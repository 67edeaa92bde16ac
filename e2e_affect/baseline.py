"""Fits one of the paper's rivals and evaluates it.

    python -m e2e_affect.baseline --config=svr:egemaps

Results, figures and a page lie in the workdir, as those of networks.
"""

import os

from absl import flags, logging

from data_prep.core import cli
from data_prep.core.errors import UserError
from e2e_affect.config import command_line
from e2e_affect.run import allocator, hold
from e2e_affect.run.log import ours_or_warning, RedWarnings

_EXPLAINED = "`get_config` of the rival's file in e2e_affect/baselines"


def _define_flags():
  command_line.define_config('svr:egemaps or configs/baselines/svr.py:egemaps', _EXPLAINED)
  cli.define_path('workdir', None, 'Folder of the run; runs/<config.name> by default. A run in it is kept.')


def _fields():
  from e2e_affect.baselines import registry  # imports scikit-learn and TensorFlow

  return registry.fields()


def main() -> None:
  """Does what the flags say."""
  allocator.keep_memory()
  logging.set_verbosity(logging.INFO)
  logging.get_absl_handler().addFilter(ours_or_warning)
  logging.get_absl_handler().setFormatter(RedWarnings())
  asked = flags.FLAGS
  if asked.config is None:
    raise UserError('--config is missing; try --config=svr:egemaps')
  workdir = asked.workdir or os.path.join('runs', asked.config.name)
  hold.check(workdir)
  from e2e_affect.baselines import run

  run.train_and_evaluate(asked.config, workdir)
  logging.info('results: %s', os.path.join(workdir, 'report.html'))


if __name__ == '__main__':
  cli.run(main, _define_flags, parse=lambda argv: command_line.parse(argv, _fields, ('data.dir',), _EXPLAINED))
