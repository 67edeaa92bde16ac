"""Copies of damaged shards in which a blank record stands for each that cannot be read: nothing in it counts."""

import dataclasses
import pathlib

from data_prep.core import atomic
from data_prep.core.errors import DataError
from data_prep.schema import records
from data_prep.schema.manifest import Manifest, Shard
from data_prep.shards import tfrecord, verify, write


def mended(folder, manifest: Manifest, most: int, out) -> tuple[Manifest, list[str]]:
  """A manifest of the same data, in which mended copies stand for shards whose SHA-256 is not the manifest's.

  A damaged length hides every later record from readers that go from record to record. Here all but the damaged ones
  are found, and each says itself which it is.

  Args:
    folder: data folder; it is not changed.
    manifest: of it; each shard has the manifest's number of bytes.
    most: records that may be bad.
    out: folder for the copies, made where there are any.

  Returns:
    The manifest, and a line for each bad record.

  Raises:
    DataError: more records are bad; the first is named.
    WorkdirError, DiskFullError: `out` cannot be written.
  """
  folder, out = pathlib.Path(folder), pathlib.Path(out)
  blank = records.encode(records.blank(manifest), manifest)
  shards: list[Shard] = []
  faults: list[str] = []
  for shard in manifest.shards:
    if write.sha256(folder / shard.file) == shard.sha256:
      shards.append(shard)
      continue
    kept, bad = _records(folder, manifest, shard, out, blank)
    faults += bad
    if len(faults) <= most:
      shards.append(_write(shard, kept, out))
  if len(faults) > most:
    raise DataError(
      f'{folder}: {len(faults)} records cannot be read, at most {most} may (config.data.max_bad_records); the first: '
      f'{faults[0]}; make the shards again with `python -m data_prep.prepare`'
    )
  return dataclasses.replace(manifest, shards=shards), faults


def _records(folder, manifest, shard, out, blank):
  """The serialized records of a shard, blank where they are bad, and what is wrong with these."""
  from google.protobuf import message

  from data_prep.core.quiet_tf import tf

  data = (folder / shard.file).read_bytes()
  kept, faults = {}, {}
  alone = out / '.record'  # for the reader of TensorFlow, which checks both sums
  with atomic.writing(out):
    out.mkdir(parents=True, exist_ok=True)
    for begin, end in tfrecord.places(data):
      alone.write_bytes(data[begin:end])
      try:
        (serialized,) = tfrecord.read(alone)
        (second,) = tf.train.Example.FromString(serialized).features.feature['second'].int64_list.value
      except (tf.errors.OpError, ValueError, message.Error):
        continue
      index = second - shard.first
      kept[index] = serialized
      faults[index], _ = verify.verify_record(serialized, manifest, shard, index)
    alone.unlink(missing_ok=True)
  faults = {index: faults.get(index, 'damaged') for index in range(shard.records)}
  where = f'{folder / shard.file}: record'
  return (
    [blank if fault else kept[index] for index, fault in faults.items()],
    [f'{where} {index} of {shard.recording}: {fault}' for index, fault in faults.items() if fault],
  )


def _write(shard, serialized, out):
  path = (out / shard.file).absolute()
  with atomic.whole(path) as temporary:
    tfrecord.write(temporary, serialized)
  return dataclasses.replace(
    shard,
    file=str(path),
    bytes=sum(map(tfrecord.stored_bytes, serialized)),
    sha256=write.sha256(path),
  )
