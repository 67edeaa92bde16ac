"""SEWA as the challenges AVEC 2017 and AVEC 2019 released it: people in a video chat, a label every 0.1 s.

    labels/Train_01.csv        2017: 'Train_01';0.0;arousal;valence;liking        no header, names in single quotes
    labels/Train_DE_01.csv     2019: the same below  name;timestamp;arousal;valence;liking
    audio/Train_01.wav         video/Train_01.avi

The partition stands in the name (Train, Devel, Test), and is the organisers': no person is in two of them. Labels of
Test were not public. Those of 2019 were compared by the organisers with predictions moved by 2.0 s, as raters react
late: `config.data.label_delay_steps=50` trains so. Our reading: a recording is one person; a recording may lack one of
sound and picture; missing values (an empty cell, NaN, `?`) are no label.
"""

import functools
import pathlib

from data_prep.core.errors import DataError
from data_prep.corpora import finding
from data_prep.corpora.recording import Corpus, LabelSource, Recording
from data_prep.labels import columns
from data_prep.labels.label_files import Table
from data_prep.schema.label_clock import Scorer

NEEDS = 'folder with labels/ (Train_01.csv, …), audio/ and video/, as AVEC 2017 or AVEC 2019 released SEWA'
PEOPLE = 'pairs of acquainted people over a video call, German (in 2019 Hungarian and Chinese, too), spontaneous'
LICENCE = 'by agreement with its owners, for research'
TARGETS = ('arousal', 'valence', 'liking')
_COLUMNS = ('name', 'timestamp', *TARGETS)  # the order of files without a header
_PARTITIONS = {'train': 'train', 'devel': 'validation', 'test': 'test'}


def read(source, *, split=None, label_range=None) -> Corpus:
  """Finds the recordings.

  Raises:
    DataError: there is no folder of labels, or a name says no partition.
    UserError: a named split or a scale is given.
  """
  chosen = finding.partitions_of_file('sewa', split, label_range)
  source = pathlib.Path(source)
  if not (source / 'labels').is_dir():
    raise DataError(f'{source}: no folder labels; expected SEWA as AVEC 2017 or AVEC 2019 released it')
  labels = finding.by_stem([source / 'labels'], ['.csv'])
  audio = finding.by_stem([source / 'audio'], ['.wav'])
  video = finding.by_stem([source / 'video'], ['.avi', '.mp4'])
  recordings, absent = [], []
  for name in sorted(chosen or {*labels, *audio, *video}):
    partition = chosen[name] if chosen else _PARTITIONS.get(name.partition('_')[0].casefold())
    if partition is None:
      raise DataError(f'{source}: {name} names no partition; expected Train_…, Devel_… or Test_…, or give --split_file')
    missing = [] if name in audio or name in video else ['sound', 'picture']
    missing += ['labels'] if name not in labels and partition != 'test' else []
    if missing:
      absent.append((name, partition, ', '.join(missing)))
      continue
    sources = [LabelSource(t, labels[name], t, functools.partial(parse, name=name)) for t in TARGETS if name in labels]
    recordings.append(Recording(name, name, partition, video.get(name), audio.get(name), tuple(sources)))
  of_2019 = any('timestamp' in path.read_bytes()[:200].decode(errors='replace').casefold() for path in labels.values())
  return Corpus(
    recordings=recordings,
    absent=absent,
    targets=TARGETS,
    scorer=Scorer(('ccc', 'pearson', 'rmse')),
    prediction_format='avec2019' if of_2019 else 'avec2017',
  )


def parse(path: pathlib.Path, name: str) -> Table:
  """Reads a file of labels.

  Raises:
    DataError: it is malformed, or of another recording.
  """
  found = columns.read(path, names=_COLUMNS, required=_COLUMNS)
  other = sorted(set(found['name']) - {name})
  if other:
    raise DataError(f'{path}: names {other[0][:40]!r}, expected {name!r} in every row')
  times = columns.numbers(path, 'timestamp', found['timestamp'])
  return columns.table(path, {t: columns.numbers(path, t, found[t]) for t in TARGETS}, times)
