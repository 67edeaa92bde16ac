"""The order and the content of batches, against the numbers that the test data was written with."""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import types

import numpy as np
import pytest

from data_prep.core.errors import DataError, UserError
from data_prep.core.quiet_tf import tf
from data_prep.face import jpeg
from data_prep.schema import records
from data_prep.shards import read, tfrecord, write
from e2e_affect.input import checks, pipeline, recordings
from tests.conftest import make_data

REPO = __file__.rsplit('/tests/', 1)[0]
# 50 steps a sequence: A (100 steps) gives 2, B (60) 2, C (49) 1.
SEQUENCES = 5


def batches(config, first, last, **kwargs):
  manifest = recordings.read_manifest(config.data.dir)
  kwargs.setdefault('batch_size', config.batch_size)
  return list(pipeline.train_batches(config, manifest, pipeline.Updates(first, last, **kwargs)))


def fingerprint(batch, row):
  """What identifies a sequence of the test data: its first labels."""
  return tuple(batch['label'][row, :3].ravel().round(5))


def test_an_epoch_visits_every_sequence_once_in_another_order_each_time(small_config):
  seen = [fingerprint(b, i) for b in batches(small_config, 0, 10) for i in range(3)]
  assert len(seen) == 30
  epochs = [seen[e * SEQUENCES : (e + 1) * SEQUENCES] for e in range(6)]
  assert all(len(set(epoch)) == SEQUENCES for epoch in epochs)
  assert len({tuple(epoch) for epoch in epochs}) > 1


def test_the_order_is_a_function_of_seed_and_position_alone(small_config):
  whole = batches(small_config, 0, 6)
  resumed = batches(small_config, 4, 6)
  for a, b in zip(whole[4:], resumed, strict=True):
    for name in a:
      np.testing.assert_array_equal(a[name], b[name])
  small_config.seed += 1
  other = batches(small_config, 0, 6)
  assert any((a['label'] != b['label']).any() for a, b in zip(whole, other))
  small_config.seed -= 1
  small_config.data.read_threads = 5
  for a, b in zip(whole, batches(small_config, 0, 6), strict=True):
    np.testing.assert_array_equal(a['label'], b['label'])


def test_hosts_share_the_same_global_batches(small_config):
  whole = batches(small_config, 0, 4, batch_size=4)
  parts = [batches(small_config, 0, 4, batch_size=4, process_index=i, process_count=2) for i in range(2)]
  for step, batch in enumerate(whole):
    for host in range(2):
      for name in batch:
        np.testing.assert_array_equal(parts[host][step][name], batch[name][host::2])


def test_padding_for_devices_changes_no_sequence(small_config):
  for plain, padded in zip(batches(small_config, 0, 3), batches(small_config, 0, 3, batch_size=8), strict=True):
    for name in plain:
      np.testing.assert_array_equal(padded[name][:3], plain[name])
    assert (padded['mask'][3:] == 0).all() and (padded['valid'][3:] == 0).all()
    np.testing.assert_array_equal(padded['index'], np.arange(8))


def test_content(small_config):
  batch = batches(small_config, 0, 2)
  assert {name: (value.shape, value.dtype) for name, value in batch[0].items()} == {
    'audio': ((3, 50, 640), np.int16),
    'audio_mean': ((3,), np.float32),
    'audio_std': ((3,), np.float32),
    'audio_gain': ((3,), np.float32),
    'face': ((3, 50, 96, 96, 3), np.uint8),
    'face_found': ((3, 50), np.float32),
    'label': ((3, 50, 2), np.float32),
    'mask': ((3, 50), np.float32),
    'valid': ((3, 50), np.float32),
    'index': ((3,), np.int32),
  }
  lengths = collections.Counter()
  for b in batches(small_config, 0, 5):  # 15 sequences: three epochs
    for i in range(3):
      length = int(b['valid'][i].sum())
      lengths[length] += 1
      assert (b['valid'][i, :length] == 1).all()
      # Step k: sound k % 1000 + 1, face k % 251 (JPEG of a flat picture is exact to 2 levels), no label at k % 7 = 0.
      k = b['audio'][i, 0, 0] - 1 + np.arange(length)
      assert k[0] in (0, 50)
      np.testing.assert_array_equal(b['audio'][i, :length, 17], k + 1)
      np.testing.assert_allclose(b['face'][i, :length, 40, 50, 1], k % 251, atol=2)
      np.testing.assert_array_equal(b['mask'][i, :length], k % 7 != 0)
      assert b['audio_std'][i] == 500 and (b['mask'][i, length:] == 0).all()
  # Three epochs of A 50 + 50, B 50 + 10, C 49.
  assert lengths == {50: 9, 10: 3, 49: 3}


