"""Geometric features of the landmarks that `data_prep.landmarks` added, after AVEC 2016 (Valstar et al. 2016).

Of each step: how far each aligned point lies from its place in the mean shape, how far it moved since the step before,
its distance from the median of all points, and the length and angle of the line from each point to the next. A step
has the mean and the deviation of these over a window that ends at it. With 49 points these are 682 features. AVEC 2016
has 632: it draws the lines within eyes and brows, and mouth, and not through all points in order.
"""

import numpy as np

from data_prep.core.errors import DataError
from data_prep.features import base


class Geometry:
  """Positions, movements, distances and angles of landmarks; option `window_seconds`."""

  name = 'geometry'
  stream = 'geometric'
  defaults: base.Options = {'window_seconds': 4.0}

  def version(self) -> str:
    """See `FeatureSet`."""
    return '1'

  def columns(self, manifest, options) -> tuple[str, ...]:
    """See `FeatureSet`."""
    points = manifest.num_landmarks
    of_step = [f'{axis}_{k}' for k in range(points) for axis in 'xy']
    of_step += [f'd{axis}_{k}' for k in range(points) for axis in 'xy']
    of_step += [f'from_median_{k}' for k in range(points)]
    of_step += [f'{what}_{k}' for what in ('length', 'angle') for k in range(points - 1)]
    return tuple(f'{name}_{functional}' for functional in ('mean', 'deviation') for name in of_step)

  def extract(self, fields, manifest, options) -> np.ndarray:
    """See `FeatureSet`."""
    fitted = manifest.preparation.get('landmarks')
    if not fitted:
      raise DataError('the landmarks have no mean shape; add them again with `python -m data_prep.landmarks`')
    mean, deviation = np.asarray(fitted['mean_shape']), np.asarray(fitted['deviation'])
    stored = np.asarray(fields['landmarks'], np.float64)
    found = np.any(stored != 0, axis=(1, 2))  # where there are none, all are 0
    of_step = of_points(mean + stored * deviation, mean)
    of_step[1:][~found[:-1], 2 * len(mean) : 4 * len(mean)] = 0  # no movement out of a gap
    steps = max(1, round(options['window_seconds'] / manifest.grid.step_seconds))
    average = base.mean_of_window(of_step, found, steps)
    squares = base.mean_of_window(of_step**2, found, steps)
    spread = np.sqrt(np.maximum(squares - average**2, 0))
    return np.concatenate([average, spread], axis=1).astype(np.float32)

  def fit(self, train):
    """See `FeatureSet`."""
    return None


def of_points(points: np.ndarray, mean: np.ndarray) -> np.ndarray:
  """Points [T, L, 2], aligned to the mean shape [L, 2] -> [T, 7L − 2], in the order of `Geometry.columns`."""
  moved = np.diff(points, axis=0, prepend=points[:1])
  from_median = np.linalg.norm(points - np.median(points, axis=1, keepdims=True), axis=2)
  line = np.diff(points, axis=1)
  length, angle = np.linalg.norm(line, axis=2), np.arctan2(line[..., 1], line[..., 0])
  return np.concatenate(
    [(points - mean).reshape(len(points), -1), moved.reshape(len(points), -1), from_median, length, angle], axis=1
  )
