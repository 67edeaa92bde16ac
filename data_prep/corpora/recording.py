"""What every reader of a corpus yields: recordings that know where their parts lie, and nothing of shards."""

from collections.abc import Callable, Mapping
import csv
import dataclasses
import difflib
import io
import pathlib

import numpy as np

from data_prep.core.errors import DataError, UserError
from data_prep.labels.label_files import Table
from data_prep.physiology.signal_files import Signal
from data_prep.schema.grid import Grid, PAPER
from data_prep.schema.label_clock import Scorer
from data_prep.schema.manifest import PARTITIONS

TARGETS = ('arousal', 'valence')
STREAMS = ('speech', 'visual')  # of a corpus that says nothing else
# RECOLA's and AVEC's values are "about" [−1, 1]: centred gold standards pass the ends a little.
LABEL_SLACK = 0.2
_NEARLY = 0.85  # how like a known column another one is that is taken for a slip of it: `label` is .91 like `labels`
PARTITION_NAMES = {**{name: name for name in PARTITIONS}, 'dev': 'validation', 'valid': 'validation'}


@dataclasses.dataclass(frozen=True)
class LabelSource:
  """Where one target of a recording is written.

  Attributes:
    target: name of the target.
    path: label file; several value columns are raters, whose traces make the gold standard.
    column: name of the one column that is the target; None: all of them are raters (or the only trace).
    parse: reads the file of a corpus whose layout is its own, NaN where there is no label; a function of a module or a
      `functools.partial` of one, as it goes to other processes. None: `label_files.read_table`.
    beside: further columns of what `parse` reads, kept beside the labels at their own times.
    files: what `path` is read from besides; a change of one prepares the recording again.
    spread_of: target of whose raters this one is the spread; '': it is their gold standard.
  """

  target: str
  path: pathlib.Path
  column: str | None = None
  parse: Callable[[pathlib.Path], Table] | None = None
  beside: tuple[str, ...] = ()
  files: tuple[pathlib.Path, ...] = ()
  spread_of: str = ''


@dataclasses.dataclass(frozen=True)
class SensorFile:
  """Where signals of a recording's body are written.

  Attributes:
    path: the file.
    signals: which of 'ecg' and 'eda' to take from it; (): all that it has.
    parse: reads a file whose layout is the corpus's own, as `LabelSource.parse`. None: `signal_files.read`.
  """

  path: pathlib.Path
  signals: tuple[str, ...] = ()
  parse: Callable[[pathlib.Path], dict[str, Signal]] | None = None


@dataclasses.dataclass(frozen=True)
class Recording:
  """One subject's audio, video and labels.

  Attributes:
    recording, subject, partition: ids; partition is 'train', 'validation' or 'test'.
    video: file, or None; or a folder of numbered pictures, see `frames`.
    audio: file, or None: then the video's sound track is used, if it has one.
    labels: one source per target, or empty where there are no labels.
    boxes: file with the face's box in the first frame (x, y, width, height in pixels), or None.
    whole: in place of `labels`, those of the whole recording: target -> name of its class, or number in the corpus's
      own scale.
    first_box: the same box where the reader knows it, or None.
    frames: what times the pictures of a folder: their number a second, or the video whose frames' faces they are.
    sensors: files of ECG and EDA, on the clock of the recording; of a signal that several have, the first counts.
    about: what is known of the person or the recording, for the report on groups: column -> value, '' where unknown.
  """

  recording: str
  subject: str
  partition: str
  video: pathlib.Path | None
  audio: pathlib.Path | None
  labels: tuple[LabelSource, ...] = ()
  boxes: pathlib.Path | None = None
  whole: Mapping[str, str | float] = dataclasses.field(default_factory=dict)
  first_box: tuple[float, float, float, float] | None = None
  frames: float | pathlib.Path | None = None
  sensors: tuple[SensorFile, ...] = ()
  about: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Corpus:
  """What a reader found.

  Attributes:
    recordings: sorted by id.
    absent: (recording, partition, what is missing) of recordings that the split names and the folder lacks.
    targets: order of the label columns.
    label_range: (low, high) of the corpus's own scale, mapped to [−1, 1].
    target_ranges: the same for targets that have another one.
    label_slack: how far beyond its scale a value may lie before it counts as an error.
    annotated_seconds: media may run on after the labels where the labels reach this long; None: never.
    grid: how its time is cut into steps.
    streams: names of what is stored of every recording, see `data_prep.streams`.
    classes: categorical target -> names of its classes.
    folds: other divisions of the same recordings: name -> subject -> partition.
    scorer: how the corpus's own scorer counts; None: as this program does, and only where labels lie off the grid.
    prediction_format: of the corpus's own prediction files, see `e2e_affect.traces.own_files`; '': it has none.
  """

  recordings: list[Recording]
  absent: list[tuple[str, str, str]]
  targets: tuple[str, ...] = TARGETS
  label_range: tuple[float, float] = (-1.0, 1.0)
  label_slack: float = LABEL_SLACK
  annotated_seconds: float | None = None
  grid: Grid = PAPER
  streams: tuple[str, ...] = STREAMS
  classes: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  folds: Mapping[str, Mapping[str, str]] = dataclasses.field(default_factory=dict)
  target_ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
  scorer: Scorer | None = None
  prediction_format: str = ''


