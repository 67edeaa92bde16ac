"""The record's bytes and the manifest."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest

from data_prep import streams
from data_prep.core.errors import DataError, UserError
from data_prep.schema import records
from data_prep.schema.fields import Field, Layout
from data_prep.schema.grid import Grid, PAPER
from data_prep.schema.manifest import MANIFEST, Manifest, Shard


def record(**changes):
  rng = np.random.default_rng(0)
  fields = dict(
    recording='P16',
    subject='P16',
    index=3,
    values={
      'audio': rng.integers(-99, 99, (25, 640), dtype=np.int16),
      'audio_mean': 0.5,
      'audio_std': 57.25,
      'face': [b'jpeg %d' % i for i in range(25)],
      'face_found': rng.random(25, dtype=np.float32),
    },
    label=rng.random((25, 2), dtype=np.float32),
    label_mask=np.ones(25, np.float32),
    valid=np.ones(25, np.float32),
  )
  own = {name: changes.pop(name) for name in list(changes) if name in fields}
  result = records.Record(**{**fields, **own})
  return dataclasses.replace(result, values=result.values | changes)


FIRST_STREAMS = ('speech', 'visual', 'geometric')  # of the first version
LAYOUT = streams.layout(['arousal', 'valence'], PAPER, FIRST_STREAMS[:2])
WITH_LANDMARKS = streams.layout(['arousal', 'valence'], PAPER, FIRST_STREAMS, {'landmarks': 3})


def test_equal_records_give_equal_bytes():
  assert records.encode(record(), LAYOUT) == records.encode(record(), LAYOUT)
  assert records.encode(record(), LAYOUT) != records.encode(record(index=4), LAYOUT)


def test_the_bytes_are_those_of_the_first_version():
  """Digests of the encoder that wrote shards of manifests of format 1."""
  digest = lambda *of: hashlib.sha256(records.encode(*of)).hexdigest()
  landmarks = np.arange(25 * 3 * 2, dtype=np.float32).reshape(25, 3, 2)
  assert digest(record(), LAYOUT) == '8372f120fe7927499c74b2cbcf4d29c1740ca084e76e887c60fa0b1f5ecd52f2'
  assert (
    digest(record(audio_gain=256.0, landmarks=landmarks), WITH_LANDMARKS)
    == 'b05ca5d8e4884710de4ec0d531a0ddedd7e2e3baae199796760571ca37ccb261'
  )


def test_what_is_encoded_is_decoded_whatever_the_fields():
  """Of a stream from outside: another grid, an array without a second axis, a number and three of them a recording."""
  pulse = (
    Field('pulse', (7,), 'int16'),
    Field('rate'),
    Field('offset', per='recording'),
    Field('axes', (3,), per='recording'),
  )
  picture = (Field('crop', (5, 4, 3), 'jpeg'),)
  layout = Layout(['liking'], Grid(0.5, 14, 2), {'pulse': pulse, 'picture': picture})
  blank = records.blank(layout)
  rng = np.random.default_rng(0)
  values = {
    'pulse': rng.integers(-9, 9, (2, 7), dtype=np.int16),
    'rate': rng.random(2, dtype=np.float32),
    'offset': 0.25,
    'axes': np.array([1, 2, 4], np.float32),
    'crop': blank.values['crop'],
  }
  original = dataclasses.replace(blank, recording='a', subject='b', index=6, values=values)
  for record_ in (blank, original):
    read = records.decode(records.encode(record_, layout), layout)
    assert (read.recording, read.subject, read.index) == (record_.recording, record_.subject, record_.index)
    assert read.label.shape == (2, 1) and list(read.values) == list(record_.values)
    for name, value in record_.values.items():
      np.testing.assert_array_equal(read.values[name], value, err_msg=name)
  with pytest.raises(records.Fault, match='crop 0 is no 4×5 JPEG'):
    records.decode(records.encode(dataclasses.replace(original, values=values | {'crop': [b''] * 2}), layout), layout)
  with pytest.raises(records.Fault, match='label holds 8 bytes, expected 200'):
    records.decode(records.encode(original, layout), LAYOUT)


@pytest.mark.parametrize('index', [0, 127, 128, 2**40, -1, np.int64(300)])
def test_tensorflow_reads_what_is_encoded(index):
  import tensorflow as tf

  layout = Layout(['liking'], PAPER, {'odd': (Field('ä', (300,)), Field('axes', (3,), per='recording'))})
  values = {'ä': np.full((25, 300), np.pi, np.float32), 'axes': np.array([1e-40, -0.0, 3], np.float32)}
  odd = dataclasses.replace(records.blank(layout), recording='ö' * 200, index=index, values=values)
  texts = {
    'recording': odd.recording.encode(),
    'subject': b'',
    'label': bytes(100),
    'label_mask': bytes(100),
    'valid': bytes(100),
    'ä': values['ä'].tobytes(),
  }
  expected = tf.train.Example()
  for name, text in texts.items():
    expected.features.feature[name].bytes_list.value.append(text)
  expected.features.feature['axes'].float_list.value.extend(values['axes'])
  expected.features.feature['second'].int64_list.value.append(index)
  data = records.encode(odd, layout)
  assert tf.train.Example.FromString(data) == expected
  assert len(data) == expected.ByteSize()


def test_arrays_are_raw_little_endian():
  import tensorflow as tf

  original = record(landmarks=np.arange(25 * 3 * 2, dtype=np.float32).reshape(25, 3, 2))
  feature = tf.train.Example.FromString(records.encode(original, WITH_LANDMARKS)).features.feature
  assert feature['audio'].bytes_list.value[0] == original.values['audio'].astype('<i2').tobytes()
  assert feature['landmarks'].bytes_list.value[0] == original.values['landmarks'].astype('<f4').tobytes()
  assert list(feature['face'].bytes_list.value) == original.values['face']
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
  with pytest.raises(DataError, match='P16, record 3: ' + reason):
    records.encode(record(**changes), LAYOUT)


def manifest():
  shard = Shard(
    file='a',
    bytes=9,
    records=2,
    sha256='0' * 64,
    recording='P16',
    subject='S1',
    partition='test',
    first=0,
    steps=40,
  )
  return Manifest(
    targets=['arousal', 'valence'],
    label_scale={'arousal': [1.0, 0.0]},
    preparation={'corpus': 'csv'},
    shards=[shard],
    grid=Grid(0.5, 16_000, 2),
    streams=streams.layout([], Grid(0.5, 16_000, 2), streams.STREAMS, {'landmarks': 5}).streams,
  )


def test_manifest_survives_writing(tmp_path):
  manifest().write(tmp_path)
  assert Manifest.read(tmp_path) == manifest()
  assert [path.name for path in tmp_path.iterdir()] == ['manifest.json']  # no temporary file is left


def with_classes():
  return dataclasses.replace(
    manifest(),
    targets=['emotion', 'valence'],
    classes={'emotion': ('joy', 'anger', 'fear')},
    folds={'1': {'S1': 'test'}, '2': {'S1': 'train', 'S2': 'validation'}},
  )


def test_manifest_with_classes_and_folds(tmp_path):
  with_classes().write(tmp_path)
  assert Manifest.read(tmp_path) == with_classes()
  manifest().write(tmp_path)  # without, the file is that of before
  assert not {'classes', 'folds'} & set(json.loads((tmp_path / MANIFEST).read_text()))
  assert Manifest.read(tmp_path).classes == {} and Manifest.read(tmp_path).folds == {}


def test_manifest_with_what_is_known_of_people(tmp_path):
  about = {'P16': {'sex': 'female', 'language': ''}}
  known = dataclasses.replace(manifest(), about=about, face_size={'P16': 81.5})
  known.write(tmp_path)
  assert Manifest.read(tmp_path) == known and known.of_fold('').about == about
  path = tmp_path / MANIFEST
  about_wrong = ({'P16': {'sex': 1}}, {'P16': 'female'}, ['P16'])
  size_wrong = ({'P16': -1}, {'P16': '81'}, {'P16': True}, [81.5])
  for wrong in [{'about': w} for w in about_wrong] + [{'face_size': w} for w in size_wrong]:
    path.write_text(json.dumps({**json.loads(path.read_text()), **wrong}))
    with pytest.raises(DataError, match='damaged'):
      Manifest.read(tmp_path)
  manifest().write(tmp_path)  # without, the file is that of before
  assert not {'about', 'face_size'} & set(json.loads(path.read_text())) and Manifest.read(tmp_path).face_size == {}


def test_a_fold_divides_the_recordings_by_subject():
  one = with_classes()
  shards = [
    dataclasses.replace(one.shards[0], recording=r, subject=s, partition='train')
    for r, s in (('a', 'S2'), ('b', 'S1'), ('c', 'S2'))
  ]
  one = dataclasses.replace(one, shards=shards)
  assert one.of_fold('') is one
  fold = one.of_fold('2')
  assert [(s.recording, s.partition) for s in fold.shards] == [('b', 'train'), ('a', 'validation'), ('c', 'validation')]
  assert fold.classes == one.classes and [s.partition for s in one.shards] == ['train'] * 3
  with pytest.raises(UserError, match="config.data.fold = '3'; the folds of these data are 1, 2"):
    one.of_fold('3')
  with pytest.raises(UserError, match='are none: leave it empty'):
    manifest().of_fold('3')
  with pytest.raises(DataError, match='fold 1 names no partition for subject S2'):
    one.of_fold('1')


@pytest.mark.parametrize(
  'change, reason',
  [
    ({'classes': {'mood': ['a', 'b']}}, "classes of 'mood', which is none of the targets"),
    ({'classes': {'emotion': ['a']}}, "classes of 'emotion': a; expected two or more different names"),
    ({'classes': {'emotion': ['a', 'a']}}, 'two or more different names'),
    ({'classes': {'emotion': [1, 2]}}, 'damaged'),
    ({'classes': ['a', 'b']}, 'damaged'),
    ({'folds': {'1': {'S1': 'training'}}}, "fold '1': .*; expected subjects and their partitions"),
    ({'folds': {'1': ['S1']}}, 'damaged'),
  ],
)
def test_classes_and_folds_that_are_none(tmp_path, change, reason):
  with_classes().write(tmp_path)
  path = tmp_path / MANIFEST
  path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
  with pytest.raises(DataError, match=reason):
    Manifest.read(tmp_path)


@pytest.mark.parametrize(
  'text, reason',
  [
    (None, 'not found; make the shards'),
    ('{', 'damaged'),
    ('[]', 'damaged .a list; expected an object'),
    ('{}', 'damaged'),
    ('{"format_version": 99}', 'format version 99, this program reads 1 to 3'),
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
    manifest(), grid=PAPER, streams=streams.layout([], PAPER, FIRST_STREAMS, {'landmarks': 5}).streams
  )
  content = {name: value for name, value in dataclasses.asdict(new).items() if name not in ('grid', 'streams')}
  (tmp_path / MANIFEST).write_text(json.dumps({'format_version': 1, 'num_landmarks': 5, **content}))
  assert Manifest.read(tmp_path) == new


def test_a_manifest_of_the_second_version_is_read(tmp_path):
  manifest().write(tmp_path)
  content = json.loads((tmp_path / MANIFEST).read_text()) | {'format_version': 2}
  content['shards'][0]['offsets'] = [0, 5]
  (tmp_path / MANIFEST).write_text(json.dumps(content))
  assert Manifest.read(tmp_path) == manifest()


def test_manifest_with_an_unknown_field_is_refused(tmp_path):
  manifest().write(tmp_path)
  path = tmp_path / MANIFEST
  path.write_text(json.dumps({**json.loads(path.read_text()), 'extra': 1}))
  with pytest.raises(DataError, match='damaged'):
    Manifest.read(tmp_path)
  assert dataclasses.asdict(manifest())['targets'] == ['arousal', 'valence']


def test_a_gain_of_one_takes_no_field_and_another_is_kept():
  import tensorflow as tf

  assert b'audio_gain' not in records.encode(record(), LAYOUT)
  feature = tf.train.Example.FromString(records.encode(record(audio_gain=256.0), LAYOUT)).features.feature
  assert feature['audio_gain'].float_list.value[:] == [256]
