"""What label files of other programs are read as."""

from collections.abc import Callable
import dataclasses
import pathlib

import numpy as np

from data_prep.core.errors import DataError
from data_prep.schema.grid import PAPER


@dataclasses.dataclass(frozen=True)
class Rating:
  """One rater's trace of one target.

  Attributes:
    target: its name in the file.
    times: [N] seconds, strictly increasing; a label belongs to what came before it.
    values: [N] float64, NaN where there is no label.
  """

  target: str
  times: np.ndarray
  values: np.ndarray


@dataclasses.dataclass(frozen=True)
class Format:
  """A kind of label file.

  Attributes:
    ending: of its files' names, in lower case.
    read: (file, recording's name) -> what it holds; raises DataError.
    beside: file -> other files that it is read from; raises DataError.
  """

  ending: str
  read: Callable[[pathlib.Path, str], list[Rating]]
  beside: Callable[[pathlib.Path], list[pathlib.Path]] = lambda path: []


def of_segments(path: pathlib.Path, target: str, segments: list[tuple[float, float, float]]) -> Rating:
  """A trace of labels that hold for stretches of time: a row every 40 ms, as the paper's grid has it.

  Args:
    path: for messages.
    target: see `Rating`.
    segments: (begin, end, value), seconds.

  Raises:
    DataError: a segment has no length, or two overlap.
  """
  segments = sorted(segments)
  for (begin, end, _), following in zip(segments, [*segments[1:], None]):
    if not 0 <= begin < end:
      raise DataError(f'{path}: {target} has a label from {begin:g} to {end:g} s; expected a stretch of time')
    if following and following[0] < end:
      raise DataError(f'{path}: {target} has two labels at {following[0]:g} s; expected one at a time')
  begins, ends, values = np.array(segments, np.float64).T
  times = PAPER.step_seconds * np.arange(1, PAPER.steps(ends[-1]) + 1)
  # Times as files have them are exact to a millisecond or so.
  place = np.searchsorted(begins, times - 1e-6) - 1
  inside = (place >= 0) & (times <= ends[place] + 1e-6)
  return Rating(target, times, np.where(inside, values[place], np.nan))
