"""Adds landmarks, Procrustes-aligned, to every step of a data folder (paper, section V-D)."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import pathlib

import numpy as np

from data_prep.core import atomic, cli, pool, progress
from data_prep.core.errors import DataError, UserError
from data_prep.face import jpeg, landmark_features, landmark_providers
from data_prep.schema.fields import Layout
from data_prep.schema.manifest import Manifest
from data_prep.shards import own_labels, prepare, read, write
from data_prep.streams import STREAMS


def add_landmarks(data, source: str, out, jobs: int = 1) -> Manifest:
  """Writes the data folder `out`: that of `data`, with landmarks.

  Args:
    data: data folder.
    source: see `landmark_providers.open_provider`.
    out: another folder.
    jobs: processes that look for landmarks; 1 looks in this one.

  Raises:
    DataError: landmarks are missing or differ in number, none are found in the train partition, or a process died.
    UserError: `source` or `out` makes no sense. WorkdirError, LockedError, DiskFullError: about `out`.
  """
  data, out = pathlib.Path(data), pathlib.Path(out)
  manifest = Manifest.read(data)
  if os.path.realpath(data) == os.path.realpath(out):
    raise UserError(f'--out={out} is the data folder itself; give another one')
  provider = landmark_providers.open_provider(source, manifest.grid)
  by_recording = manifest.by_recording()
  with prepare.locked(out):
    points = _all_points(data, out, manifest, provider, source, by_recording, jobs)
    counts = {p.shape[1] for p in points.values()}
    if len(counts) > 1:
      raise DataError(
        f'{source}: recordings have {" and ".join(map(str, sorted(counts)))} landmarks, expected as many in each'
      )
    train = [points[name] for name, of in by_recording.items() if of[0].partition == 'train']
    mean, deviation = landmark_features.fit(np.concatenate(train) if train else np.zeros((0, counts.pop(), 2)))
    fields = STREAMS['geometric'].fields(manifest.grid, {'landmarks': mean.shape[0]})
    of_streams = {**manifest.streams, 'geometric': fields}
    layout = Layout(manifest.targets, manifest.grid, of_streams, classes=manifest.classes)
    write.unname(out)
    written = []
    for name, of in progress.over(by_recording.items(), 'writing', 'recordings'):
      rows = list(_with_landmarks(data, of, manifest, landmark_features.features(points[name], mean, deviation)))
      written += write.write_recording(out, rows, layout, partition=of[0].partition)
    landmarks = {
      'provider': provider.words,
      'mean_shape': mean.tolist(),
      'deviation': deviation.tolist(),
      'limit': landmark_features.LIMIT,
    }
    own_labels.copy(data, out, manifest.label_clock)
    result = write.finish(
      out,
      written,
      layout,
      label_scale=manifest.label_scale,
      preparation={**manifest.preparation, 'landmarks': landmarks},
      folds=manifest.folds,
      label_clock=manifest.label_clock,
      about=manifest.about,
      face_size=manifest.face_size,
    )
  for name, of in by_recording.items():
    found = np.isfinite(points[name]).all(axis=(1, 2)).mean()
    cli.say(f'{name}  {of[0].partition:<10}  landmarks in {100 * found:.1f} % of {len(points[name])} steps')
  cli.say(
    f'{out}: {mean.shape[0]} landmarks by {provider.words}; train with --config=fused_geometric and '
    f'--config.model.geometric.landmarks={mean.shape[0]}'
  )
  return result


def _all_points(data, out, manifest, provider, source, by_recording, jobs) -> dict[str, np.ndarray]:
  """Landmarks by recording, found by several processes where asked; a detector is what takes long."""
  if jobs > 1 and provider.sees_crops:
    results = pool.run(functools.partial(_in_worker, data, out, manifest, source), by_recording.items(), jobs=jobs)
  else:
    results = ((item, _points(data, out, manifest, provider, item)) for item in by_recording.items())
  points = {}
  with contextlib.closing(results):
    for (name, _), found in progress.over(results, 'finding landmarks', 'recordings', len(by_recording)):
      if isinstance(found, pool.Crashed):
        raise DataError(f'{name}: the search for landmarks crashed, perhaps for lack of memory; give fewer --jobs')
      points[name] = found
  return points


_opened = functools.cache(landmark_providers.open_provider)  # once a worker: it loads a network


def _in_worker(data, out, manifest, source, item) -> np.ndarray:
  return _points(data, out, manifest, _opened(source, manifest.grid), item)


def _points(data, out, manifest, provider, item) -> np.ndarray:
  """A recording's landmarks [T, L, 2]; those found before an interruption are kept in `out/.parts`."""
  name, of = item
  key = hashlib.sha256(json.dumps([provider.words, [shard.sha256 for shard in of]]).encode()).hexdigest()
  kept = out / write.PARTS / f'{write.part_stem(name)}-{key[:16]}.npy'
  if provider.sees_crops and kept.is_file():
    return np.load(kept, allow_pickle=False)
  steps = sum(shard.steps for shard in of)
  found = []

  def crops():
    for shard in of:
      for record in read.read_shard(data / shard.file, manifest):
        valid = int(record.valid.sum())
        found.extend(record.values['face_found'][:valid])
        for face in record.values['face'][:valid]:
          yield jpeg.decode(face)

  points = provider.find(name, crops(), steps)
  if provider.sees_crops:
    points[np.array(found) == 0] = np.nan  # the crop repeats the last good one
    with atomic.whole(kept) as temporary, open(temporary, 'wb') as file:
      np.save(file, points)
  return points


def _with_landmarks(data, of, manifest, landmarks):
  """Yields the recording's records with landmarks [T, L, 2] in them."""
  per_record = manifest.grid.steps_per_record
  padding = -len(landmarks) % per_record
  padded = np.pad(landmarks, ((0, padding), (0, 0), (0, 0)))
  for shard in of:
    for record in read.read_shard(data / shard.file, manifest):
      here = padded[record.index * per_record : (record.index + 1) * per_record]
      yield dataclasses.replace(record, values=record.values | {'landmarks': here})
