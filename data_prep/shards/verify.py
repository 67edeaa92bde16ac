"""Checks a data folder against its manifest, by every byte of it."""

import collections
import itertools
import pathlib

import numpy as np

from data_prep.core.errors import DataError
from data_prep.schema import label_clock, records
from data_prep.schema.manifest import Manifest
from data_prep.shards import tfrecord, write


def verify(folder) -> list[str]:
  """Reads every byte of a data folder back.

  Returns:
    One line per fault; empty when the folder is what its manifest says.

  Raises:
    DataError: there is no readable manifest.
  """
  folder = pathlib.Path(folder)
  manifest = Manifest.read(folder)
  faults = []
  subjects = collections.defaultdict(set)
  expected: collections.Counter[str] = collections.Counter()
  for shard in manifest.shards:
    subjects[shard.subject].add(shard.partition)
    if shard.first != expected[shard.recording]:
      faults.append(
        f'{shard.file}: starts at record {shard.first} of {shard.recording}, expected {expected[shard.recording]}'
      )
    expected[shard.recording] += shard.records
    faults += [f'{shard.file}: {fault}' for fault in _verify_shard(folder, manifest, shard)]
  for recording, file in manifest.label_clock.files.items() if manifest.label_clock else ():
    try:
      found = label_clock.read(folder, file, [t for t in manifest.targets if t not in manifest.classes])
      if len(found.times) != file.rows or recording not in expected:
        faults.append(f'{file.file}: {len(found.times)} labels of {recording}, the manifest says {file.rows}')
    except DataError as e:
      faults.append(str(e))
  for fold, partition_of in manifest.folds.items():
    for subject in sorted(set(subjects) - set(partition_of)):
      faults.append(f'{folder}: fold {fold} names no partition for subject {subject}')
  for subject, partitions in sorted(subjects.items()):
    if len(partitions) > 1:
      faults.append(f'{folder}: subject {subject} is in {" and ".join(sorted(partitions))}; expected one partition')
  listed = {shard.file for shard in manifest.shards}
  for path in sorted(folder.glob('*.tfrecord*')):
    if path.name not in listed:
      faults.append(f'{path.name}: not in the manifest')
  return faults


def _verify_shard(folder, manifest, shard):
  """Yields what is wrong with one shard."""
  from data_prep.core.quiet_tf import tf

  path = folder / shard.file
  if not path.is_file():
    yield 'not found'
    return
  if path.stat().st_size != shard.bytes:
    yield f'{path.stat().st_size} bytes, the manifest says {shard.bytes}'
  if write.sha256(path) != shard.sha256:
    yield 'SHA-256 differs from the manifest'
  steps = count = 0
  try:
    for data in tfrecord.read(path):
      fault, valid = verify_record(data, manifest, shard, count)
      if fault:
        yield f'record {count}: {fault}'
      count, steps = count + 1, steps + valid
  except tf.errors.DataLossError as e:
    yield f'record {count}: damaged ({tfrecord.reason(e)})'
    return
  if count != shard.records:
    yield f'{count} records, the manifest says {shard.records}'
  elif steps != shard.steps:
    yield f'{steps} valid steps, the manifest says {shard.steps}'


def first_fault(folder, manifest, shard, first, stop) -> str | None:
  """What is wrong with the first faulty one of the records [first, stop) of a shard, and where it lies; None: nothing.

  The file is read from its start, as a damaged length hides every record after it.
  """
  from data_prep.core.quiet_tf import tf

  path = pathlib.Path(folder) / shard.file
  index = offset = 0
  fault = None
  try:
    for data in itertools.islice(tfrecord.read(path), stop):
      if index >= first:
        fault, _ = verify_record(data, manifest, shard, index)
      if fault:
        break
      index, offset = index + 1, offset + tfrecord.stored_bytes(data)
    else:
      fault = f'the file ends here, the manifest says {shard.records} records' if index < stop else None
  except tf.errors.OpError as e:
    fault = f'damaged ({tfrecord.reason(e)})'
  begin = (shard.first + index) * manifest.grid.steps_per_record * manifest.grid.step_seconds
  return fault and f'{path}: record {index} (byte {offset}; from {begin:.2f} s of {shard.recording}): {fault}'


def verify_record(data, manifest, shard, index):
  """Returns (what is wrong with one record or None, its valid steps)."""
  try:
    record = records.decode(data, manifest)
  except records.Fault as e:
    return str(e), 0
  found = {'recording': record.recording, 'subject': record.subject, 'second': record.index}
  expected = {'recording': shard.recording, 'subject': shard.subject, 'second': shard.first + index}
  if found != expected:
    return f'is {found}, expected {expected}', 0
  for k, target in enumerate(manifest.targets):
    if target in manifest.classes:
      values, count = record.label[record.label_mask > 0, k], len(manifest.classes[target])
      wrong = values[~np.isin(values, np.arange(count))]
      if wrong.size:
        return f'{target} is {wrong[0]:g}, expected the index of one of {count} classes', 0
  return None, int(record.valid.sum())
