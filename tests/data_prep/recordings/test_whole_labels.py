"""Recordings with one label each, from the reader to the shards: classes, numbers, and folds."""

import dataclasses

import numpy as np
import pytest
import soundfile

from data_prep import corpora
from data_prep.core.errors import DataError
from data_prep.corpora.recording import Corpus, Recording
from data_prep.schema.manifest import Manifest
from data_prep.shards import prepare, read, verify, write
from tests import clips

RATE = 8_000
EMOTIONS = ('joy', 'anger', 'fear')
# Name -> (subject, partition, seconds, label). 0.62 s are 15.5 steps, in less than a record.
CLIPS = {
  'a': ('S1', 'train', 0.62, 'fear'),
  'b': ('S2', 'validation', 2.0, 'joy'),
  'c': ('S3', 'test', 1.2, 'anger'),
}
FOLDS = {'1': {'S1': 'train', 'S2': 'validation', 'S3': 'test'}, '2': {'S1': 'test', 'S2': 'train', 'S3': 'validation'}}


def read_corpus(source, *, split, label_range):
  recordings = [
    Recording(name, subject, partition, None, source / f'{name}.wav', whole={'emotion': label})
    for name, (subject, partition, _, label) in CLIPS.items()
  ]
  return Corpus(recordings, [], ('emotion',), streams=('speech',), classes={'emotion': EMOTIONS}, folds=FOLDS)


@pytest.fixture
def source(tmp_path, monkeypatch):
  (tmp_path / 'source').mkdir()
  for name, (_, _, seconds, _) in CLIPS.items():
    soundfile.write(tmp_path / 'source' / f'{name}.wav', clips.tone(seconds, RATE), RATE)
  monkeypatch.setitem(corpora.READERS, 'classes', corpora.Entry(read_corpus))
  return tmp_path / 'source'


def prepared(source, out, corpus='classes'):
  return prepare.prepare(corpus=corpus, source=source, out=out, jobs=0)


