"""Shards: names, bytes, the TFDS view of them, and every fault that --verify must see."""

import dataclasses
import errno
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest

from data_prep import streams
from data_prep.core.errors import DataError, DiskFullError, WorkdirError
from data_prep.face import jpeg
from data_prep.schema import records
from data_prep.schema.grid import PAPER
from data_prep.schema.manifest import MANIFEST, Manifest, Shard
from data_prep.shards import contact_sheets, tfrecord, verify, write
from e2e_affect.input import recordings

REPO = __file__.rsplit('/tests/', 1)[0]


def make_records(recording, seconds, subject=None, last_valid=25, seed=0):
  rng = np.random.default_rng(seed)
  result = []
  for second in range(seconds):
    crops = [cv2.resize(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8), (96, 96)) for _ in range(25)]
    valid = np.ones(25, np.float32)
    if second == seconds - 1:
      valid[last_valid:] = 0
    result.append(
      records.Record(
        recording=recording,
        subject=subject or recording,
        index=second,
        values={
          'audio': rng.integers(-9999, 9999, (25, 640), dtype=np.int16),
          'audio_mean': 1.5,
          'audio_std': 300.0,
          'face': [jpeg.encode(crop) for crop in crops],
          'face_found': rng.random(25, dtype=np.float32),
        },
        label=rng.uniform(-1, 1, (25, 2)).astype(np.float32),
        label_mask=valid.copy(),
        valid=valid,
      )
    )
  return result


LAYOUT = streams.layout(['arousal', 'valence'], PAPER, ('speech', 'visual'))


