"""IEMOCAP: ten actors in five sessions of two, acted and improvised dialogues cut into utterances.

    Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav
    Session1/dialog/EmoEvaluation/Ses01F_impro01.txt
        [6.2901 - 8.2357]<tab>Ses01F_impro01_F000<tab>neu<tab>[2.5000, 2.5000, 2.5000]

Classes are the four that the literature uses: anger, happiness, sadness, neutral, with excitement counted as happiness.
The numbers are means of raters on scales from 1 to 5. A fold tests one session; the next session is validation.
"""

import collections
import pathlib
import re

from data_prep.core.errors import DataError
from data_prep.corpora import speaker_folds
from data_prep.corpora.recording import Corpus, files_of, Recording

NEEDS = 'folder with Session1 … Session5, of which dialog/EmoEvaluation/*.txt and sentences/wav are read'
PEOPLE = '10 actors, English, scripted and improvised by actors'
LICENCE = 'by agreement with its owners, for research'
CLASSES = ('emotion',)
TARGETS = (CLASSES, ('arousal', 'valence'), ('arousal', 'valence', 'dominance'))
EMOTIONS = {'ang': 'anger', 'hap': 'happiness', 'exc': 'happiness', 'sad': 'sadness', 'neu': 'neutral'}
SESSIONS = ('1', '2', '3', '4', '5')
FOLDS = speaker_folds.rotating({session: (f'{session}F', f'{session}M') for session in SESSIONS})
_COLUMNS = {'V': 'valence', 'A': 'arousal', 'D': 'dominance'}
_HEADER = re.compile(r'% \[START_TIME - END_TIME\] TURN_NAME EMOTION \[(.*)\]')
_ROW = re.compile(r'\[[\d.]+ - [\d.]+\]\t(\w+)\t(\w+)\t\[(.*)\]')
_TURN = re.compile(r'Ses0([1-5])[FM]_\w+_([FM])[X\d]*\d')


def read(source, *, split=None, label_range=None, targets=CLASSES) -> Corpus:
  """Finds the utterances; partitions are those of the first fold.

  Raises:
    DataError: no session in the folder, or an evaluation that is not as released.
    UserError: a split or scale is given.
  """
  speaker_folds.refuse_split('iemocap', split, label_range)
  source = pathlib.Path(source)
  recordings: list[Recording] = []
  absent: list[tuple[str, str, str]] = []
  others: collections.Counter[str] = collections.Counter()
  for session in SESSIONS:
    folder = source / f'Session{session}'
    evaluations = files_of(folder, 'dialog/EmoEvaluation/*.txt')
    if not evaluations:
      absent.append((f'Session{session}', FOLDS['1'][f'{session}F'], 'dialog/EmoEvaluation/*.txt'))
    for path in evaluations:
      for turn, subject, emotion, numbers in _utterances(path):
        audio = folder / 'sentences' / 'wav' / turn.rpartition('_')[0] / f'{turn}.wav'
        if targets == CLASSES and emotion not in EMOTIONS:
          others[emotion] += 1
        elif not audio.is_file():
          absent.append((turn, FOLDS['1'][subject], 'audio'))
        else:
          whole = {'emotion': EMOTIONS[emotion]} if targets == CLASSES else {name: numbers[name] for name in targets}
          about = {'sex': {'F': 'female', 'M': 'male'}[subject[-1]]}
          partition = FOLDS['1'][subject]
          recordings.append(Recording(turn, subject, partition, video=None, audio=audio, whole=whole, about=about))
  if not recordings:
    raise DataError(f'{source}: no utterance of IEMOCAP in it; expected Session1 … Session5 as they are released')
  absent += [(f'{count} utterances', emotion, 'class of the four') for emotion, count in sorted(others.items())]
  return Corpus(
    recordings=sorted(recordings, key=lambda recording: recording.recording),
    absent=absent,
    targets=targets,
    label_range=(1.0, 5.0),
    label_slack=0.5,  # of raters who went past the end of the scale
    streams=('speech',),
    classes={'emotion': tuple(dict.fromkeys(EMOTIONS.values()))} if targets == CLASSES else {},
    folds=FOLDS,
  )


def _utterances(path):
  """Yields (turn, speaker, code of the emotion, {dimension: mean of raters}); rows of single raters are not read."""
  try:
    lines = path.read_text(encoding='utf-8').splitlines()
  except (OSError, UnicodeDecodeError) as e:
    raise DataError(f'{path}: cannot be read as text ({e})') from None
  columns = None
  for number, line in enumerate(lines, start=1):
    header, row = _HEADER.fullmatch(line.strip()), _ROW.fullmatch(line.strip())
    if header:
      columns = [_COLUMNS.get(name.strip()) for name in header[1].split(',')]
    if not row:
      continue
    if not columns or sorted(filter(None, columns)) != sorted(_COLUMNS.values()):
      raise DataError(f'{path}, line 1: expected % [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]')
    try:
      turn, emotion, numbers = row[1], row[2], dict(zip(columns, map(float, row[3].split(',')), strict=True))
    except ValueError:
      raise DataError(
        f'{path}, line {number}: [{row[3]}]; expected a number for each of {", ".join(columns)}'
      ) from None
    parts = _TURN.fullmatch(turn)
    if not parts:
      raise DataError(f'{path}, line {number}: {turn}; expected a turn as Ses01F_impro01_F000')
    yield turn, parts[1] + parts[2], emotion, numbers
