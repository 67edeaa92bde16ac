"""What a set of hand-crafted features says of itself."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from data_prep.schema.grid import Grid
from data_prep.schema.manifest import Manifest

Options = Mapping[str, float]


class FeatureSet(Protocol):
  """Features of one recording, step by step.

  Attributes:
    name: of the set.
    stream: the stream of the records that it is made of.
    defaults: every option with its default.
  """

  name: str
  stream: str
  defaults: Options

  def version(self) -> str:
    """The library and its version: features of another one are made anew.

    Raises:
      UserError: the library is not installed.
    """
    ...

  def columns(self, manifest: Manifest, options: Options) -> tuple[str, ...]:
    """Names of the D raw features."""
    ...

  def extract(self, fields: Mapping[str, Any], manifest: Manifest, options: Options) -> np.ndarray:
    """[T, D] float32 of one recording; a step without anything to see or hear is NaN throughout.

    Args:
      fields: of the stream and `valid`: per step [T, …], pictures as a list of T JPEGs, per recording a number.
      manifest: of the data folder.
      options: all of them.
    """
    ...

  def fit(self, train: Iterable[np.ndarray]) -> Callable[[np.ndarray], np.ndarray] | None:
    """What is learnt on the recordings to train on and makes [T, E] of [T, D]; None: the raw features are final."""
    ...


def window_of_step(steps: int, grid: Grid, window: float, hop: float, windows: int, beyond: float = 0.0) -> np.ndarray:
  """Which window each step takes: the newest that has ended by the end of the step, before that the first.

  Args:
    steps: T.
    grid: of the recording.
    window: seconds; window j begins at j · hop.
    hop: seconds.
    windows: how many there are, at least one.
    beyond: seconds that a window's last frame reaches past its end.

  Returns:
    [T] indices of windows.
  """
  ends = np.arange(1, steps + 1) * grid.step_seconds
  newest = np.floor((ends - window - beyond) / hop + 1e-6).astype(int)
  return np.clip(newest, 0, windows - 1)


def mean_of_window(values: np.ndarray, known: np.ndarray, steps: int) -> np.ndarray:
  """[T, D] float64: the mean of the known rows among the newest `steps` rows of each; NaN where none is known.

  Args:
    values: [T, D]; rows that are not known are not read.
    known: [T] bool.
    steps: of the window, at least 1; at the start it is shorter.
  """
  total = np.cumsum(np.where(known[:, None], values, 0.0), axis=0, dtype=np.float64)
  count = np.cumsum(known, dtype=np.float64)
  total[steps:] -= total[:-steps].copy()
  count[steps:] -= count[:-steps].copy()
  return np.where(count[:, None] > 0, total / np.maximum(count, 1)[:, None], np.nan)
