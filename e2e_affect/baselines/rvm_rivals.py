"""RVM, OA-RVM and staircase regression as rivals: what of them is chosen on validation, and how.

The models, and what the literature states of them, are in `rvm.py`, `oa_rvm.py` and `staircase.py`. As in `svr.py`, a
candidate is judged by the pooled CCC of its raw prediction on validation; with a delay of d steps a model learns
label(t + d) from step t, and its prediction is moved d steps later. Huang et al. (AV+EC 2015) compensate such a delay.

The RVM chooses for each target. The two-stage rivals first search the RVM, take the candidate that is best in the mean
of the targets, since both stages share the rows that they learn from, and then choose the second stage for each target.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
import dataclasses
from typing import Any

import ml_collections
import numpy as np
from sklearn.base import clone

from data_prep.core import progress
from data_prep.core.errors import DataError
from e2e_affect import heads
from e2e_affect.baselines import base, svr
from e2e_affect.baselines.base import Corpus, Recording
from e2e_affect.baselines.oa_rvm import FirstStage, OutputAssociativeRVM
from e2e_affect.baselines.rvm import Kernel, RVM
from e2e_affect.baselines.staircase import Staircase
from e2e_affect.evaluate.predictor import Predictor
from e2e_affect.traces import postprocess


def _rvm_fields(c: ml_collections.ConfigDict) -> None:
  c.rvm = ml_collections.ConfigDict()
  c.rvm.kernels = ('linear', 'rbf')  # over the features, to be tried
  c.rvm.rbf_widths = (1.0, 2.0, 4.0)  # of 'rbf', in standard deviations of a feature, to be tried
  c.rvm.basis = (50, 100)  # candidates for relevance vectors, to be tried; the cost grows with the cube
  c.rvm.window_seconds = (4.0, 8.0)  # of functionals and window statistics, to be tried
  c.rvm.delay_seconds = (0.0, 0.8, 1.6, 2.4, 3.2, 4.0)  # of the labels, to be tried


def _second_stage_fields(c: ml_collections.ConfigDict) -> None:
  c.oa_rvm = ml_collections.ConfigDict()
  c.oa_rvm.side_seconds = (0.0, 1.0, 2.0, 4.0)  # that a window of outputs reaches to either side, to be tried
  c.oa_rvm.points = 5  # values that a window reads on either side, evenly spaced
  c.oa_rvm.kernels = ('linear', 'rbf')  # over the window of outputs, to be tried
  c.oa_rvm.rbf_widths = (2.0,)  # of 'rbf', in standard deviations of an output, to be tried
  c.oa_rvm.folds = 5  # of train subjects, for the out-of-fold outputs


class RVMRival(base.Rival):
  """An RVM a target, each with a kernel, candidates, window and delay of its own."""

  @staticmethod
  def get_config() -> ml_collections.ConfigDict:
    """Every field with its default."""
    c = base.regression_config('rvm')
    _rvm_fields(c)
    return c

  def fit(self, corpus: Corpus) -> tuple[Predictor, dict]:
    """See `base.Rival`."""
    inputs = _inputs(corpus, self.config)
    what = _what('RVM', self.config)
    found, machines = _search_rvm(corpus, inputs, self.config, what)
    chosen = {target: found.best(target) for target in corpus.targets}
    of_target = [
      (
        machines[found.tried.index(candidate)],
        inputs.features(candidate['window_seconds']),
        corpus.steps(candidate['delay_seconds']),
      )
      for candidate in chosen.values()
    ]

    def of_recording(recording: Recording) -> np.ndarray:
      columns = []
      for k, (machine, features, delay) in enumerate(of_target):
        said = machine.predict(features(recording))[:, k]
        columns.append(postprocess.time_shift(said, delay))
      return np.stack(columns, axis=1)

    return base.RecordingPredictor(corpus, of_recording), {'searches': [found.record(what, chosen)]}


class OARVMRival(base.Rival):
  """A second RVM on the input and a window of both targets' RVM predictions."""

  @staticmethod
  def get_config() -> ml_collections.ConfigDict:
    """Every field with its default."""
    c = base.regression_config('oa_rvm')
    _rvm_fields(c)
    _second_stage_fields(c)
    return c

  def fit(self, corpus: Corpus) -> tuple[Predictor, dict]:
    """See `base.Rival`."""
    return _fit_two_stages(corpus, self.config, 'OA-RVM', lambda machine: [({}, machine)])


