"""How a corpus is prepared."""

from collections.abc import Mapping
import dataclasses

from data_prep.corpora.recording import STREAMS
from data_prep.schema.grid import Grid, PAPER

# Codecs pad sound by up to a frame and the encoder's delay: 50 to 100 ms in ordinary files.
MAX_DIFFERENCE_SECONDS = 0.12
MAX_LOST = 0.75  # share of steps without a face
MAX_MINUTES = 120.0  # of the processor's time for a recording


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a corpus is prepared; equal settings and files give equal bytes.

  Attributes:
    targets: names of the label columns.
    label_range: (low, high) of the corpus's own scale.
    label_slack: how far beyond it a value may lie.
    annotated_seconds: media may run on after labels that reach this long; None: never.
    recipe: of the gold standard.
    max_lost: share of steps without a face above which a recording is refused.
    max_difference: seconds by which labels, sound and picture may differ in length.
    labels: what is between two labels, see `resample.on_grid`.
    channel: of the sound, from 1; None: the mean of all, or the loudest where that is far below it.
    grid: of the labels and of the records.
    streams: names of what is stored of every recording.
    detector: of faces, of `face.detectors.DETECTORS`.
    classes: categorical target -> names of its classes.
    target_ranges: (low, high) of targets on another scale than `label_range`.
  """

  targets: tuple[str, ...]
  label_range: tuple[float, float]
  label_slack: float
  annotated_seconds: float | None
  recipe: str
  max_lost: float
  max_difference: float = MAX_DIFFERENCE_SECONDS
  labels: str = 'linear'
  channel: int | None = None
  grid: Grid = PAPER
  streams: tuple[str, ...] = STREAMS
  detector: str = 'cascade'
  classes: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
  target_ranges: Mapping[str, tuple[float, float]] = dataclasses.field(default_factory=dict)

  def range_of(self, target: str) -> tuple[float, float]:
    """(low, high) of the corpus's own scale of a target."""
    return self.target_ranges.get(target, self.label_range)

  def label_scale(self) -> dict[str, list[float]]:
    """Per target [gain, offset]: stored = gain · original + offset; the index of a class is stored as it is."""
    return {target: [1.0, 0.0] if target in self.classes else _scale(*self.range_of(target)) for target in self.targets}


def _scale(low, high):
  return [2 / (high - low), 0.0 - (high + low) / (high - low)]
