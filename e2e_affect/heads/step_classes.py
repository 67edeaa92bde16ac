"""A class for every step, by its probability; judged by the unweighted average recall."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import functools
import math
from typing import Any, cast

from absl import logging
import numpy as np

from data_prep.core.errors import DataError, UserError
from data_prep.schema.grid import Grid
from e2e_affect.heads import base
from e2e_affect.heads.base import Cell, classes_of, Head, Loss, Metric, ReadLabels, Shared, Targets
from e2e_affect.heads.losses import cross_entropy
from e2e_affect.traces import bootstrap, classes
from e2e_affect.traces.classes import Confusion
from e2e_affect.traces.traces import Trace

_UAR = """<p><b>UAR</b>, the unweighted average recall, is the mean over the classes of the share of each that was
found. Whoever always says the same class has a UAR of 1 / number of classes, however often it occurs. All {things} of a
partition are counted together. A class that does not occur in it is left out of the mean.</p>
"""
_CALIBRATED = """<p><b>Raw</b> are the probabilities as the model says them. <b>Post-processed</b> ones are
calibrated: the logits are divided by one temperature, fitted on validation, so that they are as sure as they are right.
No prediction changes, and UAR and accuracy stay. The <b>calibration error</b> is the mean distance between the highest
probability and how often it is right, over 15 bins of equal width; validation's own calibrated error has seen its
labels.</p>"""

# Names of classes that mean the same in two corpora -> the one that our readers use.
_SAME = {
  'happy': 'happiness',
  'sad': 'sadness',
  'angry': 'anger',
  'fearful': 'fear',
  'disgusted': 'disgust',
  'surprised': 'surprise',
  'bored': 'boredom',
}


class StepClasses(Head):
  """A class for every step; the best checkpoint has the highest UAR on validation."""

  name = 'step_classes'
  losses: Mapping[str, Loss] = {'cross_entropy': cross_entropy}
  best_score = 'uar'
  best_words = 'UAR'
  measure = 'UAR'
  table_head = ('UAR (95\u00a0%)', 'accuracy (95\u00a0%)', 'calibration error')
  captions = {
    'confusion': 'How often each class was taken for each, on {partition}: a row holds what is of the class.',
    'reliability': 'How often the most probable class is right, on {partition}; calibrated where a temperature was '
    'fitted. Right: how many have which probability.',
  }
  things = 'steps'  # what is counted
  meaning = (
    _UAR.format(things=things)
    + """<p><b>95 %</b> is a bootstrap over subjects: how far the number would move with other people drawn
