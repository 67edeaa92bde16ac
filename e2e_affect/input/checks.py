"""What is looked for in the data before a training begins, so that no fault is found only after it."""

from absl import logging
import ml_collections
import numpy as np

from data_prep.core.errors import DataError, UserError
from data_prep.schema.manifest import Manifest
from e2e_affect import streams
from e2e_affect.input import pipeline
from e2e_affect.input.recordings import recordings, to_train_on

_CHECKED_TOGETHER = 25  # records
_LABEL = 'label'


def check_streams(config: ml_collections.ConfigDict, manifest: Manifest) -> None:
  """Looks for what the network learns from, up to the first record that has it: in ordinary data, that is one.

  Raises:
    DataError: the partitions to train on have no label, or nothing of a stream that the network takes; or a record is
      damaged.
    UserError: the delay of the labels leaves none.
  """
  group = to_train_on(config, manifest)
  delay, longest = config.data.label_delay_steps, max(r.steps for r in group)
  if delay >= longest:
    raise UserError(
      f'config.data.label_delay_steps = {delay}, and the longest recording to train on has {longest} steps: none has a '
      'label so much later; set --config.data.label_delay_steps to less'
    )
  lacking = _lacking(config, manifest, group)
  if lacking:
    raise DataError(
      f'{config.data.dir}: {" and ".join(config.data.train_on)}, to train on, has no {" and no ".join(lacking)} '
      f'in any of {sum(r.records for r in group)} records, and a network of {", ".join(config.model.modalities)} '
      'learns from it; prepare the recordings again with what is missing (`python -m data_prep.preview` shows what '
      'they hold), or train a network without it'
    )


def check_records(config: ml_collections.ConfigDict, manifest: Manifest, partition: str) -> None:
  """Reads a partition once as an evaluation will, so that no damage is found only after the training.

  A warning says what the partition has none of: a label, or anything of a stream that the network takes.

  Raises:
    DataError: a record is damaged, or lacks what the network needs: named.
  """
  group = recordings(manifest, config.data.dir, partition)
  for _ in pipeline.read_records(config, manifest, group, None, _CHECKED_TOGETHER):
    pass
  lacking = _lacking(config, manifest, group)
  unseen = [word for word in lacking if word != _LABEL]
  effects = ['nothing of it is scored'] if _LABEL in lacking else []
  effects += [f'the network takes zeros for {" and ".join(unseen)}'] if unseen else []
  if lacking:
    logging.warning(
      '%s: the %s partition has no %s in any of its %d records: %s; `python -m data_prep.preview` shows what they hold',
      config.data.dir,
      partition,
      ' and no '.join(lacking),
      sum(r.records for r in group),
      ', and '.join(effects),
    )


def _lacking(config, manifest, group) -> list[str]:
  """Words for what no record of these recordings has."""
  lacking = {'mask': _LABEL} | {stream.evidence: stream.lack for stream in streams.of(config.model)}
  for record in pipeline.read_records(config, manifest, group, list(lacking), 1):
    for name in list(lacking):
      if np.any(record[name]):
        del lacking[name]
    if not lacking:
      break
  return list(lacking.values())
