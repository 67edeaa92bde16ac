"""EMO-DB, the Berlin database of acted emotion: ten speakers, ten German sentences, seven emotions.

    wav/03a01Fa.wav     speaker 03, sentence a01, emotion F, version a

The letter of the emotion is the German word's: W is Wut, anger. It is taken from the file's name alone: lists of labels
that circulate confuse letters. An `index.csv` beside the files may say arousal and valence of whole clips, in [−1, 1].
"""

import pathlib
import re

from data_prep.core.errors import DataError
from data_prep.corpora import speaker_folds
from data_prep.corpora.recording import Corpus, files_of, read_csv, Recording

NEEDS = 'folder with the .wav files under their own names (03a01Fa.wav); for arousal,valence an index.csv beside them'
PEOPLE = '10 actors, German, ten sentences, acted'
LICENCE = 'as its owners state on the page of the corpus'
CLASSES, NUMBERS = ('emotion',), ('arousal', 'valence')
TARGETS = (CLASSES, NUMBERS)
EMOTIONS = {
  'W': 'anger',
  'L': 'boredom',
  'E': 'disgust',
  'A': 'fear',
  'F': 'happiness',
  'T': 'sadness',
  'N': 'neutral',
}
MEN = ('03', '10', '11', '12', '15')  # of the ten speakers
INDEX = 'index.csv'
_NAME = re.compile(r'(\d\d)[ab]\d\d([WLEAFTN])[a-z]')
_UNREAD = ('speaker', 'emotion_letter', 'pyaudioanalysis_file')


def read(source, *, split=None, label_range=None, targets=CLASSES) -> Corpus:
  """Finds the clips; folds leave one speaker out, partitions are those of the first.

  Raises:
    DataError: no clip in the folder, a name that is none of the corpus, a clip twice, or no number for any.
    UserError: a split or scale is given.
  """
  speaker_folds.refuse_split('emodb', split, label_range)
  source = pathlib.Path(source)
  paths: dict[str, pathlib.Path] = {}
  letter: dict[str, str] = {}
  for path in files_of(source, '**/*.wav'):
    name = _NAME.fullmatch(path.stem)
    if not name:
      raise DataError(f'{path}: expected speaker, sentence, emotion and version, as in 03a01Fa.wav')
    if path.stem in paths:
      raise DataError(f'{path}: {paths[path.stem]} is the same clip; keep one of the two')
    paths[path.stem], letter[path.stem] = path, name[2]
  if not paths:
    raise DataError(f'{source}: no .wav in it; expected files as 03a01Fa.wav')
  if targets == CLASSES:
    labels = {name: {'emotion': EMOTIONS[letter[name]]} for name in paths}
  else:
    labels = {name: of for name, of in _numbers(source).items() if name in paths}
    if not labels:
      raise DataError(f'{source / INDEX}: no arousal and valence of any clip in {source}')
  folds = speaker_folds.leave_one_out((name[:2], letter[name] if targets == CLASSES else '') for name in labels)
  first = next(iter(folds.values()))
  recordings = [
    Recording(
      recording=name,
      subject=name[:2],
      partition=first[name[:2]],
      video=None,
      audio=paths[name],
      whole=labels[name],
      about={'sex': 'male' if name[:2] in MEN else 'female'},
    )
    for name in sorted(labels)
  ]
  return Corpus(
    recordings=recordings,
    absent=[(name, 'in no partition', ' and '.join(targets)) for name in paths if name not in labels],
    targets=targets,
    label_slack=0.0,
    streams=('speech',),
    classes={'emotion': tuple(EMOTIONS.values())} if targets == CLASSES else {},
    folds=folds,
  )


def _numbers(source) -> dict[str, dict[str, float]]:
  """Clip -> arousal and valence, of the rows of the index that have both."""
  path = source / INDEX
  found = {}
  for line, row in read_csv(path, required=('emodb_file', *NUMBERS), optional=_UNREAD):
    if all(row[target] for target in NUMBERS):
      try:
        found[pathlib.PurePath(row['emodb_file']).stem] = {target: float(row[target]) for target in NUMBERS}
      except ValueError as e:
        raise DataError(f'{path}, line {line}: {e}; expected numbers in −1 to 1') from None
  return found
