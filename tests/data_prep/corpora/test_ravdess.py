"""RAVDESS in its layout: takes, folds, what is absent; and from files to shards."""

import re
import shutil

import numpy as np
import pytest
import soundfile

from data_prep import corpora
from data_prep.core.errors import DataError, UserError
from data_prep.corpora import ravdess, speaker_folds
from data_prep.shards import prepare, read, verify
from tests import clips
from tests.data_prep.face.test_faces import scene


def touch(folder, *names):
  for name in names:
    path = folder / f'Actor_{name.split(".")[0][-2:]}' / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_takes_and_what_is_absent(tmp_path):
  touch(tmp_path, '03-01-01-01-01-01-01.wav', '03-01-06-02-02-01-12.flac', '03-02-04-01-01-01-12.wav')
  touch(tmp_path, '01-01-08-01-01-01-24.mp4', '02-01-08-01-01-01-24.mp4', '03-01-08-01-01-01-24.wav')
  touch(tmp_path, '02-01-02-01-01-01-02.mp4', '03-01-02-01-01-01-02.wav')
  (tmp_path / 'Actor_12' / 'notes.txt').touch()
  corpus = corpora.read('ravdess', tmp_path)
  found = [(r.recording, r.subject, r.partition, r.whole) for r in corpus.recordings]
  assert found == [
    ('01-01-08-01-01-01-24', '24', 'train', {'emotion': 'surprised'}),
    ('03-01-01-01-01-01-01', '1', 'test', {'emotion': 'neutral'}),
    ('03-01-02-01-01-01-02', '2', 'train', {'emotion': 'calm'}),
    ('03-01-06-02-02-01-12', '12', 'validation', {'emotion': 'fearful'}),
  ]
  files = [(r.video and r.video.name, r.audio and r.audio.name) for r in corpus.recordings]
  assert files == [
    ('01-01-08-01-01-01-24.mp4', None),  # its own sound track
    (None, '03-01-01-01-01-01-01.wav'),
    ('02-01-02-01-01-01-02.mp4', '03-01-02-01-01-01-02.wav'),
    (None, '03-01-06-02-02-01-12.flac'),
  ]
  assert corpus.streams == ('speech', 'visual') and corpus.targets == ('emotion',)
  assert corpus.classes == {'emotion': ravdess.EMOTIONS} and len(ravdess.EMOTIONS) == 8
  assert ('1 songs', 'in no partition', 'speech') in corpus.absent
  assert [tuple(r.about.values()) for r in corpus.recordings] == [
    ('female', 'normal'),
    ('male', 'normal'),
    ('female', 'normal'),
    ('female', 'strong'),
  ]
  lacking = [name for name, _, what in corpus.absent if what == 'recordings']
  assert len(lacking) == 20 and ('actor 3', 'train', 'recordings') in corpus.absent


def test_the_folds_are_those_of_emobox():
  folds = speaker_folds.rotating(ravdess.TEST_ACTORS)
  assert list(folds) == ['1', '2', '3', '4', '5', '6']
  of = lambda fold, partition: {int(actor) for actor, p in folds[fold].items() if p == partition}
  assert of('1', 'test') == {1, 11, 20, 21} and of('1', 'validation') == {4, 10, 12, 14} == of('2', 'test')
  assert of('6', 'test') == {6, 13, 17, 22} and of('6', 'validation') == of('1', 'test')
  for fold in folds:
    assert set(map(int, folds[fold])) == set(range(1, 25)) and len(of(fold, 'train')) == 16
  assert set.union(*(of(fold, 'test') for fold in folds)) == set(range(1, 25))


@pytest.mark.parametrize('name', ['03-01-09-01-01-01-01.wav', 'speech.wav', '01-01-01-01-01-01-01.wav'])
def test_names_that_are_none(tmp_path, name):
  touch(tmp_path, '03-01-01-01-01-01-01.wav')
  (tmp_path / name).touch()
  with pytest.raises(DataError, match=re.escape(name) + ': expected modality-channel-emotion'):
    ravdess.read(tmp_path)


def test_what_is_refused(tmp_path):
  with pytest.raises(DataError, match='no speech of RAVDESS in it'):
    ravdess.read(tmp_path)
  touch(tmp_path, '03-01-01-01-01-01-01.wav', '03-01-01-01-01-01-01.flac')
  with pytest.raises(DataError, match='is the same take; keep one of the two'):
    ravdess.read(tmp_path)
  with pytest.raises(UserError, match='--split and --split_file are not for --corpus=ravdess'):
    ravdess.read(tmp_path, split='full')
  with pytest.raises(UserError, match='--label_range is not for'):
    ravdess.read(tmp_path, label_range=(-1, 1))
  with pytest.raises(UserError, match='--targets=arousal; --corpus=ravdess offers none: leave it out'):
    corpora.read('ravdess', tmp_path, targets=['arousal'])


def test_it_is_prepared(tmp_path, face):
  source, out = tmp_path / 'ravdess', tmp_path / 'out'
  touch(source, '03-01-01-01-01-01-01.wav', '03-01-05-02-01-01-04.flac', '01-01-08-01-01-01-24.mp4')
  stereo = np.stack([clips.tone(1.3, 48_000)] * 2, axis=1)
  soundfile.write(source / 'Actor_01' / '03-01-01-01-01-01-01.wav', stereo, 48_000)
  soundfile.write(source / 'Actor_04' / '03-01-05-02-01-01-04.flac', clips.tone(0.4, 16_000), 16_000)
  frames = [scene(face, 110, 120) for _ in range(25)]
  path = source / 'Actor_24' / '01-01-08-01-01-01-24.mp4'
  clips.write_clip(path, frames, sound=clips.tone(1, 48_000), rate=48_000, codec='libx264', sound_codec='aac')
  manifest = prepare.prepare(corpus='ravdess', source=source, out=out, jobs=0).manifest
  assert verify.verify(out) == [] and list(manifest.streams) == ['speech', 'visual']
  assert [(s.subject, s.partition, s.steps, s.records) for s in manifest.shards] == [
    ('24', 'train', 25, 1),
    ('4', 'validation', 10, 1),
    ('1', 'test', 33, 2),
  ]
  record = next(read.read_shard(out / manifest.shards[1].file, manifest))
  assert (record.label[:10, 0] == ravdess.EMOTIONS.index('angry')).all()
  np.testing.assert_array_equal(record.label_mask, np.arange(25) < 10)
  assert not record.values['face_found'].any() and np.abs(record.values['audio'][:10]).max() > 10_000
  assert {s.subject: s.partition for s in manifest.of_fold('2').shards} == {'24': 'train', '4': 'test', '1': 'train'}
  shutil.rmtree(source / 'Actor_24')  # without a video there is no picture to learn from
  assert list(prepare.prepare(corpus='ravdess', source=source, out=out, jobs=0).manifest.streams) == ['speech']
