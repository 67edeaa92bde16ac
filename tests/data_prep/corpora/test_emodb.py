"""EMO-DB in its layout: letters of names, classes or numbers, speakers left out."""

import pytest

from data_prep import corpora
from data_prep.core.errors import DataError, UserError
from data_prep.corpora import emodb

NAMES = ('03a01Wa', '03b02Ec', '08a02Wb', '08b10Ea', '16a05Tb', '16a07Wa')
HEADER = 'emodb_file,speaker,emotion_letter,pyaudioanalysis_file,arousal,valence\n'


@pytest.fixture
def folder(tmp_path):
  (tmp_path / 'wav').mkdir()
  for name in (*NAMES, '._03a01Wa'):
    (tmp_path / 'wav' / f'{name}.wav').touch()
  return tmp_path


def test_classes_are_those_of_the_name(folder):
  (folder / 'index.csv').write_text(HEADER + '03a01Wa.wav,03,E,,0.1,0.2\n')  # a list that confuses letters
  corpus = corpora.read('emodb', folder)
  assert [(r.recording, r.subject, r.partition, r.whole['emotion']) for r in corpus.recordings] == [
    ('03a01Wa', '03', 'test', 'anger'),
    ('03b02Ec', '03', 'test', 'disgust'),
    ('08a02Wb', '08', 'validation', 'anger'),
    ('08b10Ea', '08', 'validation', 'disgust'),
    ('16a05Tb', '16', 'train', 'sadness'),
    ('16a07Wa', '16', 'train', 'anger'),
  ]
  assert [r.about['sex'] for r in corpus.recordings] == ['male'] * 2 + ['female'] * 4
  assert corpus.recordings[0].audio == folder / 'wav' / '03a01Wa.wav' and corpus.recordings[0].video is None
  assert corpus.classes['emotion'] == ('anger', 'boredom', 'disgust', 'fear', 'happiness', 'sadness', 'neutral')
  assert list(corpus.folds) == ['03', '08', '16'] and corpus.folds['16']['03'] == 'validation'
  assert corpus.streams == ('speech',) and corpus.absent == []


def test_numbers_are_those_of_the_index(folder):
  rows = ['08a02Wb.wav,08,W,1.wav,0.64,-0.6', '16a05Tb.wav,16,T,,-0.9,', '03b02Ec.wav,03,E,,0.25,-1']
  swapped = 'valence,emodb_file,arousal\n-0.5,16a07Wa.wav,0.75\n'
  (folder / 'index.csv').write_text(HEADER + '\n'.join(rows) + '\n')
  corpus = corpora.read('emodb', folder, targets=['arousal', 'valence'])
  assert {r.recording: r.whole for r in corpus.recordings} == {
    '03b02Ec': {'arousal': 0.25, 'valence': -1},
    '08a02Wb': {'arousal': 0.64, 'valence': -0.6},
  }
  assert corpus.classes == {} and corpus.targets == ('arousal', 'valence') and corpus.label_range == (-1, 1)
  assert [name for name, _, what in corpus.absent if what == 'arousal and valence'] == [
    '03a01Wa',
    '08b10Ea',
    '16a05Tb',
    '16a07Wa',
  ]
  (folder / 'index.csv').write_text(swapped)  # columns go by name
  (only,) = corpora.read('emodb', folder, targets=['arousal', 'valence']).recordings
  assert only.whole == {'arousal': 0.75, 'valence': -0.5}


def test_what_is_refused(folder, tmp_path_factory):
  numbers = ['arousal', 'valence']
  with pytest.raises(DataError, match='index.csv: cannot be read'):
    corpora.read('emodb', folder, targets=numbers)
  (folder / 'index.csv').write_text(HEADER + '08a02Wb.wav,08,W,,high,0\n')
  with pytest.raises(DataError, match="index.csv, line 2: .*'high'; expected numbers"):
    corpora.read('emodb', folder, targets=numbers)
  (folder / 'index.csv').write_text(HEADER)
  with pytest.raises(DataError, match='no arousal and valence of any clip'):
    corpora.read('emodb', folder, targets=numbers)
  with pytest.raises(UserError, match='--targets=valence; --corpus=emodb offers emotion or arousal,valence'):
    corpora.read('emodb', folder, targets=['valence'])
  with pytest.raises(DataError, match='no .wav in it'):
    emodb.read(tmp_path_factory.mktemp('empty'))
  (folder / '08a02Wb.wav').touch()
  with pytest.raises(DataError, match='is the same clip'):
    emodb.read(folder)
  (folder / '03a01Xa.wav').touch()
  with pytest.raises(DataError, match='03a01Xa.wav: expected speaker, sentence, emotion and version'):
    emodb.read(folder)