class StaircaseRival(base.Rival):
  """A second RVM on the input and a window of the stairs of both targets: OA RVM-SR."""

  @staticmethod
  def get_config() -> ml_collections.ConfigDict:
    """Every field with its default."""
    c = base.regression_config('staircase')
    _rvm_fields(c)
    _second_stage_fields(c)
    c.staircase = ml_collections.ConfigDict()
    c.staircase.heights = (3, 5)  # at which a target is cut, to be tried
    return c

  def fit(self, corpus: Corpus) -> tuple[Predictor, dict]:
    """See `base.Rival`."""
    heights = self.config.staircase.heights
    return _fit_two_stages(
      corpus,
      self.config,
      'OA RVM-SR',
      lambda machine: [({'heights': n}, Staircase(partial=machine, heights=n)) for n in heights],
    )


@dataclasses.dataclass(frozen=True)
class _Train:
  """Train recordings that are learnt from, one after the other; see `oa_rvm.OutputAssociativeRVM.fit`.

  Attributes:
    x: [N, D].
    y: [N, K], at `rows` the labels of the delay later; anything elsewhere.
    rows: [n] the steps that are learnt from.
    lengths: [R].
    subjects: [N].
  """

  x: np.ndarray
  y: np.ndarray
  rows: np.ndarray
  lengths: list[int]
  subjects: np.ndarray

  @classmethod
  def of(cls, corpus: Corpus, features: Callable[[Recording], np.ndarray], delay: int, every: int) -> '_Train':
    """Leaves out recordings without a step to learn from: no window reaches from one recording into another."""
    x, y, rows, lengths, subjects = [], [], [], [], []
    first = 0
    for recording in corpus.recordings['train']:
      steps, labels = base.learnt_rows(recording, delay, every)
      if not len(steps):
        continue
      x.append(features(recording))
      moved = np.zeros_like(recording.gold)
      moved[steps] = labels
      y.append(moved)
      rows.append(first + steps)
      lengths.append(len(moved))
      subjects.append(np.full(len(moved), recording.subject))
      first += len(moved)
    if not lengths:
      raise DataError(f'{corpus.folder}: no step of train has a label {delay} steps later; try shorter delays')
    return cls(
      x=np.concatenate(x),
      y=np.concatenate(y),
      rows=np.concatenate(rows),
      lengths=lengths,
      subjects=np.concatenate(subjects),
    )


def _inputs(corpus: Corpus, config: ml_collections.ConfigDict) -> svr.Inputs:
  return svr.Inputs(corpus, config.features.to_dict(), config.rvm.window_seconds)


def _what(name: str, config: ml_collections.ConfigDict) -> str:
  return f'{name} on {", ".join(config.features)}'


def _kernels(names: Iterable[str], widths: Sequence[float]) -> list[Kernel]:
  return [Kernel(name, width) for name in names for width in (widths if name == 'rbf' else (1.0,))]


def _said_of(kernel: Kernel) -> dict[str, Any]:
  return {'kernel': kernel.name, 'width': kernel.width if kernel.name == 'rbf' else None}


def _search_rvm(
  corpus: Corpus, inputs: svr.Inputs, config: ml_collections.ConfigDict, what: str
) -> tuple[base.Search, list[RVM]]:
  """The search, and the fitted machine of each candidate, in its order."""
  machines: list[RVM] = []
  kernels = _kernels(config.rvm.kernels, config.rvm.rbf_widths)
  models = [(kernel, basis) for kernel in kernels for basis in config.rvm.basis]

  def candidates() -> Iterator[tuple[dict, list[np.ndarray]]]:
    grid = [(window, delay) for window in inputs.windows for delay in config.rvm.delay_seconds]
    bar = iter(progress.over([(*cell, *model) for cell in grid for model in models], what, 'candidates'))
    for window, seconds in grid:
      delay, features = corpus.steps(seconds), inputs.features(window)
      train = _Train.of(corpus, features, delay, config.train_every)
      rows, labels = train.x[train.rows], train.y[train.rows]
      for kernel, basis in models:
        next(bar)
        machine = RVM(kernels=(kernel,), basis=basis, seed=config.seed).fit(rows, labels)
        machines.append(machine)
        candidate = {**_said_of(kernel), 'basis': basis, 'window_seconds': window, 'delay_seconds': seconds}
        said = [machine.predict(features(recording)) for recording in corpus.recordings['validation']]
        kept = ', '.join(map(str, machine.relevant()))
        yield {**candidate, 'relevance_vectors': kept}, [postprocess.time_shift(one, delay) for one in said]
    for _ in bar:  # it ends
      pass

  return base.search(corpus, heads.of(config), candidates(), what), machines