def test_only_what_the_network_uses_is_read(small_config):
  small_config.model.modalities = ('visual',)
  assert 'audio' not in batches(small_config, 0, 1)[0]
  small_config.model.modalities = ('speech',)
  assert 'face' not in batches(small_config, 0, 1)[0]


def test_evaluation_reads_recordings_whole_with_context(small_config):
  manifest = recordings.read_manifest(small_config.data.dir)
  group = recordings.recordings(manifest, small_config.data.dir, 'train')[:2]  # A: 100 steps, B: 60
  chunks = list(pipeline.evaluation_batches(small_config, manifest, group, 3, context=25))
  assert len(chunks) == 2  # 4 seconds in chunks of 2
  for number, chunk in enumerate(chunks):
    assert chunk['audio'].shape == (3, 100, 640)  # (1 + 2 + 1) · 25
    k = 50 * number - 25 + np.arange(100)
    for row, steps in enumerate((100, 60, 0)):
      inside = (k >= 0) & (k < steps)
      np.testing.assert_array_equal(chunk['valid'][row], inside)
      np.testing.assert_array_equal(chunk['audio'][row, :, 5], np.where(inside, k + 1, 0))
      recorded = (k >= 0) & (k < -(-steps // 25) * 25)  # to the end of the last record
      np.testing.assert_allclose(chunk['face'][row, :, 40, 50, 1], np.where(recorded, k % 251, 0), atol=2)
      assert not chunk['face'][row, ~recorded].any()


def test_a_recording_in_several_shards_reads_as_one(small_config, tmp_path, monkeypatch):
  monkeypatch.setattr(records, 'RECORDS_PER_SHARD', 2)
  small_config.data.dir = make_data(tmp_path, [('A', 'train', 115)])
  manifest = recordings.read_manifest(small_config.data.dir)
  assert len(manifest.shards) == 3
  small_config.data.sequence_steps = 75  # windows of 3 records over shards of 2
  starts = {}
  for b in batches(small_config, 0, 2):
    for i in range(3):
      length = int(b['valid'][i].sum())
      starts[int(b['audio'][i, 0, 0])] = length
      np.testing.assert_array_equal(b['audio'][i, :length, 3], b['audio'][i, 0, 0] + np.arange(length))
  assert starts == {1: 75, 76: 40}


def gold(folder):
  """Recording -> its label [T, K], label_mask [T] and valid [T], read by the reader of `data_prep`."""
  manifest = recordings.read_manifest(folder)
  found = {}
  for shard in manifest.shards:
    rows = list(read.read_shard(pathlib.Path(folder) / shard.file, manifest))
    found.setdefault(shard.recording, []).extend(rows)
  return {
    name: tuple(np.concatenate([getattr(row, field) for row in rows]) for field in ('label', 'label_mask', 'valid'))
    for name, rows in found.items()
  }


@pytest.mark.parametrize('delay', [1, 25, 37, 60])
def test_with_a_delay_a_step_learns_the_label_of_so_many_steps_later_of_its_own_recording(small_config, delay):
  """37 steps reach into the second record behind a window of 50; 60 past the whole of B (60 steps) and C (49)."""
  plain = batches(small_config, 0, 5)
  small_config.data.label_delay_steps = delay
  moved = batches(small_config, 0, 5)
  of, seen = gold(small_config.data.dir), 0
  for before, now in zip(plain, moved, strict=True):
    for name in before:
      if name not in ('label', 'mask'):  # neither what the network sees nor the order changes
        np.testing.assert_array_equal(now[name], before[name])
    for row in range(3):
      start = before['audio'][row, 0, 0] - 1  # 0 or 50
      here = fingerprint(before, row)
      (name,) = [n for n, (label, _, _) in of.items() if tuple(label[start : start + 3].ravel().round(5)) == here]
      label, mask, valid = of[name]
      for k in range(50):
        later = start + k + delay
        counts = later < len(label) and mask[later] * valid[later]
        assert now['mask'][row, k] == counts, (name, start, k)
        if counts:
          np.testing.assert_array_equal(now['label'][row, k], label[later])
          seen += 1
  # Three epochs of the steps from `delay` on that have a label, which at k % 7 = 0 they have not.
  assert seen == 3 * sum(sum(k % 7 != 0 for k in range(delay, steps)) for steps in (100, 60, 49))


def test_a_delay_reads_labels_over_the_ends_of_shards(small_config, tmp_path, monkeypatch):
  monkeypatch.setattr(records, 'RECORDS_PER_SHARD', 2)
  small_config.data.dir = make_data(tmp_path, [('A', 'train', 115), ('B', 'train', 30)])
  small_config.data.label_delay_steps = 40
  label, mask, valid = gold(small_config.data.dir)['A']
  for batch in batches(small_config, 0, 2):
    for row in range(3):
      start = batch['audio'][row, 0, 0] - 1
      later = slice(start + 40, min(start + 90, 115))
      steps = later.stop - later.start
      if steps > 0 and batch['mask'][row].any():  # B has no step 40
        np.testing.assert_array_equal(batch['mask'][row, :steps], (mask * valid)[later])
        np.testing.assert_array_equal(batch['label'][row, :steps], label[later])
        assert not batch['mask'][row, steps:].any()


def test_a_delay_is_the_same_after_a_resume_and_on_hosts(small_config):
  small_config.data.label_delay_steps = 13
  whole = batches(small_config, 0, 6, batch_size=4)
  for resumed, expected in zip(batches(small_config, 4, 6, batch_size=4), whole[4:], strict=True):
    for name in expected:
      np.testing.assert_array_equal(resumed[name], expected[name])
  for host in range(2):
    for part, expected in zip(batches(small_config, 0, 6, batch_size=4, process_index=host, process_count=2), whole):
      for name in expected:
        np.testing.assert_array_equal(part[name], expected[name][host::2])


def test_evaluation_reads_labels_where_they_are_whatever_the_delay(small_config):
  manifest = recordings.read_manifest(small_config.data.dir)
  group = recordings.recordings(manifest, small_config.data.dir, 'validation')
  read_all = lambda: list(pipeline.evaluation_batches(small_config, manifest, group, 2, context=25))
  before = read_all()
  small_config.data.label_delay_steps = 13
  for one, two in zip(before, read_all(), strict=True):
    for name in one:
      np.testing.assert_array_equal(two[name], one[name])


def test_a_delay_that_leaves_no_label_is_refused(small_config):
  manifest = recordings.read_manifest(small_config.data.dir)
  small_config.data.label_delay_steps = 99  # the last step of A has a label: 99 is no multiple of 7
  checks.check_streams(small_config, manifest)
  small_config.data.label_delay_steps = 100
  with pytest.raises(UserError, match='label_delay_steps = 100, and the longest recording to train on has 100 steps'):
    checks.check_streams(small_config, manifest)


@pytest.mark.slow  # imports TensorFlow in a process of its own
def test_tensorflow_says_nothing_of_a_flipped_byte_beside_our_line(copy):
  path = sorted(pathlib.Path(copy).glob('affect-train*'))[0]
  content = bytearray(path.read_bytes())
  content[len(content) // 2] ^= 1
  path.write_bytes(content)
  code = (
    'import jax, sys\nfrom data_prep.schema.manifest import Manifest\nfrom data_prep.shards import read\n'
    'try: list(read.read_shard(sys.argv[1], Manifest.read(sys.argv[2])))\n'
    'except read.DataError as e: print(e, file=sys.stderr)'
  )
  environment = {name: value for name, value in os.environ.items() if name != 'TF_CPP_MIN_LOG_LEVEL'}
  command = [sys.executable, '-c', code, str(path), copy]
  done = subprocess.run(command, cwd=REPO, env=environment, capture_output=True, text=True, check=True)
  assert done.stderr.count('\n') == 1 and 'corrupted record' in done.stderr and '--verify' in done.stderr


def broken_feature(change):
  """Record -> its bytes, after `change` was called with its features."""

  def encode(record, layout):
    example = tf.train.Example.FromString(records.encode(record, layout))
    change(example.features.feature)
    return example.SerializeToString(deterministic=True)

  return encode


def with_face(jpeg):
  return broken_feature(lambda feature: feature['face'].bytes_list.value.__setitem__(3, jpeg(feature)))


def huge(feature):
  jpeg = feature['face'].bytes_list.value[3]
  start = jpeg.index(b'\xff\xc0') + 5
  return jpeg[:start] + b'\xff\xff\xff\xff' + jpeg[start + 4 :]  # 65535 × 65535 pixels


def with_nan(feature):
  feature['label'].bytes_list.value[0] = feature['label'].bytes_list.value[0][:-4] + np.float32(np.nan).tobytes()


BROKEN = {
  'a label that is NaN': (broken_feature(with_nan), 'label holds NaN or Inf'),
  'a mean that is infinite': (
    broken_feature(lambda feature: feature['audio_mean'].float_list.value.__setitem__(0, np.inf)),
    'audio_mean is [inf], expected 1 finite number',
  ),
  'garbage': (lambda *of: b'garbage', 'not an Example'),
  'no text': (lambda *of: b'\x0a\x08\x0a\x06\x0a\x04\xff\xfe\xfd\xfc', 'not an Example'),
  'empty record': (lambda *of: b'', 'has no recording'),
  'no audio': (broken_feature(lambda feature: feature.pop('audio')), 'has no audio'),
  'no face': (broken_feature(lambda feature: feature.pop('face')), 'has no face'),
  'no labels': (broken_feature(lambda feature: feature.pop('label')), 'has no label'),
  'half the sound': (
    broken_feature(lambda feature: feature['audio'].bytes_list.value.__setitem__(0, b'ab' * 8000)),
    'audio holds 16000 bytes, expected 32000',
  ),
  'other targets': (
    broken_feature(lambda feature: feature['label'].bytes_list.value.__setitem__(0, bytes(300))),
    'label holds 300 bytes, expected 200',
  ),
  'empty picture': (with_face(lambda feature: b''), 'face 3 is no 96×96 JPEG'),
  'huge picture': (with_face(huge), 'face 3 is no 96×96 JPEG'),
  'cut picture': (with_face(lambda feature: feature['face'].bytes_list.value[3][:-90]), 'face 3 is no 96×96 JPEG'),
  'small picture': (
    with_face(lambda feature: jpeg.encode(np.zeros((95, 96, 3), np.uint8))),
    'face 3 is no 96×96 JPEG',
  ),
}


def data_with(folder, monkeypatch, change, where):
  """A data folder in which `change(record)` stands for the records of `where`, under right check sums."""
  encode = records.encode
  with monkeypatch.context() as patch:
    chosen = lambda record: change if (record.recording, record.index) in where else encode
    patch.setattr(write.records, 'encode', lambda record, layout: chosen(record)(record, layout))
    # `change` takes the true encoder.
    patch.setattr('tests.e2e_affect.input.test_pipeline.records', types.SimpleNamespace(encode=encode))
    return make_data(folder, [('A', 'train', 100), ('B', 'train', 60), ('C', 'train', 49), ('E', 'test', 115)])


@pytest.mark.parametrize('kind', sorted(BROKEN))
def test_a_record_that_is_broken_under_a_right_sum_is_named_with_shard_byte_and_place(
  small_config, tmp_path, monkeypatch, kind
):
  change, said = BROKEN[kind]
  small_config.data.dir = data_with(tmp_path, monkeypatch, change, {('B', 1), ('E', 4)})
  manifest = recordings.read_manifest(small_config.data.dir)
  of = {shard.recording: shard for shard in manifest.shards}

  def expected(recording, number):
    path = tmp_path / of[recording].file
    byte, _ = list(tfrecord.places(path.read_bytes()))[number]
    place = f'{path}: record {number} (byte {byte}; from {number}.00 s of {recording}): '
    return re.escape(place) + '[^\n]*' + re.escape(said) + '[^\n{]*--verify[^\n{]*$'

  with pytest.raises(DataError, match=expected('B', 1)):
    batches(small_config, 0, 4)
  with pytest.raises(DataError, match=expected('B', 1)):
    pipeline.read_corpus(small_config, manifest)
  with pytest.raises(DataError, match=expected('E', 4)):
    checks.check_records(small_config, manifest, 'test')


@pytest.mark.parametrize(
  'message, said',
  [
    (
      '{{function_node __wrapped__IteratorGetNext}} /data/x; Too many open files [Op:IteratorGetNext]',
      '/data/x; Too many open files',
    ),
    (None, "'utf-8' codec"),
  ],
)
def test_a_passing_fault_is_not_blamed_on_a_record(small_config, message, said):
  manifest = recordings.read_manifest(small_config.data.dir)

  class Failing:
    def as_numpy_iterator(self):
      yield 7
      raise (
        tf.errors.ResourceExhaustedError(None, None, message)
        if message
        else UnicodeDecodeError('utf-8', b'a', 0, 1, '')
      )

  group = recordings.recordings(manifest, small_config.data.dir, 'train')
  rows = pipeline._with_readable_errors(Failing(), small_config.data.dir, manifest, lambda k: [(group[k], 0)], 2)
  assert next(rows) == 7
  with pytest.raises(
    DataError, match=rf'a record cannot be read [(]{re.escape(said)}[^\n{{]* `--verify` finds it sound'
  ):
    next(rows)


def test_a_sound_partition_passes_the_check_of_its_records(small_config):
  manifest = recordings.read_manifest(small_config.data.dir)
  for partition in ('validation', 'test'):
    checks.check_records(small_config, manifest, partition)


def test_what_a_network_does_not_see_may_be_broken(small_config, tmp_path, monkeypatch):
  small_config.data.dir = data_with(tmp_path, monkeypatch, BROKEN['no face'][0], {('B', 1), ('E', 4)})
  small_config.model.modalities = ('speech',)
  assert len(batches(small_config, 0, 4)) == 4
  checks.check_records(small_config, recordings.read_manifest(small_config.data.dir), 'test')


def test_a_shard_that_may_not_be_read_is_named_at_the_start(copy, monkeypatch):
  path = copy / json.loads((copy / 'manifest.json').read_text())['shards'][-1]['file']
  monkeypatch.setattr(os, 'access', lambda asked, mode: asked != path)  # root may read everything
  with pytest.raises(DataError, match=f'{path.name}: you may not read it'):
    recordings.read_manifest(str(copy))


LACKS = {
  'face': lambda feature: feature['face_found'].bytes_list.value.__setitem__(0, bytes(100)),
  'sound': lambda feature: feature['audio_std'].float_list.value.__setitem__(0, 0.0),
  'label': lambda feature: feature['label_mask'].bytes_list.value.__setitem__(0, bytes(100)),
}
EVERY_SECOND = {('A', 0), ('A', 1), ('A', 2), ('A', 3), ('B', 0), ('B', 1), ('B', 2), ('C', 0), ('C', 1)}


@pytest.mark.parametrize(
  'lacking, modalities, said',
  [
    ('face', ('speech', 'visual'), 'face'),
    ('face', ('visual',), 'face'),
    ('face', ('speech',), None),
    ('sound', ('speech', 'visual'), 'sound'),
    ('sound', ('speech',), 'sound'),
    ('sound', ('visual',), None),
    ('label', ('speech',), 'label'),
    ('label', ('visual',), 'label'),
  ],
)
def test_training_data_without_what_the_network_learns_from_are_refused(
  small_config, tmp_path, monkeypatch, lacking, modalities, said
):
  small_config.model.modalities = modalities
  for name, where in (('none', EVERY_SECOND), ('one', EVERY_SECOND - {('C', 1)})):
    small_config.data.dir = data_with(tmp_path / name, monkeypatch, broken_feature(LACKS[lacking]), where)
    manifest = recordings.read_manifest(small_config.data.dir)
    if name == 'one' or said is None:
      checks.check_streams(small_config, manifest)
    else:
      with pytest.raises(DataError, match=f'train, to train on, has no {said} in any of 9 records[^\n]*$') as e:
        checks.check_streams(small_config, manifest)
      assert e.value.exit_code == 65


EVERY_SECOND_OF_TEST = {('E', second) for second in range(5)}  # 115 steps


@pytest.mark.parametrize(
  'lacking, modalities, said',
  [
    ('face', ('speech', 'visual'), 'no face in any of its 5 records: the network takes zeros for face;'),
    ('face', ('speech',), None),
    ('sound', ('speech',), 'no sound in any of its 5 records: the network takes zeros for sound;'),
    ('label', ('speech',), 'no label in any of its 5 records: nothing of it is scored;'),
  ],
)
def test_a_partition_to_evaluate_without_what_the_network_takes_is_named_in_a_warning(
  small_config, tmp_path, monkeypatch, caplog, lacking, modalities, said
):
  small_config.model.modalities = modalities
  for name, where in (('none', EVERY_SECOND_OF_TEST), ('one', EVERY_SECOND_OF_TEST - {('E', 4)})):
    small_config.data.dir = data_with(tmp_path / name, monkeypatch, broken_feature(LACKS[lacking]), where)
    caplog.clear()
    checks.check_records(small_config, recordings.read_manifest(small_config.data.dir), 'test')
    warnings = [record.getMessage() for record in caplog.records if record.levelname == 'WARNING']
    if name == 'one' or said is None:
      assert not warnings
    else:
      (warning,) = warnings
      assert f'{small_config.data.dir}: the test partition has {said}' in warning and '\n' not in warning


def test_all_that_a_partition_to_evaluate_lacks_stands_in_one_warning(small_config, tmp_path, monkeypatch, caplog):
  def nothing(feature):
    for remove in LACKS.values():
      remove(feature)

  small_config.model.modalities = ('speech', 'visual')
  small_config.data.dir = data_with(tmp_path, monkeypatch, broken_feature(nothing), EVERY_SECOND_OF_TEST)
  checks.check_records(small_config, recordings.read_manifest(small_config.data.dir), 'test')
  (warning,) = [record.getMessage() for record in caplog.records if record.levelname == 'WARNING']
  assert 'has no label and no sound and no face in any of its 5 records: nothing of it is scored, and the' in warning


def test_ordinary_data_cost_the_check_one_record(small_config, tmp_path, monkeypatch):
  small_config.data.dir = data_with(tmp_path, monkeypatch, BROKEN['garbage'][0], EVERY_SECOND - {('A', 0)})
  checks.check_streams(small_config, recordings.read_manifest(small_config.data.dir))


def test_no_manifest(tmp_path):
  with pytest.raises(DataError, match='manifest.json: not found; make the shards'):
    recordings.read_manifest(str(tmp_path))


@pytest.mark.parametrize('seed', range(4))
def test_a_broken_label_behind_a_window_is_named(small_config, tmp_path, monkeypatch, seed):
  """Windows of one record reach into the two behind: whichever of A's comes first, the fault is in its last record."""
  small_config.data.dir = data_with(tmp_path, monkeypatch, BROKEN['a label that is NaN'][0], {('A', 3)})
  small_config.data.sequence_steps, small_config.data.label_delay_steps, small_config.seed = 25, 26, seed
  with pytest.raises(DataError, match='from 3.00 s of A[)]: [^\n]*label holds NaN or Inf'):
    batches(small_config, 0, 4)
