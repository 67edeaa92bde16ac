"""Windows, out-of-fold predictions, and what the second stage learns of them."""

import numpy as np
import pytest
from sklearn.base import BaseEstimator

from e2e_affect.baselines.oa_rvm import FirstStage, out_of_fold, OutputAssociativeRVM, windows
from e2e_affect.baselines.rvm import Kernel, RVM
from e2e_affect.traces import metrics


def test_windows_hold_the_edges_and_stay_in_their_recording():
  values = np.array([[1, -1], [2, -2], [3, -3], [9, -9], [8, -8]])
  #                  oldest first: two steps back, the step, two ahead
  expected = [
    [1, -1, 1, -1, 3, -3],
    [1, -1, 2, -2, 3, -3],
    [1, -1, 3, -3, 3, -3],
    [9, -9, 9, -9, 8, -8],
    [9, -9, 8, -8, 8, -8],
  ]
  np.testing.assert_array_equal(windows(values, [3, 2], side=2, hop=2), expected)
  np.testing.assert_array_equal(windows(values, [3, 2], side=0, hop=1), values)


def test_windows_of_mirrored_time_are_mirrored_windows():
  values = np.random.default_rng(0).standard_normal((11, 3))
  plain = windows(values, [11], side=4, hop=2).reshape(11, 5, 3)
  mirrored = windows(values[::-1], [11], side=4, hop=2).reshape(11, 5, 3)
  np.testing.assert_array_equal(mirrored[::-1, ::-1], plain)


def test_windows_that_do_not_fit_are_refused():
  with pytest.raises(ValueError, match='multiple of its hop of 2'):
    windows(np.zeros((4, 1)), [4], side=3, hop=2)
  with pytest.raises(ValueError, match='5 steps in all, but 4 rows'):
    windows(np.zeros((4, 1)), [2, 3], side=2, hop=2)


class _Memory(BaseEstimator):
  """Predicts how often it saw a row, and how many rows it saw."""

  def fit(self, x, y):
    assert len(x) == len(y)
    self.seen_ = set(x[:, 0])
    return self

  def predict(self, x):
    return np.stack([[value in self.seen_ for value in x[:, 0]], np.full(len(x), len(self.seen_))], axis=1)


def test_no_subject_is_predicted_by_an_estimator_that_saw_it():
  # Subject of each step; a subject's steps need not be neighbours. 3 folds of 4 subjects.
  subjects = np.array(['a', 'a', 'b', 'c', 'c', 'd', 'a', 'b', 'd', 'd', 'd'])
  x, y = np.arange(11.0)[:, None], np.zeros((11, 2))
  rows = np.array([0, 1, 3, 4, 5, 7, 8, 10])  # steps 2, 6 and 9 have no gold standard
  seen, count = out_of_fold(_Memory(), x, y, rows, subjects, folds=3).T
  assert not seen.any()  # of all steps, with and without gold standard
  for subject in 'abcd':  # one held-out fold a subject: its steps were all predicted by one estimator
    assert len(set(count[subjects == subject])) == 1
  assert count.min() >= 3 and count.max() < len(rows)
  # As many folds as subjects, where more are asked for: what is held out is the subject alone.
  _, count = out_of_fold(_Memory(), x, y, rows, subjects, folds=9).T
  np.testing.assert_array_equal(
    count, [len(rows) - np.isin(rows, np.flatnonzero(subjects == s)).sum() for s in subjects]
  )
  with pytest.raises(ValueError, match='two subjects'):
    out_of_fold(_Memory(), x, y, rows, np.full(11, 'a'), folds=3)


def _corpus(people, steps, seed):
  """The first target is seen with noise; the second one is not seen, but follows the first by 10 steps."""
  rng = np.random.default_rng(seed)
  x, y = [], []
  for _ in range(people):
    slow = np.convolve(rng.standard_normal(steps + 60), np.hanning(41), mode='same')[20:-20]  # steps + 20
    slow /= slow.std()
    y.append(np.stack([slow[10:][:steps], slow[:steps]], axis=1))
    seen = slow[10:][:steps] + 1.0 * rng.standard_normal(steps)
    x.append(np.stack([seen, *rng.standard_normal((2, steps))], axis=1))
  subjects = np.repeat(np.arange(people), steps)
  return np.concatenate(x), np.concatenate(y), [steps] * people, subjects


def test_the_second_stage_learns_of_the_other_target_and_of_other_steps():
  x, y, lengths, subjects = _corpus(people=6, steps=400, seed=1)
  new, gold, new_lengths, _ = _corpus(people=3, steps=300, seed=2)
  rows = np.arange(0, len(x), 4)
  plain = RVM(kernels=(Kernel('rbf', 2.0),), basis=50)
  first = FirstStage.fit(plain, x, y, rows, subjects, folds=3)
  scores = {}
  for name, side in (('step', 0), ('window', 16)):
    machine = OutputAssociativeRVM(
      first=first, kernel=Kernel('rbf', 2.0), output_kernel=Kernel('linear'), side=side, hop=4, basis=50
    )
    predicted = machine.fit(x, y, lengths=lengths, rows=rows).predict(new, lengths=new_lengths)
    scores[name] = [metrics.ccc(predicted[:, k], gold[:, k]) for k in range(2)]
  scores['first'] = [metrics.ccc(first.estimator.predict(new)[:, k], gold[:, k]) for k in range(2)]
  # Without a window nothing is gained: noise of variance 1 beside a target of variance 1, CCC 2·½/(1+½) = .67. A window
  # averages the noise, and sees 10 steps back what the second target is.
  assert scores['first'][0] == pytest.approx(0.67, abs=0.06) and scores['step'][0] == pytest.approx(0.67, abs=0.06)
  assert scores['first'][1] < 0.5 and scores['step'][1] < 0.5
  assert min(scores['window']) > 0.85


def test_the_second_stage_is_an_rvm_on_input_and_standardised_window():
  x, y, lengths, subjects = _corpus(people=4, steps=90, seed=3)
  rows = np.arange(1, len(x), 3)
  first = FirstStage.fit(RVM(basis=20), x, y, rows, subjects, folds=2)
  machine = OutputAssociativeRVM(
    first=first, kernel=Kernel('rbf', 3.0), output_kernel=Kernel('linear'), side=6, hop=3, basis=25
  )
  machine.fit(x, y, lengths=lengths, rows=rows)
  # Outputs out of fold on train, of the estimator that saw all of train on anything new.
  outputs = out_of_fold(RVM(basis=20), x, y, rows, subjects, folds=2)
  mean, deviation = outputs[rows].mean(axis=0), outputs[rows].std(axis=0)

  def beside(outputs):
    return np.concatenate([x, windows((outputs - mean) / deviation, lengths, 6, 3)], axis=1)

  direct = RVM(kernels=(Kernel('rbf', 3.0, 0, 3), Kernel('linear', first=3)), basis=25)
  direct.fit(beside(outputs)[rows], y[rows])
  whole = RVM(basis=20).fit(x[rows], y[rows])
  np.testing.assert_allclose(machine.predict(x, lengths=lengths), direct.predict(beside(whole.predict(x))), atol=1e-12)
