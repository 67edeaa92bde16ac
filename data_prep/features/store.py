"""Feature sets of a data folder, cached beside its shards: what is missing is made, what is there is read.

`<folder>/features/<set>-<key>/<recording>-<digest>.npy`: the key is of the set, its options and its library, the digest
of the recording's shards. Changed shards are extracted anew, and nothing else is. Where features hold over several
steps, a row is stored once, and `<recording>-<digest>.steps.npy` says which row each step has. What a set learns on
recordings to train on (a PCA) is made anew at each load, from the cached raw features.
"""

from collections.abc import Mapping
import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib
from typing import Any

from absl import logging
import numpy as np

from data_prep.core import atomic, json_text, lock, pool, progress
from data_prep.core.errors import DataError, UserError
from data_prep.features import FEATURES
from data_prep.schema.fields import Layout
from data_prep.schema.manifest import Manifest
from data_prep.shards import read, write

FOLDER = 'features'
COLUMNS_FILE = 'columns.json'


@dataclasses.dataclass(frozen=True)
class Held:
  """Features [T, D] of which rows stand for several steps. It is indexed, and taken by NumPy, as that array.

  Attributes:
    rows: [N, D] float32.
    steps: [T] int32, the row of each step, ascending.
  """

  rows: np.ndarray
  steps: np.ndarray

  @classmethod
  def of(cls, values: np.ndarray) -> 'Held':
    """Of [T, D] float32, T at least 1: a row for each stretch of equal steps."""
    bits = values.view(np.int32)  # NaN equals itself
    begins = np.concatenate([[True], (bits[1:] != bits[:-1]).any(axis=1)])
    return cls(values[begins], np.cumsum(begins, dtype=np.int32) - 1)

  @property
  def shape(self) -> tuple[int, int]:
    """T, D."""
    return len(self.steps), self.rows.shape[1]

  def __len__(self) -> int:
    return len(self.steps)

  def __getitem__(self, steps) -> np.ndarray:
    """[n, D] of steps: a slice, indices or a mask."""
    return self.rows[self.steps[steps]]

  def __array__(self, dtype=None, copy=None) -> np.ndarray:
    return np.asarray(self[:], dtype)


@dataclasses.dataclass(frozen=True)
class Features:
  """A set of features of every recording of a data folder.

  Attributes:
    name: of the set.
    columns: D names.
    mean, deviation: [D] float64 over the steps of the train partition that have features.
    arrays: recording -> [T, D] float32, or such an array `Held`; NaN in steps that have none.
  """

  name: str
  columns: tuple[str, ...]
  mean: np.ndarray
  deviation: np.ndarray
  arrays: Mapping[str, np.ndarray | Held]

  def raw(self, recording: str) -> np.ndarray:
    """[T, D] float32; NaN in steps that have none."""
    return self.arrays[recording][:]

  def standardised(self, recording: str, steps: slice = slice(None)) -> np.ndarray:
    """[T, D] float32, mean 0 and deviation 1 on train; 0 where a step or, throughout, a column tells nothing.

    Args:
      recording: by its name.
      steps: of it; the others are not read.
    """
    values = (self.arrays[recording][steps] - self.mean) / np.where(self.deviation > 0, self.deviation, np.inf)
    return np.nan_to_num(values, nan=0.0).astype(np.float32)

  def mean_of(self, recording: str) -> np.ndarray:
    """[D] float64: the mean over the steps of a recording that have features, not standardised; NaN where none has."""
    rows, steps = _known(self.arrays[recording])
    return steps @ rows / steps.sum() if len(rows) else np.full(len(self.columns), np.nan)


