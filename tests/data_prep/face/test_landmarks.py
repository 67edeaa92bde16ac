"""Geometric features: Procrustes against an SVD in NumPy, every provider that can run here, shards with landmarks."""

import dataclasses
import pathlib
import sys
import types

import cv2
import numpy as np
import pytest
import scipy.spatial

from data_prep.core.errors import DataError, UserError
from data_prep.face import landmark_features, landmark_providers, procrustes
from data_prep.schema.manifest import Manifest
from data_prep.shards import landmarks, read, verify
from tests.conftest import make_data

POINTS, SHAPES = 7, 40
RNG = np.random.default_rng(3)
BASE = RNG.normal(0, 1, (POINTS, 2))


def moved(shapes, rng):
  """Shapes turned by up to 60°, scaled and shifted, each in its own way."""
  angle, scale = rng.uniform(-1, 1, len(shapes)), rng.uniform(0.3, 4, len(shapes))
  turn = np.stack([np.stack([np.cos(angle), -np.sin(angle)], -1), np.stack([np.sin(angle), np.cos(angle)], -1)], 1)
  return scale[:, None, None] * shapes @ turn.transpose(0, 2, 1) + rng.uniform(-90, 90, (len(shapes), 1, 2))


def by_svd(shape, mean):
  """The usual solution: centred, unit norm, rotation from an SVD whose determinant is made 1."""
  shape = shape - shape.mean(axis=0)
  shape = shape / np.linalg.norm(shape)
  u, _, vt = np.linalg.svd(shape.T @ mean)
  return shape @ u @ np.diag([1, np.linalg.det(u @ vt)]) @ vt


def test_alignment_equals_the_svd():
  shapes = moved(BASE + RNG.normal(0, 0.2, (SHAPES, POINTS, 2)), RNG)
  mean = procrustes.fit(shapes)
  np.testing.assert_allclose(procrustes.align(shapes, mean), [by_svd(s, mean) for s in shapes], atol=1e-12)
  # The mean of aligned shapes is, rescaled, the mean: that is what generalised Procrustes asks for.
  again = procrustes.align(shapes, mean).mean(axis=0)
  np.testing.assert_allclose(again / np.linalg.norm(again), mean, atol=1e-8)
  assert np.linalg.norm(mean) == pytest.approx(1) and np.abs(mean.mean(axis=0)).max() < 1e-12


def test_place_scale_and_rotation_leave_no_trace():
  same = moved(np.repeat(BASE[None], SHAPES, 0), RNG)
  aligned = procrustes.align(same, procrustes.fit(same))
  np.testing.assert_allclose(aligned, np.broadcast_to(aligned[:1], aligned.shape), atol=1e-12)


def test_mirror_images_stay_mirror_images():
  """scipy's procrustes takes a mirrored shape for the shape itself; ours must not."""
  mirrored = BASE * (-1, 1)
  assert scipy.spatial.procrustes(BASE, mirrored)[2] < 1e-12
  mean = procrustes.fit(BASE[None])
  assert np.linalg.norm(procrustes.align(mirrored[None], mean)[0] - mean) > 0.3


def test_shapes_without_extent_are_refused():
  with pytest.raises(ValueError, match='coincide'):
    procrustes.fit(np.ones((3, POINTS, 2)))
  with pytest.raises(ValueError, match='no shapes'):
    procrustes.fit(np.zeros((0, POINTS, 2)))


def test_features_are_deviations_and_zero_where_nothing_was_found():
  points = moved(BASE + RNG.normal(0, 0.1, (SHAPES, POINTS, 2)), RNG)
  mean, deviation = landmark_features.fit(np.concatenate([points, np.full((1, POINTS, 2), np.nan)]))
  lost = points.copy()
  lost[3], lost[5, 2, 0], lost[7] = np.nan, np.nan, 12.5  # not found; found in part; found, all in one place
  lost[9] = RNG.normal(0, 1, (POINTS, 2))  # found somewhere else
  features = landmark_features.features(lost, mean, deviation)
  assert features.dtype == np.float32 and (features[[3, 5, 7]] == 0).all()
  kept = [k for k in range(SHAPES) if k not in (3, 5, 7, 9)]
  np.testing.assert_allclose(
    features[kept], ((procrustes.align(points, mean) - mean) / deviation).clip(-5, 5)[kept], atol=1e-5
  )
  assert np.abs(features).max() == landmark_features.LIMIT


