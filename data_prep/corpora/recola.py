"""RECOLA, as released and as the authors' code expects it.

    RECOLA-Annotation/emotional_behaviour/{arousal,valence}/P16.csv     six raters
    RECOLA-Audio-recordings/P16.wav   RECOLA-Video-recordings/P16.mp4
    RECOLA-Biosignals-recordings/P16.csv     time;EDA;ECG at 1 kHz, of those people who wore sensors

or, in other people's copies, `Ratings_affective_behaviour_CCC_centred/` (one trace), `Audio_recordings_WAV/` and
`Video_recordings_MP4/`. Our simulated corpus adds `RECOLA-Face_boxes/P16.csv`, the face in the first frame.
"""

import pathlib

from data_prep.core.errors import DataError, UserError
from data_prep.corpora import splits
from data_prep.corpora.recording import (
  Corpus,
  first_file,
  LabelSource,
  read_split_file,
  Recording,
  SensorFile,
  streams_of,
  TARGETS,
)

NEEDS = 'the folder of the release: RECOLA-Annotation, RECOLA-Audio-recordings, RECOLA-Video-recordings'
PEOPLE = 'speakers of French at a Swiss university, in pairs over a video call, spontaneous'
LICENCE = 'by agreement with its owners, for research'
ANNOTATION = ('RECOLA-Annotation/emotional_behaviour', 'Ratings_affective_behaviour_CCC_centred')
AUDIO = ('RECOLA-Audio-recordings', 'Audio_recordings_WAV')
VIDEO = ('RECOLA-Video-recordings', 'Video_recordings_MP4')
SENSORS = 'RECOLA-Biosignals-recordings'
SPLITS = {'full': splits.RECOLA_FULL, 'avec': splits.RECOLA_AVEC}
ANNOTATED_SECONDS = 300.0  # "five minutes used of each"


def read(source, *, split=None, label_range=None) -> Corpus:
  """Finds the recordings of a split.

  Args:
    source: RECOLA's folder.
    split: 'full' (the default), 'avec', a file, or partition -> ids.
    label_range: not for this corpus.

  Raises:
    DataError: the folder is none of RECOLA's layouts.
    UserError: there is no such split, or `label_range` is given.
  """
  refuse_label_range(label_range)
  source, split = pathlib.Path(source), split or 'full'
  if isinstance(split, str):
    if split not in SPLITS:
      raise UserError(f'--split={split}; expected {" or ".join(SPLITS)}, or give --split_file')
    split = SPLITS[split]
  elif isinstance(split, pathlib.Path):
    split = read_split_file(split)
  annotation, audio, video = (
    [source / name for name in names if (source / name).is_dir()] for names in (ANNOTATION, AUDIO, VIDEO)
  )
  for found, names in ((annotation, ANNOTATION), (audio, AUDIO), (video, VIDEO)):
    if not found:
      raise DataError(f'{source}: no folder {" or ".join(names)}; expected RECOLA as it is released')
  return collect(
    split,
    audio,
    video,
    lambda name: labels_of(annotation, [f'{name}.csv']),
    sensors=[[source / SENSORS]],
    boxes=[source / 'RECOLA-Face_boxes'],
  )


def refuse_label_range(label_range) -> None:
  """Raises UserError where one is given: RECOLA's scale is known."""
  if label_range is not None:
    raise UserError('--label_range is for --corpus=csv; the scale of the others is known')


def collect(split, audio, video, find_labels, sensors, boxes=()) -> Corpus:
  """The recordings of a split of RECOLA, or of the challenge that was made of it; one that lacks a part is absent.

  Args:
    split: partition -> ids.
    audio, video, boxes: folders to look in, first come first.
    find_labels: id -> its label sources, or an empty tuple.
    sensors: lists of folders; of each list the first file counts. Whoever has none wore no sensors.
  """
  recordings, absent = [], []
  for partition, ids in split.items():
    for name in ids:
      files = {'audio': first_file(audio, [f'{name}.wav']), 'video': first_file(video, [f'{name}.mp4', f'{name}.avi'])}
      labels = find_labels(name)
      missing = [kind for kind, path in files.items() if path is None]
      # Labels of test subjects were never public: these can still be predicted.
      if not labels and partition != 'test':
        missing.append('ratings')
      if missing:
        absent.append((name, partition, ', '.join(missing)))
        continue
      recordings.append(
        Recording(
          recording=name,
          subject=name,
          partition=partition,
          labels=labels,
          boxes=first_file(boxes, [f'{name}.csv']),
          sensors=tuple(SensorFile(path) for folders in sensors if (path := first_file(folders, [f'{name}.csv']))),
          **files,
        )
      )
  recordings.sort(key=lambda recording: recording.recording)
  return Corpus(
    recordings=recordings, absent=absent, annotated_seconds=ANNOTATED_SECONDS, streams=streams_of(recordings)
  )


def labels_of(folders, names) -> tuple[LabelSource, ...]:
  """One source per target from `folder/<target>/<name>`; empty unless every target has one."""
  paths = {target: first_file([folder / target for folder in folders], names) for target in TARGETS}
  if None in paths.values():
    return ()
  return tuple(LabelSource(target=target, path=path) for target, path in paths.items())
