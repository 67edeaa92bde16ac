"""Output-associative RVM: a second RVM that sees the first one's predictions around a step (Nicolaou et al., 2012).

Stated in the literature. Nicolaou, Gunes and Pantic (Image and Vision Computing 30, 2012; FG 2011): the RVM's basis is
augmented by kernels over the outputs of first-stage RVMs of all targets, in a window of past, current and future
steps, beside the kernels over the input; so it learns how targets move with one another and in time. Huang et al.
(AV+EC 2015, AVEC 2016) use this frame to fuse modalities.

Our reading. On train the second stage sees out-of-fold predictions: the subjects are dealt into folds, and each step is
predicted by a first stage that did not see its subject. The second stage would otherwise learn from inputs that are
better than those of new people. We did not find stated how the originals do this. The first stage of new recordings is
one that saw all of train. Of a window every few steps are read, since first-stage predictions move slowly; before the
first step the first prediction stands, after the last one the last. Kernels over outputs may be linear or Gaussian.
The length of the window and that kernel are chosen on validation.
"""

from collections.abc import Sequence
import dataclasses

import numpy as np
from sklearn.base import BaseEstimator, clone, RegressorMixin
from sklearn.model_selection import GroupKFold

from data_prep.core import progress
from e2e_affect.baselines.rvm import Kernel, RVM


# [N, P] -> [N, (2 · side // hop + 1) · P]
def windows(values: np.ndarray, lengths: Sequence[int], side: int, hop: int) -> np.ndarray:
  """Sets what stands around each step beside it; no window looks into another recording.

  Args:
    values: [N, P], recordings one after the other.
    lengths: [R] steps of each recording, N in all.
    side: steps that a window reaches to the past, and to the future; a multiple of `hop`.
    hop: steps between two that a window reads.

  Returns:
    Oldest first: P values of the oldest step, then of the next. At the edges of a recording its first and last values
    are held.
  """
  if side % hop:
    raise ValueError(f'a window reaches {side} steps, expected a multiple of its hop of {hop}')
  if sum(lengths) != len(values):
    raise ValueError(f'recordings of {sum(lengths)} steps in all, but {len(values)} rows')
  offsets = np.arange(-side, side + 1, hop)
  parts, first = [], 0
  for length in lengths:
    at = first + np.clip(np.arange(length)[:, None] + offsets, 0, length - 1)  # [T, W]
    parts.append(values[at].reshape(length, -1))
    first += length
  return np.concatenate(parts)


def out_of_fold(
  estimator, x: np.ndarray, y: np.ndarray, rows: np.ndarray, subjects: np.ndarray, folds: int
) -> np.ndarray:
  """Predicts every step by an estimator that did not see its subject.

  Args:
    estimator: unfitted; a clone of it is fitted for each fold.
    x: [N, D].
    y: [N, K].
    rows: [n] the steps that are learnt from, where they are of the other folds.
    subjects: [N], any labels.
    folds: at most that many; as many as there are subjects, where they are fewer.

  Returns:
    [N, P].
  """
  parts = min(folds, len(np.unique(subjects)))
  if parts < 2:
    raise ValueError('out-of-fold predictions need two subjects on train')
  steps, predicted = [], []
  splits = [*GroupKFold(parts).split(x, groups=subjects)]
  for others, held in progress.over(splits, 'out-of-fold predictions', 'folds'):
    seen = rows[np.isin(rows, others, assume_unique=True)]
    steps.append(held)
    predicted.append(clone(estimator).fit(x[seen], y[seen]).predict(x[held]))
  return np.concatenate(predicted)[np.argsort(np.concatenate(steps))]


@dataclasses.dataclass(frozen=True)
class FirstStage:
  """A fitted first stage, and what the second one learns from.

  Attributes:
    estimator: fitted on all rows of train; `predict` gives [N, P].
    out_of_fold: [N, P] its predictions of train, out of fold, as they are.
    mean, deviation: [P] of them over the rows learnt from; a kernel of the second stage sees standardised outputs.
  """

  estimator: BaseEstimator
  out_of_fold: np.ndarray
  mean: np.ndarray
  deviation: np.ndarray

  @classmethod
  def fit(cls, estimator, x, y, rows, subjects, folds: int) -> 'FirstStage':
    """As `out_of_fold`, and once more on all rows."""
    outputs = out_of_fold(estimator, x, y, rows, subjects, folds)
    deviation = outputs[rows].std(axis=0)
    return cls(
      estimator=clone(estimator).fit(x[rows], y[rows]),
      out_of_fold=outputs,
      mean=outputs[rows].mean(axis=0),
      deviation=np.where(deviation > 0, deviation, 1.0),
    )

  def standardise(self, outputs: np.ndarray) -> np.ndarray:
    """[N, P], by the out-of-fold outputs of train."""
    return (outputs - self.mean) / self.deviation


class OutputAssociativeRVM(RegressorMixin, BaseEstimator):
  """The second stage on a fitted first one.

  Attributes:
    first: the first stage.
    kernel: over the input.
    output_kernel: over the window of first-stage outputs; its columns are set here.
    side, hop: of the window, in steps; see `windows`.
    basis, seed: see `RVM`.
    second_: the fitted second RVM.
  """

  def __init__(
    self,
    *,
    first: FirstStage,
    kernel: Kernel,
    output_kernel: Kernel,
    side: int = 0,
    hop: int = 1,
    basis: int = 100,
    seed: int = 0,
  ):
    self.first = first
    self.kernel = kernel
    self.output_kernel = output_kernel
    self.side = side
    self.hop = hop
    self.basis = basis
    self.seed = seed

  def fit(self, x: np.ndarray, y: np.ndarray, *, lengths: Sequence[int], rows: np.ndarray) -> 'OutputAssociativeRVM':
    """Learns from the train recordings that the first stage was fitted on.

    Args:
      x: [N, D], recordings one after the other.
      y: [N, K].
      lengths: [R] steps of each recording.
      rows: [n] the steps that are learnt from.
    """
    size = x.shape[1]
    kernels = (
      dataclasses.replace(self.kernel, first=0, last=size),
      dataclasses.replace(self.output_kernel, first=size, last=None),
    )
    self.second_ = RVM(kernels=kernels, basis=self.basis, seed=self.seed)
    around = self._around(self.first.out_of_fold, lengths)
    self.second_.fit(np.concatenate([x[rows], around[rows]], axis=1), y[rows])
    return self

  # [N, D] -> [N, K]
  def predict(self, x: np.ndarray, *, lengths: Sequence[int]) -> np.ndarray:
    """Predicts whole recordings, one after the other."""
    return self.second_.predict(np.concatenate([x, self._around(self.first.estimator.predict(x), lengths)], axis=1))

  def _around(self, outputs, lengths) -> np.ndarray:
    return windows(self.first.standardise(outputs), lengths, self.side, self.hop)