def write_csv(path, times, points, **columns):
  names = ['frame', 'timestamp', *columns, *(f'x_{i}' for i in range(POINTS)), *(f'y_{i}' for i in range(POINTS))]
  rows = [
    [k, t, *(value[k] for value in columns.values()), *p[:, 0], *p[:, 1]] for k, (t, p) in enumerate(zip(times, points))
  ]
  # OpenFace puts a space behind every comma.
  path.write_text('\n'.join([', '.join(names), *(', '.join(map(repr, map(float, row))) for row in rows)]) + '\n')


def test_files_are_placed_by_time(tmp_path):
  """30 frames a second on steps of 40 ms; a gap and a row that OpenFace disowns give NaN."""
  times = np.delete(np.arange(60) / 30, range(30, 40))  # nothing from 1.0 to 1.33 s
  points = np.arange(len(times))[:, None, None] + BASE
  write_csv(tmp_path / 'A.csv', times, points, success=[float(k != 4) for k in range(len(times))])
  found = landmark_providers.open_provider(str(tmp_path)).find('A', (), 48)
  middle = (np.arange(48) + 0.5) * 0.04
  expected = [max(np.flatnonzero(times <= m)) for m in middle]
  for k, row in enumerate(expected):
    if row == 4 or middle[k] - times[row] > 0.05:
      assert np.isnan(found[k]).all(), k
    else:
      np.testing.assert_allclose(found[k], points[row])
  assert np.isnan(found).all(axis=(1, 2)).sum() == 1 + 8  # 0.14 s, of row 4, and 1.02 … 1.30 s
  np.savez(tmp_path / 'B.npz', landmarks=points, time=times)
  np.testing.assert_allclose(landmark_providers.open_provider(str(tmp_path)).find('B', (), 20)[10:], found[10:20])


def test_bad_landmark_files(tmp_path):
  find = lambda name, steps=9: landmark_providers.open_provider(str(tmp_path)).find(name, (), steps)
  with pytest.raises(DataError, match='A.csv: not found'):
    find('A')
  (tmp_path / 'A.csv').write_text('time,a,b\n0,1,2\n')
  with pytest.raises(DataError, match='expected time,x_0'):
    find('A')
  write_csv(tmp_path / 'A.csv', [0.0, 0.04, 0.04], np.zeros((3, POINTS, 2)))
  with pytest.raises(DataError, match='do not increase'):
    find('A')
  np.savez(tmp_path / 'B.npz', landmarks=np.zeros((8, POINTS, 2)))
  with pytest.raises(DataError, match='8 rows without times, the recording has 9 steps'):
    find('B')
  np.savez(tmp_path / 'C.npz', landmarks=np.array([{}], dtype=object))
  with pytest.raises(DataError, match='no landmarks in it'):
    find('C')
  content = (tmp_path / 'B.npz').read_bytes().replace(b'(8, 7, 2)', b'(9, 9, 9)')
  (tmp_path / 'D.npz').write_bytes(content)
  with pytest.raises(DataError, match='no landmarks in it'):
    find('D')


