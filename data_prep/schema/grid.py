"""The grid: how time is cut into steps. It stands in the manifest; no other module holds a length of time."""

import dataclasses
from fractions import Fraction
import math

PICTURE_SECONDS = Fraction('0.04')  # between two pictures in which a face is followed: over more, flow loses it
LENGTH_SLACK_SECONDS = 0.002  # timestamps are rounded to milliseconds in some containers: no step begins for that


@dataclasses.dataclass(frozen=True)
class Grid:
  """One label a step; sound and picture of the same stretch of time belong to it.

  Label k (k = 1, 2, …) belongs to [(k − 1) · step, k · step); the sound of that interval and the frame shown during it
  make one step.

  Attributes:
    step_seconds: length of a step.
    sample_rate: of the stored sound, Hz, mono.
    steps_per_record: steps that are stored together, and so the unit in which recordings are read.

  Raises:
    ValueError: a value is not positive, or a step is no whole number of samples.
  """

  step_seconds: float = 0.04
  sample_rate: int = 16_000
  steps_per_record: int = 25

  def __post_init__(self):
    samples = self.step * self.sample_rate if self.step_seconds > 0 and self.sample_rate > 0 else Fraction(0)
    if samples < 1 or samples.denominator != 1 or self.steps_per_record < 1:
      raise ValueError(
        f'a grid of {self.step_seconds} s, {self.sample_rate} Hz and {self.steps_per_record} steps a record; expected '
        'positive numbers and a whole number of samples in a step'
      )

  @property
  def step(self) -> Fraction:
    """Length of a step in seconds, exactly: 0.04 · 3 is not 0.12 in floating point."""
    return Fraction(str(self.step_seconds))

  @property
  def samples_per_step(self) -> int:
    """S."""
    return int(self.step * self.sample_rate)

  @property
  def pictures_per_step(self) -> int:
    """How many pictures of a step, evenly spaced, a face is followed through: an odd number.

    The one in the middle is the step's own; the others, in steps longer than 0.04 s, keep the face from being lost.
    """
    return 1 + 2 * math.ceil((self.step / PICTURE_SECONDS - 1) / 2)

  @property
  def picture_seconds(self) -> float:
    """Time between two pictures, at most 0.04 s."""
    return float(self.step / self.pictures_per_step)

  @property
  def record_seconds(self) -> float:
    """Length of a record."""
    return float(self.step * self.steps_per_record)

  @property
  def steps_per_second(self) -> float:
    """How many labels a second has."""
    return float(1 / self.step)

  def steps(self, seconds: float) -> int:
    """The number of steps nearest to a length of time."""
    return round(Fraction(str(seconds)) / self.step)

  def steps_begun(self, seconds: float) -> int:
    """Steps that begin within a length of time; the last may be short."""
    return max(0, math.ceil((seconds - LENGTH_SLACK_SECONDS) / self.step_seconds))

  def samples(self, seconds: float) -> int:
    """Samples within a length of time, at most those of its steps."""
    return min(round(seconds * self.sample_rate), self.steps_begun(seconds) * self.samples_per_step)

  def records(self, steps: int) -> int:
    """How many records hold that many steps; the last one may be partly filled."""
    return math.ceil(steps / self.steps_per_record)

  def time(self, step: int) -> str:
    """Start of a step in seconds, exactly: 3 -> '0.12'."""
    digits = max(2, len(str(self.step_seconds).partition('.')[2]))
    return f'{float(step * self.step):.{digits}f}'


PAPER = Grid()  # the paper's, RECOLA's and AVEC 2016's: a label every 40 ms
