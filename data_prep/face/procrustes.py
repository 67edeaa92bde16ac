"""Generalised Procrustes alignment of planar shapes: place, scale and rotation taken away (paper, section V-D)."""

import numpy as np

_ROUNDS, _TOLERANCE = 100, 1e-10


def fit(shapes: np.ndarray) -> np.ndarray:
  """The mean shape [L, 2], centred and of unit norm, of shapes [N, L, 2] that are mostly upright.

  Raises:
    ValueError: no shape, or one whose points all coincide.
  """
  shapes = _normalised(_complex(shapes))
  if not len(shapes):
    raise ValueError('no shapes to fit a mean to')
  mean = _normalised(shapes.mean(axis=0, keepdims=True))[0]  # as they stand: the mean then stands upright, too
  for _ in range(_ROUNDS):
    before, mean = mean, _normalised(_rotated(shapes, mean).mean(axis=0, keepdims=True))[0]
    if np.abs(mean - before).max() < _TOLERANCE:
      break
  return _pairs(mean)


def align(shapes: np.ndarray, mean: np.ndarray) -> np.ndarray:
  """Shapes [N, L, 2] moved, scaled to unit norm and turned onto the mean [L, 2], never mirrored; [N, L, 2]."""
  return _pairs(_rotated(_normalised(_complex(shapes)), _complex(mean)))


def _complex(points):
  points = np.asarray(points, np.float64)
  return points[..., 0] + 1j * points[..., 1]


def _pairs(numbers):
  return np.stack([numbers.real, numbers.imag], axis=-1)


def _normalised(shapes):
  shapes = shapes - shapes.mean(axis=1, keepdims=True)
  norm = np.linalg.norm(shapes, axis=1, keepdims=True)
  if (norm == 0).any():
    raise ValueError('a shape whose points all coincide')
  return shapes / norm


def _rotated(shapes, mean):
  # The rotation with the least squared distance multiplies by the phase of ⟨shape, mean⟩. A complex number cannot
  # mirror, which the orthogonal matrices of the usual solution by SVD can.
  phase = shapes.conj() @ mean
  return shapes * np.where(phase == 0, 1, phase / np.where(phase == 0, 1, np.abs(phase)))[:, None]
