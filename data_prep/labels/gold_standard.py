"""Several raters' traces -> one gold standard, and how far the raters are apart.

The paper does not state its recipe; the folder that the authors' code reads is named "CCC centred", which is the
recipe of the AVEC challenges and our default. An evaluator weighted estimator (EWE) and the plain mean are options.

Both recipes weigh raters by how far they agree with the others. A rater who contradicts them (a weight below 0) counts
0; where nobody is left, all count the same. So the gold standard is never outside of what the raters said by more than
the offset that `ccc_centred` moves it by.

`ewe` weighs a rater by the correlation with the mean of the *other* raters, which nobody raises by
agreeing with himself. Grimm and Kroschel (2005), who named the estimator, correlate with the mean of *all* raters.
"""

import numpy as np

from data_prep.core.errors import DataError, UserError


def gold_standard(ratings, recipe: str = 'ccc_centred') -> np.ndarray:
  """One trace from several.

  Args:
    ratings: [N, R], R raters at the same N times.
    recipe: 'ccc_centred', 'ewe' or 'mean'.

  Returns:
    [N] float64.

  Raises:
    DataError: there is no rater, or a rating is not finite.
    UserError: unknown recipe.
  """
  ratings = np.asarray(ratings, np.float64)
  if ratings.ndim != 2 or 0 in ratings.shape:
    raise DataError(f'ratings of shape {list(ratings.shape)}; expected [times, raters], at least one of each')
  if not np.isfinite(ratings).all():
    raise DataError('a rating is NaN or Inf; expected finite numbers')
  if recipe not in RECIPES:
    raise UserError(f'gold standard {recipe!r}; expected one of {", ".join(RECIPES)}')
  if ratings.shape[1] == 1:
    return ratings[:, 0]
  return RECIPES[recipe](ratings)


def spread(ratings) -> np.ndarray:
  """[N, R] ratings -> [N] float64, their standard deviation over the raters (ddof 0): at most half of their scale.

  Raises:
    DataError: there is one rater alone.
  """
  ratings = np.asarray(ratings, np.float64)
  if ratings.shape[1] < 2:
    raise DataError(f'{ratings.shape[1]} rater; expected two or more, whose spread is to be learnt: leave --spread out')
  return ratings.std(axis=1)


def _ccc_centred(x):
  """Moves every rater to a common offset: a weighted mean, in which raters who agree with the others count more.

  For rater r with mean m_r: w_r = mean over s ≠ r of CCC(x_r, x_s), at least 0; ref = Σ w_r m_r / Σ w_r;
  gold = mean over r of (x_r − m_r + ref). Only the offset is weighted, the shape is the plain mean.
  """
  raters = x.shape[1]
  means = x.mean(axis=0)
  centred = x - means
  covariance = centred.T @ centred / len(x)
  variances = np.diag(covariance)
  scale = variances[:, None] + variances[None] + (means[:, None] - means[None]) ** 2
  # Two constant and equal traces agree in full; the quotient would be 0/0.
  ccc = np.where(scale > 0, 2 * covariance / np.where(scale > 0, scale, 1), 1.0)
  weights = (ccc.sum(axis=1) - np.diag(ccc)) / (raters - 1)
  return centred.mean(axis=1) + _weighted_mean(means, weights)


def _ewe(x):
  """Evaluator weighted estimator: Σ w_r x_r / Σ w_r, w_r = Pearson(x_r, mean of the other raters), at least 0."""
  raters = x.shape[1]
  others = (x.sum(axis=1, keepdims=True) - x) / (raters - 1)
  a, b = x - x.mean(axis=0), others - others.mean(axis=0)
  norm = np.sqrt((a**2).sum(axis=0) * (b**2).sum(axis=0))
  return _weighted_mean(x, np.where(norm > 0, (a * b).sum(axis=0) / np.where(norm > 0, norm, 1), 0.0))


def _weighted_mean(x, weights):
  """Weighted mean over the raters, the last axis; weights below 0 count 0, all alike where none is above."""
  weights = np.maximum(weights, 0.0)
  total = weights.sum()
  return x @ weights / total if total > 0 else x.mean(axis=-1)


def _mean(x):
  return x.mean(axis=1)


RECIPES = {'ccc_centred': _ccc_centred, 'ewe': _ewe, 'mean': _mean}
