"""Writes a recording as shards and gives them their final names.

While a batch runs, shards lie in `DIR/.parts`, named after their recording; only when all recordings are done is the
number of shards known, which the final names carry (`affect-train.tfrecord-00003-of-00016`, as TensorFlow Datasets
reads them). `.parts/names.json` says which part got which final name, so that a batch that is killed between two
renames, or that adds a recording later, finds its parts again.
"""

import collections
import dataclasses
import hashlib
import json
import pathlib
import re

from data_prep.core import atomic, json_text
from data_prep.core.errors import DataError
from data_prep.schema import records
from data_prep.schema.fields import Layout
from data_prep.schema.manifest import inside, MANIFEST, Manifest, PARTITIONS, Shard
from data_prep.shards import tfrecord

PARTS = '.parts'
DATASET_NAME = 'affect'  # tfds: the first part of every file name
_NAMES = 'names.json'
_PART = re.compile(r'[A-Za-z0-9_]*-[0-9a-f]{8}-[0-9]+[.]tfrecord')
_FINAL = re.compile(rf'{DATASET_NAME}-(?:{"|".join(PARTITIONS)})[.]tfrecord-[0-9]+-of-[0-9]+')


def write_recording(out, recording_records, layout: Layout, *, partition: str) -> list[Shard]:
  """Writes the records of one recording into `out/.parts`, each shard whole or not at all.

  Args:
    out: data folder.
    recording_records: the recording's `Record`s in order.
    layout: of the records.
    partition: 'train', 'validation' or 'test'.

  Returns:
    One `Shard` per file; `file` is the name in `.parts`.

  Raises:
    WorkdirError, DiskFullError: `out` cannot be written.
  """
  parts = pathlib.Path(out) / PARTS
  shards: list[Shard] = []
  for first in range(0, len(recording_records), records.RECORDS_PER_SHARD):
    chunk = recording_records[first : first + records.RECORDS_PER_SHARD]
    name = part_name(chunk[0].recording, len(shards))
    serialized = [records.encode(record, layout) for record in chunk]
    path = parts / name
    with atomic.whole(path) as temporary:
      tfrecord.write(temporary, serialized)
    shards.append(
      Shard(
        file=name,
        bytes=path.stat().st_size,
        records=len(chunk),
        sha256=sha256(path),
        recording=chunk[0].recording,
        subject=chunk[0].subject,
        partition=partition,
        first=chunk[0].index,
        steps=int(sum(record.valid.sum() for record in chunk)),
      )
    )
  return shards


def part_stem(recording: str) -> str:
  """A file name for any recording id: distinct ids give distinct names on every file system."""
  safe = ''.join(c if c.isalnum() and c.isascii() else '_' for c in recording)[:60]
  return f'{safe}-{hashlib.sha256(recording.encode()).hexdigest()[:8]}'


def part_name(recording: str, index: int) -> str:
  """The name in `.parts` of a recording's shard."""
  return f'{part_stem(recording)}-{index:03d}.tfrecord'


def finish(
  out,
  shards: list[Shard],
  layout: Layout,
  *,
  label_scale,
  preparation,
  folds=None,
  label_clock=None,
  about=None,
  face_size=None,
) -> Manifest:
  """Gives the parts their final names and writes the manifest and the TFDS metadata.

  Args:
    out: data folder; `unname` must have been called since its last `finish`.
    shards: as `write_recording` returned them.
    layout: of the records.
    label_scale, preparation, folds, label_clock, about, face_size: see `Manifest`.
  """
  from data_prep.core.quiet_tf import tfds

  out = pathlib.Path(out)
  ordered = sorted(shards, key=lambda s: (PARTITIONS.index(s.partition), s.recording, s.first))
  counts = collections.Counter(shard.partition for shard in ordered)
  seen: collections.Counter[str] = collections.Counter()
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
      name=partition,
      filename_template=dataclasses.replace(template, split=partition),
      shard_lengths=[s.records for s in named if s.partition == partition],
      num_bytes=sum(s.bytes for s in named if s.partition == partition),
    )
    for partition in PARTITIONS
    if counts[partition]
  ]
  tfds.folder_dataset.write_metadata(
    data_dir=str(out),
    features=records.features(layout),
    split_infos=split_infos,
    filename_template=template,
    check_data=False,
    description='Steps of a recording with their labels in each record; manifest.json names the streams.',
  )
  manifest = Manifest(
    targets=list(layout.targets),
    grid=layout.grid,
    streams=dict(layout.streams),
    label_scale=label_scale,
    preparation=preparation,
    shards=named,
    classes=dict(layout.classes),
    folds=folds or {},
    label_clock=label_clock,
    about=about or {},
    face_size=face_size or {},
  )
  manifest.write(out)
  return manifest


def names(out) -> dict[str, str]:
  """Part -> final name, as of the last `finish`; empty if there was none.

  Raises:
    DataError: damaged, or it names files that are no shards: these will be renamed and deleted.
  """
  path = pathlib.Path(out) / PARTS / _NAMES
  try:
    journal = json_text.parse(path.read_text(encoding='utf-8'))
    for part, final in journal.items():
      if not (_PART.fullmatch(part) and _FINAL.fullmatch(final)):
        raise ValueError(f'{part!r}: {final!r}; expected names of shards')
  except FileNotFoundError:
    return {}
  except OSError as e:
    raise DataError(f'{path}: cannot be read ({e.strerror}); mend that and run the command again') from None
  except (ValueError, TypeError, AttributeError) as e:
    raise DataError(f'{path}: damaged ({e}); remove {out} and run the command again') from None
  inside(out, PARTS, path)
  return journal


def unname(out) -> None:
  """Takes final names back, so that shards can be added or dropped; the folder is no data folder until `finish`."""
  out = pathlib.Path(out)
  (out / MANIFEST).unlink(missing_ok=True)
  for part, final in names(out).items():
    # After a kill between two renames a part may lie under either name; under both, the one in `.parts` is newer.
    if (out / PARTS / part).exists():
      (out / final).unlink(missing_ok=True)
    elif (out / final).exists():
      (out / final).replace(out / PARTS / part)
  (out / PARTS / _NAMES).unlink(missing_ok=True)


def sha256(path: str | pathlib.Path) -> str:
  """The SHA-256 of a file, hexadecimal."""
  with open(path, 'rb') as f:
    return hashlib.file_digest(f, 'sha256').hexdigest()
