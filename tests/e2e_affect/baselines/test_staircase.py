"""The staircase on a made monotone problem."""

import numpy as np
import pytest

from e2e_affect.baselines.oa_rvm import FirstStage, OutputAssociativeRVM
from e2e_affect.baselines.rvm import Kernel, RVM
from e2e_affect.baselines.staircase import Staircase
from e2e_affect.traces import metrics


def _monotone(steps, seed):
  rng = np.random.default_rng(seed)
  x = rng.uniform(-2, 2, size=(steps, 3))
  y = np.stack([x[:, 0] ** 3 / 8, np.tanh(4 * x[:, 1])], axis=1)
  return x, y


def test_heights_are_quantiles_of_each_target_on_train():
  x, y = _monotone(500, seed=1)
  stairs = Staircase(partial=RVM(basis=10), heights=4).fit(x, y)
  assert stairs.heights_.shape == (2, 4)
  share = (y[:, :, None] > stairs.heights_).mean(axis=0)
  np.testing.assert_allclose(share, [[0.8, 0.6, 0.4, 0.2]] * 2, atol=0.01)


def test_a_step_of_the_staircase_is_an_rvm_on_low_against_high():
  x, y = _monotone(300, seed=2)
  stairs = Staircase(partial=RVM(basis=13, seed=5), heights=3).fit(x, y)
  outputs = stairs.predict(x[:17])
  assert outputs.shape == (17, 6)
  for k in range(2):
    for h in range(3):
      high = (y[:, k] > np.quantile(y[:, k], (h + 1) / 4)).astype(np.float64)
      alone = RVM(basis=13, seed=5).fit(x, high[:, None]).predict(x[:17])[:, 0]
      np.testing.assert_allclose(outputs[:, 3 * k + h], np.clip(alone, 0, 1), atol=1e-9)


def test_outputs_climb_with_the_target_and_fall_with_the_height():
  x, y = _monotone(500, seed=3)
  stairs = Staircase(partial=RVM(kernels=(Kernel('rbf', 1.0),), basis=50), heights=4).fit(x, y)
  new, gold = _monotone(200, seed=4)
  outputs = stairs.predict(new).reshape(200, 2, 4)
  assert outputs.min() >= 0 and outputs.max() <= 1
  for k in range(2):
    by_level = np.digitize(gold[:, k], stairs.heights_[k])  # 0: below all heights … 4: above all
    means = np.array([outputs[by_level == level, k].mean(axis=0) for level in range(5)])  # [level, height]
    assert (np.diff(means, axis=0) > -0.05).all() and (means[4] - means[0] > 0.7).all()
    assert (np.diff(outputs[:, k].mean(axis=0)) < 0).all()
    # Where gold is on the right side of a height, the output is: 90 % of all.
    right = (outputs[:, k] > 0.5) == (gold[:, k, None] > stairs.heights_[k])
    assert right.mean() > 0.9


def test_the_last_stage_reads_the_stairs_of_both_targets():
  """A linear last stage of a staircase bends; a linear last stage of linear outputs cannot."""
  x, y = _monotone(480, seed=5)
  new, gold = _monotone(200, seed=6)
  rows, subjects, lengths = np.arange(480), np.repeat([0, 1, 2], 160), [160] * 3
  scores = {}
  partial = RVM(kernels=(Kernel('rbf', 1.0),), basis=40)
  linear = RVM(kernels=(Kernel('linear'),), basis=40)
  for name, estimator in (('staircase', Staircase(partial=partial, heights=4)), ('linear', linear)):
    first = FirstStage.fit(estimator, x, y, rows, subjects, folds=3)
    machine = OutputAssociativeRVM(first=first, kernel=Kernel('linear'), output_kernel=Kernel('linear'), basis=40)
    predicted = machine.fit(x, y, lengths=lengths, rows=rows).predict(new, lengths=[200])
    scores[name] = [metrics.ccc(predicted[:, k], gold[:, k]) for k in range(2)]
  assert min(scores['staircase']) > 0.95
  assert scores['linear'] == pytest.approx([0.91, 0.89], abs=0.05)
  assert all(a > b + 0.02 for a, b in zip(scores['staircase'], scores['linear']))
