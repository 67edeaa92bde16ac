"""The labels of a partition as arrays, without decoding what the network sees."""

import ml_collections
import numpy as np

from data_prep.schema.manifest import Manifest
from e2e_affect.input import pipeline
from e2e_affect.input.recordings import recordings

_READ_TOGETHER = 100  # records


def of_partition(
  config: ml_collections.ConfigDict, manifest: Manifest, partition: str
) -> list[tuple[np.ndarray, np.ndarray]]:
  """(labels [T, K], mask [T]) of every recording of a partition, sorted by name; none where it is empty.

  Args:
    config: `data.*` and `model.modalities` are read.
    manifest: of `config.data.dir`.
    partition: 'train', 'validation' or 'test'.

  Raises:
    DataError: a record is damaged: named.
  """
  group = recordings(manifest, config.data.dir, partition)
  if not group:
    return []
  batches = list(pipeline.read_records(config, manifest, group, [], _READ_TOGETHER))
  label, mask = (np.concatenate([batch[name] for batch in batches]) for name in ('label', 'mask'))
  found, first = [], 0
  for recording in group:
    steps = slice(first, first + recording.steps)
    found.append((label[steps], mask[steps]))
    first += recording.records * manifest.grid.steps_per_record
  return found
