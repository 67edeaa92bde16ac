"""CREMA-D: 91 actors speak twelve sentences in six emotions; Open Database License.

    AudioWAV/1001_IEO_NEU_XX.wav   VideoFlash/1001_IEO_NEU_XX.flv     actor_sentence_emotion_intensity
    processedResults/summaryTable.csv                                 what raters took clips for
    VideoDemographics.csv                                             sex, age and origin of the actors, if it is there

The label is the emotion that the actor was asked for, or what most raters took the sound, the face, or both for. The
corpus names no partitions, and splits that circulate share actors: actor 1001 is tested in fold 1, 1002 in fold 2, and
so on in turn over five folds.
"""

import pathlib
import re

from data_prep.core.errors import DataError
from data_prep.corpora import speaker_folds
from data_prep.corpora.recording import Corpus, files_of, first_file, read_csv, Recording

NEEDS = 'folder with AudioWAV, VideoFlash or both, as released; for votes also processedResults/summaryTable.csv'
PEOPLE = '91 actors, English, twelve sentences, acted'
LICENCE = 'Open Database License'
EMOTIONS = {
  'ANG': 'anger',
  'DIS': 'disgust',
  'FEA': 'fear',
  'HAP': 'happiness',
  'NEU': 'neutral',
  'SAD': 'sadness',
}
FOLDS = speaker_folds.dealt((str(actor) for actor in range(1001, 1092)), 5)
VOTES = {'voice_vote': 'VoiceVote', 'face_vote': 'FaceVote', 'multimodal_vote': 'MultiModalVote'}  # target -> column
TARGETS = (('emotion',), *((target,) for target in VOTES))
_LETTERS = {code[0]: emotion for code, emotion in EMOTIONS.items()}
_TABLE = 'summaryTable.csv'
_PEOPLE = 'VideoDemographics.csv'
_ABOUT = ('Sex', 'Race', 'Ethnicity')  # columns of it that are groups as they stand
_UNREAD = ('', 'VoiceLevel', 'FaceLevel', 'MultiModalLevel')
_NAME = re.compile(r'(1\d{3})_([A-Z]{3})_(ANG|DIS|FEA|HAP|NEU|SAD)_(LO|MD|HI|XX?)')


def read(source, *, split=None, label_range=None, targets=('emotion',)) -> Corpus:
  """Finds the clips; partitions are those of the first fold.

  Raises:
    DataError: no clip in the folder, a name that is none of the corpus, or no table of votes where one is needed.
    UserError: a split or scale is given.
  """
  speaker_folds.refuse_split('crema_d', split, label_range)
  source = pathlib.Path(source)
  clips: dict[str, dict[str, pathlib.Path]] = {}
  for kind, pattern in (('audio', 'AudioWAV/*.wav'), ('video', 'VideoFlash/*.flv')):
    for path in files_of(source, pattern):
      name = _NAME.fullmatch(path.stem)
      if not name or name[1] not in FOLDS['1']:
        raise DataError(f'{path}: expected actor_sentence_emotion_intensity, as in 1001_IEO_NEU_XX')
      clips.setdefault(path.stem, {})[kind] = path
  if not clips:
    raise DataError(f'{source}: no AudioWAV/*.wav and no VideoFlash/*.flv; expected CREMA-D as it is released')
  (target,) = targets
  labels = _votes(source, target) if target in VOTES else {name: EMOTIONS[name.split('_')[2]] for name in clips}
  about = _about(source)
  recordings = [
    Recording(
      recording=name,
      subject=name[:4],
      partition=FOLDS['1'][name[:4]],
      video=files.get('video'),
      audio=None if 'video' in files else files['audio'],  # a video has the same sound
      whole={target: labels[name]},
      about=about.get(name[:4], {}),
    )
    for name, files in sorted(clips.items())
    if name in labels
  ]
  lacking = sorted(set(FOLDS['1']) - {name[:4] for name in clips})
  return Corpus(
    recordings=recordings,
    absent=[(f'actor {actor}', FOLDS['1'][actor], 'clips') for actor in lacking]
    + [(name, 'in no partition', f'{target} that most raters share') for name in sorted(clips) if name not in labels],
    targets=targets,
    streams=('speech', 'visual') if any(r.video for r in recordings) else ('speech',),
    classes={target: tuple(EMOTIONS.values())},
    folds=FOLDS,
  )


def _votes(source, target) -> dict[str, str]:
  """Clip -> emotion that more raters chose than any other; where several were as frequent, the table has them all."""
  path = first_file((source / 'processedResults', source), [_TABLE])
  if path is None:
    raise DataError(f'{source}: no processedResults/{_TABLE}, which has the votes; expected it as it is released')
  column = VOTES[target]
  rows = read_csv(path, required=('FileName', column), optional=(*VOTES.values(), *_UNREAD))
  return {row['FileName']: _LETTERS[row[column]] for _, row in rows if row[column] in _LETTERS}


def _about(source) -> dict[str, dict[str, str]]:
  """Actor -> what is known of the person; {} where there is no such table."""
  path = first_file((source,), [_PEOPLE])
  found = {}
  for line, row in read_csv(path, required=('ActorID', 'Age', *_ABOUT), optional=()) if path else ():
    if not row['Age'].isdigit():
      raise DataError(f'{path}, line {line}: age {row["Age"]!r}; expected years')
    decade = int(row['Age']) // 10 * 10
    found[row['ActorID']] = {'age': f'{decade} to {decade + 9}', **{name.lower(): row[name] for name in _ABOUT}}
  return found
