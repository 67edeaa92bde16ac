"""Geometric features against plain loops in float64, and what must not matter to them."""

import math
import types

import numpy as np
import pytest

from data_prep.core.errors import DataError
from data_prep.face import landmark_features, procrustes
from data_prep.features import FEATURES, geometry
from data_prep.schema.grid import PAPER


def _points(steps, count, seed=0):
  """[T, L, 2]: a face of `count` points in pixels that moves a little."""
  rng = np.random.default_rng(seed)
  return rng.uniform(10, 90, (count, 2)) + rng.normal(0, 2, (steps, count, 2))


def _manifest(mean, deviation):
  landmarks = {'mean_shape': mean.tolist(), 'deviation': deviation.tolist()}
  return types.SimpleNamespace(grid=PAPER, preparation={'landmarks': landmarks}, num_landmarks=len(mean))


def _extract(points, fitted_on, window=0.28):
  mean, deviation = landmark_features.fit(fitted_on)
  fields = {'landmarks': landmark_features.features(points, mean, deviation), 'valid': np.ones(len(points))}
  return FEATURES['geometry'].extract(fields, _manifest(mean, deviation), {'window_seconds': window})


@pytest.mark.parametrize(
  'count, of_step', [(5, 4 * 5 + 5 + 4 + 3), (49, 316), (68, 4 * 68 + 68 + 10 + 9 + 10 + 9 + 19 + 18)]
)
def test_a_name_for_each_feature(count, of_step):
  points = _points(11, count)
  manifest = _manifest(*landmark_features.fit(points))
  names = FEATURES['geometry'].columns(manifest, {'window_seconds': 4.0})
  found = _extract(points, points)
  assert found.shape == (11, 2 * of_step) and found.dtype == np.float32
  assert len(names) == len(set(names)) == 2 * of_step
  assert np.isfinite(found).all()


def test_49_points_are_those_of_68_without_jaw_and_inner_corners_of_the_mouth():
  # The 68 of Multi-PIE: brows 17 … 26, nose 27 … 35, eyes 36 … 47, lips outside 48 … 59, inside 60 … 67.
  of_68, of_49 = geometry.scheme(68), geometry.scheme(49)
  assert of_68.groups['right_eye'] == (17, 18, 19, 20, 21, 36, 37, 38, 39, 40, 41)
  assert of_68.groups['left_eye'] == (22, 23, 24, 25, 26, 42, 43, 44, 45, 46, 47)
  assert of_68.groups['mouth'] == tuple(range(48, 68))
  assert of_68.stable == (*range(27, 36), 36, 39, 42, 45)
  for name in ('right_eye', 'left_eye'):
    assert of_49.groups[name] == tuple(k - 17 for k in of_68.groups[name])
  assert of_49.groups['mouth'] == tuple(range(31, 49)) and of_49.stable == tuple(k - 17 for k in of_68.stable)


def test_features_of_a_step_are_those_of_plain_loops():
  points = _points(6, 49)
  mean = procrustes.fit(points)
  aligned = procrustes.align(points, mean)
  found = np.array([1, 1, 0, 1, 1, 1], bool)
  got = geometry.of_steps(aligned, found, mean)
  parts = geometry.scheme(49)
  for t in (0, 1, 3, 4):
    p = aligned[t].tolist()
    middle = [sorted(p[k][axis] for k in parts.stable)[len(parts.stable) // 2] for axis in (0, 1)]  # of 13: the 7th
    want = [p[k][axis] - mean[k, axis] for k in range(49) for axis in (0, 1)]
    moved = t in (1, 4)  # the first has no step before it, the fourth one without landmarks
    want += [p[k][axis] - aligned[t - 1, k, axis] if moved else 0.0 for k in range(49) for axis in (0, 1)]
    want += [math.dist(p[k], middle) for k in range(49)]
    for group in parts.groups.values():
      want += [math.dist(p[a], p[b]) for a, b in zip(group, group[1:])]
      for a, b, c in zip(group, group[1:], group[2:]):
        # The law of cosines.
        ab, bc, ac = math.dist(p[a], p[b]), math.dist(p[b], p[c]), math.dist(p[a], p[c])
        want.append(math.acos((ab**2 + bc**2 - ac**2) / (2 * ab * bc)))
    np.testing.assert_allclose(got[t], want, atol=1e-7)


def test_angles_of_known_corners():
  corner = np.array(
    [[[1.0, 0], [0, 0], [0, 2]], [[1, 0], [0, 0], [-3, 0]], [[1, 0], [0, 0], [2, 2]], [[0, 0], [0, 0], [1, 1]]]
  )
  np.testing.assert_allclose(geometry.angles(corner)[:, 0], [np.pi / 2, np.pi, np.pi / 4, 0], atol=1e-12)


def test_place_size_and_tilt_of_the_head_do_not_matter():
  points, fitted_on = _points(9, 49, 1), _points(30, 49, 0)
  turn = np.array([[math.cos(0.4), -math.sin(0.4)], [math.sin(0.4), math.cos(0.4)]])
  moved = 1.7 * points @ turn.T + [31.0, -12.0]
  np.testing.assert_allclose(_extract(moved, fitted_on), _extract(points, fitted_on), atol=2e-6)
  mirrored = points * [-1, 1]
  assert np.abs(_extract(mirrored, fitted_on) - _extract(points, fitted_on)).max() > 0.1


def test_windows_end_at_the_step_and_hold_what_was_found():
  rng = np.random.default_rng(2)
  values, found = rng.normal(5, 1, (13, 3)), np.ones(13, bool)
  values[:, 2] = 7  # constant: deviation 0 exactly
  found[[4, 5, 6, 7, 9]] = False
  values[~found] = 1e3
  got = geometry.window_statistics(values, found, 4)
  for t in range(13):
    here = [k for k in range(max(t - 3, 0), t + 1) if found[k]]  # at the start the window is shorter
    if here:
      np.testing.assert_allclose(got[t], np.concatenate([values[here].mean(0), values[here].std(0)]), atol=1e-6)
      assert got[t, 5] == 0
    else:
      assert np.isnan(got[t]).all() and t == 7


def test_steps_without_landmarks_tell_nothing():
  points = _points(40, 5)
  blank = points.copy()
  blank[10:30] = np.nan
  got, whole = _extract(blank, points), _extract(points, points)  # windows of 7 steps
  assert np.isnan(got[16:30]).all() and np.isfinite(np.delete(got, slice(16, 30), 0)).all()
  np.testing.assert_array_equal(np.isfinite(got).any(axis=1), np.isfinite(got).all(axis=1))
  np.testing.assert_allclose(got[37:], whole[37:], atol=1e-6)  # the first window of steps that all have one before
  assert np.isnan(_extract(np.full_like(points, np.nan), points)).all()


def test_a_manifest_without_mean_shape_says_what_to_do():
  manifest = types.SimpleNamespace(grid=PAPER, preparation={}, num_landmarks=5)
  with pytest.raises(DataError, match='python -m data_prep.landmarks'):
    FEATURES['geometry'].extract({'landmarks': np.zeros((3, 5, 2))}, manifest, {'window_seconds': 4.0})


def test_an_angle_does_not_jump_where_a_line_runs_leftwards():
  # As the lower lip's do, whose points go from the left corner to the right one.
  lip = np.array([[0.3, 0.0], [0.1, 0.02], [-0.1, 0.02], [-0.3, 0.0]])
  moved = lip + np.random.default_rng(11).normal(0, 0.002, (50, 4, 2))
  assert geometry.angles(moved).std(axis=0).max() < 0.03
