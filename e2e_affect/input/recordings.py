"""Where the records of recordings lie, and how recordings are cut into the sequences of the training."""

import collections
import dataclasses
import os
import pathlib

import ml_collections

from data_prep.core import remote
from data_prep.core.errors import DataError, UserError
from data_prep.schema.grid import Grid
from data_prep.schema.manifest import Manifest
from e2e_affect import streams


@dataclasses.dataclass(frozen=True)
class StoredRecording:
  """Where the records of one recording lie: `files` in order, and how many records and steps they hold."""

  name: str
  subject: str
  files: list[str]
  records: int
  steps: int


def read_manifest(folder: str, fold: str = '') -> Manifest:
  """Reads the manifest and looks at every shard's size and permission, without reading the shards.

  Args:
    folder: `config.data.dir`.
    fold: `config.data.fold`, which the partitions are those of.

  Raises:
    DataError: no manifest, or a shard that is missing, cut, grown or not to be read: named, with what was expected.
    UserError: no such fold.
    BucketError: of an address that cannot be fetched.
  """
  remote.fetch(folder)
  manifest = Manifest.read(folder).of_fold(fold)
  for shard in manifest.shards:
    path = pathlib.Path(folder) / shard.file
    found = os.path.getsize(path) if path.is_file() else None
    if found != shard.bytes:
      what = 'not found' if found is None else f'{found} bytes found'
      raise DataError(
        f'{path}: {what}, {shard.bytes} bytes with {shard.records} records expected; make the shards '
        'again with `python -m data_prep.prepare`'
      )
    if not os.access(path, os.R_OK):
      raise DataError(f'{path}: you may not read it; give yourself the permission (chmod u+r)')
  return manifest


def recordings(manifest: Manifest, folder: str, partition: str) -> list[StoredRecording]:
  """The recordings of a partition, sorted by name."""
  return [
    StoredRecording(
      name,
      of[0].subject,
      [str(pathlib.Path(folder) / s.file) for s in of],
      sum(s.records for s in of),
      sum(s.steps for s in of),
    )
    for name, shards in manifest.by_recording().items()
    if (of := [shard for shard in shards if shard.partition == partition])
  ]


def to_train_on(config: ml_collections.ConfigDict, manifest: Manifest) -> list[StoredRecording]:
  """The recordings of the partitions to train on.

  Raises:
    DataError: there are none.
  """
  group = [r for partition in config.data.train_on for r in recordings(manifest, config.data.dir, partition)]
  if not group:
    raise DataError(f'{config.data.dir}: no recordings to train on in {" and ".join(config.data.train_on)}')
  return group


def records_per_sequence(config: ml_collections.ConfigDict, grid: Grid) -> int:
  """How many records a training sequence takes.

  Raises:
    UserError: it is no whole number of them.
  """
  count, rest = divmod(config.data.sequence_steps, grid.steps_per_record)
  if rest:
    raise UserError(
      f'config.data.sequence_steps = {config.data.sequence_steps}, expected a multiple of '
      f'{grid.steps_per_record}, the steps of a record of {config.data.dir}; set it with '
      '--config.data.sequence_steps=…'
    )
  return count


def records_per_chunk(config: ml_collections.ConfigDict, manifest: Manifest) -> int:
  """How many records of a recording are evaluated at once.

  A network that reads backwards, too, takes every recording whole: as many records as the longest of all has, so that
  partitions share what is compiled. No network takes more than that.
  """
  longest = longest_records(manifest)
  if config.model.recurrent.bidirectional:
    return longest
  return max(1, min(longest, round(config.evaluate_chunk_seconds / manifest.grid.record_seconds)))


def longest_records(manifest: Manifest) -> int:
  """How many records the longest recording has."""
  records = collections.Counter[str]()
  for shard in manifest.shards:
    records[shard.recording] += shard.records
  return max(records.values())


def windows(config: ml_collections.ConfigDict, manifest: Manifest) -> list[tuple[StoredRecording, int]]:
  """(recording, first record) of every sequence of T steps to train on; the last of a recording may be partly masked.

  Raises:
    UserError, DataError: as `records_per_sequence` and `check_fields`, and where there is no recording.
  """
  check_fields(config, manifest)
  length = records_per_sequence(config, manifest.grid)
  return [(r, start) for r in to_train_on(config, manifest) for start in range(0, r.records, length)]


def check_fields(config: ml_collections.ConfigDict, manifest: Manifest) -> None:
  """Whether the records hold the streams of the network, in its shapes.

  Raises:
    DataError: they do not.
  """
  for stream in streams.of(config.model):
    stream.check(manifest.streams.get(stream.name), config)
