"""Geometric features for prepared data (paper, section V-D): landmarks, Procrustes-aligned, beside every step.

    python -m data_prep.landmarks --data=data/recola --out=data/recola_geometric [--source=mtcnn]

Reads a data folder and writes another that has landmarks, too. `--source` is `mtcnn` (five points, by a detector that
ships with its model), a folder of `<recording>.csv` (as OpenFace writes them) or `.npz`, the CSV manifest of own data
with a column `landmarks`, or a model file of your own: YuNet's .onnx, dlib's .dat, mediapipe's .task. Detectors look at
the face crops.

The mean shape and the deviations are those of the train partition and stand in the manifest. Stored is how far each
point of the aligned shape is from the mean's, in these deviations; 0 where no landmarks were found.
"""

import dataclasses
import hashlib
import json
import pathlib
import sys

from absl import flags
import cv2
import numpy as np
import tqdm

from data_prep import prepare
from data_prep.core import atomic, cli
from data_prep.core.errors import DataError, UserError
from data_prep.face import landmark_providers, procrustes
from data_prep.schema.fields import Layout
from data_prep.schema.manifest import Manifest
from data_prep.shards import read, write
from data_prep.streams import STREAMS

LIMIT = 5.0  # deviations that a point may be from the mean's: what is farther was not found where it is
_LEAST_DEVIATION = 1e-6  # of a coordinate of a shape of norm 1; below, it is constant and stays 0


def add_landmarks(data, source: str, out) -> Manifest:
  """Writes the data folder `out`: that of `data`, with landmarks.

  Args:
    data: data folder.
    source: see `landmark_providers.open_provider`.
    out: another folder.

  Raises:
    DataError: landmarks are missing or differ in number, or none are found in the train partition.
    UserError: `source` or `out` makes no sense. WorkdirError, LockedError, DiskFullError: about `out`.
  """
  data, out = pathlib.Path(data), pathlib.Path(out)
  manifest = Manifest.read(data)
  if data.resolve() == out.resolve():
    raise UserError(f'--out={out} is the data folder itself; give another one')
  provider = landmark_providers.open_provider(source)
  by_recording = {}
  for shard in sorted(manifest.shards, key=lambda s: (s.recording, s.first_second)):
    by_recording.setdefault(shard.recording, []).append(shard)
  with prepare.locked(out):
    progress = lambda items, words: tqdm.tqdm(items, desc=words, unit='recording', disable=not sys.stderr.isatty())
    points = {
      name: _points(data, out, manifest, provider, name, of) for name, of in progress(by_recording.items(), 'landmarks')
    }
    counts = {p.shape[1] for p in points.values()}
    if len(counts) > 1:
      raise DataError(
        f'{source}: recordings have {" and ".join(map(str, sorted(counts)))} landmarks, expected as many in each'
      )
    train = [points[name] for name, of in by_recording.items() if of[0].partition == 'train']
    mean, deviation = fit(np.concatenate(train) if train else np.zeros((0, counts.pop(), 2)))
    fields = STREAMS['geometric'].fields(manifest.grid, {'landmarks': mean.shape[0]})
    layout = Layout(manifest.targets, manifest.grid, {**manifest.streams, 'geometric': fields})
    write.unname(out)
    written = []
    for name, of in progress(by_recording.items(), 'writing'):
      rows = list(_with_landmarks(data, of, manifest, features(points[name], mean, deviation)))
      written += write.write_recording(out, rows, layout, partition=of[0].partition)
    landmarks = {
      'provider': provider.words,
      'mean_shape': mean.tolist(),
      'deviation': deviation.tolist(),
      'limit': LIMIT,
    }
    result = write.finish(
      out,
      written,
      layout,
      label_scale=manifest.label_scale,
      preparation={**manifest.preparation, 'landmarks': landmarks},
    )
  for name, of in by_recording.items():
    found = np.isfinite(points[name]).all(axis=(1, 2)).mean()
    cli.say(f'{name}  {of[0].partition:<10}  landmarks in {100 * found:.1f} % of {len(points[name])} steps')
  cli.say(
    f'{out}: {mean.shape[0]} landmarks by {provider.words}; train with configs/fused_geometric.py and '
    f'--config.model.geometric.landmarks={mean.shape[0]}'
  )
  return result


def fit(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean shape [L, 2] and deviation of each coordinate [L, 2] of the train partition's points [N, L, 2].

  Raises:
    DataError: none were found, or they lie in one place.
  """
  found = points[np.isfinite(points).all(axis=(1, 2))]
  try:
    mean = procrustes.fit(found)
  except ValueError as e:
    raise DataError(f'the train partition has {e}; look at the faces with `python -m data_prep.preview`') from None
  return mean, procrustes.align(found, mean).std(axis=0)


def features(points: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
  """Points [T, L, 2] -> float32 [T, L, 2]: aligned, less the mean shape, in deviations; 0 where there are none."""
  found = np.isfinite(points).all(axis=(1, 2)) & (np.ptp(np.nan_to_num(points), axis=1).max(axis=1) > 0)
  result = np.zeros(points.shape, np.float32)
  unit = np.where(deviation > _LEAST_DEVIATION, deviation, np.inf)
  result[found] = np.clip((procrustes.align(points[found], mean) - mean) / unit, -LIMIT, LIMIT)
  return result


def _points(data, out, manifest, provider, name, of) -> np.ndarray:
  """A recording's landmarks [T, L, 2]; those found before an interruption are kept in `out/.parts`."""
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
        for jpeg in record.values['face'][:valid]:
          yield cv2.cvtColor(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

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
      here = padded[record.second * per_record : (record.second + 1) * per_record]
      yield dataclasses.replace(record, values=record.values | {'landmarks': here})


def _define_flags():
  cli.define_path('data', None, 'Data folder, as data_prep.prepare wrote it.', required=True)
  cli.define_path('out', None, 'Data folder to write.', required=True)
  cli.define_path(
    'source',
    landmark_providers.MTCNN,
    'mtcnn, a folder of CSV or NPZ files, a manifest, or a model file (.onnx, .dat, .task).',
  )


def main() -> None:
  add_landmarks(flags.FLAGS.data, flags.FLAGS.source, flags.FLAGS.out)


if __name__ == '__main__':
  cli.run(main, _define_flags)
