"""Gold standards against loops written from the formulas, and known values."""

import audmetric
import numpy as np
import pytest

from data_prep.core.errors import DataError, UserError
from data_prep.labels import gold_standard as gold_standard_module
from data_prep.labels.gold_standard import gold_standard


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


def contradicted(seed=7):
  """Four raters who agree and two who say the contrary."""
  rng = np.random.default_rng(seed)
  truth = 0.6 * np.sin(np.arange(80) / 7) - 0.08
  return np.stack(
    [truth + 0.05 * rng.normal(size=80) for _ in range(4)]
    + [0.3 - truth + 0.05 * rng.normal(size=80) for _ in range(2)],
    axis=1,
  )


def ccc(a, b):
  return 2 * np.mean((a - a.mean()) * (b - b.mean())) / (a.var() + b.var() + (a.mean() - b.mean()) ** 2)


def test_a_rater_who_contradicts_the_others_counts_nothing():
  x = contradicted()
  pearson = np.array([np.corrcoef(x[:, r], np.delete(x, r, axis=1).mean(axis=1))[0, 1] for r in range(6)])
  assert (pearson < 0).tolist() == [False] * 4 + [True] * 2  # else this test would show nothing
  ewe = gold_standard(x, 'ewe')
  np.testing.assert_allclose(ewe, x[:, :4] @ pearson[:4] / pearson[:4].sum(), atol=1e-12)
  assert x.min() <= ewe.min() and ewe.max() <= x.max()
  weights = np.array([np.mean([ccc(x[:, r], x[:, s]) for s in range(6) if s != r]) for r in range(6)])
  assert (weights < 0).tolist() == [False] * 4 + [True] * 2
  means = x.mean(axis=0)
  reference = weights[:4] @ means[:4] / weights[:4].sum()
  np.testing.assert_allclose(gold_standard(x), x.mean(axis=1) - means.mean() + reference, atol=1e-12)
  assert means.min() < gold_standard(x).mean() < means.max()


@pytest.mark.parametrize('seed', range(20))
def test_the_offset_lies_between_the_raters_means_whatever_they_say(seed):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(30, 5)) @ np.diag(rng.choice([-1, 1], 5)) + rng.normal(size=5)
  means = x.mean(axis=0)
  assert means.min() - 1e-12 <= gold_standard(x).mean() <= means.max() + 1e-12
  ewe = gold_standard(x, 'ewe')
  assert (x.min(axis=1) - 1e-12 <= ewe).all() and (ewe <= x.max(axis=1) + 1e-12).all()


def test_ewe_names_its_definition_the_mean_of_the_other_raters():
  x = raters(seed=5)
  with_the_rater = np.array([np.corrcoef(x[:, r], x.mean(axis=1))[0, 1] for r in range(4)])
  grimm_and_kroschel = x @ with_the_rater / with_the_rater.sum()
  assert np.abs(gold_standard(x, 'ewe') - grimm_and_kroschel).max() > 1e-4  # another estimator, so it must say which
  words = ' '.join(gold_standard_module.__doc__.split())
  assert 'correlation with the mean of the *other* raters' in words
  assert 'Grimm and Kroschel (2005), who named the estimator, correlate with the mean of *all* raters' in words


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
