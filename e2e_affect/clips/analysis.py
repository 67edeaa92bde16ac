"""One clip in a notebook: `e2e_affect.analyse('talk.mp4', network)`, with the values of `e2e_affect.predict`."""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
import tempfile
from typing import Any, overload

from matplotlib.figure import Figure
import numpy as np

from data_prep.core import cli
from data_prep.recordings import who
from e2e_affect.clips import clip_csv, clip_files, formats, one_clip, sources
from e2e_affect.clips.formats import table
from e2e_affect.clips.network import Network
from e2e_affect.traces import band, figures
from e2e_affect.traces.traces import Trace


@dataclasses.dataclass(frozen=True, repr=False)
class Analysis:
  """What a network says of a clip, or of one of the people in it.

  Attributes:
    arrays: name -> [T]: what calling the network returns, and `face_found` (0 … 1) where a picture was analysed.
    notes: what a person should know, for instance 'no sound'.
    prediction: what is written for other programs.
    raw, processed: the same as `Trace`s; `processed` is None where the run fitted no post-processing.
    simulated: whether the network learnt from drawings of people.
    person: number of the person, from 1 in the order of appearance; None: one face, the largest, or none.
  """

  arrays: Mapping[str, np.ndarray]
  notes: tuple[str, ...]
  prediction: formats.Prediction
  raw: Trace
  processed: Trace | None
  simulated: bool
  person: int | None = None

  def __repr__(self) -> str:
    """Which clip, how long, what is known of it and what one should know, in a line each."""
    of = self.prediction
    whose = '' if self.person is None else f', person {self.person}'
    steps = len(of.values)
    lines = [f'Analysis of {self.raw.recording}{whose}: {of.seconds(steps):.2f} s, {steps} steps']
    kind = 'probabilities of ' if of.shows != 'numbers' else ''
    lines.append(
      f'  {kind}{", ".join(of.outputs)}' + (', raw and post-processed' if self.processed is not None else '')
    )
    lines += [f'  {note}' for note in (*self.notes, *(['by a network of drawings, not of people'] * self.simulated))]
    return '\n'.join(lines)

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
    _add_band(figure, self, figures.FINAL)
    return _labelled(figure, self)

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


class People(Sequence[Analysis]):
  """What a network says of each person in a clip, in the order of appearance; of one `Analysis` where nobody is in it.

  Attributes:
    notes: what a person should know of the clip; those of each person have them, too.
  """

  def __init__(self, people: Sequence[Analysis], notes: Sequence[str]):
    self._people, self.notes = tuple(people), tuple(notes)

  def __repr__(self) -> str:
    return '\n'.join(map(repr, self._people))

  @overload
  def __getitem__(self, index: int) -> Analysis: ...

  @overload
  def __getitem__(self, index: slice) -> tuple[Analysis, ...]: ...

  def __getitem__(self, index):
    return self._people[index]

  def __len__(self) -> int:
    return len(self._people)

  def plot(self) -> Figure:
    """The final traces in time, a panel for each, a colour for each person, as on the page, and shaded the bands.

    Lines are thin and dotted where a person's face was not found.
    """
    numbers = [one.person for one in self._people if one.person is not None]
    if not numbers:
      return self._people[0].plot()
    final = (one.raw if one.processed is None else one.processed for one in self._people)
    figure = figures.people(dict(zip(numbers, final, strict=True)), self._people[0].prediction.outputs)
    for number, one in zip(numbers, self._people, strict=True):
      _add_band(figure, one, figures.of_person(number))
    return _labelled(figure, self._people[0])


def _add_band(figure, analysis, colour):
  for axes, name in zip(figure.axes, analysis.prediction.outputs, strict=True):
    if f'{name}_low' in analysis.arrays:
      ends = analysis.arrays[f'{name}_low'], analysis.arrays[f'{name}_high']
      axes.fill_between(analysis.arrays['time'], *ends, color=colour, alpha=0.15, lw=0)


def _labelled(figure, analysis):
  """The figure with a warning where the network learnt from drawings, and axes of what the traces are."""
  if analysis.simulated:
    figure.suptitle(
      f'{analysis.raw.recording}: by a network of drawings, not of people', color='tab:red', parse_math=False
    )
  if analysis.prediction.shows != 'numbers':
    for axes, name in zip(figure.axes, analysis.prediction.outputs, strict=True):
      axes.set(ylabel=f'probability of {name}', ylim=(0, 1))
  return figure


def analyse(
  clip: str | os.PathLike,
  network: Network,
  channel: int | None = None,
  faces: str | int | who.Box = who.LARGEST,
  speakers: str | os.PathLike | None = None,
) -> Analysis | People:
  """Analyses a clip in a temporary folder (`TMPDIR`), which holds a crop of each face for every step.

  Args:
    clip: file of sound, of picture, or of both.
    network: trained.
    channel: of the sound, from 1; None: the mean of all, or the loudest where that is far below it.
    faces: as `e2e_affect.predict --faces`: 'largest'; 'all', then there is an `Analysis` for each person; the number of
      a person; or x, y, width and height in pixels, near where a face appears first.
    speakers: RTTM file that says who speaks when, by the numbers of people; None: the sound is everybody's.

  Raises:
    DataError: the clip cannot be analysed, or the person is not in it.
    UserError: `faces` is none of these, or of a network that does not see.
  """
  path = cli.argument(os.fspath(clip))
  name = sources.safe(path.stem)
  wanted = who.wanted(faces, None if speakers is None else os.fspath(speakers))
  with tempfile.TemporaryDirectory(prefix='e2e_affect-') as folder:
    read, found = one_clip.of_file(network, path, pathlib.Path(folder), channel, wanted)
    analyses = []
    for one, raw, post in found:
      ends = band.ends(network.band, raw if post is None else post, network.targets)
      written = pathlib.Path(folder) / clip_files.table_of(name, one.person if read.people else None)
      clip_csv.write(written, one, network.targets, raw, post, ends, network.simulated)
      length = round(read.seconds, 3)  # as the JSON of a clip has it
      notes = [*read.notes, *(one.notes if read.people else ())]
      prediction = table.read_clip(
        written,
        network.targets,
        network.shows,
        read.grid,
        media=path.resolve(),
        length=length,
        notes=notes,
        held=network.held,
      )
      analyses.append(_analysis(network, name, read, one, raw, post, prediction))
  return People(analyses, read.notes) if wanted.faces == who.ALL else analyses[0]


def _analysis(network, name, read, one, raw, post, prediction):
  found = one.face_found if one.crops is not None else np.ones(one.steps, np.float32)
  still = np.zeros_like(raw)
  trace = lambda values: Trace(name, '', 'new', values, still, still[:, 0], found, network.layout.grid)
  arrays = network.traces(raw, post)
  if one.crops is not None:
    arrays['face_found'] = one.face_found
  notes = [*read.notes, *one.notes] if read.people else one.notes
  processed = None if post is None else trace(post)
  return Analysis(arrays, tuple(notes), prediction, trace(raw), processed, network.simulated, one.person)
