"""The manifest: what lies in a data folder, whose it is, and how it was made; `manifest.json`."""

from collections.abc import Mapping
import dataclasses
import json
import math
import os
import pathlib

from data_prep.core import atomic, json_text
from data_prep.core.errors import DataError, UserError
from data_prep.schema.fields import Field, Layout
from data_prep.schema.grid import Grid
from data_prep.schema.label_clock import LabelClock

PARTITIONS = ('train', 'validation', 'test')
FORMAT_VERSION = 3
MANIFEST = 'manifest.json'
_LONGEST_NAME = 255  # bytes, of most file systems
_IN_FILES = {'first': 'first_second'}
_IN_CODE = {stored: name for name, stored in _IN_FILES.items()}


@dataclasses.dataclass(frozen=True)
class Shard:
  """One TFRecord file: consecutive records of one recording.

  Attributes:
    file: name inside the data folder.
    bytes: size of the file.
    records: how many records it holds.
    sha256: of the whole file, hexadecimal.
    recording, subject, partition: whose records these are.
    first: index of the first record in its recording; files call it `first_second`.
    steps: valid steps in this shard (the last record of a recording may be partly filled).
  """

  file: str
  bytes: int
  records: int
  sha256: str
  recording: str
  subject: str
  partition: str
  first: int
  steps: int

  @classmethod
  def parse(cls, content) -> 'Shard':
    """A shard as JSON holds it.

    Raises:
      TypeError, ValueError: a field is missing, unknown, or not of its type.
    """
    content = {_IN_CODE.get(name, name): value for name, value in content.items()}
    content.pop('offsets', None)  # of every record, which the second format version had, and nobody read
    shard = cls(**content)
    for field in dataclasses.fields(cls):
      value = getattr(shard, field.name)
      if type(value) is not field.type or (field.type is int and not 0 <= value < 2**63):
        raise TypeError(f'shard {str(content.get("file"))!r}: {field.name} is {str(value)[:50]!r}')
    if shard.partition not in PARTITIONS:
      raise ValueError(f'shard {shard.file!r}: partition {shard.partition!r}')
    return shard

  def stored(self) -> dict:
    """The shard as JSON holds it."""
    return {_IN_FILES.get(name, name): value for name, value in dataclasses.asdict(self).items()}


def inside(folder, text: str, where) -> pathlib.Path:
  """The path that a file names, checked whoever wrote that file: others may have changed one of ours.

  Args:
    folder: what the path is relative to and must not leave.
    text: the path as it is written.
    where: the file that names it, for the message.

  Raises:
    DataError: it is no path, is absolute, or leads out of `folder`, also by a symbolic link.
  """
  folder = pathlib.Path(folder)
  try:
    path = pathlib.Path(text)
    if any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.parts):
      raise ValueError(f'a name of more than {_LONGEST_NAME} bytes')
    resolved, root = (folder / path).resolve(), folder.resolve()
  except (OSError, RuntimeError, ValueError, TypeError) as e:  # a NUL, links in a circle, no text
    raise DataError(f'{where}: {str(text)[:100]!r} is no path ({e}); expected a file inside {folder}') from None
  if path.is_absolute() or resolved == root or not resolved.is_relative_to(root):
    raise DataError(f'{where}: {text} leads out of {folder}; expected a path inside it: move the file there')
  return folder / path