def load(folder, manifest: Manifest, name: str, options: Mapping[str, float] | None = None, jobs: int = 0) -> Features:
  """The features of all recordings; those that are not in the cache are extracted.

  Args:
    folder: data folder.
    manifest: of it.
    name: a name of `FEATURES`.
    options: those that differ from the set's defaults.
    jobs: processes; 0: one a core.

  Raises:
    UserError: no such set or option, or its library is not installed.
    DataError: the records lack what the set is made of, or are damaged.
    WorkdirError, DiskFullError: the cache cannot be written. LockedError: another process makes the same features.
  """
  if name not in FEATURES:
    raise UserError(f'no feature set {name!r}; expected one of {", ".join(FEATURES)}')
  feature_set = FEATURES[name]
  unknown = set(options or {}) - set(feature_set.defaults)
  if unknown:
    known = ', '.join(feature_set.defaults) or 'none'
    raise UserError(f'feature set {name}: no option {", ".join(sorted(unknown))}; it has {known}')
  chosen = {**feature_set.defaults, **(options or {})}
  if feature_set.stream not in manifest.streams:
    raise DataError(f'{folder}: its records have no {feature_set.stream} stream, of which {name} is made')
  by_recording = manifest.by_recording()
  files = _files(pathlib.Path(folder), manifest, name, chosen, by_recording)
  columns, arrays = _read_all(files, by_recording)
  missing = [recording for recording, values in arrays.items() if values is None]
  if missing:
    _make(pathlib.Path(folder), manifest, name, chosen, {r: by_recording[r] for r in missing}, files, jobs)
    columns, arrays = _read_all(files, by_recording)
  train = [recording for recording, of in by_recording.items() if of[0].partition == 'train']
  transform = feature_set.fit(arrays[recording] for recording in train)
  if transform is not None:
    arrays = {recording: transform(values) for recording, values in arrays.items()}
    columns = tuple(f'{name}_{k}' for k in range(next(iter(arrays.values())).shape[1]))
  mean, deviation = _moments([arrays[recording] for recording in train], len(columns))
  return Features(name, columns, mean, deviation, arrays)


def _moments(train, size) -> tuple[np.ndarray, np.ndarray]:
  """Mean and deviation [D] float64 of the steps that have features; 0 where a column is constant but for rounding."""
  count, total = 0, np.zeros(size)
  for values in train:
    known, steps = _known(values)
    count, total = count + steps.sum(), total + steps @ known
  mean = total / max(count, 1)
  squares = np.zeros(size)
  for values in train:
    known, steps = _known(values)
    squares += steps @ (known - mean) ** 2
  deviation = np.sqrt(squares / max(count, 1))
  return mean, np.where(deviation > 1e-6 * np.abs(mean), deviation, 0.0)


def _known(values) -> tuple[np.ndarray, np.ndarray]:
  """The rows [n, D] float64 of steps that have features, and how many steps [n] each stands for."""
  held = values if isinstance(values, Held) else Held(values, np.arange(len(values)))
  there = ~np.isnan(held.rows).any(axis=1)
  return held.rows[there].astype(np.float64), np.bincount(held.steps, minlength=len(held.rows))[there]


def _steps_file(file: pathlib.Path) -> pathlib.Path:
  return file.with_suffix('.steps.npy')


def _read_all(files, by_recording) -> tuple[tuple[str, ...], dict[str, Any]]:
  """The names of the columns, and recording -> its features, None where they have to be made."""
  columns = _columns(next(iter(files.values())).parent)
  steps = {recording: sum(shard.steps for shard in of) for recording, of in by_recording.items()}
  return columns, {recording: _read(file, (steps[recording], len(columns))) for recording, file in files.items()}


def _columns(at: pathlib.Path) -> tuple[str, ...]:
  """The names of the columns of a set; none where they are not written yet, or damaged."""
  try:
    names = json_text.parse((at / COLUMNS_FILE).read_text(encoding='utf-8'))
    return tuple(names) if isinstance(names, list) else ()
  except (OSError, ValueError):
    return ()


def _read(file: pathlib.Path, shape: tuple[int, int]) -> np.ndarray | Held | None:
  """What `_write` wrote, the rows read when they are asked for; None: absent, damaged or of another shape."""
  try:
    rows = np.load(file, mmap_mode='r', allow_pickle=False)
    held = Held(rows, np.load(_steps_file(file), allow_pickle=False)) if _steps_file(file).exists() else None
    values = rows if held is None else held
    if values.shape == shape and (held is None or held.steps.max(initial=0) < len(rows)):
      return values
  except FileNotFoundError:
    return None
  except (OSError, ValueError, EOFError, AttributeError):
    pass  # damaged
  logging.warning('%s: damaged; its features are extracted again', file)
  return None