def write_folder(out, recordings, layout=LAYOUT):
  """recordings: (records, partition); `layout`: their own, the manifest has that of two targets."""
  parts = [
    shard for rs, partition in recordings for shard in write.write_recording(out, rs, layout, partition=partition)
  ]
  return write.finish(
    out,
    parts,
    LAYOUT,
    label_scale={'arousal': [1.0, 0.0], 'valence': [1.0, 0.0]},
    preparation={'corpus': 'csv'},
  )


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Three recordings; b has three shards of at most two records."""
  monkeypatch.setattr(records, 'RECORDS_PER_SHARD', 2)
  out = tmp_path / 'data'
  write_folder(
    out,
    [
      (make_records('b', 5, last_valid=7, seed=1), 'train'),
      (make_records('a', 1, seed=2), 'train'),
      (make_records('c', 2, seed=3), 'test'),
    ],
  )
  return out


def test_names_order_and_counts(folder):
  manifest = Manifest.read(folder)
  assert [(s.file, s.recording, s.first, s.records, s.steps) for s in manifest.shards] == [
    ('affect-train.tfrecord-00000-of-00004', 'a', 0, 1, 25),
    ('affect-train.tfrecord-00001-of-00004', 'b', 0, 2, 50),
    ('affect-train.tfrecord-00002-of-00004', 'b', 2, 2, 50),
    ('affect-train.tfrecord-00003-of-00004', 'b', 4, 1, 7),
    ('affect-test.tfrecord-00000-of-00001', 'c', 0, 2, 50),
  ]
  assert verify.verify(folder) == []


def test_tensorflow_datasets_reads_what_was_written(folder):
  import tensorflow as tf
  import tensorflow_datasets as tfds

  builder = tfds.builder_from_directory(str(folder))
  assert {name: split.num_examples for name, split in builder.info.splits.items()} == {'train': 6, 'test': 2}
  written = make_records('a', 1, seed=2) + make_records('b', 5, last_valid=7, seed=1)
  stored = list(builder.as_dataset(split='train', shuffle_files=False).as_numpy_iterator())
  assert len(stored) == 6
  for record, example in zip(
    sorted(written, key=lambda r: (r.recording, r.index)),
    sorted(stored, key=lambda e: (e['recording'], e['second'])),
    strict=True,
  ):
    own = {field.name for field in dataclasses.fields(records.Record)} - {'index', 'values'}
    assert set(example) == own | {'second'} | set(record.values)
    for name in ('label', 'label_mask', 'valid'):
      np.testing.assert_array_equal(example[name], getattr(record, name))
    for name in ('audio', 'face_found'):
      np.testing.assert_array_equal(example[name], record.values[name])
    assert (example['recording'].decode(), example['subject'].decode(), example['second']) == (
      record.recording,
      record.subject,
      record.index,
    )
    assert (example['audio_mean'], example['audio_std']) == (1.5, 300)
    # The same decoder on the bytes that went in: another one may round differently.
    np.testing.assert_array_equal(example['face'], [tf.io.decode_jpeg(jpeg) for jpeg in record.values['face']])


def test_equal_records_give_equal_files(tmp_path):
  for name in ('x', 'y'):
    write_folder(tmp_path / name, [(make_records('a', 2), 'train'), (make_records('b', 1, seed=4), 'test')])
  files = sorted(path.name for path in (tmp_path / 'x').iterdir() if path.is_file())
  assert len(files) >= 5
  for name in files:
    assert (tmp_path / 'x' / name).read_bytes() == (tmp_path / 'y' / name).read_bytes(), name


def shard_path(folder, index=1):
  return folder / Manifest.read(folder).shards[index].file


def edit_manifest(folder, change):
  path = folder / MANIFEST
  content = json.loads(path.read_text())
  change(content['shards'])
  path.write_text(json.dumps(content))


def flip(path, position):
  data = bytearray(path.read_bytes())
  data[position] ^= 16
  path.write_bytes(data)


def end_of_the_first(path):
  return next(tfrecord.places(path.read_bytes()))[1]


def truncate(path, size):
  path.write_bytes(path.read_bytes()[:size])


@pytest.mark.parametrize(
  'damage, reason',
  [
    (lambda f: shard_path(f).unlink(), 'not found'),
    (lambda f: truncate(shard_path(f), 1000), '1000 bytes, the manifest says'),
    (lambda f: truncate(shard_path(f), end_of_the_first(shard_path(f))), '1 records, the manifest says 2'),
    (lambda f: truncate(shard_path(f), -9), 'record 1: damaged (truncated record at '),
    (lambda f: truncate(shard_path(f), 0), '0 records, the manifest says 2'),
    (lambda f: flip(shard_path(f), 5000), 'record 0: damaged'),
    (lambda f: flip(shard_path(f), -5000), 'record 1: damaged'),
    (lambda f: flip(shard_path(f), 5000), 'SHA-256 differs'),
    (lambda f: edit_manifest(f, lambda s: s[1].update(steps=49)), '50 valid steps, the manifest says 49'),
    (lambda f: edit_manifest(f, lambda s: s[2].update(first_second=3)), 'starts at record 3 of b, expected 2'),
    (lambda f: edit_manifest(f, lambda s: s[4].update(subject='a')), 'subject a is in test and train; expected one'),
    (lambda f: edit_manifest(f, lambda s: s[1].update(recording='z')), "record 0: is {'recording': 'b'"),
    (lambda f: edit_manifest(f, lambda s: s.pop()), 'affect-test.tfrecord-00000-of-00001: not in the manifest'),
  ],
)
def test_verify_sees(folder, damage, reason):
  damage(folder)
  faults = verify.verify(folder)
  assert any(reason in fault for fault in faults), faults
  assert not any('\n' in fault or '{{' in fault for fault in faults)


@pytest.mark.parametrize(
  'changes, reason',
  [
    ({'face': [b'no jpeg'] + [jpeg.encode(np.zeros((96, 96, 3), np.uint8))] * 24}, 'face 0 is no 96×96 JPEG'),
    ({'face': [jpeg.encode(np.zeros((95, 96, 3), np.uint8))] * 25}, 'face 0 is no 96×96 JPEG'),
    ({'label': np.full((25, 2), np.nan, np.float32)}, 'label holds NaN'),
    ({'label': np.zeros((25, 3), np.float32)}, 'label holds 300 bytes, expected 200'),
  ],
)
def test_verify_sees_bad_contents_under_a_right_sum(tmp_path, changes, reason):
  record = make_records('a', 1)[0]
  values = record.values | ({'face': changes.pop('face')} if 'face' in changes else {})
  record = dataclasses.replace(record, values=values, **changes)
  layout = streams.layout(['arousal', 'valence', 'liking'][: record.label.shape[1]], PAPER, ('speech', 'visual'))
  write_folder(tmp_path, [([record], 'train')], layout)
  assert any(f'record 0: {reason}' in fault for fault in verify.verify(tmp_path))


@pytest.mark.slow
def test_verify_command(folder):
  command = [sys.executable, '-m', 'data_prep.shards', f'--verify={folder}']
  done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
  assert done.returncode == 0 and 'all shards are what the manifest says' in done.stdout
  flip(shard_path(folder), 5000)
  done = subprocess.run(command, cwd=REPO, capture_output=True, text=True)
  assert done.returncode == 65 and 'Traceback' not in done.stderr
  assert len([line for line in done.stdout.splitlines() if 'affect-train.tfrecord-00001' in line]) == 2
  assert f'error: {folder}: 2 faults' in done.stderr


def test_verify_without_a_manifest(tmp_path):
  with pytest.raises(DataError, match='manifest.json: not found'):
    verify.verify(tmp_path)


def test_a_kill_between_two_renames_loses_nothing(folder):
  wanted = sorted(path.name for path in folder.iterdir() if path.is_file())
  before = {shard.file: shard.sha256 for shard in Manifest.read(folder).shards}
  journal = write.names(folder)
  # As if killed in the middle of `finish`: no manifest, and two shards still (or again) under their part's name.
  (folder / MANIFEST).unlink()
  for part in list(journal)[:2]:
    (folder / journal[part]).rename(folder / write.PARTS / part)
  write.unname(folder)
  assert sorted(path.name for path in (folder / write.PARTS).glob('*.tfrecord')) == sorted(journal)
  assert not list(folder.glob('affect-*'))
  write.unname(folder)  # twice is once
  parts = [
    dataclasses.replace(shard, file=part)
    for part, final in journal.items()
    for shard in [next(s for s in make_shards(folder, before) if s.file == final)]
  ]
  write.finish(folder, parts, LAYOUT, label_scale={}, preparation={})
  assert {shard.file: shard.sha256 for shard in Manifest.read(folder).shards} == before
  assert sorted(path.name for path in folder.iterdir() if path.is_file()) == wanted and verify.verify(folder) == []


def make_shards(folder, before):
  """The fixture's shards, as they were before the manifest went."""
  del folder
  rows = [
    ('a', 'train', 0, 1, 25),
    ('b', 'train', 0, 2, 50),
    ('b', 'train', 2, 2, 50),
    ('b', 'train', 4, 1, 7),
    ('c', 'test', 0, 2, 50),
  ]
  written = {
    'a': make_records('a', 1, seed=2),
    'b': make_records('b', 5, last_valid=7, seed=1),
    'c': make_records('c', 2, seed=3),
  }
  for (name, partition, first, count, steps), (file, digest) in zip(rows, before.items(), strict=True):
    sizes = [16 + len(records.encode(record, LAYOUT)) for record in written[name][first : first + count]]
    yield Shard(
      file=file,
      bytes=sum(sizes),
      records=count,
      sha256=digest,
      recording=name,
      subject=name,
      partition=partition,
      first=first,
      steps=steps,
    )


