"""Aff-Wild2: videos of YouTube, a label for every video frame.

    VA/Train_Set/<video>[_left|_right].txt     VA/Validation_Set/…      header valence,arousal; −5: not annotated
    batch1/<video>.mp4  batch2/<video>.avi     cropped_aligned/<video>[_left|_right]/00001.jpg

Valence comes first, and columns go by their names. A line is a video frame, in order; files whose lines begin with
`image_location` (`<video>/00001.jpg`), as in later challenges, are read by that number. A video of two annotated people
has two files, whose `_left` or `_right` says which. A picture that is absent in `cropped_aligned` shows no face.

Our reading: the folders `Train_Set`, `Validation_Set` and `Test_Set` lie at most two folders deep; videos lie in
`batch1`, `batch2`, `videos` or the source itself; `_left` and `_right` are learnt from `cropped_aligned`, as nothing
else says which of two faces is meant, the others from the video; people of one video stay together, which the official
split does. A label has the time at which the showing of its frame ends, whatever the frame rate. Lines and frames may
differ by one. Videos without annotation (test) are predicted where --split_file names them.
"""

import functools
import pathlib
import re

import numpy as np

from data_prep.core.errors import DataError
from data_prep.corpora import finding
from data_prep.corpora.recording import Corpus, LabelSource, Recording, TARGETS
from data_prep.labels import columns
from data_prep.labels.label_files import Table
from data_prep.media import frame_times
from data_prep.schema.label_clock import Scorer

NEEDS = 'folder with Train_Set/ and Validation_Set/ of txt files, batch1/ and batch2/ of videos, and cropped_aligned/'
PEOPLE = 'people in videos from the web, many languages, spontaneous'
LICENCE = 'by agreement with its owners, for research'
_FOLDERS = {'Train_Set': 'train', 'Validation_Set': 'validation', 'Test_Set': 'test'}
_NOT_ANNOTATED = -5.0
_MAX_FRAMES_APART = 1  # of the annotation's lines from the video's frames


def read(source, *, split=None, label_range=None) -> Corpus:
  """Finds the annotated videos, and those that `split` names.

  Raises:
    DataError: there is no folder of annotations.
    UserError: a named split or a scale is given.
  """
  chosen = finding.partitions_of_file('affwild2', split, label_range)
  source = pathlib.Path(source)
  labels: dict[str, pathlib.Path] = {}
  partitions: dict[str, str] = {}
  for folder, partition in _FOLDERS.items():
    found = finding.by_stem([p for depth in ('', '*/', '*/*/') for p in sorted(source.glob(depth + folder))], ['.txt'])
    labels |= found
    partitions |= dict.fromkeys(found, partition)
  if not labels and not chosen:
    raise DataError(f'{source}: no txt file in a folder {", ".join(_FOLDERS)}; expected the annotations of Aff-Wild2')
  folders = [source / name for name in ('batch1', 'batch2', 'videos')] + [source]
  videos = finding.by_stem(folders, ['.mp4', '.avi'])
  partitions = chosen or partitions
  recordings = []
  absent = [(name, '–', 'annotation') for name in sorted(set(videos) - {_video_of(name) for name in partitions})]
  for name, partition in sorted(partitions.items()):
    video, crops = videos.get(_video_of(name)), source / 'cropped_aligned' / name
    one_of_two = name != _video_of(name)
    missing = [] if video else ['video']
    missing += ['cropped_aligned, which says whose face is meant'] if one_of_two and not crops.is_dir() else []
    missing += ['annotation'] if name not in labels and partition != 'test' else []
    if missing or video is None:
      absent.append((name, partition, ', '.join(missing)))
      continue
    parser = functools.partial(parse, video=video)
    path = labels.get(name, video)  # of a video without annotation come the times of its frames
    recordings.append(
      Recording(
        recording=name,
        subject=_video_of(name),
        partition=partition,
        video=crops if one_of_two else video,
        audio=video if one_of_two else None,
        labels=tuple(LabelSource(target, path, target, parser) for target in TARGETS),
        frames=video if one_of_two else None,
      )
    )
  return Corpus(
    recordings=recordings,
    absent=absent,
    label_slack=0.0,
    scorer=Scorer(('ccc',), mean_of_targets=True),
    prediction_format='affwild2',
  )


def _video_of(name):
  return re.sub('_(left|right)$', '', name)


def parse(path: pathlib.Path, video: pathlib.Path) -> Table:
  """A label for every frame of the video; NaN where there is none.

  Raises:
    DataError: the file is malformed, or has other numbers of lines than the video has frames.
  """
  ends = frame_times.frame_ends(video)
  if path == video:
    return columns.table(path, {target: np.full(len(ends), np.nan) for target in TARGETS}, ends)
  found = columns.read(path, required=('valence', 'arousal'))
  lines = len(found['valence'])
  places = np.arange(lines)
  if 'image_location' in found:
    numbers = [re.search(r'(\d+)\.\w+$', cell) for cell in found['image_location']]
    if None in numbers:
      raise DataError(f'{path}: an image_location has no number; expected {video.stem}/00001.jpg')
    places = np.array([int(number[1]) - 1 for number in numbers if number])
  elif abs(lines - len(ends)) > _MAX_FRAMES_APART:
    raise DataError(f'{path}: {lines} lines, and {video.name} has {len(ends)} frames; expected a line for every frame')
  inside = (places >= 0) & (places < len(ends))
  values = {}
  for target in TARGETS:
    values[target] = np.full(len(ends), np.nan)
    values[target][places[inside]] = columns.numbers(path, target, found[target], missing=(_NOT_ANNOTATED,))[inside]
  return columns.table(path, values, ends)
