"""CASE: 30 people move a joystick while they watch eight films; annotations at 20 Hz.

    sub_1.csv     jstime,valence,arousal,video      milliseconds, every 50 ms; 0.5 … 9.5, neutral 5
    video: 1 … 8 the films, 10 start, 11 the blue screen between films, 12 end

One recording is one person with one film: `sub_1_video_3`. Its time runs from its first row. Rows of start, end and
blue screen are left out. Annotations lie in the source itself or in `annotations` or `interpolated/annotations`.

The corpus has no split. Our reading: people are divided by their names, see `finding.partition_of`; EPiC 2023, which
has the same design, divides by person in its second scenario; its score is taken as the mean of the recordings' RMSE.

There is no sound or picture of the people: what their bodies said is in `physiological/sub_1.csv` (1 kHz, `daqtime`,
`ecg`, `gsr`, …), on the clock of `jstime`. Until a stream reads it, recordings hold their labels alone, which any
predictor can be scored on; a network needs that stream, in `Corpus.streams`.
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
from data_prep.schema.label_clock import Scorer

NEEDS = 'folder with sub_1.csv … sub_30.csv (jstime,valence,arousal,video), or with annotations/ of them'
PEOPLE = '30 people who watch films and move a joystick, spontaneous'
LICENCE = 'as its owners state on the page of the corpus'
SUBJECTS = tuple(f'sub_{i}' for i in range(1, 31))
FILMS = tuple(range(1, 9))
_COLUMNS = ('jstime', *TARGETS, 'video')


def read(source, *, split=None, label_range=None) -> Corpus:
  """Finds the annotations; `split`, a file of people or recordings, replaces ours.

  Raises:
    DataError: there is no annotation.
    UserError: a named split or a scale is given.
  """
  chosen = finding.partitions_of_file('case', split, label_range)
  source = pathlib.Path(source)
  folders = [source, source / 'annotations', source / 'interpolated' / 'annotations']
  files = {name: path for name, path in finding.by_stem(folders, ['.csv']).items() if re.fullmatch(r'sub_\d+', name)}
  if not files:
    raise DataError(f'{source}: no sub_1.csv in it or in annotations; expected the annotations of CASE')
  recordings = []
  for subject, path in files.items():
    shown = set(columns.read(path, required=_COLUMNS)['video'])
    for film in FILMS:
      name = f'{subject}_video_{film}'
      partition = finding.partition_of(subject) if chosen is None else chosen.get(name, chosen.get(subject))
      if partition and str(film) in shown:
        parser = functools.partial(parse, film=film)
        sources = tuple(LabelSource(target, path, target, parser) for target in TARGETS)
        recordings.append(Recording(name, subject, partition, None, None, sources))
  absent = [
    (subject, finding.partition_of(subject), 'annotation')
    for subject in SUBJECTS
    if not chosen and subject not in files
  ]
  return Corpus(
    recordings=sorted(recordings, key=lambda recording: recording.recording),
    absent=absent,
    label_range=(0.5, 9.5),
    label_slack=1e-3,
    streams=(),
    scorer=Scorer(('rmse',), over='recordings'),
  )


def parse(path: pathlib.Path, film: int) -> Table:
  """The annotation of one film, from its own beginning.

  Raises:
    DataError: it is malformed, or the film was shown in several pieces.
  """
  stat = path.stat()
  found = _annotation(path, stat.st_mtime_ns, stat.st_size)
  rows = np.flatnonzero(np.array(found['video']) == str(film))
  if not len(rows) or rows[-1] - rows[0] + 1 != len(rows):
    raise DataError(f'{path}: film {film} is in {len(rows)} rows that do not follow each other; expected one piece')
  of = lambda name: columns.numbers(path, name, [found[name][row] for row in rows])
  times = of('jstime') / 1000
  return columns.table(path, {target: of(target) for target in TARGETS}, times - times[0])


@functools.lru_cache(maxsize=2)
def _annotation(path, time, size):
  """The file of a person, which eight recordings are cut from; a file that changes is read again."""
  return columns.read(path, required=_COLUMNS)