def test_a_manifest_names_the_files(tmp_path):
  points = np.arange(3)[:, None, None] + BASE
  np.savez(tmp_path / 'points.npz', landmarks=points)
  (tmp_path / 'list.csv').write_text(
    'recording,subject,partition,video,audio,labels,landmarks\nA,S,train,v.mp4,,,points.npz\n'
  )
  provider = landmark_providers.open_provider(str(tmp_path / 'list.csv'))
  np.testing.assert_array_equal(provider.find('A', (), 3), points)
  with pytest.raises(DataError, match='not found'):
    provider.find('B', (), 3)
  (tmp_path / 'list.csv').write_text(
    'recording,subject,partition,video,audio,labels,landmarks\nA,S,train,v.mp4,,,/etc/passwd\n'
  )
  with pytest.raises(DataError, match='leads out of'):
    landmark_providers.open_provider(str(tmp_path / 'list.csv'))


def test_sources_that_are_none(tmp_path, monkeypatch):
  for source in ('nothing', str(tmp_path / 'x.dat'), str(tmp_path / 'x.bin')):
    with pytest.raises(UserError, match='of no known kind'):
      landmark_providers.open_provider(source)
  (tmp_path / 'x.onnx').write_bytes(b'no network')
  with pytest.raises(UserError, match='no YuNet model'):
    landmark_providers.open_provider(str(tmp_path / 'x.onnx'))
  for name, library in (('x.dat', 'dlib'), ('x.task', 'mediapipe')):
    (tmp_path / name).write_bytes(b'')
    monkeypatch.setitem(sys.modules, library, None)  # as if it were not installed
    with pytest.raises(UserError, match=f'pip install {library}'):
      landmark_providers.open_provider(str(tmp_path / name))
  monkeypatch.setitem(sys.modules, 'mtcnn', None)
  with pytest.raises(UserError, match=r"mtcnn: not installed; `pip install 'e2e_affect\[landmarks\]'` brings it"):
    landmark_providers.open_provider('mtcnn')


CROP = np.full((96, 96, 3), 100, np.uint8)


def test_dlib_stand_in(tmp_path, monkeypatch):
  """dlib's interface, without dlib: the rectangle and the points go where they should."""
  seen = []

  def shape_predictor(path):
    assert path.endswith('x.dat')

    def locate(image, rectangle):
      seen.append((image.shape, rectangle))
      return types.SimpleNamespace(parts=lambda: [types.SimpleNamespace(x=i, y=2 * i) for i in range(5)])

    return locate

  fake = types.SimpleNamespace(shape_predictor=shape_predictor, rectangle=lambda *sides: sides)
  monkeypatch.setitem(sys.modules, 'dlib', fake)
  (tmp_path / 'x.dat').write_bytes(b'')
  found = landmark_providers.open_provider(str(tmp_path / 'x.dat')).find('A', [CROP] * 2, 2)
  np.testing.assert_array_equal(found[1], [(i, 2 * i) for i in range(5)])
  assert seen[-1] == ((384, 384, 3), (46, 46, 338, 338))


def test_yunet_stand_in(tmp_path, monkeypatch):
  """YuNet's rows, without its model: the surest face counts, none gives NaN."""
  rows = np.zeros((2, 15), np.float32)
  rows[0, 14], rows[1, 14], rows[1, 4:14] = 0.4, 0.9, np.arange(10)
  answers = [(1, rows), (0, None)]
  monkeypatch.setattr(cv2.FaceDetectorYN, 'create', lambda *_: types.SimpleNamespace(detect=lambda _: answers.pop(0)))
  (tmp_path / 'x.onnx').write_bytes(b'')
  found = landmark_providers.open_provider(str(tmp_path / 'x.onnx')).find('A', [CROP] * 2, 2)
  np.testing.assert_array_equal(found[0], np.arange(10).reshape(5, 2))
  assert np.isnan(found[1]).all()


@pytest.fixture
def with_files(tmp_path):
  """A data folder, and landmarks for it: steady in B but for noise, absent for half of A's steps."""
  data = make_data(tmp_path / 'data', [('A', 'train', 60), ('B', 'train', 31), ('C', 'test', 25)])
  rng = np.random.default_rng(1)
  files = tmp_path / 'files'
  files.mkdir()
  for name, steps in (('A', 60), ('B', 31), ('C', 25)):
    points = moved(BASE + rng.normal(0, 0.1, (steps, POINTS, 2)), rng)
    if name == 'A':
      points[:30] = np.nan
    np.savez(files / f'{name}.npz', landmarks=points)
  return data, files


