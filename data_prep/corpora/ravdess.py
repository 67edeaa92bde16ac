"""RAVDESS: 24 actors speak two sentences in eight emotions; CC BY-NC-SA 4.0.

    Actor_01/03-01-06-01-02-01-01.wav     modality-channel-emotion-intensity-statement-repetition-actor

Modality 01 has picture and sound, 02 picture alone, 03 sound alone. Of the two channels speech (01) is read, song (02)
is not. One take is one recording, whichever of its files are there: a file of both, or else picture and sound apart.
"""

import pathlib
import re

from data_prep.core.errors import DataError
from data_prep.corpora import speaker_folds
from data_prep.corpora.recording import Corpus, files_of, Recording

NEEDS = 'folder with Actor_01 … Actor_24, whose files are .wav, .flac or .mp4 under their own names'
PEOPLE = '24 actors, English of North America, two sentences, acted'
LICENCE = 'CC BY-NC-SA 4.0'
EMOTIONS = ('neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised')  # codes 01 … 08
INTENSITIES = {'01': 'normal', '02': 'strong'}
# The test actors of EmoBox's folds (Ma et al. 2024).
TEST_ACTORS = {
  '1': ('1', '11', '20', '21'),
  '2': ('4', '10', '12', '14'),
  '3': ('8', '9', '19', '23'),
  '4': ('3', '5', '7', '24'),
  '5': ('2', '15', '16', '18'),
  '6': ('6', '13', '17', '22'),
}
_BOTH, _PICTURE, _SOUND = '01', '02', '03'
_NAME = re.compile(r'(0[123])-(0[12])-(0[1-8])-(0[12])-(0[12])-(0[12])-(0[1-9]|1\d|2[0-4])')
_SUFFIXES = {'.mp4': (_BOTH, _PICTURE), '.wav': (_SOUND,), '.flac': (_SOUND,)}


def read(source, *, split=None, label_range=None) -> Corpus:
  """Finds the takes; partitions are those of the first fold.

  Raises:
    DataError: no take in the folder, a file whose name is none of the corpus, or a take twice.
    UserError: a split or scale is given.
  """
  speaker_folds.refuse_split('ravdess', split, label_range)
  source = pathlib.Path(source)
  takes: dict[tuple[str, ...], dict[str, pathlib.Path]] = {}
  songs = 0
  for path in files_of(source, '**/*'):
    if path.suffix.lower() not in _SUFFIXES:
      continue
    name = _NAME.fullmatch(path.stem)
    if not name or name[1] not in _SUFFIXES[path.suffix.lower()]:
      raise DataError(
        f'{path}: expected modality-channel-emotion-intensity-statement-repetition-actor, as in '
        '03-01-06-01-02-01-12, with modality 03 in .wav and .flac, 01 or 02 in .mp4'
      )
    modality, channel, *take = name.groups()
    if channel == '02':
      songs += 1
      continue
    files = takes.setdefault(tuple(take), {})
    if modality in files:
      raise DataError(f'{path}: {files[modality]} is the same take; keep one of the two')
    files[modality] = path
  if not takes:
    raise DataError(f'{source}: no speech of RAVDESS in it; expected files as Actor_12/03-01-06-01-02-01-12.wav')
  folds = speaker_folds.rotating(TEST_ACTORS)
  recordings = []
  for take, files in takes.items():
    path = next(files[modality] for modality in (_BOTH, _SOUND, _PICTURE) if modality in files)
    actor = str(int(take[-1]))
    recordings.append(
      Recording(
        recording=path.stem,
        subject=actor,
        partition=folds['1'][actor],
        video=files.get(_BOTH, files.get(_PICTURE)),
        audio=None if _BOTH in files else files.get(_SOUND),
        whole={'emotion': EMOTIONS[int(take[0]) - 1]},
        about={'sex': 'male' if int(actor) % 2 else 'female', 'intensity': INTENSITIES[take[1]]},
      )
    )
  recordings.sort(key=lambda recording: recording.recording)
  lacking = sorted({*folds['1']} - {r.subject for r in recordings}, key=int)
  return Corpus(
    recordings=recordings,
    absent=[(f'actor {actor}', folds['1'][actor], 'recordings') for actor in lacking]
    + ([(f'{songs} songs', 'in no partition', 'speech')] if songs else []),
    targets=('emotion',),
    streams=('speech', 'visual') if any(r.video for r in recordings) else ('speech',),
    classes={'emotion': EMOTIONS},
    folds=folds,
  )
