"""Trains a network and evaluates it, or evaluates one that is trained.

    python -m e2e_affect.main --config=fused
    python -m e2e_affect.main --mode=evaluate --workdir=runs/fused

The same command goes on with a run that stopped. Results, figures and a page lie in the workdir.
"""

import contextlib
import os
import re
import sys

from absl import flags, logging

from data_prep.core import cli, remote
from data_prep.core.errors import UserError
from data_prep.schema.manifest import PARTITIONS
from e2e_affect.config import command_line, defaults
from e2e_affect.run import allocator, hold
from e2e_affect.run.log import ours_or_warning, RedWarnings

_EXPLAINED = 'e2e_affect/config/defaults.py'
_EVALUATION = """Evaluates the best checkpoint of a run, with the run's own config.

    python -m e2e_affect.main --mode=evaluate --workdir=runs/fused
    python -m e2e_affect.main --mode=evaluate --workdir=runs/fused --partition=validation
    python -m e2e_affect.main --mode=evaluate --workdir=runs/fused --on=data/other

Nothing is trained. The partition is evaluated together with those that were evaluated before: results, predictions,
figures and page of the workdir are made anew. --without and --on write results of their own beside them.
"""


def _define_flags(evaluates):
  if_evaluated = '.' if evaluates else ', by --mode=evaluate.'
  command_line.define_config('fused, fused:demo or configs/fused.py', _EXPLAINED)
  goes_on = '; runs/<config.name> by default. A run in it goes on.'
  cli.define_path('workdir', None, f'Folder of the run{" to evaluate." if evaluates else goes_on}')
  flags.DEFINE_enum(
    'mode',
    'train',
    ['train', 'evaluate'],
    'train: train and evaluate; evaluate: the best checkpoint of --workdir, with its own config.',
  )
  flags.DEFINE_enum('partition', 'test', PARTITIONS, f'What is evaluated{if_evaluated}')
  flags.DEFINE_list(
    'without',
    [],
    'Streams of a network of several that are taken away, e.g. visual: sound alone is evaluated, into '
    f'results_without_visual.json{if_evaluated}',
  )
  cli.define_path(
    'on',
    None,
    f'Another data folder to evaluate on, by the targets that both have, into results_on_NAME.json{if_evaluated}',
  )
  flags.DEFINE_bool('distributed', False, 'Several processes, which Cloud TPU, SLURM or Open MPI 4 started.')
  flags.DEFINE_string('coordinator', None, 'Several processes of any other kind: HOST:PORT of the first one.')
  flags.DEFINE_integer('num_processes', None, 'With --coordinator: how many there are.', lower_bound=1)
  flags.DEFINE_integer('process_id', None, 'With --coordinator: which this is, from 0.', lower_bound=0)


def main() -> None:
  """Does what the flags say."""
  allocator.keep_memory()
  logging.set_verbosity(logging.INFO)
  logging.get_absl_handler().addFilter(ours_or_warning)
  logging.get_absl_handler().setFormatter(RedWarnings())
  asked = flags.FLAGS
  if asked.mode == 'train' and asked.config is None:
    raise UserError('--config is missing; try --config=fused')
  if asked.mode == 'train' and asked.without:
    raise UserError('--without belongs to --mode=evaluate; config.model.modalities says what a network is trained on')
  if asked.on and (asked.mode == 'train' or asked.without):
    raise UserError('--on belongs to --mode=evaluate, without --without; --config.data.dir says what to train on')
  by_hand = (asked.coordinator, asked.num_processes, asked.process_id)
  if any(value is not None for value in by_hand) and (None in by_hand or asked.process_id >= asked.num_processes):
    raise UserError(
      '--coordinator, --num_processes and --process_id go together; the processes count from 0 to --num_processes − 1'
    )
  several = asked.distributed or asked.coordinator is not None
  workdir = asked.workdir or (asked.config and os.path.join('runs', asked.config.name))
  if not workdir:
    raise UserError('--workdir is missing: the folder of the run to evaluate')
  if asked.mode == 'train':
    hold.check(workdir)  # the imports below take seconds, the corpus minutes
  from e2e_affect.run import compiled, hosts

  compiled.keep()
  if several:
    hosts.initialize(*by_hand)
  from e2e_affect.train import across, loop  # they import TensorFlow

  with hosts.together() if several else contextlib.nullcontext():
    if asked.mode == 'evaluate' and asked.on:
      across.evaluate_on(workdir, asked.on, asked.partition)
    elif asked.mode == 'evaluate':
      loop.evaluate_only(workdir, asked.partition, asked.without)
    else:
      loop.train_and_evaluate(asked.config, workdir)
  if not asked.without and not asked.on:
    logging.info('results: %s', os.path.join(workdir, 'report.html'))


def _parse(argv):
  rest = command_line.parse(argv, defaults.get_config, defaults.PATHS, _EXPLAINED)
  asked = flags.FLAGS
  if (asked.distributed or asked.coordinator) and asked.workdir and remote.is_address(remote.named(asked.workdir)):
    raise UserError(
      f'--workdir={remote.named(asked.workdir)}: several processes write checkpoints together, which takes a folder '
      'that all of them share; --config.data.dir may be an address'
    )
  return rest


if __name__ == '__main__':
  of_evaluation = bool(re.search('(^| )--?mode[= ]evaluate( |$)', ' '.join(sys.argv[1:])))
  cli.run(
    main,
    lambda: _define_flags(of_evaluation),
    parse=_parse,
    doc=_EVALUATION if of_evaluation else None,
    hidden=('config', 'mode') if of_evaluation else (),
  )
