"""The record's bytes and the manifest."""

import dataclasses
import json

import numpy as np
import pytest

from data_prep.core.errors import DataError
from data_prep.schema import records
from data_prep.schema.grid import Grid, PAPER
from data_prep.schema.manifest import MANIFEST, Manifest, Shard
from data_prep.streams import STREAMS


def record(**changes):
  rng = np.random.default_rng(0)
  fields = dict(
    recording='P16',
    subject='P16',
    second=3,
    audio=rng.integers(-99, 99, (25, 640), dtype=np.int16),
    audio_mean=0.5,
    audio_std=57.25,
    face=[b'jpeg %d' % i for i in range(25)],
    face_found=rng.random(25, dtype=np.float32),
    label=rng.random((25, 2), dtype=np.float32),
    label_mask=np.ones(25, np.float32),
    valid=np.ones(25, np.float32),
  )
  return records.Record(**{**fields, **changes})


def test_equal_records_give_equal_bytes():
  assert records.encode(record()) == records.encode(record())
  assert records.encode(record()) != records.encode(record(second=4))


def test_arrays_are_raw_little_endian():
  import tensorflow as tf

  original = record(landmarks=np.arange(25 * 3 * 2, dtype=np.float32).reshape(25, 3, 2))
  feature = tf.train.Example.FromString(records.encode(original)).features.feature
  assert feature['audio'].bytes_list.value[0] == original.audio.astype('<i2').tobytes()
  assert feature['landmarks'].bytes_list.value[0] == original.landmarks.astype('<f4').tobytes()
  assert list(feature['face'].bytes_list.value) == original.face
  assert feature['second'].int64_list.value[:] == [3] and feature['audio_std'].float_list.value[:] == [57.25]


@pytest.mark.parametrize(
  'changes, reason',
  [
    ({'audio': np.zeros((25, 641), np.int16)}, r'audio is int16\[25, 641\], expected int16\[25, 640\]'),
    ({'audio': np.zeros((25, 640), np.int32)}, r'audio is int32\[25, 640\], expected int16'),
    ({'valid': np.ones(25)}, r'valid is float64\[25\], expected float32\[25\]'),
    ({'face': [b'x'] * 24}, '24 faces, expected 25'),
  ],
)
def test_refuses_other_shapes_and_types(changes, reason):
  with pytest.raises(DataError, match='P16, second 3: ' + reason):
    records.encode(record(**changes))


def manifest():
  shard = Shard(
    file='a',
    bytes=9,
    records=2,
    sha256='0' * 64,
    recording='P16',
    subject='S1',
    partition='test',
    first_second=0,
    steps=40,
    offsets=[0, 5],
  )
  return Manifest(
    targets=['arousal', 'valence'],
    label_scale={'arousal': [1.0, 0.0]},
    preparation={'corpus': 'csv'},
    shards=[shard],
    grid=Grid(0.5, 16_000, 2),
    streams={name: STREAMS[name].fields(Grid(0.5, 16_000, 2), {'landmarks': 5}) for name in STREAMS},
  )


def test_manifest_survives_writing(tmp_path):
  manifest().write(tmp_path)
  assert Manifest.read(tmp_path) == manifest()
  assert [path.name for path in tmp_path.iterdir()] == ['manifest.json']  # no temporary file is left


@pytest.mark.parametrize(
  'text, reason',
  [
    (None, 'not found; make the shards'),
    ('{', 'damaged'),
    ('[]', 'damaged .a list; expected an object'),
    ('{}', 'damaged'),
    ('{"format_version": 99}', 'format version 99, this program reads 1 and 2'),
    ('{"format_version": 1, "shards": [{"file": "a"}]}', 'damaged'),
    ('{"format_version": 2, "grid": {"step_seconds": 0}, "streams": {}, "shards": []}', 'damaged .a grid of 0 s'),
    ('{"format_version": 2, "grid": {}, "streams": {"s": [{"name": "a", "dtype": "int7"}]}}', 'damaged .field'),
  ],
)
def test_manifest_refusals(tmp_path, text, reason):
  if text is not None:
    (tmp_path / MANIFEST).write_text(text)
  with pytest.raises(DataError, match=f'manifest.json: {reason}'):
    Manifest.read(tmp_path)


def test_a_manifest_of_the_first_version_is_read(tmp_path):
  new = dataclasses.replace(
    manifest(), grid=PAPER, streams={name: STREAMS[name].fields(PAPER, {'landmarks': 5}) for name in STREAMS}
  )
  content = {name: value for name, value in dataclasses.asdict(new).items() if name not in ('grid', 'streams')}
  (tmp_path / MANIFEST).write_text(json.dumps({'format_version': 1, 'num_landmarks': 5, **content}))
  assert Manifest.read(tmp_path) == new


def test_manifest_with_an_unknown_field_is_refused(tmp_path):
  manifest().write(tmp_path)
  path = tmp_path / MANIFEST
  path.write_text(json.dumps({**json.loads(path.read_text()), 'extra': 1}))
  with pytest.raises(DataError, match='damaged'):
    Manifest.read(tmp_path)
  assert dataclasses.asdict(manifest())['targets'] == ['arousal', 'valence']


def test_a_gain_of_one_takes_no_field_and_another_is_kept():
  import tensorflow as tf

  assert b'audio_gain' not in records.encode(record())
  feature = tf.train.Example.FromString(records.encode(record(audio_gain=256.0))).features.feature
  assert feature['audio_gain'].float_list.value[:] == [256]