from the same kind. With few subjects it is wide.</p>
"""
    + _CALIBRATED
  )
  meaning_of_several = _UAR.format(things=things) + _CALIBRATED
  fitted_on = 'validation'
  shows = 'probabilities'

  def outputs(self, targets: Sequence[str]) -> tuple[str, ...]:
    """The names of the classes.

    Raises:
      UserError: not exactly one label is a class.
    """
    return classes_of(targets)[self.target(targets)]

  def target(self, targets: Sequence[str]) -> str:
    """The name of the label that is a class; errors as `outputs`."""
    names = list(classes_of(targets))
    if len(names) != 1:
      raise UserError(
        f'config.head = {self.name!r} learns one class, and of the labels of the data, {", ".join(targets)}, '
        f'{" and ".join(names) or "none"} {"are classes" if len(names) > 1 else "is one"}; prepare the recordings with '
        'one label that is a class, or set --config.head=regression'
      )
    return names[0]

  def shared(self, learnt: Sequence[str], others: Sequence[str]) -> Shared | None:
    """Classes of the same name, or of one that `_SAME` says is the same; two at least.

    Probabilities are divided by their sum over these classes. Steps of other classes do not count.
    """
    target = self.target(learnt)
    if target not in classes_of(others):
      return None
    ours, theirs = self.outputs(learnt), classes_of(others)[target]
    place = {_SAME.get(name, name): k for k, name in enumerate(theirs)}
    kept = [k for k, name in enumerate(ours) if _SAME.get(name, name) in place]
    if len(kept) < 2:
      return None
    targets = Targets([target])
    targets.classes = {target: tuple(ours[k] for k in kept)}
    index = np.full(len(theirs), -1)  # in `kept`, of each of their classes
    index[[place[_SAME.get(ours[k], ours[k])] for k in kept]] = np.arange(len(kept))
    column = list(others).index(target)

    def trace(whole: Trace) -> Trace:
      gold = index[np.where(whole.scored, classes.indices(whole.gold[:, column]), 0)]
      return dataclasses.replace(
        whole,
        prediction=classes.of_some(whole.prediction, kept),
        gold=gold[:, None].astype(np.float32),
        mask=whole.mask * (gold >= 0),
      )

    left_out = [f'it knows {name}, of which the data have none' for k, name in enumerate(ours) if k not in kept]
    left_out += [f'the data have {name}, which it does not know' for k, name in enumerate(theirs) if index[k] < 0]
    return Shared(targets, trace, lambda fitted: {**fitted, 'classes': {target: [*self.outputs(targets)]}}, left_out)

  def _column(self, targets):
    return list(targets).index(self.target(targets))

  def loss(self, config: Any, targets: Sequence[str], labels: ReadLabels) -> Loss:
    """Cross-entropy, with the weights and the smoothing of the config.

    A class of which train has n of N labels weighs N / (C n), 'inverse', so that all C classes weigh the same together.
    """
    weights = None
    if config.class_weights == 'inverse':
      counts = sum(self._counts(targets, labels, partition) for partition in config.data.train_on)
      weights = np.divide(counts.sum(), len(counts) * counts, out=np.zeros(len(counts)), where=counts > 0)
      names = self.outputs(targets)
      logging.info(
        'weights of the classes, by %s of %s: %s',
        self.things,
        ' and '.join(config.data.train_on),
        ', '.join(f'{name} {weight:.3g}' for name, weight in zip(names, weights, strict=True)),
      )
    return functools.partial(
      cast(Callable[..., Any], self.losses[config.loss]),
      column=self._column(targets),
      weights=None if weights is None else tuple(map(float, weights)),
      smoothing=config.label_smoothing,
    )

  def check_labels(self, targets: Sequence[str], labels: ReadLabels, folder: str, train_on: Sequence[str]) -> None:
    """What is learnt must be in validation, which chooses between models; that test lacks a class is said.

    Raises:
      DataError: a class is in train and not in validation; a label is no class; or it changes within a recording that
        has one.
    """
    names = self.outputs(targets)
    trained_on = sum(self._counts(targets, labels, partition) for partition in train_on)
    for partition in ('validation', 'test'):
      counts = self._counts(targets, labels, partition)
      absent = [name for name, n, here in zip(names, trained_on, counts, strict=True) if n and not here]
      if not absent or not counts.any() or partition in train_on:
        continue
      said = f'{folder}: {", ".join(absent)}: in {" and ".join(train_on)} and not in {partition}'
      if partition == 'validation':
        raise DataError(
          f'{said}, which chooses what is kept by the recall of every class; expected all of '
          f'{", ".join(names)} there: move people who have them to validation, or choose another --config.data.fold'
        )
      logging.warning('%s: its scores leave them out', said)

  def _counts(self, targets, labels, partition):
    """[C] labels of a partition."""
    names, column = self.outputs(targets), self._column(targets)
    counts = np.zeros(len(names), np.int64)
    for gold, mask in labels(partition):
      found = gold[mask > 0, column]
      of = classes.indices(found)
      wrong = found[(of != found) | (of < 0) | (of >= len(names))]
      if len(wrong):
        raise DataError(
          f'{partition}: a label of {self.target(targets)} is {wrong[0]:g}, expected the index of one of '
          f'the {len(names)} classes {", ".join(names)}; prepare the recordings again'
        )
      counts += self._things(np.bincount(of, minlength=len(names)))
    return counts

  def _things(self, steps):
    """[C] steps of a recording by their label -> [C] of what is counted."""
    return steps

  def prediction(self, outputs: np.ndarray) -> np.ndarray:
    """Probabilities of logits."""
    return classes.softmax(outputs)

  def metric(self, targets: Sequence[str]) -> Metric:
    """See `Head`."""
    return Confusion.empty(len(self.outputs(targets)), self._column(targets))

  def of_update(self, sums: Mapping[str, np.ndarray]) -> Metric:
    """See `Head`."""
    return Confusion(np.rint(np.asarray(sums['counts'])).astype(np.int64))

  def scores(self, metric: Any, targets: Sequence[str]) -> dict[str, float]:
    """See `Head`."""
    return {'uar': metric.uar(), 'accuracy': metric.accuracy()}

  def headline(self, metric: Any, targets: Sequence[str]) -> dict[str, float]:
    """See `Head`."""
    return {self.target(targets): metric.uar()}

  def score(self, traces: Sequence[Trace], targets: Sequence[str], seed: int) -> dict:
    """The scores of one partition; null where a class does not occur, or is never predicted.

    Raises:
      ValueError: no step has a label.
    """
    target, names, column = self.target(targets), self.outputs(targets), self._column(targets)
    probabilities = np.concatenate([t.prediction[t.scored] for t in traces])
    if not len(probabilities):
      raise ValueError('no step has a label')
    label = classes.indices(np.concatenate([t.gold[t.scored, column] for t in traces]))
    subjects = [t.subject for t in traces for _ in range(int(t.scored.sum()))]
    of_subjects = classes.of_subjects(subjects, probabilities.argmax(1), label, len(names))
    confusion = Confusion(of_subjects.sum(0))
    named = lambda values: {n: None if math.isnan(x) else float(x) for n, x in zip(names, values, strict=True)}

    def interval(statistic):
      low, high = bootstrap.interval_of(statistic, of_subjects, seed)
      return {target: None if math.isnan(low) else [float(low), float(high)]}

    count, confidence, right = classes.reliability(probabilities, label)
    return {
      'uar': {target: confusion.uar()},
      'uar_interval': interval(classes.uar),  # null: fewer than two subjects
      'accuracy': {target: confusion.accuracy()},
      'accuracy_interval': interval(classes.accuracy),
      'calibration_error': {target: classes.calibration_error(probabilities, label)},
      'negative_log_likelihood': {target: classes.negative_log_likelihood(probabilities, label)},
      'recall': named(confusion.recall()),
      'precision': named(confusion.precision()),
      'confusion': {'classes': list(names), 'counts': confusion.counts.tolist()},
      # of each bin that is not empty
      'reliability': [
        {'count': int(n), 'confidence': float(c), 'right': float(r)}
        for n, c, r in zip(count, confidence, right, strict=True)
        if n
      ],
    }

  def table(self, r: dict) -> dict[str, tuple[Cell, ...]]:
    """See `Head`."""
    return {
      target: (
        Cell(uar, r['uar_interval'][target] or ()),
        Cell(r['accuracy'][target], r['accuracy_interval'][target] or ()),
        Cell(r['calibration_error'][target]),
      )
      for target, uar in r['uar'].items()
    }

  def confusion(self, r: dict) -> base.Confusion:
    """See `Head`."""
    names, counts = r['confusion']['classes'], r['confusion']['counts']
    return base.Confusion(
      names, [(name, row, r['recall'][name], r['precision'][name]) for name, row in zip(names, counts, strict=True)]
    )

  def notes(self, r: dict) -> list[str]:
    """See `Head`."""
    said = []
    if None in r['uar_interval'].values():
      said.append('no 95 % interval, too few subjects with labels (two needed)')
    absent = [name for name, recall in r['recall'].items() if recall is None]
    if absent:
      said.append(f'no label is {" or ".join(absent)}: the UAR is that of the other classes')
    return said

  def curves(self, targets: Sequence[str]) -> dict[str, str]:
    """See `Head`."""
    return {'uar': 'UAR', 'accuracy': 'accuracy'}

  def figures(self, raw: Sequence[Trace], processed: Sequence[Trace] | None, targets: Sequence[str]) -> dict[str, Any]:
    """`confusion` and `reliability`, where there are labels."""
    from e2e_affect.traces import class_figures  # Matplotlib, which training and prediction need not wait for

    if not any(t.scored.any() for t in raw):
      return {}
    r, calibrated = self.score(raw, targets, 0), self.score(processed, targets, 0) if processed else None
    title = f'{raw[0].partition}: UAR {r["uar"][self.target(targets)]:.3f}'
    return {
      'confusion': class_figures.confusion(
        np.array(r['confusion']['counts']), self.outputs(targets), title, self.things
      ),
      'reliability': class_figures.reliability(r['reliability'], calibrated['reliability'] if calibrated else None),
    }

  def fit(self, traces: Sequence[Trace], targets: Sequence[str]) -> dict:
    """The temperature, and what it does on the partition that it is fitted on."""
    column = self._column(targets)
    probabilities = np.concatenate([t.prediction[t.scored] for t in traces])
    label = classes.indices(np.concatenate([t.gold[t.scored, column] for t in traces]))
    temperature = classes.fit_temperature(probabilities, label)
    calibrated = classes.tempered(probabilities, temperature)
    return {
      'fitted_on': self.fitted_on,
      'classes': {self.target(targets): list(self.outputs(targets))},
      'temperature': temperature,
      'negative_log_likelihood': {
        'raw': classes.negative_log_likelihood(probabilities, label),
        'calibrated': classes.negative_log_likelihood(calibrated, label),
      },
    }

  def of_targets(self, fitted: dict, targets: Sequence[str]) -> dict:
    """See `Head`."""
    found, expected = fitted.get('classes'), {self.target(targets): list(self.outputs(targets))}
    if found != expected:
      raise ValueError(f'a temperature of the classes {found}, expected that of {expected}')
    return fitted

  def apply(self, fitted: dict, traces: Sequence[Trace]) -> list[Trace]:
    """See `Head`."""
    return [dataclasses.replace(t, prediction=classes.tempered(t.prediction, fitted['temperature'])) for t in traces]

  def in_words(self, fitted: dict, grid: Grid) -> dict[str, list[str]]:
    """See `Head`."""
    loss = fitted['negative_log_likelihood']
    return {
      'probabilities': [
        f'calibrated: logits are divided by the temperature {fitted["temperature"]:.3g}, with which −log p of the '
        f'labels falls from {loss["raw"]:.3f} to {loss["calibrated"]:.3f} on {fitted["fitted_on"]}'
      ]
    }
