"""Relevance vector machine: sparse Bayesian regression over kernel columns (Tipping, 2001).

Stated in the literature. Tipping (JMLR 1, 2001, section 2): the prediction is a weighted sum of kernels centred on
training examples and a constant; each weight has a Gaussian prior with a precision of its own; the precisions and the
noise maximise the evidence; most weights become 0, and the examples that stay are the relevance vectors. Huang et al.
(AVEC 2016) use it for arousal and valence.

Our reading. scikit-learn's `ARDRegression` maximises that evidence by Tipping's updates; here it gets the kernel
columns. The candidates for relevance vectors are a seeded draw of train steps, not all of them: the cost of an
iteration grows with the cube of the columns, and neighbouring steps say nearly the same. Targets are standardised, so
that scikit-learn's tolerances mean the same for every corpus; the constant is its intercept, which has no prior. The
kernel, its width and the number of candidates are ours to choose, and are chosen on validation.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np
from sklearn import linear_model
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.metrics import pairwise
import threadpoolctl

KERNELS = ('linear', 'rbf')


@dataclasses.dataclass(frozen=True)
class Kernel:
  """Similarity of rows, over a range of their columns.

  Attributes:
    name: 'linear', the mean of the products x · c / D, or 'rbf', exp(−|x − c|² / (D · width²)). Both are means over the
      D columns, so that a width means the same for 88 features and for 300.
    width: of 'rbf', in standard deviations of a feature; 'linear' does not read it.
    first, last: the columns [first, last) that it sees; None: to the last one.
  """

  name: str
  width: float = 1.0
  first: int = 0
  last: int | None = None

  def __post_init__(self):
    if self.name not in KERNELS:
      raise ValueError(f'kernel {self.name!r}, expected one of {", ".join(KERNELS)}')
    if not self.width > 0:
      raise ValueError(f'kernel width {self.width}, expected more than 0')

  # [N, D], [M, D] -> [N, M]
  def __call__(self, rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Similarity of each row to each centre, float64."""
    rows, centres = (np.asarray(x[:, self.first : self.last], np.float64) for x in (rows, centres))
    size = rows.shape[1]
    if self.name == 'linear':
      return pairwise.linear_kernel(rows, centres) / size
    return pairwise.rbf_kernel(rows, centres, gamma=1 / (size * self.width**2))


class RVM(RegressorMixin, BaseEstimator):
  """Sparse Bayesian regression of K targets over the kernel columns of one set of candidates.

  Attributes:
    kernels: the columns of each stand beside those of the others.
    basis: candidates for relevance vectors, drawn from the rows of `fit` without replacement; all rows where there are
      no more.
    seed: of the draw.
    centres_: [M, D], the candidates, in their order in the data.
    machines_: K fitted `ARDRegression`s, of standardised targets.
    mean_, deviation_: [K] of the targets.
  """

  def __init__(self, *, kernels: Sequence[Kernel] = (Kernel('rbf'),), basis: int = 100, seed: int = 0):
    self.kernels = kernels
    self.basis = basis
    self.seed = seed

  def fit(self, x: np.ndarray, y: np.ndarray) -> 'RVM':
    """Learns from rows.

    Args:
      x: [N, D], standardised.
      y: [N, K].
    """
    x, y = np.asarray(x), np.asarray(y, np.float64)
    if y.ndim != 2 or x.ndim != 2 or len(x) != len(y) or not len(x):
      raise ValueError(f'x {x.shape} and y {y.shape}, expected [N, D] and [N, K], N at least 1')
    drawn = np.random.default_rng(self.seed).choice(len(x), size=min(self.basis, len(x)), replace=False)
    self.centres_ = x[np.sort(drawn)]
    self.mean_, deviation = y.mean(axis=0), y.std(axis=0)
    self.deviation_ = np.where(deviation > 0, deviation, 1.0)  # a constant target is predicted as it is
    columns = self.columns(x)
    targets = (y - self.mean_) / self.deviation_
    # Hundreds of small products: threads wait for one another longer than they compute. Measured on two busy cores,
    # 4000 rows and 100 columns: 0.7 s with one thread, 22 s with two.
    with threadpoolctl.threadpool_limits(1, user_api='blas'):
      self.machines_ = [linear_model.ARDRegression().fit(columns, target) for target in targets.T]
    return self

  # [N, D] -> [N, M · kernels]
  def columns(self, x: np.ndarray) -> np.ndarray:
    """What the sparse regression sees of rows."""
    return np.concatenate([kernel(x, self.centres_) for kernel in self.kernels], axis=1)

  # [N, D] -> [N, K]
  def predict(self, x: np.ndarray) -> np.ndarray:
    """Predicts rows, float64."""
    columns = self.columns(np.asarray(x))
    return np.stack([m.predict(columns) for m in self.machines_], axis=1) * self.deviation_ + self.mean_

  def relevant(self) -> list[int]:
    """How many kernel columns each target kept."""
    return [int(np.count_nonzero(machine.coef_)) for machine in self.machines_]
