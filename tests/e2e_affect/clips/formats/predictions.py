"""Small predictions for tests of formats, by way of the table that they are made of; no test of its own."""

import pathlib

import numpy as np

from data_prep.recordings.clip import Clip
from data_prep.schema.grid import Grid, PAPER
from e2e_affect.clips import clip_csv
from e2e_affect.clips.formats import Prediction, table

CLASSES = ('calm', 'R & B < C', 'sad "grey"')  # names that need escapes


def clip_of(steps: int, grid: Grid = PAPER) -> Clip:
  """A clip of sound that nobody has heard."""
  return Clip(
    grid=grid,
    steps=steps,
    seconds=steps * grid.step_seconds,
    samples=None,
    audio_mean=0.0,
    audio_std=0.0,
    audio_gain=1.0,
    crops=None,
    face_found=np.zeros(steps, np.float32),
    boxes=np.full((steps, 3), np.nan, np.float32),
    frame_size=None,
    notes=[],
    cost={},
  )


def numbers(steps=163, seed=0) -> np.ndarray:
  """[T, 2] float32 traces that go up and down over seconds."""
  rng = np.random.default_rng(seed)
  return (np.cumsum(rng.normal(0, 0.1, (steps, 2)), axis=0) / 3 + rng.normal(0, 0.02, (steps, 2))).astype(np.float32)


def probabilities(steps=60, seed=1) -> np.ndarray:
  """[T, 3] float32 that sum to 1."""
  logits = np.cumsum(np.random.default_rng(seed).normal(0, 0.4, (steps, 3)), axis=0)
  return (np.exp(logits) / np.exp(logits).sum(1, keepdims=True)).astype(np.float32)


def predicted(
  folder: pathlib.Path,
  values: np.ndarray,
  outputs=('arousal', 'valence'),
  shows='numbers',
  *,
  post=None,
  grid=PAPER,
  simulated=False,
  media=None,
  name='talk',
) -> Prediction:
  """The prediction that is read from the CSV of a clip."""
  folder.mkdir(parents=True, exist_ok=True)
  clip_csv.write(folder / f'{name}.csv', clip_of(len(values), grid), outputs, values, post, simulated)
  return table.read_clip(folder / f'{name}.csv', outputs, shows, grid, media)
