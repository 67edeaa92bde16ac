"""CASE: 30 people move a joystick while they watch eight films; annotations at 20 Hz.

    sub_1.csv     jstime,valence,arousal,video      milliseconds, every 50 ms; 0.5 … 9.5, neutral 5
    video: 1 … 8 the films, 10 start, 11 the blue screen between films, 12 end

One recording is one person with one film: `sub_1_video_3`. Its time runs from its first row. Rows of start, end and
blue screen are left out. Annotations lie in the source itself or in `annotations` or `interpolated/annotations`.

The corpus has no split. Our reading: people are divided by their names, see `finding.partition_of`; EPiC 2023, which
has the same design, divides by person in its second scenario; its score is taken as the mean of the recordings' RMSE.

There is no sound or picture of the people. What their bodies said is in `physiological/sub_1.csv`, beside the
annotations (`daqtime,ecg,bvp,gsr,…`, 1 kHz, milliseconds on the clock of `jstime`): `ecg` and `gsr`, which is the EDA,
are read, in whatever unit, as they are normalised. Without such a file recordings hold their labels alone.
"""

import functools
import pathlib
import re

import numpy as np

from data_prep.core.errors import DataError
from data_prep.corpora import finding
from data_prep.corpora.recording import Corpus, LabelSource, Recording, SensorFile, TARGETS
from data_prep.labels import columns
from data_prep.labels.label_files import Table
from data_prep.physiology import signal_files
from data_prep.physiology.signal_files import Signal
from data_prep.schema.label_clock import Scorer

NEEDS = 'folder with sub_1.csv … sub_30.csv (jstime,valence,arousal,video), or with annotations/ and physiological/'
PEOPLE = '30 people who watch films and move a joystick, spontaneous'
LICENCE = 'as its owners state on the page of the corpus'
SUBJECTS = tuple(f'sub_{i}' for i in range(1, 31))
FILMS = tuple(range(1, 9))
_COLUMNS = ('jstime', *TARGETS, 'video')
_SENSORS = {'ecg': 'ecg', 'eda': 'gsr'}  # signal -> its column
_MILLISECONDS = 50  # between two annotations: a film ends so long after its last one


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
  bodies = finding.by_stem([source / 'physiological', source / 'interpolated' / 'physiological'], ['.csv'])
  recordings = []
  for subject, path in files.items():
    shown = set(columns.read(path, required=_COLUMNS)['video'])
    for film in FILMS:
      name = f'{subject}_video_{film}'
      partition = finding.partition_of(subject) if chosen is None else chosen.get(name, chosen.get(subject))
      if partition and str(film) in shown:
        parser = functools.partial(parse, film=film)
        sources = tuple(LabelSource(target, path, target, parser) for target in TARGETS)
        of_film = functools.partial(parse_sensors, film=film, annotation=path)
        sensors = (SensorFile(bodies[subject], parse=of_film),) if subject in bodies else ()
        recordings.append(Recording(name, subject, partition, None, None, sources, sensors=sensors))
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
    streams=('physiology',) if any(recording.sensors for recording in recordings) else (),
    scorer=Scorer(('rmse',), over='recordings'),
  )


def parse(path: pathlib.Path, film: int) -> Table:
  """The annotation of one film, from its own beginning.

  Raises:
    DataError: it is malformed, or the film was shown in several pieces.
  """
  of = _of_film(path, film)
  times = of['jstime'] / 1000
  return columns.table(path, {target: of[target] for target in TARGETS}, times - times[0])


def parse_sensors(path: pathlib.Path, film: int, annotation: pathlib.Path) -> dict[str, Signal]:
  """What the sensors measured during one film, from the beginning of its annotation.

  Raises:
    DataError: one of the files is malformed, or there is nothing of this film.
  """
  shown = _of_film(annotation, film)['jstime']
  rows = _read(_sensors, path)
  rows = rows[(rows[:, 0] >= shown[0]) & (rows[:, 0] < shown[-1] + _MILLISECONDS)]
  times = (rows[:, 0] - shown[0]) / 1000
  signal_files.check_times(path, times)
  return {name: Signal(times, rows[:, 1 + k]) for k, name in enumerate(_SENSORS)}


def _of_film(path, film) -> dict[str, np.ndarray]:
  found = _read(_annotation, path)
  rows = np.flatnonzero(np.array(found['video']) == str(film))
  if not len(rows) or rows[-1] - rows[0] + 1 != len(rows):
    raise DataError(f'{path}: film {film} is in {len(rows)} rows that do not follow each other; expected one piece')
  return {name: columns.numbers(path, name, [found[name][row] for row in rows]) for name in ('jstime', *TARGETS)}


def _read(reader, path):
  """The file of a person, which eight recordings are cut from; a file that changes is read again."""
  stat = path.stat()
  return reader(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=2)
def _annotation(path, time, size):
  return columns.read(path, required=_COLUMNS)


@functools.lru_cache(maxsize=1)  # one takes 60 MB
def _sensors(path, time, size):
  return signal_files.columns(path, ('daqtime', *_SENSORS.values()))
