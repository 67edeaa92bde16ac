"""The RVM against scikit-learn, Tipping's updates in NumPy, and a sparse truth."""

import dataclasses

import numpy as np
import pytest
from sklearn import linear_model
from sklearn.base import clone

from e2e_affect.baselines.rvm import Kernel, RVM


def _made(steps=300, features=5, seed=1):
  rng = np.random.default_rng(seed)
  x = rng.standard_normal((steps, features)).astype(np.float32)
  y = np.stack([np.sin(x[:, 0]) + 0.1 * x[:, 1], 0.5 * x[:, 2] ** 2 - 1.0], axis=1)
  return x, y + 0.1 * rng.standard_normal(y.shape)


# The kernels of the docstring, written out.
def _rbf(x, c, width):
  x, c = x.astype(np.float64), c.astype(np.float64)
  return np.exp(-np.mean((x[:, None] - c[None]) ** 2, axis=2) / width**2)


def _linear(x, c):
  return np.mean(x.astype(np.float64)[:, None] * c.astype(np.float64)[None], axis=2)


def test_predictions_are_those_of_scikit_learns_ard_regression():
  x, y = _made()
  new, _ = _made(steps=41, seed=2)
  machine = RVM(kernels=(Kernel('rbf', 1.5),), basis=37, seed=3).fit(x, y)
  assert machine.centres_.shape == (37, 5)
  expected = []
  for target in y.T:
    mean, deviation = target.mean(), target.std()
    direct = linear_model.ARDRegression().fit(_rbf(x, machine.centres_, 1.5), (target - mean) / deviation)
    expected.append(direct.predict(_rbf(new, machine.centres_, 1.5)) * deviation + mean)
  # The kernel matrices differ by rounding alone; the evidence's updates are a fixed-point iteration and keep it small.
  np.testing.assert_allclose(machine.predict(new), np.stack(expected, axis=1), rtol=0, atol=1e-8)


def _tipping(phi, t, prune_above=1e4, iterations=300, tolerance=1e-3, a=1e-6, b=1e-6):
  """Tipping (2001), equations 12 and 13, and the updates of his appendix A with Gamma(a, b) priors on all precisions.

  The constant is the mean of `t` where columns are centred. Returns weights, [M].
  """
  columns, target = phi - phi.mean(axis=0), t - t.mean()
  alpha, beta = np.ones(phi.shape[1]), 1 / np.var(t)
  kept, last = np.arange(phi.shape[1]), np.full(phi.shape[1], np.inf)

  def posterior():
    of = columns[:, kept]
    sigma = np.linalg.inv(np.diag(alpha[kept]) + beta * of.T @ of)
    mu = np.zeros(phi.shape[1])
    mu[kept] = beta * sigma @ of.T @ target
    return mu, np.diag(sigma)

  for _ in range(iterations):
    mu, variance = posterior()
    gamma = 1 - alpha[kept] * variance
    beta = (len(t) - gamma.sum() + 2 * a) / (np.sum((target - columns @ mu) ** 2) + 2 * b)
    alpha[kept] = (gamma + 2 * a) / (mu[kept] ** 2 + 2 * b)
    gone = alpha >= prune_above
    mu[gone] = 0
    kept = np.flatnonzero(~gone)
    if np.abs(mu - last).sum() < tolerance:
      break
    last = mu
  return posterior()[0]


def test_predictions_are_those_of_tippings_updates():
  x, y = _made(steps=211, features=3)
  new, _ = _made(steps=29, features=3, seed=4)
  machine = RVM(kernels=(Kernel('rbf', 1.0),), basis=23).fit(x, y)
  phi = _rbf(x, machine.centres_, 1.0)
  # A third target that needs two of the candidates: of its columns most are pruned.
  y = np.concatenate([y, phi[:, [4, 11]].sum(axis=1, keepdims=True) + 0.1 * y[:, :1] ** 2], axis=1)
  predicted = machine.fit(x, y).predict(new)
  for k, target in enumerate(y.T):
    t = (target - target.mean()) / target.std()
    weights = _tipping(phi, t)
    expected = (_rbf(new, machine.centres_, 1.0) - phi.mean(axis=0)) @ weights
    np.testing.assert_allclose((predicted[:, k] - target.mean()) / target.std(), expected, rtol=0, atol=1e-6)
    assert np.count_nonzero(weights) == machine.relevant()[k]
  assert machine.relevant()[2] < 23


def test_a_sparse_truth_is_found():
  """Two of 40 candidates make the target: they keep large weights, and nearly all others go."""
  rng = np.random.default_rng(5)
  x = rng.uniform(-3, 3, size=(400, 2))
  machine = RVM(kernels=(Kernel('rbf', 0.4),), basis=40, seed=6).fit(x, x)
  truth = machine.columns(x)[:, [7, 31]] @ [2.0, -1.5]
  machine.fit(x, truth[:, None] + 0.01 * rng.standard_normal((400, 1)))  # the same draw of candidates
  weights = machine.machines_[0].coef_ * machine.deviation_
  np.testing.assert_allclose(weights[[7, 31]], [2.0, -1.5], atol=0.05)
  assert np.abs(np.delete(weights, [7, 31])).max() < 0.05
  assert machine.relevant()[0] < 20  # of 40
  assert machine.machines_[0].alpha_ ** -0.5 * machine.deviation_[0] == pytest.approx(0.01, rel=0.2)  # the noise


def test_two_kernels_stand_side_by_side_on_their_own_columns():
  x, y = _made(features=7)
  kernels = (Kernel('rbf', 2.0, first=0, last=4), Kernel('linear', first=4))
  machine = RVM(kernels=kernels, basis=11).fit(x, y)
  columns = machine.columns(x[:13])
  assert columns.shape == (13, 22)
  np.testing.assert_allclose(columns[:, :11], _rbf(x[:13, :4], machine.centres_[:, :4], 2.0), atol=1e-12)
  np.testing.assert_allclose(columns[:, 11:], _linear(x[:13, 4:], machine.centres_[:, 4:]), atol=1e-12)


def test_the_scale_of_targets_changes_nothing_but_their_scale():
  x, y = _made()
  machine = RVM(basis=19)
  np.testing.assert_allclose(clone(machine).fit(x, 1000 * y + 7).predict(x), 1000 * machine.fit(x, y).predict(x) + 7)


def test_candidates_are_rows_drawn_by_the_seed():
  x, y = _made()
  first, second = (RVM(basis=17, seed=seed).fit(x, y).centres_ for seed in (0, 1))
  assert {tuple(row) for row in first} <= {tuple(row) for row in x} and len(np.unique(first, axis=0)) == 17
  np.testing.assert_array_equal(first, RVM(basis=17, seed=0).fit(x, y).centres_)
  assert not np.array_equal(first, second)
  assert len(RVM(basis=1000).fit(x[:31], y[:31]).centres_) == 31


def test_a_constant_target_is_predicted_as_it_is():
  x, y = _made(steps=53)
  y[:, 1] = 0.25
  np.testing.assert_allclose(RVM(basis=11).fit(x, y).predict(x)[:, 1], 0.25)


def test_what_is_no_kernel_and_no_rows_is_refused():
  x, y = _made(steps=20)
  with pytest.raises(ValueError, match='expected one of linear, rbf'):
    Kernel('poly')
  with pytest.raises(ValueError, match='expected more than 0'):
    dataclasses.replace(Kernel('rbf'), width=0.0)
  with pytest.raises(ValueError, match=r'x \(20, 5\) and y \(20,\)'):
    RVM().fit(x, y[:, 0])
