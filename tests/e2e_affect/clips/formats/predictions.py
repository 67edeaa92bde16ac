"""Small predictions for tests of formats, by way of the table that they are made of; no test of its own."""

import pathlib

import numpy as np

from data_prep.schema.grid import PAPER
from e2e_affect.clips.formats import Prediction, table

CLASSES = ('calm', 'R & B < C', 'sad "grey"')  # names that need escapes


def numbers(steps=163, seed=0) -> np.ndarray:
  """[T, 2] float32 traces that go up and down over seconds."""
  rng, time = np.random.default_rng(seed), np.arange(steps)[:, None] / 25
  waves = 0.4 * np.sin(2 * np.pi * time / np.array([2.5, 3.7]) + rng.uniform(0, 6, 2))
  return (waves + rng.normal(0, 0.03, (steps, 2))).astype(np.float32)


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
  found=None,
  half_width=None,
  **known,
) -> Prediction:
  """The prediction that is read from `talk.csv`, a table in the layout of `clip_csv`; `known` as `read_clip` has it."""
  quoted = lambda text: '"' + text.replace('"', '""') + '"'
  names = [*map(quoted, outputs), *(quoted(f'{name}_post') for name in outputs if post is not None)]
  said = ['simulated people'] * simulated
  final = values if post is None else post
  traces = values if post is None else np.concatenate([values, post], axis=1)
  if half_width is not None:
    names += [f'{name}_{end}' for end in ('low', 'high') for name in outputs]
    traces = np.concatenate([traces, final - np.float32(half_width), final + np.float32(half_width)], axis=1)
  header = ','.join(['time', *names, *(['trained_on'] * simulated), 'face_found,face_x'])
  faces = [''] * len(values) if found is None else [f'{one:.3f}' for one in found]
  rows = [','.join([grid.time(k), *row, *said, faces[k], '']) for k, row in enumerate(traces.astype(str))]
  folder.mkdir(parents=True, exist_ok=True)
  (folder / 'talk.csv').write_text('\n'.join([header, *rows]) + '\n')
  return table.read_clip(folder / 'talk.csv', outputs, shows, grid, **known)