def test_a_class_is_repeated_in_every_step(source, tmp_path):
  out = tmp_path / 'out'
  result = prepared(source, out)
  manifest = Manifest.read(out)
  assert manifest == result.manifest and verify.verify(out) == []
  assert manifest.classes == {'emotion': EMOTIONS} and manifest.folds == FOLDS
  assert manifest.label_scale == {'emotion': [1, 0]}
  assert [(s.recording, s.records, s.steps) for s in manifest.shards] == [('a', 1, 16), ('b', 2, 50), ('c', 2, 30)]
  for shard in manifest.shards:
    rows = list(read.read_shard(out / shard.file, manifest))
    label, mask, valid = (
      np.concatenate([getattr(row, name) for row in rows]) for name in ('label', 'label_mask', 'valid')
    )
    assert label.shape[1] == 1 and valid.sum() == shard.steps
    scored = shard.steps - (shard.recording == 'a')  # its last step is half a one
    np.testing.assert_array_equal(mask, np.arange(len(mask)) < scored)
    assert (label[:scored, 0] == EMOTIONS.index(CLIPS[shard.recording][3])).all()
  before = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
  prepared(source, out)
  assert before == {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def test_another_label_is_prepared_anew_and_other_folds_change_the_manifest_alone(source, tmp_path, monkeypatch):
  out = tmp_path / 'out'
  first = prepared(source, out).manifest
  monkeypatch.setitem(CLIPS, 'b', ('S2', 'validation', 2.0, 'fear'))
  second = prepared(source, out).manifest
  changed = [old.recording for old, new in zip(first.shards, second.shards) if old.sha256 != new.sha256]
  assert changed == ['b']
  monkeypatch.setitem(FOLDS, '3', FOLDS['1'])
  assert prepared(source, out).manifest == dataclasses.replace(second, folds=FOLDS)
  monkeypatch.setitem(FOLDS, '3', {'S1': 'train', 'S3': 'test'})
  with pytest.raises(DataError, match='fold 3 names no partition for subject S2'):
    prepared(source, out)


def test_what_is_known_of_people_changes_the_manifest_alone(source, tmp_path, monkeypatch, capsys):
  out = tmp_path / 'out'
  first = prepared(source, out).manifest
  assert first.about == {} and 'divide people by' not in capsys.readouterr().out

  def read_about(source, **arguments):
    corpus = read_corpus(source, **arguments)
    return dataclasses.replace(
      corpus, recordings=[dataclasses.replace(r, about={'sex': 'fm'[r.subject == 'S2']}) for r in corpus.recordings]
    )

  monkeypatch.setitem(corpora.READERS, 'classes', corpora.Entry(read_about))
  (source / 'c.wav').write_bytes(b'damaged')  # what is refused is not in the manifest
  with pytest.raises(DataError, match='1 of 3'):
    prepared(source, out)
  manifest = Manifest.read(out)
  assert manifest.about == {'a': {'sex': 'f'}, 'b': {'sex': 'm'}}
  assert [s.sha256 for s in manifest.shards] == [s.sha256 for s in first.shards[:2]]
  assert 'reports divide people by: sex\n' in capsys.readouterr().out


@pytest.mark.parametrize('label', ['sorrow', None, 2.0])
def test_a_label_that_is_no_class_is_refused(source, tmp_path, monkeypatch, label):
  monkeypatch.setitem(CLIPS, 'b', ('S2', 'validation', 2.0, label))
  with pytest.raises(DataError, match='1 of 3 recordings refused'):
    prepared(source, tmp_path / 'out')
  text = (tmp_path / 'out' / 'rejects.jsonl').read_text()
  assert f'b: emotion is {label!r}; expected one of joy, anger, fear' in text


def test_numbers_are_scaled_and_kept_in_their_range(source, tmp_path, monkeypatch):
  numbers = {'a': (1.0, 4.0), 'b': (2.5, 5.0), 'c': (3.0, 7.0)}

  def read_numbers(source, **arguments):
    corpus = read_corpus(source, **arguments)
    recordings = [
      dataclasses.replace(r, whole=dict(zip(('valence', 'arousal'), numbers[r.recording]))) for r in corpus.recordings
    ]
    return dataclasses.replace(
      corpus, recordings=recordings, targets=('arousal', 'valence'), classes={}, label_range=(1, 5), label_slack=0
    )

  monkeypatch.setitem(corpora.READERS, 'numbers', corpora.Entry(read_numbers))
  with pytest.raises(DataError, match='1 of 3'):
    prepared(source, tmp_path / 'out', 'numbers')
  assert 'c: arousal is 7.0; expected 1 to 5' in (tmp_path / 'out' / 'rejects.jsonl').read_text()
  manifest = Manifest.read(tmp_path / 'out')
  assert manifest.classes == {} and manifest.label_scale == {'arousal': [0.5, -1.5], 'valence': [0.5, -1.5]}
  rows = [next(read.read_shard(tmp_path / 'out' / s.file, manifest)) for s in manifest.shards]
  np.testing.assert_allclose([row.label[0] for row in rows], [[0.5, -1], [1, -0.25]])


@pytest.mark.parametrize('index', [3, -1, 0.5])
def test_verification_finds_an_index_of_no_class(source, tmp_path, index):
  out = tmp_path / 'out'
  manifest = prepared(source, out).manifest
  (shard,) = (s for s in manifest.shards if s.recording == 'b')
  rows = [
    dataclasses.replace(row, label=np.full((25, 1), index, np.float32))
    for row in read.read_shard(out / shard.file, manifest)
  ]
  write.unname(out)
  (new,) = write.write_recording(out, rows, manifest, partition='validation')
  parts = {s.recording: dataclasses.replace(s, file=write.part_name(s.recording, 0)) for s in manifest.shards}
  write.finish(
    out, [parts['a'], new, parts['c']], manifest, label_scale=manifest.label_scale, preparation=manifest.preparation
  )
  first = verify.verify(out)[0]
  assert f'record 0: emotion is {index}, expected the index of one of 3 classes' in first