def with_spread(corpus: Corpus) -> Corpus:
  """The corpus with a further target `NAME_spread` for each that several raters rated: how far they are apart.

  Han et al. (ACM Multimedia 2017) learn it beside the gold standard. It has the unit of its target, from 0 to half the
  width of the scale.

  Raises:
    UserError: no target has raters.
  """
  sources = [source for recording in corpus.recordings for source in recording.labels]
  with_raters = {source.target for source in sources} - {source.target for source in sources if source.column}
  rated = [target for target in corpus.targets if target in with_raters]
  if not rated:
    raise UserError('--spread: no label file of this corpus has raters; leave it out')
  ranges = {target: corpus.target_ranges.get(target, corpus.label_range) for target in rated}
  halves = {f'{target}_spread': (high - low) / 2 for target, (low, high) in ranges.items()}

  def both(recording: Recording) -> Recording:
    spreads = [
      dataclasses.replace(source, target=f'{source.target}_spread', spread_of=source.target)
      for source in recording.labels
      if source.target in rated
    ]
    return dataclasses.replace(recording, labels=(*recording.labels, *spreads))

  return dataclasses.replace(
    corpus,
    recordings=[both(recording) for recording in corpus.recordings],
    targets=(*corpus.targets, *halves),
    # Around 0, so that what is stored has the unit of the stored target.
    target_ranges={**corpus.target_ranges, **{name: (-half, half) for name, half in halves.items()}},
  )


def streams_of(recordings: list[Recording]) -> tuple[str, ...]:
  """Sound and picture, and physiology where a recording has any."""
  return (*STREAMS, 'physiology') if any(recording.sensors for recording in recordings) else STREAMS


def check_subjects(recordings) -> None:
  """Raises DataError if a subject is in two partitions: a network would be tested on people it knows."""
  partitions: dict[str, tuple[str, str]] = {}
  for recording in recordings:
    known, first = partitions.setdefault(recording.subject, (recording.partition, recording.recording))
    if known != recording.partition:
      raise DataError(
        f'subject {recording.subject} is in {known} (recording {first}) and in {recording.partition} '
        f'(recording {recording.recording}); a subject belongs to one partition'
      )


def check_folds(recordings, folds: Mapping[str, Mapping[str, str]]) -> None:
  """Raises DataError if a fold leaves a subject out: its recordings would be in no partition."""
  subjects = {recording.subject for recording in recordings}
  for fold, partition_of in folds.items():
    lacking = sorted(subjects - set(partition_of))
    if lacking:
      raise DataError(f'fold {fold} names no partition for subject {", ".join(lacking)}; expected all subjects in it')


