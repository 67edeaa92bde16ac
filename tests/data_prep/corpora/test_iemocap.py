"""IEMOCAP in its layout: utterances, who speaks them, the four classes and the three dimensions."""

import pytest

from data_prep import corpora
from data_prep.core.errors import DataError
from data_prep.corpora import iemocap

HEADER = '% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n'
# In the dialogue of Ses01F the woman wears the markers; the speaker is the letter of the turn.
DIALOGUE = HEADER + (
  '[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5000, 3.0000, 2.0000]\n'
  'C-E2:\tNeutral;\t()\n'
  'C-F1:\tNeutral;\t(curious)\n'
  'A-E3:\tval 3; act 2; dom  2;\t()\n'
  '\n'
  '[10.0100 - 11.3925]\tSes01F_impro01_M001\texc\t[4.0000, 5.0000, 1.0000]\n'
  'C-E2:\tExcited;\t()\n'
  '[14.8872 - 18.0175]\tSes01F_impro01_M002\tfru\t[2.0000, 3.5000, 4.0000]\n'
  '[19.2900 - 20.7875]\tSes01F_impro01_F003\tsad\t[1.0000, 2.0000, 3.0000]\n'
)


def write(root, session, dialogue, text, *turns):
  evaluation = root / f'Session{session}' / 'dialog' / 'EmoEvaluation' / f'{dialogue}.txt'
  evaluation.parent.mkdir(parents=True, exist_ok=True)
  evaluation.write_text(text)
  for turn in turns:
    path = root / f'Session{session}' / 'sentences' / 'wav' / dialogue / f'{turn}.wav'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


@pytest.fixture
def folder(tmp_path):
  write(tmp_path, 1, 'Ses01F_impro01', DIALOGUE, *(f'Ses01F_impro01_{turn}' for turn in ('F000', 'M001', 'M002')))
  second = HEADER + '[1.00 - 2.00]\tSes02M_script01_1b_FXX0\tang\t[1.5000, 4.5000, 4.0000]\n'
  write(tmp_path, 2, 'Ses02M_script01_1b', second, 'Ses02M_script01_1b_FXX0')
  (tmp_path / 'Session1' / 'dialog' / 'EmoEvaluation' / '._Ses01F_impro01.txt').write_bytes(b'\x00\xff')
  return tmp_path


def test_four_classes(folder):
  corpus = corpora.read('iemocap', folder)
  assert [(r.recording, r.subject, r.partition, r.whole['emotion']) for r in corpus.recordings] == [
    ('Ses01F_impro01_F000', '1F', 'test', 'neutral'),
    ('Ses01F_impro01_M001', '1M', 'test', 'happiness'),
    ('Ses02M_script01_1b_FXX0', '2F', 'validation', 'anger'),
  ]
  assert [r.about for r in corpus.recordings] == [{'sex': sex} for sex in ('female', 'male', 'female')]
  assert corpus.classes == {'emotion': ('anger', 'happiness', 'sadness', 'neutral')}
  assert corpus.recordings[2].audio == (
    folder / 'Session2' / 'sentences' / 'wav' / 'Ses02M_script01_1b' / 'Ses02M_script01_1b_FXX0.wav'
  )
  assert corpus.absent == [
    ('Ses01F_impro01_F003', 'test', 'audio'),
    *((f'Session{k}', 'train', 'dialog/EmoEvaluation/*.txt') for k in (3, 4, 5)),
    ('1 utterances', 'fru', 'class of the four'),
  ]
  for k in range(1, 6):
    fold = corpus.folds[str(k)]
    assert fold[f'{k}F'] == fold[f'{k}M'] == 'test' and fold[f'{k % 5 + 1}F'] == 'validation'
    assert len(fold) == 10 and list(fold.values()).count('train') == 6


def test_dimensions_go_by_the_header(folder):
  corpus = corpora.read('iemocap', folder, targets=['arousal', 'valence', 'dominance'])
  assert corpus.label_range == (1, 5) and corpus.classes == {}
  first, _, unlisted, other = corpus.recordings  # a class that is none of the four has its numbers
  assert first.whole == {'valence': 2.5, 'arousal': 3, 'dominance': 2} and unlisted.whole['dominance'] == 4
  assert other.whole == {'valence': 1.5, 'arousal': 4.5, 'dominance': 4}
  text = DIALOGUE.replace('[V, A, D]', '[A, D, V]')
  write(folder, 1, 'Ses01F_impro01', text)
  first = corpora.read('iemocap', folder, targets=['arousal', 'valence']).recordings[0]
  assert first.whole == {'arousal': 2.5, 'valence': 2}


@pytest.mark.parametrize(
  'text, reason',
  [
    (DIALOGUE.replace(HEADER, ''), 'line 1: expected % .START_TIME'),
    (DIALOGUE.replace('[V, A, D]', '[V, A]'), 'line 1: expected'),
    (DIALOGUE.replace('3.0000, 2.0000', '3.0000'), r'line 3: \[2.5000, 3.0000\]; expected a number for each of'),
    (DIALOGUE.replace('Ses01F_impro01_F000', 'F000'), 'line 3: F000; expected a turn as'),
  ],
)
def test_what_is_refused(folder, text, reason):
  write(folder, 1, 'Ses01F_impro01', text)
  with pytest.raises(DataError, match=reason):
    iemocap.read(folder)
  with pytest.raises(DataError, match='no utterance of IEMOCAP'):
    iemocap.read(folder / 'Session1')
