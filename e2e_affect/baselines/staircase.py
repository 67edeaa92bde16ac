"""Staircase regression: the range of a target cut at several heights, a partial regressor each (Huang et al., 2016).

Stated in the literature. Huang et al. (AVEC 2016), by the abstract: an output-associative regression on the
probabilistic outputs of relevance vector machine classifiers that operate on pairs of a low and a high class
(OA RVM-SR). The paper that this repository reproduces quotes it for eGeMAPS and geometric features together (Table VI).

Our reading. Each height parts train in a low and a high class, steps below and above it. The heights are quantiles of
the target on train, evenly spaced, so that every class has its share. In place of a classifier an RVM regresses on the
class, 0 or 1: its mean is a least-squares estimate of the probability, cut to [0, 1]; scikit-learn has no RVM
classifier. The outputs of all heights and both targets go to the second stage of `oa_rvm.py`, as its first-stage
outputs. Data selection and systems of one gender, the rest of the original, are left out. The number of heights is
ours to choose, and is chosen on validation.
"""

import numpy as np
from sklearn.base import BaseEstimator, clone, RegressorMixin

from e2e_affect.baselines.rvm import RVM


class Staircase(RegressorMixin, BaseEstimator):
  """A regressor for each height of each target, on one set of candidates for relevance vectors.

  Attributes:
    partial: the unfitted RVM; all heights share its candidates.
    heights: how many a target is cut at.
    heights_: [K, heights], ascending.
    partial_: the fitted RVM of K · heights classes.
  """

  def __init__(self, *, partial: RVM, heights: int = 4):
    self.partial = partial
    self.heights = heights

  def fit(self, x: np.ndarray, y: np.ndarray) -> 'Staircase':
    """Learns from rows.

    Args:
      x: [N, D], standardised.
      y: [N, K].
    """
    y = np.asarray(y, np.float64)
    quantiles = np.arange(1, self.heights + 1) / (self.heights + 1)
    self.heights_ = np.quantile(y, quantiles, axis=0).T  # [K, H]
    high = y[:, :, None] > self.heights_  # [N, K, H]
    self.partial_ = clone(self.partial).fit(x, high.reshape(len(y), -1))
    return self

  # [N, D] -> [N, K · heights]
  def predict(self, x: np.ndarray) -> np.ndarray:
    """How likely each step is above each height: all heights of the first target, then of the next."""
    return np.clip(self.partial_.predict(x), 0, 1)
