"""Writes a recording as shards, gives them their final names, and reads a data folder back to check it.

Run `python -m data_prep.shards --verify DIR` to check a data folder; exit code 65 and one line per fault if it is not
what its manifest says.

While a batch runs, shards lie in `DIR/.parts`, named after their recording; only when all recordings are done is the
number of shards known, which the final names carry (`affect-train.tfrecord-00003-of-00016`, as TensorFlow Datasets
reads them). `.parts/names.json` says which part got which final name, so that a batch that is killed between two
renames, or that adds a recording later, finds its parts again.
"""

import collections
import dataclasses
import errno
import hashlib
import io
import json
import os
import pathlib
import re

from absl import flags
import numpy as np
from PIL import Image

from data_prep import atomic
from data_prep import cli
from data_prep import records
from data_prep.errors import DataError
from data_prep.errors import UserError

PARTS = '.parts'
DATASET_NAME = 'affect'  # tfds: the first part of every file name
_NAMES = 'names.json'
_PART = re.compile(r'[A-Za-z0-9_]*-[0-9a-f]{8}-[0-9]+[.]tfrecord')
_FINAL = re.compile(rf'{DATASET_NAME}-(?:{"|".join(records.PARTITIONS)})[.]tfrecord-[0-9]+-of-[0-9]+')
_HEADER_BYTES, _FOOTER_BYTES = 12, 4  # TFRecord: length (8) and its checksum (4); checksum of the data (4)


def write_recording(out, recording_records, *, partition: str) -> list[records.Shard]:
  """Writes the records of one recording into `out/.parts`, each shard whole or not at all.

  Args:
    out: data folder.
    recording_records: the recording's `Record`s in order.
    partition: 'train', 'validation' or 'test'.

  Returns:
    One `Shard` per file; `file` is the name in `.parts`.

  Raises:
    WorkdirError, DiskFullError: `out` cannot be written.
  """
  parts = pathlib.Path(out) / PARTS
  shards = []
  for first in range(0, len(recording_records), records.RECORDS_PER_SHARD):
    chunk = recording_records[first:first + records.RECORDS_PER_SHARD]
    name = part_name(chunk[0].recording, len(shards))
    serialized = [records.encode(record) for record in chunk]
    path = parts / name
    with atomic.whole(path) as temporary:
      _write(temporary, serialized)
    sizes = [_HEADER_BYTES + len(data) + _FOOTER_BYTES for data in serialized]
    shards.append(records.Shard(
        file=name, bytes=path.stat().st_size, records=len(chunk), sha256=_sha256(path),
        recording=chunk[0].recording, subject=chunk[0].subject, partition=partition,
        first_second=chunk[0].second, steps=int(sum(record.valid.sum() for record in chunk)),
        offsets=[int(offset) for offset in np.cumsum([0] + sizes[:-1])]))
  return shards


def _write(path, serialized) -> None:
  from data_prep.quiet_tf import tf
  try:
    with tf.io.TFRecordWriter(os.fsencode(path)) as writer:
      for data in serialized:
        writer.write(data)
  except tf.errors.OpError as e:  # its code does not tell a full disk from too many open files, its text does
    number = next((n for n in errno.errorcode if os.strerror(n) in e.message), None)
    raise OSError(number, os.strerror(number) if number else reason(e)) from None
  with open(path, 'rb') as f:
    os.fsync(f.fileno())  # a rename may reach the disk before the data does


def reason(error) -> str:
  """A TensorFlow error without the names of its nodes and operations."""
  return re.sub(r"{{.*?}} ?|' failed with.*| \[.*", '', error.message.splitlines()[0])


def part_stem(recording: str) -> str:
  """A file name for any recording id: distinct ids give distinct names on every file system."""
  safe = ''.join(c if c.isalnum() and c.isascii() else '_' for c in recording)[:60]
  return f'{safe}-{hashlib.sha256(recording.encode()).hexdigest()[:8]}'


def part_name(recording: str, index: int) -> str:
  """The name in `.parts` of a recording's shard."""
  return f'{part_stem(recording)}-{index:03d}.tfrecord'