def test_distinct_ids_have_distinct_files():
  ids = ['P16', 'p/16', 'p_16', 'p\\16', 'ä', 'ö', 'x' * 300, 'x' * 301, '..']
  stems = [write.part_stem(name) for name in ids]
  assert len(set(stems)) == len(ids) and all('/' not in stem and len(stem) < 80 for stem in stems)


def test_a_name_that_cannot_be_written_is_not_called_a_full_disk(tmp_path, monkeypatch):
  (tmp_path / write.PARTS / f'{write.part_stem("a")}-000.tfrecord').mkdir(parents=True)  # cannot be replaced
  with pytest.raises(WorkdirError, match='cannot be written [(]Is a directory[)]'):
    write.write_recording(tmp_path, make_records('a', 1), LAYOUT, partition='train')
  for number, error in ((errno.ENOSPC, DiskFullError), (errno.EDQUOT, DiskFullError), (errno.EACCES, WorkdirError)):

    def fail(path, serialized):
      path.write_bytes(b'half')
      raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tfrecord, 'write', fail)
    with pytest.raises(error, match=os.strerror(number)):
      write.write_recording(tmp_path / 'b', make_records('a', 1), LAYOUT, partition='train')
    assert not list((tmp_path / 'b' / write.PARTS).iterdir())


@pytest.mark.parametrize('kind', ['up', 'absolute', 'link', 'itself', 'number', 'nul'])
def test_a_path_out_of_the_folder_is_refused_by_every_reader_of_a_manifest(folder, tmp_path, kind):
  outside = tmp_path / 'outside'
  shard_path(folder).rename(outside)
  name = {'up': '../outside', 'absolute': str(outside), 'link': 'link', 'itself': '.', 'number': 7, 'nul': 'a\0'}[kind]
  (folder / 'link').symlink_to(outside)
  edit_manifest(folder, lambda s: s[1].update(file=name))
  sheets = lambda folder: contact_sheets.write_sheets(folder, tmp_path / 'sheets')
  for reader in (Manifest.read, verify.verify, sheets, recordings.read_manifest):
    with pytest.raises(DataError, match='manifest.json: .*(leads out of|is no path|file is .7.)'):
      reader(folder)


