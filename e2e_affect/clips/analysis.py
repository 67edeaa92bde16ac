"""One clip in a notebook: `e2e_affect.analyse('talk.mp4', network)`, with the values of `e2e_affect.predict`."""

from collections.abc import Mapping
import dataclasses
import os
import pathlib
import tempfile
from typing import Any

from matplotlib.figure import Figure
import numpy as np

from e2e_affect.clips import clip_csv, formats, one_clip, sources
from e2e_affect.clips.formats import table
from e2e_affect.clips.network import Network
from e2e_affect.traces import band, figures
from e2e_affect.traces.traces import Trace


@dataclasses.dataclass(frozen=True)
class Analysis:
  """What a network says of a clip.

  Attributes:
    arrays: name -> [T]: what calling the network returns, and `face_found` (0 … 1) where a picture was analysed.
    notes: what a person should know, for instance 'no sound'.
    prediction: what is written for other programs.
    raw, processed: the same as `Trace`s; `processed` is None where the run fitted no post-processing.
    simulated: whether the network learnt from drawings of people.
  """

  arrays: Mapping[str, np.ndarray]
  notes: tuple[str, ...]
  prediction: formats.Prediction
  raw: Trace
  processed: Trace | None
  simulated: bool

  @property
  def traces(self) -> Any:
    """`arrays` as a `pandas.DataFrame` where pandas is installed, else as a dictionary."""
    try:
      import pandas
    except ModuleNotFoundError:
      return dict(self.arrays)
    return pandas.DataFrame(self.arrays)

  def plot(self) -> Figure:
    """The traces in time, a panel for each; grey where no face was found, shaded the band."""
    figure = figures.recording(self.raw, self.processed, self.prediction.outputs)
    for axes, name in zip(figure.axes, self.prediction.outputs, strict=True):
      if f'{name}_low' in self.arrays:
        ends = self.arrays[f'{name}_low'], self.arrays[f'{name}_high']
        axes.fill_between(self.arrays['time'], *ends, color=figures.FINAL, alpha=0.15, lw=0)
    if self.simulated:
      figure.suptitle(
        f'{self.raw.recording}: by a network of drawings, not of people', color='tab:red', parse_math=False
      )
    if self.prediction.shows != 'numbers':
      for axes, name in zip(figure.axes, self.prediction.outputs, strict=True):
        axes.set(ylabel=f'probability of {name}', ylim=(0, 1))
    return figure

  def write(self, format: str, folder: str | os.PathLike) -> list[pathlib.Path]:
    """Writes the traces for another program.

    Args:
      format: as in `e2e_affect.predict --format`, `eaf` for ELAN for instance.
      folder: made where it is absent.

    Returns:
      The files, in a folder of the format's name.

    Raises:
      UserError: there is no such format, or it cannot hold what the network says.
      ModuleNotFoundError: its library is not installed.
      WorkdirError, DiskFullError: a file cannot be written.
    """
    formats.check([format], self.prediction.outputs, self.prediction.shows)
    formats.write([format], pathlib.Path(folder), self.prediction)
    return sorted(path for path in (pathlib.Path(folder) / format).iterdir() if path.is_file())


def analyse(clip: str | os.PathLike, network: Network, channel: int | None = None) -> Analysis:
  """Analyses a clip in a temporary folder (`TMPDIR`), which holds a crop of the face for every step.

  Args:
    clip: file of sound, of picture, or of both.
    network: trained.
    channel: of the sound, from 1; None: the mean of all, or the loudest where that is far below it.

  Raises:
    DataError: the clip cannot be analysed.
  """
  path = pathlib.Path(clip)
  name = sources.safe(path.stem)
  with tempfile.TemporaryDirectory(prefix='e2e_affect-') as folder:
    read, raw, post = one_clip.of_file(network, path, pathlib.Path(folder), channel)
    ends = {} if post is None else band.ends(network.band, post, network.targets)
    written = pathlib.Path(folder) / f'{name}.csv'
    clip_csv.write(written, read, network.targets, raw, post, ends, network.simulated)
    prediction = table.read_clip(written, network.targets, network.shows, network.layout.grid, path.resolve())
  found = read.face_found if read.crops is not None else np.ones(read.steps, np.float32)
  still = np.zeros_like(raw)
  trace = lambda values: Trace(name, '', 'new', values, still, still[:, 0], found, network.layout.grid)
  arrays = network.traces(raw, post)
  if read.crops is not None:
    arrays['face_found'] = read.face_found
  return Analysis(
    arrays, tuple(read.notes), prediction, trace(raw), None if post is None else trace(post), network.simulated
  )