def finish(out, shards: list[records.Shard], *, targets, num_landmarks, label_scale, preparation) -> records.Manifest:
  """Gives the parts their final names and writes the manifest and the TFDS metadata.

  Args:
    out: data folder; `unname` must have been called since its last `finish`.
    shards: as `write_recording` returned them.
    targets, num_landmarks, label_scale, preparation: see `records.Manifest`.
  """
  from data_prep.quiet_tf import tfds
  out = pathlib.Path(out)
  ordered = sorted(shards, key=lambda s: (records.PARTITIONS.index(s.partition), s.recording, s.first_second))
  counts = collections.Counter(shard.partition for shard in ordered)
  seen = collections.Counter()
  named = []
  for shard in ordered:
    final = f'{DATASET_NAME}-{shard.partition}.tfrecord-{seen[shard.partition]:05d}-of-{counts[shard.partition]:05d}'
    seen[shard.partition] += 1
    named.append(dataclasses.replace(shard, file=final))
  journal = {part.file: final.file for part, final in zip(ordered, named)}
  atomic.write(out / PARTS / _NAMES, json.dumps(journal, indent=1))
  for part, final in journal.items():
    (out / PARTS / part).replace(out / final)

  template = tfds.core.ShardedFileTemplate(data_dir=out, dataset_name=DATASET_NAME, filetype_suffix='tfrecord')
  split_infos = [
      tfds.core.SplitInfo(
          name=partition, filename_template=dataclasses.replace(template, split=partition),
          shard_lengths=[s.records for s in named if s.partition == partition],
          num_bytes=sum(s.bytes for s in named if s.partition == partition))
      for partition in records.PARTITIONS if counts[partition]]
  tfds.folder_dataset.write_metadata(
      data_dir=str(out), features=records.features(len(targets), num_landmarks), split_infos=split_infos,
      filename_template=template, check_data=False,
      description='One second of audio, face and labels per record; see manifest.json.')
  manifest = records.Manifest(targets=list(targets), num_landmarks=num_landmarks, label_scale=label_scale,
                              preparation=preparation, shards=named)
  manifest.write(out)
  return manifest


def names(out) -> dict[str, str]:
  """Part -> final name, as of the last `finish`; empty if there was none.

  Raises:
    DataError: damaged, or it names files that are no shards: these will be renamed and deleted.
  """
  path = pathlib.Path(out) / PARTS / _NAMES
  try:
    journal = json.loads(path.read_text(encoding='utf-8'))
    for part, final in journal.items():
      if not (_PART.fullmatch(part) and _FINAL.fullmatch(final)):
        raise ValueError(f'{part!r}: {final!r}; expected names of shards')
  except FileNotFoundError:
    return {}
  except OSError as e:
    raise DataError(f'{path}: cannot be read ({e.strerror})') from None
  except (ValueError, TypeError, AttributeError, RecursionError) as e:
    raise DataError(f'{path}: damaged ({e}); remove {out} and run the command again') from None
  records.inside(out, PARTS, path)
  return journal


def unname(out) -> None:
  """Takes final names back, so that shards can be added or dropped; the folder is no data folder until `finish`."""
  out = pathlib.Path(out)
  (out / records.MANIFEST).unlink(missing_ok=True)
  for part, final in names(out).items():
    # After a kill between two renames a part may lie under either name; under both, the one in `.parts` is newer.
    if (out / PARTS / part).exists():
      (out / final).unlink(missing_ok=True)
    elif (out / final).exists():
      (out / final).replace(out / PARTS / part)
  (out / PARTS / _NAMES).unlink(missing_ok=True)


def examples(path):
  """Yields name -> `tf.train.Feature` of every record of a shard.

  Raises:
    DataError: it is absent or damaged.
  """
  from data_prep.quiet_tf import tf
  try:
    for k, data in enumerate(tf.data.TFRecordDataset(os.fsencode(path)).as_numpy_iterator()):
      try:
        feature = tf.train.Example.FromString(data).features.feature
        missing = _missing(feature)
      except Exception as e:  # pylint: disable=broad-except  # protobuf's errors
        missing = f'not an Example ({" ".join(str(e).split())})'
      if missing:
        raise DataError(f'{path}: record {k}: {missing}; run `python -m data_prep.shards --verify`')
      yield feature
  except tf.errors.OpError as e:
    raise DataError(f'{path}: {reason(e)}; run `python -m data_prep.shards --verify`') from None


