"""Geometric features of landmarks, after the description of AVEC 2016 (Valstar et al. 2016); see docs/features.md.

Of each step: how far each aligned point lies from that of the mean shape, how far it moved since the step before, its
distance from the middle of the stable points, and in each group of points (an eye with its brow, the other, the mouth)
the distances of neighbouring points and the angles between them. Of these the mean and the deviation over a window
that ends at the step: 316 and 632 features of 49 landmarks, as AVEC has.
"""

import dataclasses

import numpy as np

from data_prep.core.errors import DataError
from data_prep.features import base

_LEAST_DEVIATION = 1e-6  # of shapes of norm 1: less is rounding of the running sums
_STATISTICS = ('mean', 'deviation')


@dataclasses.dataclass(frozen=True)
class Scheme:
  """What the points of a face are.

  Attributes:
    groups: name -> points in the order in which they are joined.
    stable: points that hardly move with the expression; their median is the middle of the face.
  """

  groups: dict[str, tuple[int, ...]]
  stable: tuple[int, ...]


def scheme(count: int) -> Scheme:
  """That of 68 points (Multi-PIE), of 49 (the same without jaw and inner corners of the mouth), or of any others.

  Other points, as the five of MTCNN, are one group in their order, and all are stable.
  """
  if count not in (49, 68):
    return Scheme({'face': tuple(range(count))}, tuple(range(count)))
  first = 0 if count == 49 else 17  # the brows come first, behind the jaw if there is one
  run = lambda begin, end: tuple(range(first + begin, first + end))
  return Scheme(
    {
      'right_eye': run(0, 5) + run(19, 25),
      'left_eye': run(5, 10) + run(25, 31),
      'mouth': run(31, count - first),
    },
    run(10, 19) + tuple(first + k for k in (19, 22, 25, 28)),  # the nose, the corners of the eyes
  )


class Geometry:
  """The set `geometry`. Option: `window_seconds` of mean and deviation."""

  name = 'geometry'
  stream = 'geometric'
  defaults: base.Options = {'window_seconds': 4.0}

  def version(self) -> str:
    """See `FeatureSet`."""
    return '2'

  def columns(self, manifest, options) -> tuple[str, ...]:
    """See `FeatureSet`."""
    count = manifest.num_landmarks
    pairs = [f'{point}_{axis}' for point in range(count) for axis in 'xy']
    names = [f'offset_{pair}' for pair in pairs] + [f'change_{pair}' for pair in pairs]
    names += [f'distance_{point}_middle' for point in range(count)]
    for group, points in scheme(count).groups.items():
      names += [f'{group}_distance_{a}_{b}' for a, b in zip(points, points[1:])]
      names += [f'{group}_angle_{a}_{b}_{c}' for a, b, c in zip(points, points[1:], points[2:])]
    return tuple(f'{name}_{statistic}' for statistic in _STATISTICS for name in names)

  def extract(self, fields, manifest, options) -> np.ndarray:
    """See `FeatureSet`; a step in whose window no landmark was found is NaN."""
    mean, deviation = _shapes(manifest)
    stored = np.asarray(fields['landmarks'], np.float64)
    found = np.any(stored != 0, axis=(1, 2))  # where none were found the records have zeros throughout
    aligned = mean + stored * deviation
    values = of_steps(aligned, found, mean)
    window = max(1, round(options['window_seconds'] / manifest.grid.step_seconds))
    return window_statistics(values, found, window).astype(np.float32)

  def fit(self, train):
    """See `FeatureSet`."""
    return None


def of_steps(aligned: np.ndarray, found: np.ndarray, mean: np.ndarray) -> np.ndarray:
  """Features [T, D] of each step; of steps without landmarks they mean nothing.

  Args:
    aligned: [T, L, 2] shapes moved, scaled and turned onto the mean.
    found: [T] bool. A change since a step without landmarks is 0.
    mean: [L, 2].
  """
  steps, count, _ = aligned.shape
  change = np.zeros_like(aligned)
  change[1:] = np.diff(aligned, axis=0) * (found[1:] & found[:-1])[:, None, None]
  parts = scheme(count)
  middle = np.median(aligned[:, parts.stable], axis=1, keepdims=True)
  columns = [
    (aligned - mean).reshape(steps, -1),
    change.reshape(steps, -1),
    np.linalg.norm(aligned - middle, axis=-1),
  ]
  for points in parts.groups.values():
    columns += [distances(aligned[:, points]), angles(aligned[:, points])]
  return np.concatenate(columns, axis=1)


def distances(points: np.ndarray) -> np.ndarray:
  """Of each point from the next: [T, N, 2] -> [T, N − 1]."""
  return np.linalg.norm(np.diff(points, axis=1), axis=-1)


def angles(points: np.ndarray) -> np.ndarray:
  """At each inner point between its two neighbours, radians in [0, π]: [T, N, 2] -> [T, N − 2]; 0 if two coincide."""
  back, on = points[:, :-2] - points[:, 1:-1], points[:, 2:] - points[:, 1:-1]
  cross = back[..., 0] * on[..., 1] - back[..., 1] * on[..., 0]
  return np.arctan2(np.abs(cross), (back * on).sum(axis=-1))


def window_statistics(values: np.ndarray, found: np.ndarray, window: int) -> np.ndarray:
  """Mean and deviation of the steps found among the newest `window`: [T, D] -> [T, 2D] float64; see `base`."""
  centre = values[found].mean(axis=0) if found.any() else np.zeros(values.shape[1])
  around = np.where(found[:, None], values - centre, 0.0)  # near 0, so that the squares do not cancel
  mean = base.mean_of_window(around, found, window)
  deviation = np.sqrt(np.maximum(base.mean_of_window(around**2, found, window) - mean**2, 0.0))
  deviation[deviation < _LEAST_DEVIATION] = 0.0
  return np.concatenate([mean + centre, deviation], axis=1)


def _shapes(manifest) -> tuple[np.ndarray, np.ndarray]:
  """Mean shape and deviation [L, 2] of the data folder's landmarks."""
  try:
    landmarks = manifest.preparation['landmarks']
    return np.array(landmarks['mean_shape'], np.float64), np.array(landmarks['deviation'], np.float64)
  except KeyError:
    raise DataError('the landmarks have no mean shape; add them again with `python -m data_prep.landmarks`') from None
