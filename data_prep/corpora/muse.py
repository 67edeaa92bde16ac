"""MuSe 2021 to 2023: a label every 500 ms in files of one dimension each.

    label_segments/<dimension>/<id>.csv     timestamp,value,segment_id     milliseconds
    metadata/partition.csv                  id,partition                   train, devel, test

MuSe-Toolbox writes two more layouts, which are read in the place of the first: its fused gold standard `Time,value`
(milliseconds), and raw raters `timestamp,1,2,3`, from which the gold standard is made by `--gold_standard`.

The partition is the organisers', who state that no speaker is in two of them; labels of test are masked. Our reading:
dimensions are arousal and valence where their folders are there, else all that are; a file whose times are 10 or more
apart has milliseconds, below that seconds; values lie about −1 … 1; media lie in `audio`, `wav` and `video`, or in
these inside of `raw` or `raw_data`, and may run on after the labels; a column `speaker` or `subject` of the partition
file, if there is one, says who speaks, else a recording is one person.
"""

import pathlib

import numpy as np

from data_prep.core.errors import DataError
from data_prep.corpora import finding
from data_prep.corpora.recording import Corpus, LabelSource, PARTITION_NAMES, Recording
from data_prep.labels import columns
from data_prep.labels.label_files import Table
from data_prep.schema.label_clock import Scorer

NEEDS = 'folder with label_segments/, metadata/partition.csv and the media in audio/ and video/, as MuSe is released'
PEOPLE = 'speakers of reviews of cars on the web, English, spontaneous'
LICENCE = 'by agreement with its owners, for research'
_TARGETS = ('arousal', 'valence')
_MILLISECONDS = 10  # between two rows, from which on times are no seconds
_SEGMENT = 'segment_id'


def read(source, *, split=None, label_range=None) -> Corpus:
  """Finds the recordings.

  Raises:
    DataError: a folder or the partitions are absent, or a partition is unknown.
    UserError: a named split or a scale is given.
  """
  chosen = finding.partitions_of_file('muse', split, label_range)
  source = pathlib.Path(source)
  folders = {path.name: path for path in sorted((source / 'label_segments').glob('*')) if path.is_dir()}
  targets = tuple(name for name in _TARGETS if name in folders) or tuple(folders)
  if not targets:
    raise DataError(f'{source / "label_segments"}: no folder of a dimension; expected arousal and valence')
  listed = source / 'metadata' / 'partition.csv'
  people = columns.read(listed, required=('id', 'partition'))
  speakers = dict(zip(people['id'], people.get('speaker', people.get('subject', people['id'])), strict=True))
  partitions = chosen or dict(zip(people['id'], people['partition'], strict=True))
  roots = [source, source / 'raw', source / 'raw_data']
  audio = finding.by_stem([root / name for root in roots for name in ('audio', 'wav')], ['.wav', '.flac', '.mp3'])
  video = finding.by_stem([root / 'video' for root in roots], ['.mp4', '.avi'])
  recordings, absent = [], []
  for name, said in sorted(partitions.items()):
    partition = {**PARTITION_NAMES, 'devel': 'validation'}.get(said)
    if partition is None:
      raise DataError(f'{listed}: {name} is in {said!r}; expected train, devel or test')
    paths = {target: folders[target] / f'{name}.csv' for target in targets}
    labelled = all(path.is_file() for path in paths.values())
    missing = [] if name in audio or name in video else ['sound', 'picture']
    missing += ['labels'] if not labelled and partition != 'test' else []
    if missing:
      absent.append((name, partition, ', '.join(missing)))
      continue
    sources = [LabelSource(target, path, None, parse, (_SEGMENT,)) for target, path in paths.items() if labelled]
    recordings.append(
      Recording(name, speakers.get(name, name), partition, video.get(name), audio.get(name), tuple(sources))
    )
  return Corpus(
    recordings=recordings,
    absent=absent,
    targets=targets,
    annotated_seconds=0.0,
    scorer=Scorer(('ccc',)),
    prediction_format='muse',
  )


def parse(path: pathlib.Path) -> Table:
  """Reads one dimension: value columns are raters, or the one trace; beside them the segments.

  Raises:
    DataError: it is malformed.
  """
  found = columns.read(path)
  time = next((name for name in ('timestamp', 'time') if name in found), None)
  if time is None:
    raise DataError(f'{path}: no column timestamp or Time among {", ".join(found)[:200]}')
  times = columns.numbers(path, time, found.pop(time))
  step = float(np.median(np.diff(times))) if len(times) > 1 else _MILLISECONDS
  times = times / 1000 if step >= _MILLISECONDS else times
  found.setdefault(_SEGMENT, [''] * len(times))
  return columns.table(path, {name: columns.numbers(path, name, cells) for name, cells in found.items()}, times)
