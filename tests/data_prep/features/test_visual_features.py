"""Appearance against scikit-image, SciPy and scikit-learn called plainly."""

import numpy as np
import pytest

from data_prep.features import appearance, base


def test_a_window_is_the_mean_of_the_known_rows_in_it():
  values = np.array([[1.0], [2.0], [np.nan], [6.0], [10.0]])
  known = np.array([True, True, False, True, True])
  # Windows of three rows: 1; 1 2; 1 2 (–); 2 (–) 6; (–) 6 10.
  found = base.mean_of_window(values, known, 3)
  np.testing.assert_allclose(found[:, 0], [1, 1.5, 1.5, 4, 8])
  none = base.mean_of_window(values, np.array([False, False, False, True, True]), 2)
  np.testing.assert_allclose(none[:, 0], [np.nan, np.nan, np.nan, 6, 8])


def test_patterns_are_scikit_images_of_every_slice():
  from skimage.feature import local_binary_pattern

  volume = np.random.default_rng(1).integers(0, 50, (5, 9, 12)).astype(np.int32)
  padded = np.pad(volume, ((1, 1), (0, 0), (0, 0)), 'edge')
  xy, xt, yt = (appearance.patterns(volume, plane) for plane in ('xy', 'xt', 'yt'))
  assert xy.shape == xt.shape == yt.shape == (5, 7, 10)
  pattern = lambda picture: local_binary_pattern(picture, 8, 1, 'uniform')[1:-1, 1:-1]
  for t in range(5):
    np.testing.assert_array_equal(xy[t], pattern(volume[t]))
  for y in range(1, 8):
    np.testing.assert_array_equal(xt[:, y - 1], pattern(padded[:, y]))
  for x in range(1, 11):
    np.testing.assert_array_equal(yt[:, :, x - 1], pattern(padded[:, :, x]))


def test_gabor_magnitudes_are_those_of_a_direct_convolution():
  from scipy.signal import convolve2d
  from skimage.filters import gabor_kernel

  face = np.random.default_rng(2).random((2, 14, 17))
  kernel = gabor_kernel(0.3, theta=0.5, n_stds=2)
  kernel = kernel - kernel.mean()
  top, left = (k // 2 for k in kernel.shape)
  found = appearance.gabor_magnitudes(face.astype(np.float32), 0.3, 0.5)
  for ours, one in zip(found, face, strict=True):
    expected = np.abs(convolve2d(one, kernel))[top : top + 14, left : left + 17]
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_histograms_are_shares_and_a_brighter_face_changes_none():
  faces = np.random.default_rng(3).random((6, 48, 48)).astype(np.float32) / 2
  found = appearance.histograms(faces)
  assert found.shape == (6, 18 * 3 * 4 * 10)
  np.testing.assert_allclose(found.reshape(6, -1, 10).sum(axis=2), 1, atol=1e-5)
  brighter = appearance.histograms(faces * np.float32(1.5))  # a contrast keeps every order
  assert 0 < np.abs(brighter - found).mean() < 0.005  # but of neighbours that were equal on the grid of levels
  other = appearance.histograms(faces[::-1, ::-1])
  assert np.abs(other - found).mean() > 0.02


def test_components_are_scikit_learns_on_train_and_leave_gaps():
  from sklearn.decomposition import PCA

  rng = np.random.default_rng(4)
  train = [rng.normal(size=(30, 7)).astype(np.float32), rng.normal(size=(25, 7)).astype(np.float32)]
  train[0][3] = np.nan
  transform = appearance.Appearance().fit(train)
  known = np.concatenate([np.delete(train[0], 3, axis=0), train[1]])
  expected = PCA(7).fit_transform(known)
  found = transform(np.concatenate(train))
  assert found.shape == (55, 7) and np.isnan(found[3]).all()
  np.testing.assert_allclose(np.abs(np.delete(found, 3, axis=0)), np.abs(expected), atol=1e-4)


@pytest.mark.parametrize('name', ['geometry', 'appearance'])
def test_sets_are_registered(name):
  from data_prep.features import FEATURES

  assert FEATURES[name].name == name
