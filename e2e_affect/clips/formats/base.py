"""What a format is given, and what it says of itself."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import pathlib

import numpy as np

from data_prep.schema.grid import Grid

SHOWS = ('numbers', 'probabilities', 'recording')  # see `Head.shows`


@dataclasses.dataclass(frozen=True)
class Prediction:
  """What a network says of one recording, as its CSV has it.

  Attributes:
    recording: its name, fit for a file.
    outputs: O names of targets, or of classes.
    shows: what the values are, one of `SHOWS`.
    values: [T, O] float32, post-processed where there is post-processing. Row k is for [k · step, (k + 1) · step).
    grid: of the steps.
    columns: the whole table: name -> T texts.
    media: the file that was analysed; None: not known.
    copy: what plays of it, relative to the folder of a format, with /; None: there is no such file.
    length: seconds of the recording, whose last step may be short; None: not known, it ends with its last step.
    notes: what a person should know of the clip.
    held: output -> by how many steps its trace is shifted later, in which it holds its first value; None: not known.
    found: [T] whether there was a face; None: the network does not see.
  """

  recording: str
  outputs: tuple[str, ...]
  shows: str
  values: np.ndarray
  grid: Grid
  columns: Mapping[str, Sequence[str]] = dataclasses.field(repr=False)  # tens of thousands of texts
  media: pathlib.Path | None = None
  copy: str | None = None
  length: float | None = None
  notes: Sequence[str] = ()
  held: Mapping[str, int] | None = None
  found: np.ndarray | None = None

  @property
  def of_whole(self) -> bool:
    """Whether every step has the same values, as in heads that say one thing of a recording."""
    return bool((self.values == self.values[0]).all())

  @property
  def trained_on(self) -> str | None:
    """The warning of networks that learnt from nobody real, in two words; None: there is none."""
    return next(iter(self.columns.get('trained_on', ())), None)

  @property
  def remarks(self) -> list[str]:
    """A sentence on each note, and on whom the network learnt from, in text that every format can hold."""
    said = [*self.notes, *([f'trained on {self.trained_on}'] if self.trained_on else [])]
    printable = (''.join(c if c.isprintable() else ' ' for c in note) for note in said)
    return [note[:1].upper() + note[1:] + '.' for note in printable]

  def seconds(self, step: int) -> float:
    """Where a step begins; `seconds(T)` is the end of the recording."""
    begin = float(step * self.grid.step)
    if self.length is None or step < len(self.values):
      return begin
    # No step is empty, whatever the length was rounded to.
    return min(begin, max(self.length, float((step - 1) * self.grid.step) + 0.001))

  def texts(self, output: int) -> list[str]:
    """T shortest texts that read back to the same float32."""
    return self.values[:, output].astype(str).tolist()


@dataclasses.dataclass(frozen=True)
class Format:
  """A kind of file that predictions are written as.

  Attributes:
    name: as in `--format`, and of the folder that its files go to.
    write: writes the files of one recording into a folder, each whole or not at all, named by the recording.
    holds: what kinds of values it has room for, some of `SHOWS`.
    needs: outputs without which it means nothing.
    libraries: that `write` imports, of the extra `formats`.
  """

  name: str
  write: Callable[[pathlib.Path, Prediction], None]
  holds: tuple[str, ...] = SHOWS
  needs: tuple[str, ...] = ()
  libraries: tuple[str, ...] = ()