def _write(file: pathlib.Path, features: Held) -> None:
  """The rows last: where they are, all is there."""
  if len(features.rows) < len(features.steps):
    _save(_steps_file(file), features.steps)
  _save(file, features.rows)


def _save(path, array) -> None:
  with atomic.whole(path) as temporary, open(temporary, 'wb') as file:
    np.save(file, array)


def _files(folder, manifest, name, options, by_recording) -> dict[str, pathlib.Path]:
  """Recording -> where its features lie, or will."""
  feature_set = FEATURES[name]
  made_of = [[field.name, field.shape] for field in manifest.streams[feature_set.stream]]
  key = _digest([name, feature_set.version(), sorted(options.items()), dataclasses.asdict(manifest.grid), made_of])
  at = folder / FOLDER / f'{name}-{key}'
  digest = lambda of: _digest([shard.sha256 for shard in of])
  return {r: at / f'{write.part_stem(r)}-{digest(of)}.npy' for r, of in by_recording.items()}


def _digest(content) -> str:
  return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:12]


def _make(folder, manifest, name, options, by_recording, files, jobs) -> None:
  """Extracts what is missing, on several processes, with progress."""
  at = next(iter(files.values())).parent
  in_use = lambda holder: f'{at}: in use by {holder or "another process"}; wait until it ends'
  work = functools.partial(_extract, folder, manifest, name, options)
  logging.info('%s: extracting %s of %d recordings', folder, name, len(by_recording))
  with (
    lock.held(at / '.lock', at, in_use),
    contextlib.closing(pool.run(work, by_recording.items(), jobs=jobs or pool.cores())) as results,
  ):
    for (recording, _), result in progress.over(results, f'extracting {name}', 'recordings', len(by_recording)):
      if isinstance(result, pool.Crashed):
        raise DataError(f'{recording}: extracting {name} crashed, perhaps for lack of memory')
      columns, features = result
      if not _columns(at):
        atomic.write(at / COLUMNS_FILE, json.dumps(columns))
      _write(files[recording], features)


def _extract(folder, manifest, name, options, item) -> tuple[tuple[str, ...], Held]:
  """Names of columns, and features of one recording; runs in a worker."""
  recording, shards = item
  feature_set = FEATURES[name]
  # openSMILE 2.6 corrupts the heap if it is loaded behind TensorFlow 2.21, and runs if it is loaded before: first of
  # all, and in workers alone, where nothing else has loaded TensorFlow.
  columns = feature_set.columns(manifest, options)
  stream = manifest.streams[feature_set.stream]
  layout = Layout(manifest.targets, manifest.grid, {feature_set.stream: stream})  # other streams are not decoded
  parts: dict[str, list] = {field.name: [] for field in stream}
  valid: list[np.ndarray] = []
  for shard in shards:
    for record in read.read_shard(folder / shard.file, layout):
      count = int(record.valid.sum())
      valid.append(record.valid[:count])
      for field in stream:
        value = record.values[field.name]
        parts[field.name].append(value[:count] if field.per == 'step' else value)
  fields: dict[str, Any] = {'valid': np.concatenate(valid)}
  for field in stream:
    of = parts[field.name]
    if field.per == 'recording':
      fields[field.name] = of[0]
    elif field.dtype == 'jpeg':
      fields[field.name] = [jpeg for pictures in of for jpeg in pictures]
    else:
      fields[field.name] = np.concatenate(of)
  values = feature_set.extract(fields, manifest, options)
  expected = (len(fields['valid']), len(columns))
  if values.shape != expected or values.dtype != np.float32:
    raise DataError(f'{recording}: {name} is {values.dtype}{list(values.shape)}, expected float32{list(expected)}')
  return columns, Held.of(values)
