"""Gold standards against loops written from the formulas, and known values."""

import audmetric
import numpy as np
import pytest

from data_prep.errors import DataError
from data_prep.errors import UserError
from data_prep.gold_standard import gold_standard


def raters(seed=3, n=50, r=4):
  rng = np.random.default_rng(seed)
  truth = np.cumsum(rng.normal(size=n)) / 5
  return truth[:, None] * rng.uniform(0.5, 1.5, r) + rng.normal(size=r) + 0.2 * rng.normal(size=(n, r))


def test_ccc_centred_is_the_written_recipe():
  x = raters()
  weights = [np.mean([audmetric.concordance_cc(x[:, r], x[:, s]) for s in range(4) if s != r]) for r in range(4)]
  means = [x[:, r].mean() for r in range(4)]
  reference = sum(w * m for w, m in zip(weights, means)) / sum(weights)
  expected = np.mean([x[:, r] - means[r] + reference for r in range(4)], axis=0)
  np.testing.assert_allclose(gold_standard(x), expected, atol=1e-12)
  # Only the offset is weighted: the shape is the plain mean's.
  difference = gold_standard(x) - gold_standard(x, 'mean')
  assert np.ptp(difference) < 1e-12 and abs(difference[0]) > 1e-3


def test_contradicting_raters_fall_back_to_the_plain_mean():
  x = np.array([[0.0, 3.0], [1.0, 2.0], [2.0, 1.0]])  # CCC below 0, so the weights sum to less than 0
  np.testing.assert_allclose(gold_standard(x), x.mean(axis=1))
  np.testing.assert_allclose(gold_standard(x, 'ewe'), x.mean(axis=1))


def test_ewe_known_value():
  # Raters (1, 2), (1, 2), (0, 1): every rater correlates fully with the others' mean, so the weights are equal.
  np.testing.assert_allclose(gold_standard([[1, 1, 0], [2, 2, 1]], 'ewe'), [2 / 3, 5 / 3], atol=1e-12)


def test_ewe_is_the_written_recipe():
  x = raters(seed=5)
  weights = [np.corrcoef(x[:, r], np.delete(x, r, axis=1).mean(axis=1))[0, 1] for r in range(4)]
  np.testing.assert_allclose(gold_standard(x, 'ewe'), x @ weights / sum(weights), atol=1e-12)


@pytest.mark.parametrize('recipe', ['ccc_centred', 'ewe', 'mean'])
def test_constant_raters_and_a_single_one(recipe):
  np.testing.assert_allclose(gold_standard(np.full((5, 3), 0.3), recipe), 0.3)
  np.testing.assert_array_equal(gold_standard([[0.1], [0.4]], recipe), [0.1, 0.4])


def test_refusals():
  with pytest.raises(DataError, match='NaN'):
    gold_standard([[0.1, np.nan]])
  with pytest.raises(DataError, match=r'shape \[0, 3\]'):
    gold_standard(np.zeros((0, 3)))
  with pytest.raises(UserError, match='median.*ccc_centred, ewe, mean'):
    gold_standard(np.zeros((2, 3)), 'median')
