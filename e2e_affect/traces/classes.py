"""Probabilities of classes against labels: recalls, calibration and its temperature; float64 NumPy, no JAX."""

from collections.abc import Sequence
import dataclasses

import numpy as np
from scipy import optimize, special

BINS = 15  # of confidence, equally wide (Guo et al. 2017, "On Calibration of Modern Neural Networks")
_TEMPERATURES = (0.05, 20.0)  # that are looked at
_SMALLEST = np.finfo(np.float32).tiny  # a probability that float32 holds; the logarithm of less is not finite


@dataclasses.dataclass(frozen=True)
class Confusion:
  """How often each class was taken for each; integers, so that sums are exact in any order.

  Attributes:
    counts: [C, C] int, by the class of the label and the class predicted.
    column: of the labels, that holds the index of the class.
  """

  counts: np.ndarray
  column: int = 0

  @classmethod
  def empty(cls, num_classes: int, column: int = 0) -> 'Confusion':
    """Of no step."""
    return cls(np.zeros((num_classes, num_classes), np.int64), column)

  @property
  def count(self) -> float:
    """Steps seen."""
    return float(self.counts.sum())

  def update(self, prediction: np.ndarray, gold: np.ndarray, mask: np.ndarray) -> 'Confusion':
    """Adds steps: prediction [T, C], gold [T, K], mask [T]; gold is anything where the mask is 0."""
    counts, scored = np.zeros_like(self.counts), mask > 0
    np.add.at(counts, (indices(gold[scored, self.column]), prediction[scored].argmax(1)), 1)
    return dataclasses.replace(self, counts=self.counts + counts)

  def merge(self, other: 'Confusion') -> 'Confusion':
    """Of the steps of both."""
    return dataclasses.replace(self, counts=self.counts + other.counts)

  def recall(self) -> np.ndarray:
    """[C] share of the steps of a class that were found; NaN where there is none."""
    return _shares(np.diag(self.counts), self.counts.sum(1))

  def precision(self) -> np.ndarray:
    """[C] share of what was taken for a class that is of it; NaN where nothing was."""
    return _shares(np.diag(self.counts), self.counts.sum(0))

  def uar(self) -> float:
    """Unweighted average recall, over the classes that occur; NaN over no steps."""
    return float(uar(self.counts))

  def accuracy(self) -> float:
    """Share of the steps that are right; NaN over no steps."""
    return float(accuracy(self.counts))


def uar(counts: np.ndarray) -> np.ndarray:
  """[…, C, C] counts -> […] mean recall of the classes that occur; NaN where none does."""
  of_class = counts.sum(-1)
  recall = np.divide(
    np.diagonal(counts, axis1=-2, axis2=-1), of_class, out=np.zeros(of_class.shape), where=of_class > 0
  )
  return _shares(recall.sum(-1), (of_class > 0).sum(-1))


def accuracy(counts: np.ndarray) -> np.ndarray:
  """[…, C, C] counts -> […] share on the diagonal; NaN where there is nothing."""
  return _shares(np.diagonal(counts, axis1=-2, axis2=-1).sum(-1), counts.sum((-2, -1)))


def _shares(part, whole):
  part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
  return np.divide(part, whole, out=np.full(part.shape, np.nan), where=whole > 0)


def indices(labels: np.ndarray) -> np.ndarray:
  """Labels as the records hold them, float32, as integers."""
  return np.rint(labels).astype(np.int64)


def negative_log_likelihood(probabilities: np.ndarray, label: np.ndarray) -> float:
  """Mean of −log p of the label's class.

  Args:
    probabilities: [N, C].
    label: [N] int.
  """
  chosen = np.asarray(probabilities, np.float64)[np.arange(len(label)), label]
  return float(-np.log(np.maximum(chosen, _SMALLEST)).mean())


def reliability(probabilities: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """How often the class with the highest probability is right, by that probability.

  Args:
    probabilities: [N, C].
    label: [N] int.

  Returns:
    Of each of the `BINS` bins, (low, high], of the highest probability: the number of steps, its mean, and the share of
    them that are right; NaN in empty bins.
  """
  confidence = np.asarray(probabilities, np.float64).max(1)
  right = probabilities.argmax(1) == label
  place = np.searchsorted(np.linspace(0, 1, BINS + 1)[1:-1], confidence)
  count = np.bincount(place, minlength=BINS)
  of = lambda values: _shares(np.bincount(place, values, minlength=BINS), count)
  return count, of(confidence), of(right.astype(np.float64))


def calibration_error(probabilities: np.ndarray, label: np.ndarray) -> float:
  """Expected calibration error: mean distance of the highest probability from how often it is right, over the bins.

  Arguments as `reliability`.
  """
  count, confidence, right = reliability(probabilities, label)
  filled = count > 0
  return float((count[filled] * np.abs(confidence - right)[filled]).sum() / count.sum())


def softmax(logits: np.ndarray) -> np.ndarray:
  """[…, C] -> […, C] float32 probabilities."""
  return special.softmax(np.asarray(logits, np.float64), axis=-1).astype(np.float32)


def of_some(probabilities: np.ndarray, kept: Sequence[int]) -> np.ndarray:
  """[…, C] probabilities -> […, len(kept)] of these classes, if it is one of them."""
  of_kept = np.maximum(np.asarray(probabilities, np.float64)[..., list(kept)], _SMALLEST)
  return (of_kept / of_kept.sum(-1, keepdims=True)).astype(np.float32)


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
  """Probabilities of logits that are divided by a temperature: above 1 they come closer together.

  Args:
    probabilities: [N, C]; their logarithms are the logits, but for a number that all classes of a step share.
    temperature: above 0.
  """
  return softmax(np.log(np.maximum(np.asarray(probabilities, np.float64), _SMALLEST)) / temperature)


def fit_temperature(probabilities: np.ndarray, label: np.ndarray) -> float:
  """The temperature that makes labels most likely (Guo et al. 2017, section 4.2), of 0.05 to 20.

  Args:
    probabilities: [N, C].
    label: [N] int.
  """
  logits = np.log(np.maximum(np.asarray(probabilities, np.float64), _SMALLEST))
  chosen = logits[np.arange(len(label)), label]

  def loss(log_temperature):  # convex in 1 / temperature: one minimum
    scale = np.exp(-log_temperature)
    return np.mean(special.logsumexp(logits * scale, axis=1) - chosen * scale)

  found = optimize.minimize_scalar(loss, bounds=np.log(_TEMPERATURES), method='bounded', options={'xatol': 1e-6})
  return float(np.exp(found.x))


def of_subjects(subjects: Sequence[str], predicted: np.ndarray, label: np.ndarray, num_classes: int) -> np.ndarray:
  """[S, C, C] counts of each person, sorted by name.

  Args:
    subjects: [N] of each step.
    predicted, label: [N] int.
    num_classes: C.
  """
  names = sorted(set(subjects))
  counts = np.zeros((len(names), num_classes, num_classes), np.int64)
  np.add.at(counts, (np.searchsorted(names, subjects), label, predicted), 1)
  return counts
