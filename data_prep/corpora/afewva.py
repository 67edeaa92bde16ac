"""AFEW-VA: 600 clips of films as folders of pictures, arousal and valence of every frame, integers from −10 to 10.

    001/00000.png  001/00001.png  …     001/001.json  or  001.json
    {"frames": {"00000": {"valence": 3, "arousal": -2, "landmarks": [[x, y], … 68]}, …}}

Pictures alone: there is no sound. The release gives no frame rate and no split. Our reading: 25 frames a second; the
clips of one `actor`, a name that the JSON of the release has beside `frames`, stay together, and where it is absent a
clip is one person; people are divided by their names, see `finding.partition_of`; the landmarks of the first frame say
which face is meant.
"""

import json
import pathlib

import numpy as np

from data_prep.core import json_text
from data_prep.core.errors import DataError
from data_prep.corpora import finding
from data_prep.corpora.recording import Corpus, LabelSource, Recording, TARGETS
from data_prep.labels import columns
from data_prep.labels.label_files import Table
from data_prep.schema.label_clock import Scorer

NEEDS = 'folder with 001 … 600, pictures and a JSON each, as AFEW-VA is released'
PEOPLE = 'actors in feature films, acted'
LICENCE = 'by agreement with its owners, for research'
FRAMES_PER_SECOND = 25.0


def read(source, *, split=None, label_range=None) -> Corpus:
  """Finds the clips.

  Raises:
    DataError: there is no clip, or a JSON is damaged.
    UserError: a named split or a scale is given.
  """
  chosen = finding.partitions_of_file('afewva', split, label_range)
  source = pathlib.Path(source)
  folders = {path.name: path for path in sorted(source.glob('*')) if path.is_dir() and path.name.isdigit()}
  recordings, absent = [], []
  for name in sorted(chosen or {*folders, *(path.stem for path in source.glob('*.json') if path.stem.isdigit())}):
    path = next((p for p in (source / name / f'{name}.json', source / f'{name}.json') if p.is_file()), None)
    missing = [] if path else ['JSON']
    missing += [] if name in folders and any(folders[name].glob('*.png')) else ['pictures']
    if missing or path is None:
      absent.append((name, chosen[name] if chosen else '–', ', '.join(missing)))
      continue
    content = _json(path)
    subject = str(content.get('actor') or name)
    recordings.append(
      Recording(
        recording=name,
        subject=subject,
        partition=chosen[name] if chosen else finding.partition_of(subject),
        video=folders[name],
        audio=None,
        labels=tuple(LabelSource(target, path, target, parse) for target in TARGETS),
        first_box=_box(content),
        frames=FRAMES_PER_SECOND,
      )
    )
  if not recordings:
    raise DataError(f'{source}: no clip with pictures and a JSON; expected 001/00000.png and 001/001.json')
  return Corpus(
    recordings=recordings,
    absent=absent,
    label_range=(-10.0, 10.0),
    label_slack=0.0,
    streams=('visual',),
    scorer=Scorer(('rmse', 'pearson')),
  )


def parse(path: pathlib.Path) -> Table:
  """The labels of a clip; a frame without any is NaN.

  Raises:
    DataError: it is damaged.
  """
  frames = _json(path)['frames']
  try:
    numbers = sorted(map(int, frames))
    of = {int(name): frame for name, frame in frames.items()}
    values = {t: np.array([float(of[i].get(t, np.nan)) for i in numbers]) for t in TARGETS}
  except (ValueError, TypeError, AttributeError) as e:
    raise DataError(f'{path}: damaged ({e}); expected frames with valence and arousal') from None
  return columns.table(path, values, (np.array(numbers) - min(numbers, default=0) + 1) / FRAMES_PER_SECOND)


def _json(path) -> dict:
  try:
    content = json_text.parse(path.read_text(encoding='utf-8'))
    if not isinstance(content['frames'], dict):
      raise ValueError('frames is no object')
    return content
  except (OSError, ValueError, KeyError, TypeError, json.JSONDecodeError) as e:
    raise DataError(f'{path}: no JSON of AFEW-VA ({e!r:.80}); expected an object with frames') from None


def _box(content):
  """(x, y, width, height) around the landmarks of the first frame; None without them."""
  first = content['frames'].get(min(content['frames'], default=''), {})
  try:
    points = np.array(first['landmarks'], np.float64).reshape(-1, 2)
  except (KeyError, TypeError, ValueError):
    return None
  if not len(points) or not np.isfinite(points).all() or (np.ptp(points, axis=0) <= 0).any():
    return None
  return (*map(float, points.min(axis=0)), *map(float, np.ptp(points, axis=0)))