def _fit_two_stages(corpus: Corpus, config: ml_collections.ConfigDict, name: str, firsts) -> tuple[Predictor, dict]:
  """Searches the RVM, then the second stage on first stages that are made of it.

  Args:
    corpus: to learn from.
    config: with the fields of RVM and second stage.
    name: of the rival.
    firsts: unfitted RVM -> (what was set, unfitted first stage) of each first stage to be tried.

  Returns:
    As `base.Rival.fit`.
  """
  if len({recording.subject for recording in corpus.recordings['train'] if recording.mask.any()}) < 2:
    raise DataError(
      f'{corpus.folder}: {name} predicts people of train that its first stage did not see, and needs two of them with '
      'labels; prepare more recordings, or run the rival rvm'
    )
  inputs = _inputs(corpus, config)
  what_first, what = (_what(of, config) for of in (f'first stage of {name}: RVM', name))
  found, machines = _search_rvm(corpus, inputs, config, what_first)
  best = found.best()
  machine = clone(machines[found.tried.index(best)])
  features, delay = inputs.features(best['window_seconds']), corpus.steps(best['delay_seconds'])
  train = _Train.of(corpus, features, delay, config.train_every)
  models: list[OutputAssociativeRVM] = []

  def candidates() -> Iterator[tuple[Mapping, list[np.ndarray]]]:
    tried = [*firsts(machine)]
    kernels = _kernels(config.oa_rvm.kernels, config.oa_rvm.rbf_widths)
    seconds = [(side, kernel) for side in config.oa_rvm.side_seconds for kernel in kernels]
    bar = iter(progress.over([(*of, *second) for of in tried for second in seconds], what, 'candidates'))
    for settings, estimator in tried:
      first = FirstStage.fit(estimator, train.x, train.y, train.rows, train.subjects, config.oa_rvm.folds)
      for side, kernel in seconds:
        next(bar)
        hop = max(1, corpus.steps(side / config.oa_rvm.points))
        model = OutputAssociativeRVM(
          first=first,
          kernel=machine.kernels[0],
          output_kernel=kernel,
          side=hop * config.oa_rvm.points if side else 0,
          hop=hop,
          basis=machine.basis,
          seed=config.seed,
        ).fit(train.x, train.y, lengths=train.lengths, rows=train.rows)
        models.append(model)
        said = (_whole(model, features(recording)) for recording in corpus.recordings['validation'])
        yield (
          {**settings, 'side_seconds': side, **_said_of(kernel)},
          [postprocess.time_shift(one, delay) for one in said],
        )
    for _ in bar:  # it ends
      pass

  second = base.search(corpus, heads.of(config), candidates(), what)
  chosen = {target: second.best(target) for target in corpus.targets}
  of_target = [models[second.tried.index(candidate)] for candidate in chosen.values()]

  def of(recording: Recording) -> np.ndarray:
    x = features(recording)
    said = np.stack([_whole(model, x)[:, k] for k, model in enumerate(of_target)], axis=1)
    return postprocess.time_shift(said, delay)

  searches = [found.record(what_first, {'all targets': best}), second.record(what, chosen)]
  return base.RecordingPredictor(corpus, of), {'searches': searches}


# [T, D] -> [T, K]
def _whole(model: OutputAssociativeRVM, x: np.ndarray) -> np.ndarray:
  return model.predict(x, lengths=[len(x)])
