"""Traces: what a network, or any other predictor, says of whole recordings, step by step."""

import dataclasses
import math

import numpy as np

from data_prep.core.errors import DataError
from data_prep.schema.grid import Grid, PAPER


@dataclasses.dataclass(frozen=True)
class Trace:
  """One recording, whole, in order, without padding: every row is a valid step.

  Attributes:
    recording: id of the recording.
    subject: id of the person.
    partition: 'train', 'validation' or 'test'; another word where there is none (prediction on a new clip).
    prediction: [T, O] float32.
    gold: [T, K] float32, the gold standard; anything where `mask` is 0. Regression has an output a target, O = K.
    mask: [T] float32, 1 where gold exists and the step is valid.
    face_found: [T] float32 in [0, 1].
    grid: of the steps.
    loudness: of the sound, see `data_prep.streams.speech`; NaN where the predictor does not hear, or hears nothing.
    face_size: median side of the face's box, pixels of the picture; NaN where it is not known.

  Raises:
    ValueError: no step, or shapes that do not fit each other.
    DataError: a prediction that is not finite, or a gold standard that is not finite where `mask` is 1.
  """

  recording: str
  subject: str
  partition: str
  prediction: np.ndarray
  gold: np.ndarray
  mask: np.ndarray
  face_found: np.ndarray
  grid: Grid = PAPER
  loudness: float = math.nan
  face_size: float = math.nan

  def __post_init__(self):
    if (
      self.prediction.ndim != 2
      or not self.prediction.size
      or self.gold.ndim != 2
      or len(self.gold) != len(self.prediction)
    ):
      raise ValueError(
        f'{self.recording}: prediction {self.prediction.shape} and gold {self.gold.shape}, expected [T, O] and [T, K]'
      )
    steps = self.prediction.shape[0]
    if self.mask.shape != (steps,) or self.face_found.shape != (steps,):
      raise ValueError(
        f'{self.recording}: mask {self.mask.shape} and face_found {self.face_found.shape}, expected [{steps}] twice'
      )
    # One NaN here would turn every pooled number into NaN, far from its cause.
    for name, values in (('prediction', self.prediction), ('gold standard', self.gold[self.scored])):
      bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
      if bad.size:
        raise DataError(
          f'recording {self.recording}: {name} is not finite in {bad.size} of {len(values)} steps; '
          'use an earlier checkpoint (diverged network) or prepare the recording again (labels)'
        )

  @property
  def scored(self) -> np.ndarray:
    """[T] bool: the steps that metrics count."""
    return self.mask > 0