def _missing(feature):
  """What a record lacks of what its readers take from it without looking; None where all is there."""
  steps = records.STEPS_PER_RECORD
  sizes = {'audio': 2 * steps * records.SAMPLES_PER_STEP, 'face_found': 4 * steps, 'label_mask': 4 * steps,
           'valid': 4 * steps}
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
  manifest = records.Manifest.read(folder)
  faults = []
  subjects = collections.defaultdict(set)
  next_second = collections.Counter()
  for shard in manifest.shards:
    subjects[shard.subject].add(shard.partition)
    if shard.first_second != next_second[shard.recording]:
      faults.append(f'{shard.file}: starts at second {shard.first_second} of {shard.recording}, '
                    f'expected {next_second[shard.recording]}')
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
  from data_prep.quiet_tf import tf
  path = folder / shard.file
  if not path.is_file():
    yield 'not found'
    return
  if path.stat().st_size != shard.bytes:
    yield f'{path.stat().st_size} bytes, the manifest says {shard.bytes}'
  if _sha256(path) != shard.sha256:
    yield 'SHA-256 differs from the manifest'
  offset, steps, count = 0, 0, 0
  offsets = []
  try:
    for data in tf.data.TFRecordDataset(os.fsencode(path)).as_numpy_iterator():
      offsets.append(offset)
      offset += _HEADER_BYTES + len(data) + _FOOTER_BYTES
      fault, valid = _verify_record(data, manifest, shard, count)
      if fault:
        yield f'record {count}: {fault}'
      count, steps = count + 1, steps + valid
  except tf.errors.DataLossError as e:
    yield f'record {count}: damaged ({reason(e)})'
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
  from data_prep.quiet_tf import tf
  path = pathlib.Path(folder) / shard.file
  index = offset = 0
  fault = None
  try:
    for data in tf.data.TFRecordDataset(os.fsencode(path)).take(stop).as_numpy_iterator():
      if index >= first:
        fault, _ = _verify_record(data, manifest, shard, index)
      if fault:
        break
      index, offset = index + 1, offset + _HEADER_BYTES + len(data) + _FOOTER_BYTES
    else:
      fault = f'the file ends here, the manifest says {shard.records} records' if index < stop else None
  except tf.errors.OpError as e:
    fault = f'damaged ({reason(e)})'
  return fault and (f'{path}: record {index} (byte {offset}; second {shard.first_second + index} of '
                    f'{shard.recording}): {fault}')


def _verify_record(data, manifest, shard, index):
  """Returns (what is wrong with one record or None, its valid steps)."""
  from data_prep.quiet_tf import tf
  try:
    feature = tf.train.Example.FromString(data).features.feature
    fault = _fault(feature, manifest, shard, index)
    return fault, 0 if fault else int(np.frombuffer(feature['valid'].bytes_list.value[0], '<f4').sum())
  except Exception as e:  # pylint: disable=broad-except  # protobuf's errors: DecodeError, UnicodeDecodeError, …
    return f'not an Example ({" ".join(str(e).split())})', 0


def _fault(feature, manifest, shard, index):
  steps, targets = records.STEPS_PER_RECORD, len(manifest.targets)
  sizes = {'audio': 2 * steps * records.SAMPLES_PER_STEP, 'face_found': 4 * steps, 'label': 4 * steps * targets,
           'label_mask': 4 * steps, 'valid': 4 * steps}
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


def _sha256(path) -> str:
  with open(path, 'rb') as f:
    return hashlib.file_digest(f, 'sha256').hexdigest()


def _define_flags():
  cli.define_path('verify', None, 'Data folder to read back whole.')


def main() -> None:
  folder = flags.FLAGS.verify
  if not folder:
    raise UserError('--verify=DIR is missing: the data folder to read back')
  faults = verify(folder)
  for fault in faults:
    cli.say(fault)
  if faults:
    raise DataError(f'{folder}: {len(faults)} faults; make the data again with `python -m data_prep.prepare`')
  cli.say(f'{folder}: all shards are what the manifest says')


if __name__ == '__main__':
  cli.run(main, _define_flags)