@pytest.mark.parametrize(
  'part, final',
  [
    ('../../victim', 'affect-train.tfrecord-00000-of-00001'),
    ('a-01234567-000.tfrecord', '../victim'),
    ('a-01234567-000.tfrecord', 'thesis.tex'),
    ('a-01234567-000.tfrecord', 7),
  ],
)
def test_names_of_parts_never_move_or_delete_other_files(folder, tmp_path, part, final):
  (tmp_path / 'victim').write_text('years of work')
  (folder / 'thesis.tex').write_text('years of work')
  (folder / write.PARTS / 'a-01234567-000.tfrecord').touch()
  (folder / write.PARTS / 'names.json').write_text(json.dumps({part: final}))
  with pytest.raises(DataError, match='names.json: damaged .*expected (names of shards|string)'):
    write.unname(folder)
  assert (tmp_path / 'victim').read_text() == (folder / 'thesis.tex').read_text() == 'years of work'


def test_verify_names_garbage_and_absent_streams_under_a_right_sum(tmp_path, monkeypatch):
  import tensorflow as tf

  good = records.encode(make_records('a', 1)[0], LAYOUT)
  example = tf.train.Example.FromString(good)
  del example.features.feature['audio']
  data = jpeg.encode(np.zeros((96, 96, 3), np.uint8))
  start = data.index(b'\xff\xc0') + 5
  huge = data[:start] + b'\xff\xff\xff\xff' + data[start + 4 :]  # 65535 × 65535 pixels
  for data, reason in (
    (b'\x0a\x08\x0a\x06\x0a\x04\xff\xfe\xfd\xfc', 'record 0: '),
    (b'garbage', 'not an Example'),
    (example.SerializeToString(), 'record 0: has no audio'),
    ([b''] * 25, 'face 0 is no'),
    ([huge] * 25, 'face 0 is no'),
  ):
    with monkeypatch.context() as patch:
      if isinstance(data, bytes):
        patch.setattr(records, 'encode', lambda record, layout, data=data: data)
        record = make_records('a', 1)[0]
      else:
        record = make_records('a', 1)[0]
        record.values['face'] = data
      write_folder(tmp_path, [([record], 'train')])
    faults = verify.verify(tmp_path)
    assert any(reason in fault for fault in faults), (reason, faults)
    assert not any('\n' in fault for fault in faults)
    with pytest.raises(DataError, match='record 0: .*--verify'):
      contact_sheets.write_sheets(tmp_path, tmp_path / 'sheets')
    write.unname(tmp_path)


def test_files_are_those_of_tensorflow(tmp_path):
  import tensorflow as tf

  rng = np.random.default_rng(0)
  serialized = [rng.bytes(size) for size in (0, 1, 127, 128, 70_000)]
  tfrecord.write(tmp_path / 'ours', serialized)
  with tf.io.TFRecordWriter(str(tmp_path / 'theirs')) as writer:
    for data in serialized:
      writer.write(data)
  written = (tmp_path / 'ours').read_bytes()
  assert written == (tmp_path / 'theirs').read_bytes()
  assert len(written) == sum(map(tfrecord.stored_bytes, serialized))


def test_a_full_disk_is_an_error():
  with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
    tfrecord.write('/dev/full', [b'small enough for the buffer'])


def test_writing_does_without_tensorflow(tmp_path):
  """Its import would be most of a worker's start."""
  code = (
    'import sys; from data_prep.shards import workers, write; from tests.data_prep.shards import test_shards as t; '
    f'write.write_recording({str(tmp_path)!r}, t.make_records("a", 1), t.LAYOUT, partition="train"); '
    'print("tensorflow" in sys.modules)'
  )
  assert subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True).stdout == 'False\n'


def test_records_are_found_past_damaged_lengths(tmp_path):
  sizes = [10, 3_000_000, 20, 0, 500]
  rng = np.random.default_rng(0)
  path = tmp_path / 'shard'
  tfrecord.write(path, [rng.bytes(size) for size in sizes])
  data = bytearray(path.read_bytes())
  ends = np.cumsum([16 + size for size in sizes])
  whole = list(zip([0, *ends[:-1]], ends, strict=True))
  assert list(tfrecord.places(bytes(data))) == whole
  assert [data[begin + 12 : end - 4] for begin, end in whole] == list(tfrecord.read(path))
  data[ends[0] + 2] ^= 8  # the length of the large one
  assert list(tfrecord.places(bytes(data))) == [whole[0], *whole[2:]]
  data[ends[3] + 9] ^= 8  # the checksum of the last length
  assert list(tfrecord.places(bytes(data))) == [whole[0], *whole[2:4]]
  assert not list(tfrecord.places(b'')) and not list(tfrecord.places(b'short'))
