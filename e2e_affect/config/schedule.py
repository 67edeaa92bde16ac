"""From epochs to updates."""

import ml_collections

from data_prep.core.errors import UserError


def num_updates(config: ml_collections.ConfigDict, sequences: int) -> int:
  """Updates of the whole training; 0 where `config.epochs` = 0 asks for none.

  Args:
    config: the whole config.
    sequences: in the partitions to train on.

  Raises:
    UserError: training was asked for, and rounds to no update at all: an untrained network would be evaluated.
  """
  updates = config.total_steps or round(config.epochs * sequences / config.batch_size)
  if not updates and config.epochs:
    raise UserError(
      f'config.epochs = {config.epochs} over {sequences} sequences is no update of config.batch_size = '
      f'{config.batch_size}; set --config.batch_size={sequences} or less, more --config.epochs, or '
      '--config.total_steps'
    )
  return updates


def updates_between_evaluations(config: ml_collections.ConfigDict, sequences: int) -> int:
  """Updates from one evaluation on the validation partition to the next; at least 1."""
  return max(1, round(config.evaluate_every_epochs * (sequences / config.batch_size)))
