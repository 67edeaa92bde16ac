"""Rows 9 to 11: shards that are not what the manifest says."""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest

from data_prep.core.errors import DataError
from data_prep.shards import tfrecord
from e2e_affect.input import checks, corpus, pipeline, recordings
from e2e_affect.models import affect
from tests.e2e_affect.input.test_pipeline import batches, BROKEN, data_with
from tests.e2e_affect.train.test_update import fresh, one_batch
from tests.networks import layout


@pytest.mark.parametrize(
  'damage, found', [('missing', 'not found'), ('empty', '0 bytes found'), ('cut', 'bytes found')]
)
def test_row_09_a_missing_empty_or_cut_shard_is_named_at_the_start(copy, damage, found):
  manifest = json.loads((copy / 'manifest.json').read_text())
  shard = manifest['shards'][1]
  path = copy / shard['file']
  if damage == 'missing':
    path.unlink()
  else:  # cut at a record boundary, where TFRecord readers notice nothing
    data = path.read_bytes()
    path.write_bytes(data[: 0 if damage == 'empty' else next(tfrecord.places(data))[1]])
  with pytest.raises(DataError) as error:
    recordings.read_manifest(str(copy))
  message = str(error.value)
  assert shard['file'] in message and found in message
  assert f'{shard["bytes"]} bytes with {shard["records"]} records expected' in message
  assert error.value.exit_code == 65 and '\n' not in message


def test_row_10_a_flipped_byte_is_named_with_shard_and_record(copy, small_config):
  for path in pathlib.Path(copy).glob('affect-train*'):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
  with pytest.raises(
    DataError,
    match=r'affect-train.tfrecord-0000\d-of-00003: record \d [(]byte \d+; from \d\.00 s of [ABC][)]: '
    r'damaged [(]corrupted record at \d+[)]; .*--verify',
  ):
    batches(small_config, 0, 2)


@pytest.mark.parametrize('where', ['length', 'content'])
def test_row_10_of_bad_records_as_many_are_left_out_as_may_be(small_config, copy, tmp_path, caplog, where):
  copy = copy.rename(copy.with_name('50 %d'))
  small_config.data.dir = str(copy)
  manifest = recordings.read_manifest(str(copy))
  before = {shard.file: (copy / shard.file).read_bytes() for shard in manifest.shards}
  whole = list(pipeline.read_records(small_config, manifest, recordings.recordings(manifest, copy, 'train'), None, 1))
  shard = next(shard for shard in manifest.shards if shard.recording == 'A')
  data = bytearray(before[shard.file])
  begins = [begin for begin, _ in tfrecord.places(before[shard.file])]
  assert len(begins) == 4
  data[begins[2] + (3 if where == 'length' else 500)] ^= 1  # in the third of its four records
  (copy / shard.file).write_bytes(data)
  small_config.data.max_bad_records = 1
  with caplog.at_level('INFO'):
    mended = corpus.read(small_config, tmp_path / 'run')
  assert f'left out: {copy / shard.file}: record 2 of A: damaged' in caplog.text
  assert '1 bad records left out, at most 1 may be' in caplog.text
  assert (copy / shard.file).read_bytes() == data  # what is there is not changed
  found = list(pipeline.read_records(small_config, mended, recordings.recordings(mended, copy, 'train'), None, 1))
  assert len(found) == len(whole)
  for number, (one, other) in enumerate(zip(found, whole)):
    if number == 2:
      assert not one['valid'].any() and not one['mask'].any() and other['mask'].any()
    else:
      for name in one:
        np.testing.assert_array_equal(one[name], other[name])
  flipped = bytearray(data)
  flipped[500] ^= 1
  (copy / shard.file).write_bytes(flipped)
  with pytest.raises(
    DataError, match=r'2 records cannot be read, at most 1 may .*; the first: .*record 0 of A: damaged'
  ):
    corpus.read(small_config, tmp_path / 'run')
  small_config.data.max_bad_records = 2
  assert len(corpus.read(small_config, tmp_path / 'run').shards) == len(manifest.shards)


@pytest.mark.parametrize('field', ['audio', 'face'])
def test_row_11_a_record_without_what_the_network_takes_is_named(small_config, tmp_path, monkeypatch, field):
  change, said = BROKEN[f'no {field}']
  small_config.data.dir = data_with(tmp_path, monkeypatch, change, {('B', 1)})
  manifest = recordings.read_manifest(small_config.data.dir)
  with pytest.raises(DataError, match=rf'record 1 .*of B.*{said}'):
    checks.check_records(small_config, manifest, 'train')


@pytest.mark.usefixtures('shallow')
def test_row_11_recordings_without_sound_or_face_give_finite_predictions(small_config):
  state = fresh(small_config)
  model = affect.make_model(small_config, layout(small_config), None)
  evaluated = jax.jit(functools.partial(model.apply, train=False))
  batch = one_batch(small_config)
  for change in (
    {'audio': np.zeros_like(batch['audio']), 'audio_std': np.zeros(3, np.float32)},
    {'face_found': np.zeros_like(batch['face_found'])},
  ):
    inputs = affect.inputs_of(batch | change, model.config, small_config.augment, None)
    prediction, _ = evaluated(state.evaluated(), inputs)
    assert np.isfinite(prediction).all()
