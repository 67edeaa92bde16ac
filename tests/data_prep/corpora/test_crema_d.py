"""CREMA-D in its layout: the intended emotion, votes, and folds of actors."""

import numpy as np
import pytest

from data_prep import corpora
from data_prep.core.errors import DataError
from data_prep.corpora import crema_d
from data_prep.shards import prepare, read, verify
from tests import clips
from tests.data_prep.face.test_faces import scene

TABLE = """"","FileName","VoiceVote","VoiceLevel","FaceVote","FaceLevel","MultiModalVote","MultiModalLevel"
"1","1001_IEO_NEU_XX","N","60.5","A:N","50","N","70"
"2","1002_DFA_ANG_HI","D","55","H","80","A","90"
"3","1006_TIE_SAD_XX","F:S","40","S","45","S","41"
"""


@pytest.fixture
def folder(tmp_path):
  (tmp_path / 'AudioWAV').mkdir()
  for name in ('1001_IEO_NEU_XX', '1002_DFA_ANG_HI', '1006_TIE_SAD_X'):
    (tmp_path / 'AudioWAV' / f'{name}.wav').touch()
  return tmp_path


def test_the_intended_emotion(folder):
  corpus = corpora.read('crema_d', folder)
  assert [(r.recording, r.subject, r.partition, r.whole) for r in corpus.recordings] == [
    ('1001_IEO_NEU_XX', '1001', 'test', {'emotion': 'neutral'}),
    ('1002_DFA_ANG_HI', '1002', 'validation', {'emotion': 'anger'}),
    ('1006_TIE_SAD_X', '1006', 'test', {'emotion': 'sadness'}),
  ]
  assert corpus.streams == ('speech',) and corpus.targets == ('emotion',)
  assert corpus.classes == {'emotion': ('anger', 'disgust', 'fear', 'happiness', 'neutral', 'sadness')}
  assert len(corpus.absent) == 88 and ('actor 1003', 'train', 'clips') in corpus.absent
  assert corpus.folds['2']['1002'] == 'test' and corpus.folds['5']['1091'] == 'validation'
  tested = [actor for fold in corpus.folds.values() for actor, partition in fold.items() if partition == 'test']
  assert sorted(tested) == [str(actor) for actor in range(1001, 1092)]


def test_what_is_known_of_the_actors(folder):
  assert all(r.about == {} for r in corpora.read('crema_d', folder).recordings)
  people = 'ActorID,Age,Sex,Race,Ethnicity\n1001,51,Male,Caucasian,Not Hispanic\n1002,20,Female,Asian,Not Hispanic\n'
  (folder / 'VideoDemographics.csv').write_text(people)
  about = {r.subject: r.about for r in corpora.read('crema_d', folder).recordings}
  assert about['1001'] == {'age': '50 to 59', 'sex': 'Male', 'race': 'Caucasian', 'ethnicity': 'Not Hispanic'}
  assert about['1002']['age'] == '20 to 29' and about['1006'] == {}
  (folder / 'VideoDemographics.csv').write_text(people.replace('20', 'twenty'))
  with pytest.raises(DataError, match="VideoDemographics.csv, line 3: age 'twenty'; expected years"):
    crema_d.read(folder)


def test_a_video_has_its_own_sound(folder):
  (folder / 'VideoFlash').mkdir()
  (folder / 'VideoFlash' / '1001_IEO_NEU_XX.flv').touch()
  corpus = corpora.read('crema_d', folder)
  assert corpus.streams == ('speech', 'visual')
  assert [(r.video and r.video.name, r.audio and r.audio.name) for r in corpus.recordings[:2]] == [
    ('1001_IEO_NEU_XX.flv', None),
    (None, '1002_DFA_ANG_HI.wav'),
  ]


def test_votes_of_raters(folder):
  with pytest.raises(DataError, match='no processedResults/summaryTable.csv, which has the votes'):
    corpora.read('crema_d', folder, targets=['voice_vote'])
  (folder / 'processedResults').mkdir()
  (folder / 'processedResults' / 'summaryTable.csv').write_text(TABLE)
  (folder / 'AudioWAV' / '1006_TIE_SAD_X.wav').rename(folder / 'AudioWAV' / '1006_TIE_SAD_XX.wav')
  voted = {}
  for target in ('voice_vote', 'face_vote', 'multimodal_vote'):
    corpus = corpora.read('crema_d', folder, targets=[target])
    voted[target] = {r.subject: r.whole[target] for r in corpus.recordings}
    ties = [name for name, partition, _ in corpus.absent if partition == 'in no partition']
    assert ties == {'voice_vote': ['1006_TIE_SAD_XX'], 'face_vote': ['1001_IEO_NEU_XX']}.get(target, [])
  assert voted['voice_vote'] == {'1001': 'neutral', '1002': 'disgust'}
  assert voted['face_vote'] == {'1002': 'happiness', '1006': 'sadness'}
  assert voted['multimodal_vote'] == {'1001': 'neutral', '1002': 'anger', '1006': 'sadness'}


@pytest.mark.parametrize('name', ['1001_IEO_JOY_XX.wav', '1092_IEO_NEU_XX.wav', 'a.wav'])
def test_names_that_are_none(folder, name):
  (folder / 'AudioWAV' / name).touch()
  with pytest.raises(DataError, match=f'{name}: expected actor_sentence_emotion_intensity'):
    crema_d.read(folder)
  with pytest.raises(DataError, match='no AudioWAV'):
    crema_d.read(folder / 'AudioWAV')


def test_a_flash_video_is_prepared(tmp_path, face):
  path = tmp_path / 'crema_d' / 'VideoFlash' / '1001_IEO_NEU_XX.flv'
  path.parent.mkdir(parents=True)
  frames = [scene(face, 110, 120) for _ in range(30)]
  sound = clips.tone(1.2, 44_100)
  clips.write_clip(path, frames, sound=sound, codec='flv', sound_codec='pcm_s16le')
  out = tmp_path / 'out'
  result = prepare.prepare(corpus='crema_d', source=tmp_path / 'crema_d', out=out, jobs=0)
  assert verify.verify(out) == [] and result.summaries['1001_IEO_NEU_XX'].face_found > 0.9
  (shard,) = result.manifest.shards
  assert abs(shard.steps - 30) <= 1  # a container's clock counts milliseconds
  record = next(read.read_shard(out / shard.file, result.manifest))
  assert (record.label[:, 0] == 4).all() and np.abs(record.values['audio']).max() > 10_000
