"""Labels at their own times and in the corpus's own units, beside the shards.

A network learns on its grid; a corpus is scored where its labels are. `labels/NAME.csv` holds a recording's gold
standard as the corpus has it: `time,<target>,…`, then what else the corpus's own files need; a cell is empty where
there is no label. Time is that of the grid's convention: a label belongs to what came before it (the label of a video
frame has the time at which the frame's showing ends).
"""

from collections.abc import Mapping, Sequence
import csv
import dataclasses
import hashlib
import io
import pathlib
from typing import Any

import numpy as np

from data_prep.core.errors import DataError

FOLDER = 'labels'
MEASURES = ('ccc', 'rmse', 'pearson')
OVER = ('rows', 'recordings')


@dataclasses.dataclass(frozen=True)
class Scorer:
  """How a corpus's own scorer counts.

  Attributes:
    measures: what it reports, some of `MEASURES`; the first is its headline.
    over: 'rows': over all labels of a partition in one row; 'recordings': the mean of the recordings' numbers.
    mean_of_targets: whether the headline is the mean over the targets.
  """

  measures: tuple[str, ...] = ('ccc',)
  over: str = 'rows'
  mean_of_targets: bool = False

  @classmethod
  def parse(cls, content: Any) -> 'Scorer':
    """A scorer as JSON holds it.

    Raises:
      TypeError, ValueError: it is none.
    """
    scorer = cls(**(content | {'measures': tuple(content['measures'])}))
    if not scorer.measures or not set(scorer.measures) <= set(MEASURES) or scorer.over not in OVER:
      raise ValueError(f'scorer {str(content)[:80]}')
    return scorer


@dataclasses.dataclass(frozen=True)
class File:
  """The labels of one recording: its file inside the data folder, the file's SHA-256 and how many rows it has."""

  file: str
  sha256: str
  rows: int

  @classmethod
  def parse(cls, content: Any) -> 'File':
    """A file as JSON holds it.

    Raises:
      TypeError, ValueError: it is none.
    """
    file = cls(**content)
    if not isinstance(file.file, str) or not isinstance(file.sha256, str) or type(file.rows) is not int:
      raise TypeError(f'labels {str(content)[:80]}')
    return file


@dataclasses.dataclass(frozen=True)
class LabelClock:
  """Where the labels of a data folder lie that are not on its grid, or are scored in the corpus's own way.

  Attributes:
    scorer: of the corpus; None: it states none.
    prediction_format: of the corpus's own prediction files; '': none.
    files: recording -> its labels.
  """

  scorer: Scorer | None
  prediction_format: str
  files: Mapping[str, File]

  @classmethod
  def parse(cls, content: Any) -> 'LabelClock':
    """A clock as JSON holds it.

    Raises:
      KeyError, TypeError, ValueError, AttributeError: it is none.
    """
    scorer = content['scorer'] and Scorer.parse(content['scorer'])
    if not isinstance(content['prediction_format'], str):
      raise TypeError(f'prediction_format {str(content["prediction_format"])[:50]}')
    files = {name: File.parse(of) for name, of in content['files'].items()}
    return cls(scorer=scorer or None, prediction_format=content['prediction_format'], files=files)


@dataclasses.dataclass(frozen=True)
class OwnLabels:
  """A recording's labels as its corpus has them.

  Attributes:
    times: [N] seconds, increasing; one NaN where there is a single label for the whole recording.
    values: [N, K] float64 in the corpus's own units, NaN where there is no label.
    beside: what else the corpus's own files need: name -> N texts.
  """

  times: np.ndarray
  values: np.ndarray
  beside: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)

  @property
  def of_whole(self) -> bool:
    """Whether the one label is that of the whole recording."""
    return len(self.times) == 1 and bool(np.isnan(self.times[0]))

  def text(self, targets: Sequence[str]) -> str:
    """The content of `labels/NAME.csv`; numbers are the shortest that read back to the same."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(['time', *targets, *self.beside])
    cell = lambda value: '' if np.isnan(value) else repr(float(value))
    for i, time in enumerate(self.times):
      writer.writerow([cell(time), *map(cell, self.values[i]), *(of[i] for of in self.beside.values())])
    return text.getvalue()


def read(folder, file: File, targets: Sequence[str]) -> OwnLabels:
  """Reads the labels of one recording.

  Args:
    folder: of the data.
    file: of `LabelClock.files`.
    targets: K names, in the order that the values shall have.

  Raises:
    DataError: absent, changed since it was written, or it lacks a target.
  """
  path = pathlib.Path(folder) / file.file
  try:
    data = path.read_bytes()
  except OSError as e:
    raise DataError(f'{path}: cannot be read ({e.strerror}); prepare the recordings again') from None
  if hashlib.sha256(data).hexdigest() != file.sha256:
    raise DataError(f'{path}: SHA-256 differs from the manifest; prepare the recordings again')
  header, *rows = csv.reader(io.StringIO(data.decode()))
  lacking = [target for target in targets if target not in header]
  if lacking:
    raise DataError(f'{path}: has no column {" and no ".join(lacking)}; expected time,{",".join(targets)}')
  number = lambda cell: float(cell) if cell else np.nan
  column = {name: [row[i] for row in rows] for i, name in enumerate(header)}
  of_targets = [[number(cell) for cell in column[target]] for target in targets]
  further = {name: cells for name, cells in column.items() if name != 'time' and name not in targets}
  return OwnLabels(
    times=np.array([number(cell) for cell in column['time']]),
    values=np.array(of_targets, np.float64).T.reshape(len(rows), len(targets)),
    beside=further,
  )
