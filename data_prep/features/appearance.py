"""Appearance features: local binary patterns on three orthogonal planes over Gabor magnitudes (LGBP-TOP).

After AVEC 2016 (Valstar et al. 2016), which takes 18 Gabor pictures of the face, local binary patterns of the planes
XY, XT and YT, and their principal components on train, 168 of them. Ours, where it states nothing: the crop is grey and
of 32 × 32 pixels; the filters have 3 frequencies and 6 orientations; patterns are uniform and rotation-invariant (10
bins), counted in four quarters of the face, and averaged over a window that ends at the step.
"""

from importlib import metadata
import io

import numpy as np
from PIL import Image

from data_prep.core.errors import UserError
from data_prep.features import base

_SIDE = 32  # pixels
_FREQUENCIES = (0.1, 0.18, 0.3)  # cycles a pixel
_ORIENTATIONS = 6
_BINS = 10  # uniform, rotation-invariant patterns of eight neighbours
_QUARTERS = 4
_COMPONENTS = 168  # of the PCA, as AVEC 2016 has; fewer where train has fewer steps
_LEVELS = 4096  # of a magnitude of 1: on a plain background rounding would draw patterns
_PLANES = ('xy', 'xt', 'yt')


class Appearance:
  """LGBP-TOP of the face crops; option `window_seconds`."""

  name = 'appearance'
  stream = 'visual'
  defaults: base.Options = {'window_seconds': 4.0}

  def version(self) -> str:
    """See `FeatureSet`."""
    try:
      return f'1, scikit-image {metadata.version("scikit-image")}'
    except metadata.PackageNotFoundError:
      raise UserError(
        "appearance features need scikit-image; install it with `pip install 'e2e_affect[features]'`"
      ) from None

  def columns(self, manifest, options) -> tuple[str, ...]:
    """See `FeatureSet`."""
    count = len(_FREQUENCIES) * _ORIENTATIONS
    return tuple(
      f'gabor{g}_{plane}_quarter{q}_bin{b}'
      for g in range(count)
      for plane in _PLANES
      for q in range(_QUARTERS)
      for b in range(_BINS)
    )

  def extract(self, fields, manifest, options) -> np.ndarray:
    """See `FeatureSet`."""
    faces = np.stack([_grey(jpeg) for jpeg in fields['face']])
    found = np.asarray(fields['face_found']) > 0
    steps = max(1, round(options['window_seconds'] / manifest.grid.step_seconds))
    return base.mean_of_window(histograms(faces), found, steps).astype(np.float32)

  def fit(self, train):
    """The principal components of the train partition, as scikit-learn finds them."""
    from sklearn.decomposition import PCA

    known = np.concatenate([values[~np.isnan(values).any(axis=1)] for values in train])
    pca = PCA(min(_COMPONENTS, *known.shape), svd_solver='covariance_eigh').fit(known)

    def transform(values):
      result = np.full((len(values), pca.n_components_), np.nan, np.float32)
      rows = ~np.isnan(values).any(axis=1)
      if rows.any():
        result[rows] = pca.transform(values[rows])
      return result

    return transform


def _grey(jpeg: bytes) -> np.ndarray:
  """[32, 32] float32 in [0, 1]."""
  with Image.open(io.BytesIO(jpeg), formats=['JPEG']) as image:
    small = image.convert('L').resize((_SIDE, _SIDE), Image.Resampling.BOX)
  return np.asarray(small, np.float32) / 255


def gabor_magnitudes(faces: np.ndarray, frequency: float, angle: float) -> np.ndarray:
  """[T, H, W] -> [T, H, W] float32: the magnitude of a complex Gabor filter's answer, without its mean."""
  from scipy import fft
  from skimage.filters import gabor_kernel

  kernel = gabor_kernel(frequency, theta=angle, n_stds=2)
  kernel = (kernel - kernel.mean()).astype(np.complex64)  # an even light gives no answer
  height, width = faces.shape[1:]
  size = [fft.next_fast_len(n + k - 1) for n, k in zip((height, width), kernel.shape, strict=True)]
  spectrum = fft.fft2(kernel, size)
  top, left = (k // 2 for k in kernel.shape)
  answers = [
    np.abs(fft.ifft2(fft.fft2(faces[k : k + 256], size) * spectrum)[:, top : top + height, left : left + width])
    for k in range(0, len(faces), 256)  # pictures at once: memory
  ]
  return np.concatenate(answers).astype(np.float32)


def patterns(volume: np.ndarray, plane: str) -> np.ndarray:
  """Local binary patterns 0 … 9 [T, H − 2, W − 2] of a volume [T, H, W] on a plane, eight neighbours at distance 1."""
  from skimage.feature import local_binary_pattern

  padded = np.pad(volume, ((1, 1), (0, 0), (0, 0)), 'edge')  # the first and the last picture have a neighbour, too
  order = {'xy': (0, 1, 2), 'xt': (1, 0, 2), 'yt': (2, 0, 1)}[plane]  # slices, rows, columns of the plane
  sliced = padded.transpose(order)
  # One picture of all slices on top of each other: what sees two slices are their borders, which are dropped.
  tall = np.ascontiguousarray(sliced).reshape(-1, sliced.shape[2])
  codes = local_binary_pattern(tall, 8, 1, 'uniform').astype(np.uint8).reshape(sliced.shape)
  return codes.transpose(np.argsort(order))[1:-1, 1:-1, 1:-1]


def histograms(faces: np.ndarray) -> np.ndarray:
  """[T, H, W] -> [T, D] float32: shares of each pattern, per filter, plane and quarter of the face."""
  columns = []
  for frequency in _FREQUENCIES:
    for orientation in range(_ORIENTATIONS):
      magnitudes = gabor_magnitudes(faces, frequency, np.pi * orientation / _ORIENTATIONS)
      volume = np.round(magnitudes * _LEVELS).astype(np.int32)
      for plane in _PLANES:
        codes = patterns(volume, plane)
        height, width = (n // 2 for n in codes.shape[1:])
        quarters = codes[:, : 2 * height, : 2 * width].reshape(len(codes), 2, height, 2, width)
        counts = [(quarters == b).mean(axis=(2, 4), dtype=np.float32).reshape(len(codes), -1) for b in range(_BINS)]
        columns.append(np.stack(counts, axis=2).reshape(len(codes), -1))
  return np.concatenate(columns, axis=1)