@dataclasses.dataclass(frozen=True)
class Manifest(Layout):
  """What lies in a data folder; `manifest.json`.

  Attributes:
    label_scale: per target [gain, offset]: stored = gain · original + offset, in [−1, 1].
    preparation: every parameter the preparation ran with.
    shards: sorted by partition, recording and first record.
    folds: other divisions of the same recordings: name -> subject -> partition.
    label_clock: the labels at their own times; None: the grid is theirs.
    about: recording -> what is known of it or its person, see `Recording.about`; those of which nothing is are absent.
    face_size: recording -> median side of the face's box, pixels of its picture; those without one are absent.
  """

  label_scale: dict[str, list[float]]
  preparation: dict
  shards: list[Shard]
  folds: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict, kw_only=True)
  label_clock: LabelClock | None = dataclasses.field(default=None, kw_only=True)
  about: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict, kw_only=True)
  face_size: Mapping[str, float] = dataclasses.field(default_factory=dict, kw_only=True)

  @property
  def num_landmarks(self) -> int:
    """L, or 0 where the records carry no landmarks."""
    return self.streams['geometric'][0].shape[0] if 'geometric' in self.streams else 0

  def by_recording(self) -> dict[str, list[Shard]]:
    """Recording, sorted by name -> its shards in order."""
    found: dict[str, list[Shard]] = {}
    for shard in sorted(self.shards, key=lambda s: (s.recording, s.first)):
      found.setdefault(shard.recording, []).append(shard)
    return found

  def of_fold(self, name: str) -> 'Manifest':
    """The manifest with the partitions of a fold; '' leaves them as they were prepared.

    Raises:
      UserError: there is no such fold.
      DataError: a subject is in no partition of it.
    """
    if not name:
      return self
    if name not in self.folds:
      known = ', '.join(self.folds) or 'none: leave it empty'
      raise UserError(f'config.data.fold = {name!r}; the folds of these data are {known}')
    partition_of = self.folds[name]
    lacking = sorted({shard.subject for shard in self.shards} - set(partition_of))
    if lacking:
      raise DataError(
        f'{MANIFEST}: fold {name} names no partition for subject {", ".join(lacking)}; prepare the recordings again, '
        'or choose another --config.data.fold'
      )
    shards = [dataclasses.replace(shard, partition=partition_of[shard.subject]) for shard in self.shards]
    shards.sort(key=lambda s: (PARTITIONS.index(s.partition), s.recording, s.first))
    return dataclasses.replace(self, shards=shards)

  def write(self, folder) -> None:
    """Writes `manifest.json` whole or not at all."""
    content = {'format_version': FORMAT_VERSION, **dataclasses.asdict(self)}
    # What has none keeps the bytes that it had before there were any.
    for name in ('classes', 'folds', 'label_clock', 'about', 'face_size'):
      if not content[name]:
        del content[name]
    content['shards'] = [shard.stored() for shard in self.shards]
    atomic.write(pathlib.Path(folder) / MANIFEST, json.dumps(content, indent=1) + '\n')

  @classmethod
  def read(cls, folder) -> 'Manifest':
    """Reads `manifest.json`, of this format version or one before.

    Raises:
      DataError: it is absent, damaged, of another format version, or names a file out of the folder.
    """
    path = pathlib.Path(folder) / MANIFEST
    try:
      content = json_text.parse(path.read_text(encoding='utf-8'))
      if not isinstance(content, dict):
        raise TypeError(f'a {type(content).__name__}; expected an object with format_version, targets and shards')
      version = content.pop('format_version')
      if version == 1:
        content |= _of_version_1(content.pop('num_landmarks'))
      elif version not in (2, FORMAT_VERSION):
        raise DataError(
          f'{path}: format version {str(version)[:30]}, this program reads 1 to {FORMAT_VERSION}; '
          'run `python -m data_prep.prepare` again'
        )
      content['grid'] = Grid(**content['grid'])
      content['streams'] = {name: tuple(map(Field.parse, fields)) for name, fields in content['streams'].items()}
      content['classes'] = {target: tuple(names) for target, names in content.get('classes', {}).items()}
      if content.get('label_clock'):
        content['label_clock'] = LabelClock.parse(content['label_clock'])
      manifest = cls(shards=[Shard.parse(shard) for shard in content.pop('shards')], **content)
      targets = manifest.targets
      if not isinstance(targets, list) or not targets or not all(isinstance(name, str) for name in targets):
        raise TypeError(f'targets are {str(targets)[:50]}')
      if not isinstance(manifest.label_scale, dict) or not isinstance(manifest.preparation, dict):
        raise TypeError('label_scale or preparation is of another type than the program writes')
      if not all(isinstance(name, str) for names in manifest.classes.values() for name in names):
        raise TypeError(f'classes are {str(manifest.classes)[:50]}')
      for fold, partition_of in manifest.folds.items():
        if not set(partition_of.values()) <= set(PARTITIONS):
          raise ValueError(f'fold {fold!r}: {str(partition_of)[:50]}; expected subjects and their partitions')
      for recording, columns in manifest.about.items():
        if not all(isinstance(value, str) for value in columns.values()):
          raise TypeError(f'about {recording!r}: {str(columns)[:50]}; expected columns and their values, text')
      for recording, size in manifest.face_size.items():
        if not (type(size) in (int, float) and 0 < size < math.inf):
          raise TypeError(f'face_size {recording!r}: {str(size)[:50]}; expected pixels, above 0')
    except (FileNotFoundError, NotADirectoryError):
      raise DataError(f'{path}: not found; make the shards with `python -m data_prep.prepare`') from None
    except OSError as e:
      raise DataError(f'{path}: cannot be read ({e.strerror})') from None
    except (KeyError, TypeError, ValueError, AttributeError) as e:
      raise DataError(f'{path}: damaged ({e}); run `python -m data_prep.prepare` again') from None
    for shard in manifest.shards:
      inside(folder, shard.file, path)
    for file in manifest.label_clock.files.values() if manifest.label_clock else ():
      inside(folder, file.file, path)
    return manifest


def _of_version_1(num_landmarks):
  """The fields that manifests of the first format version left unsaid."""
  if type(num_landmarks) is not int:
    raise TypeError(f'num_landmarks is {num_landmarks!r}')
  speech = [
    {'name': 'audio', 'shape': [Grid().samples_per_step], 'dtype': 'int16'},
    {'name': 'audio_mean', 'per': 'recording'},
    {'name': 'audio_std', 'per': 'recording'},
    {'name': 'audio_gain', 'per': 'recording', 'default': 1.0},
  ]
  visual = [{'name': 'face', 'shape': [96, 96, 3], 'dtype': 'jpeg'}, {'name': 'face_found'}]
  geometric = {'geometric': [{'name': 'landmarks', 'shape': [num_landmarks, 2]}]} if num_landmarks else {}
  return {'grid': {}, 'streams': {'speech': speech, 'visual': visual} | geometric}