def read_split_file(path) -> dict[str, tuple[str, ...]]:
  """Reads a CSV file `recording,partition` into partition -> ids.

  Raises:
    DataError: unreadable, an unknown partition, or an id twice.
  """
  split: dict[str, list[str]] = {name: [] for name in PARTITIONS}
  seen = set()
  for line, row in read_csv(path, required=('recording', 'partition'), optional=()):
    if row['partition'] not in PARTITION_NAMES:
      raise DataError(f'{path}, line {line}: partition {row["partition"]!r}; expected {", ".join(PARTITIONS)}')
    if row['recording'] in seen:
      raise DataError(f'{path}, line {line}: {row["recording"]} a second time; a recording belongs to one partition')
    seen.add(row['recording'])
    split[PARTITION_NAMES[row['partition']]].append(row['recording'])
  return {name: tuple(ids) for name, ids in split.items()}


def read_box(path):
  """Reads the face's box in the first frame: (x, y, width, height), pixels.

  Raises:
    DataError: unreadable, or no box.
  """
  rows = list(read_csv(path, required=('x', 'y', 'width', 'height'), optional=()))
  if len(rows) != 1:
    raise DataError(f'{path}: {len(rows)} rows; expected one box, the face in the first frame')
  try:
    box = tuple(float(rows[0][1][name]) for name in ('x', 'y', 'width', 'height'))
  except ValueError as e:
    raise DataError(f'{path}, line {rows[0][0]}: {e}; expected pixels') from None
  if not np.abs(box).max() <= 1e5 or min(box[2:]) <= 0:
    raise DataError(f'{path}, line {rows[0][0]}: box {box}; expected pixels of a picture and a size above 0')
  return box


def read_csv(path, *, required, optional, further=False):
  """Yields (line number, {column: text}) of a CSV file with a header; its delimiter is a comma, semicolon or tab.

  Args:
    path: the file.
    required, optional: names of columns.
    further: whether other columns may be there; one whose name is nearly that of a known column may not.

  Raises:
    DataError: unreadable, a required column missing, an unknown one, or a row of another length.
  """
  path = pathlib.Path(path)
  try:
    text = path.read_text(encoding='utf-8-sig')
  except (OSError, UnicodeDecodeError) as e:
    raise DataError(f'{path}: cannot be read as UTF-8 text ({getattr(e, "strerror", None) or e})') from None
  if not text:
    raise DataError(f'{path}: empty; expected a header {",".join(required)}')
  first = text.partition('\n')[0]
  reader = csv.reader(io.StringIO(text), delimiter=next((d for d in ';\t' if d in first), ','))
  try:
    rows = [(reader.line_num, row) for row in reader]
  except csv.Error as e:
    raise DataError(f'{path}, line {reader.line_num}: no CSV ({e})') from None
  header = [name.strip() for name in rows[0][1]]
  for name in required:
    if name not in header:
      among = ' '.join(', '.join(header).split())[:200]  # a quoted name may have several lines
      raise DataError(f'{path}, line 1: no column {name!r} among {among}; the delimiter is `,`, `;` or tab')
  known = (*required, *optional)
  for name in header:
    mistyped = name not in known and difflib.get_close_matches(name.lower(), known, 1, _NEARLY)
    if header.count(name) > 1 or (name not in known and (mistyped or not (further and name))):
      raise DataError(f'{path}, line 1: column {name[:100]!r} is unknown or there twice; expected {", ".join(known)}')
  for line, row in rows[1:]:
    if not row:
      continue
    if len(row) != len(header):
      raise DataError(f'{path}, line {line}: {len(row)} columns, expected {len(header)}')
    yield line, {name: cell.strip() for name, cell in zip(header, row)}


def files_of(folder, pattern: str) -> list[pathlib.Path]:
  """The files of a pattern under a folder, sorted; without hidden ones, which macOS leaves beside what it copies."""
  return sorted(path for path in pathlib.Path(folder).glob(pattern) if path.is_file() and path.name[0] != '.')


def first_file(folders, names):
  """The first existing `folder/name`, or None."""
  for folder in folders:
    for name in names:
      path = folder / name
      if path.is_file():
        return path
  return None
