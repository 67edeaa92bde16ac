"""Reads a data folder back: every byte of it to check it, or one shard after another."""

import collections
import io
import os
import pathlib

import numpy as np
from PIL import Image

from data_prep.core.errors import DataError
from data_prep.schema import records
from data_prep.schema.manifest import Manifest
from data_prep.shards import write


def examples(path):
  """Yields name -> `tf.train.Feature` of every record of a shard.

  Raises:
    DataError: it is absent or damaged.
  """
  from data_prep.core.quiet_tf import tf

  try:
    for k, data in enumerate(tf.data.TFRecordDataset(os.fsencode(path)).as_numpy_iterator()):
      try:
        feature = tf.train.Example.FromString(data).features.feature
        missing = _missing(feature)
      except Exception as e:  # protobuf's errors
        missing = f'not an Example ({" ".join(str(e).split())})'
      if missing:
        raise DataError(f'{path}: record {k}: {missing}; run `python -m data_prep.shards --verify`')
      yield feature
  except tf.errors.OpError as e:
    raise DataError(f'{path}: {write.reason(e)}; run `python -m data_prep.shards --verify`') from None


def _missing(feature):
  """What a record lacks of what its readers take from it without looking; None where all is there."""
  steps = records.STEPS_PER_RECORD
  sizes = {
    'audio': 2 * steps * records.SAMPLES_PER_STEP,
    'face_found': 4 * steps,
    'label_mask': 4 * steps,
    'valid': 4 * steps,
  }
  for name in (*sizes, 'label', 'face', 'audio_mean', 'audio_std'):
    if name not in feature:
      return f'has no {name}'
  for name, size in sizes.items():
    if [len(value) for value in feature[name].bytes_list.value] != [size]:
      return f'{name} is not of {size} bytes'
  if len(feature['face'].bytes_list.value) != steps or not all(map(_is_face, feature['face'].bytes_list.value)):
    return f'has not {steps} faces of {records.FACE_SIZE}×{records.FACE_SIZE}'
  if len(feature['audio_mean'].float_list.value) != 1 or len(feature['audio_std'].float_list.value) != 1:
    return 'has no audio_mean and audio_std'
  label = feature['label'].bytes_list.value
  return None if len(label) == 1 and label[0] and len(label[0]) % (4 * steps) == 0 else 'label is of another size'


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
  next_second = collections.Counter()
  for shard in manifest.shards:
    subjects[shard.subject].add(shard.partition)
    if shard.first_second != next_second[shard.recording]:
      faults.append(
        f'{shard.file}: starts at second {shard.first_second} of {shard.recording}, '
        f'expected {next_second[shard.recording]}'
      )
    next_second[shard.recording] += shard.records
    faults += [f'{shard.file}: {fault}' for fault in _verify_shard(folder, manifest, shard)]
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
  offset, steps, count = 0, 0, 0
  offsets = []
  try:
    for data in tf.data.TFRecordDataset(os.fsencode(path)).as_numpy_iterator():
      offsets.append(offset)
      offset += write.HEADER_BYTES + len(data) + write.FOOTER_BYTES
      fault, valid = _verify_record(data, manifest, shard, count)
      if fault:
        yield f'record {count}: {fault}'
      count, steps = count + 1, steps + valid
  except tf.errors.DataLossError as e:
    yield f'record {count}: damaged ({write.reason(e)})'
    return
  if count != shard.records:
    yield f'{count} records, the manifest says {shard.records}'
  elif offsets != shard.offsets:
    yield 'record offsets differ from the manifest'
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
    for data in tf.data.TFRecordDataset(os.fsencode(path)).take(stop).as_numpy_iterator():
      if index >= first:
        fault, _ = _verify_record(data, manifest, shard, index)
      if fault:
        break
      index, offset = index + 1, offset + write.HEADER_BYTES + len(data) + write.FOOTER_BYTES
    else:
      fault = f'the file ends here, the manifest says {shard.records} records' if index < stop else None
  except tf.errors.OpError as e:
    fault = f'damaged ({write.reason(e)})'
  return fault and (
    f'{path}: record {index} (byte {offset}; second {shard.first_second + index} of {shard.recording}): {fault}'
  )


def _verify_record(data, manifest, shard, index):
  """Returns (what is wrong with one record or None, its valid steps)."""
  from data_prep.core.quiet_tf import tf

  try:
    feature = tf.train.Example.FromString(data).features.feature
    fault = _fault(feature, manifest, shard, index)
    return fault, 0 if fault else int(np.frombuffer(feature['valid'].bytes_list.value[0], '<f4').sum())
  except Exception as e:  # protobuf's errors: DecodeError, UnicodeDecodeError, …
    return f'not an Example ({" ".join(str(e).split())})', 0


def _fault(feature, manifest, shard, index):
  steps, targets = records.STEPS_PER_RECORD, len(manifest.targets)
  sizes = {
    'audio': 2 * steps * records.SAMPLES_PER_STEP,
    'face_found': 4 * steps,
    'label': 4 * steps * targets,
    'label_mask': 4 * steps,
    'valid': 4 * steps,
  }
  if manifest.num_landmarks:
    sizes['landmarks'] = 4 * steps * manifest.num_landmarks * 2
  for name in ('recording', 'subject', 'second', 'audio_mean', 'audio_std', 'face', *sizes):
    if name not in feature:
      return f'has no {name}'
  for name, size in sizes.items():
    value = feature[name].bytes_list.value
    if len(value) != 1 or len(value[0]) != size:
      return f'{name} holds {sum(map(len, value))} bytes, expected {size}'
    if name != 'audio' and not np.isfinite(np.frombuffer(value[0], '<f4')).all():
      return f'{name} holds NaN or Inf'
  for name in ('audio_mean', 'audio_std', *(['audio_gain'] if 'audio_gain' in feature else ())):
    value = list(feature[name].float_list.value)
    if len(value) != 1 or not np.isfinite(value).all():
      return f'{name} is {value}, expected one finite number'
  ids = {name: b''.join(feature[name].bytes_list.value).decode(errors='replace') for name in ('recording', 'subject')}
  ids['second'] = list(feature['second'].int64_list.value)
  expected = {'recording': shard.recording, 'subject': shard.subject, 'second': [shard.first_second + index]}
  if ids != expected:
    return f'is {ids}, expected {expected}'
  faces = feature['face'].bytes_list.value
  if len(faces) != steps:
    return f'{len(faces)} faces, expected {steps}'
  for k, jpeg in enumerate(faces):
    if not _is_face(jpeg):
      return f'face {k} is no {records.FACE_SIZE}×{records.FACE_SIZE} JPEG'
  return None


def _is_face(data) -> bool:
  try:
    with Image.open(io.BytesIO(data), formats=['JPEG']) as image:  # reads the header: a size that lies takes no memory
      if image.size != (records.FACE_SIZE, records.FACE_SIZE):
        return False
      image.load()  # OpenCV takes a picture that is cut off, TensorFlow does not
  except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
    return False
  return True