def stored(folder):
  """name -> [T, L, 2] of a data folder's valid steps."""
  manifest = Manifest.read(folder)
  found = {}
  for shard in manifest.shards:
    for record in read.read_shard(pathlib.Path(folder) / shard.file, manifest):
      found.setdefault(shard.recording, []).append(record.values['landmarks'][record.valid > 0])
  return {name: np.concatenate(rows) for name, rows in found.items()}


def test_shards_with_landmarks(tmp_path, with_files, capsys):
  data, files = with_files
  own = dataclasses.replace(
    Manifest.read(data), folds={'f': {'SA': 'train', 'SB': 'test', 'SC': 'test'}}, about={'A': {'sex': 'female'}}
  )
  dataclasses.replace(own, face_size={'A': 81.5}).write(data)
  manifest = landmarks.add_landmarks(data, str(files), tmp_path / 'out')
  before = vars(Manifest.read(data))
  for name, value in vars(manifest).items():
    assert value == before[name] or name in ('streams', 'preparation', 'shards'), name
  assert manifest.num_landmarks == POINTS and not verify.verify(tmp_path / 'out')
  assert 'A  train       landmarks in 50.0 % of 60 steps' in capsys.readouterr().out
  points = {name: np.load(files / f'{name}.npz')['landmarks'] for name in 'ABC'}
  # The mean shape is train's alone, and stands in the manifest.
  mean = procrustes.fit(np.concatenate([points['A'][30:], points['B']]))
  np.testing.assert_allclose(manifest.preparation['landmarks']['mean_shape'], mean, atol=1e-12)
  features = stored(tmp_path / 'out')
  assert {name: len(x) for name, x in features.items()} == {'A': 60, 'B': 31, 'C': 25}
  assert (features['A'][:30] == 0).all() and (features['A'][30:] != 0).any(axis=(1, 2)).all()
  train = np.concatenate([features['A'][30:], features['B']])
  np.testing.assert_allclose(train.std(axis=0), 1, atol=0.02)  # but for the limit of five deviations
  # All else is as it was: the same second time, and the same bytes of sound, faces and labels.
  before, after = (
    vars(next(iter(read.read_shard(pathlib.Path(folder) / m.shards[0].file, m))))
    for folder, m in ((data, Manifest.read(data)), (tmp_path / 'out', manifest))
  )
  before, after = ({**fields.pop('values'), **fields} for fields in (before, after))
  assert set(after) == {*before, 'landmarks'}
  for name, value in before.items():
    np.testing.assert_array_equal(after[name], value, err_msg=name)
  again = landmarks.add_landmarks(data, str(files), tmp_path / 'out')
  assert [s.sha256 for s in again.shards] == [s.sha256 for s in manifest.shards]


def test_recordings_must_agree(tmp_path, with_files):
  data, files = with_files
  np.savez(files / 'C.npz', landmarks=np.zeros((25, POINTS + 1, 2)))
  with pytest.raises(DataError, match='recordings have 7 and 8 landmarks'):
    landmarks.add_landmarks(data, str(files), tmp_path / 'out')
  with pytest.raises(UserError, match='is the data folder itself'):
    landmarks.add_landmarks(data, str(files), data)
  for name in 'AB':
    np.savez(files / f'{name}.npz', landmarks=np.full((60 if name == 'A' else 31, POINTS, 2), np.nan))
  np.savez(files / 'C.npz', landmarks=np.ones((25, POINTS, 2)))
  with pytest.raises(DataError, match='the train partition has no shapes'):
    landmarks.add_landmarks(data, str(files), tmp_path / 'out')
