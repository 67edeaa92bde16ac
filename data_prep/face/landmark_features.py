"""Landmarks -> geometric features: how far each point of the aligned shape lies from that of the mean shape."""

import numpy as np

from data_prep.core.errors import DataError
from data_prep.face import procrustes

LIMIT = 5.0  # deviations from the mean, at most: a point that lies farther off was found in a wrong place
_LEAST_DEVIATION = 1e-6  # of shapes of norm 1: a coordinate that deviates less is constant, and its feature stays 0


def fit(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Mean shape [L, 2] and deviation of each coordinate [L, 2] of the train partition's points [N, L, 2].

  Raises:
    DataError: none were found, or they lie in one place.
  """
  found = points[np.isfinite(points).all(axis=(1, 2))]
  try:
    mean = procrustes.fit(found)
  except ValueError as e:
    raise DataError(f'the train partition has {e}; look at the faces with `python -m data_prep.preview`') from None
  return mean, procrustes.align(found, mean).std(axis=0)


def features(points: np.ndarray, mean: np.ndarray, deviation: np.ndarray) -> np.ndarray:
  """Points [T, L, 2] -> float32 [T, L, 2]: aligned, less the mean shape, in deviations; 0 where there are none."""
  found = np.isfinite(points).all(axis=(1, 2)) & (np.ptp(np.nan_to_num(points), axis=1).max(axis=1) > 0)
  result = np.zeros(points.shape, np.float32)
  unit = np.where(deviation > _LEAST_DEVIATION, deviation, np.inf)
  result[found] = np.clip((procrustes.align(points[found], mean) - mean) / unit, -LIMIT, LIMIT)
  return result
