"""EMO-AffectNet: classes of facial expression, of single faces or of windows of ten (Ryumina et al. 2022)."""

from collections.abc import Callable
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from e2e_affect.layers.batch_norm import MaskedBatchNorm
from e2e_affect.layers.recurrent import LSTM
from e2e_affect.layers.resnet import ResNet50
from e2e_affect.weights import emo_affectnet, emo_affectnet_temporal

STEP_SECONDS = 0.2  # five faces a second
WINDOW, HOP = 10, 5  # faces: 2 s, overlapping by half
_WINDOWS_AT_ONCE = 64


class ExpressionNetwork(nn.Module):
  """The static network and, if there is one, the temporal network on its features.

  Attributes:
    visual: `config.model.visual`, settled.
    temporal: whether windows are classified, not faces.
  """

  visual: Any
  temporal: bool

  def setup(self):
    options = self.visual
    self.resnet = ResNet50(
      width=options.width,
      stride_on=options.stride_on,
      stem_padding=options.stem_padding,
      stem_pool_padding=options.stem_pool_padding,
      norm=functools.partial(MaskedBatchNorm, epsilon=options.batch_norm_epsilon),
      name='visual',
    )
    self.dense = nn.Dense(emo_affectnet.FEATURES, name='features')
    if self.temporal:
      self.lstm = [LSTM(units, name=f'lstm_{i}') for i, units in enumerate(emo_affectnet_temporal.UNITS)]
    self.head = nn.Dense(len(emo_affectnet.CLASSES), name='head')

  def __call__(self, faces: jax.Array) -> jax.Array:
    """[N, H, W, 3] -> [1 or N, 7], to make variables with: all layers run."""
    x = self.features(faces)
    return self.classes(x[None] if self.temporal else x)

  def features(self, faces: jax.Array) -> jax.Array:
    """Normalised faces [N, H, W, 3] -> [N, 512]."""
    return nn.relu(self.dense(self.resnet(faces, jnp.ones(len(faces)), False)))

  def classes(self, x: jax.Array) -> jax.Array:
    """Features of faces [N, 512] or, with the temporal network, of windows [N, 10, 512] -> probabilities [N, 7]."""
    if self.temporal:
      for layer in self.lstm:
        zeros = jnp.zeros((len(x), layer.units))
        # [N, 10, D] -> [N, 10, H]
        _, x = layer(x, (zeros, zeros))
      x = x[:, -1]
    return nn.softmax(self.head(x))


def of_faces(classify: Callable[[np.ndarray], np.ndarray], features: np.ndarray, found: np.ndarray) -> np.ndarray:
  """Probabilities [T, 7] of every step by itself; 1/7 each where there is no face. Arguments as in `of_windows`."""
  probabilities = np.asarray(classify(features))
  return np.where(found[:, None] > 0, probabilities, 1 / probabilities.shape[1]).astype(np.float32)


def of_windows(classify: Callable[[np.ndarray], np.ndarray], features: np.ndarray, found: np.ndarray) -> np.ndarray:
  """Probabilities of every step: the mean of the windows that see it.

  Windows begin every five steps; one that the recording's end cuts short repeats its last step, as published. A step
  without a face shows the last face before it, or the first of all: published programs leave such frames out. A window
  without any face says nothing.

  Args:
    classify: windows [N, 10, 512] -> [N, 7], or of single faces [T, 512] -> [T, 7]; N is always the same.
    features: [T, 512].
    found: [T], 0 where there is no face.

  Returns:
    [T, 7]; 1/7 each where no window sees a face.
  """
  steps, found = len(features), found > 0
  shown = np.maximum.accumulate(np.where(found, np.arange(steps), -1))
  shown[shown < 0] = np.argmax(found)
  starts = np.arange(0, steps, HOP)
  places = np.minimum(starts[:, None] + np.arange(WINDOW), steps - 1)  # [W, 10]
  sees = found[places].any(axis=1)
  total, count = np.zeros((steps, len(emo_affectnet.CLASSES))), np.zeros((steps, 1))
  for first in range(0, len(starts), _WINDOWS_AT_ONCE):
    piece = places[first : first + _WINDOWS_AT_ONCE]
    windows = np.zeros((_WINDOWS_AT_ONCE, WINDOW, features.shape[1]), np.float32)
    windows[: len(piece)] = features[shown[piece]]
    for window, probabilities in zip(range(first, first + len(piece)), np.asarray(classify(windows))):
      if sees[window]:
        total[starts[window] : starts[window] + WINDOW] += probabilities
        count[starts[window] : starts[window] + WINDOW] += 1
  unknown = np.full_like(total, 1 / total.shape[1])
  return np.where(count > 0, total / np.maximum(count, 1), unknown).astype(np.float32)
