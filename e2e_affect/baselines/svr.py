"""Linear support vector regression on hand-crafted features: the baseline of AVEC 2016 (Valstar et al., 2016).

Stated in the literature. The baseline systems of the AVEC challenges on RECOLA train one linear SVR a target with
liblinear's solver of the L2-regularised problem with squared loss, on features standardised by the train partition.
Complexity, the window of the features and a delay of the gold standard are searched on the development partition. The
post-processing (`e2e_affect/traces/postprocess.py`) comes after that.

Our reading. The SVR is scikit-learn's `LinearSVR`, which is liblinear, by its primal solver. The labels are as they
are, and epsilon is liblinear's default. A candidate is judged by the CCC of its raw prediction on validation, pooled,
each target by itself. With a delay of d steps the model learns label(t + d) from the features of step t, and what it
says of t is the trace of step t + d, so that traces and gold standard lie in one time. It learns from every n-th step
of train, a field of the config: neighbouring steps say nearly the same. Early fusion sets the features of several
sets side by side, with one window for all of them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import dataclasses
from typing import Any
import warnings

import ml_collections
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVR

from data_prep.core import progress
from data_prep.core.errors import DataError
from e2e_affect import heads
from e2e_affect.baselines import base
from e2e_affect.baselines.base import Corpus, Recording
from e2e_affect.evaluate.predictor import Predictor
from e2e_affect.traces import postprocess


def add_fields(c: ml_collections.ConfigDict) -> None:
  """The fields of the search, under `svr`."""
  c.svr = ml_collections.ConfigDict()
  c.svr.complexity = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # liblinear's C, to be tried
  c.svr.window_seconds = (4.0, 8.0)  # of functionals and window statistics, to be tried
  c.svr.delay_seconds = (0.0, 0.8, 1.6, 2.4, 3.2, 4.0)  # of the labels, to be tried
  c.svr.epsilon = 0.1  # errors up to this cost nothing; labels are in [−1, 1]
  c.svr.max_iterations = 1000  # of the solver; `search.json` names candidates that had not converged by then


def linear_svr(complexity: float, svr: ml_collections.ConfigDict, seed: int) -> LinearSVR:
  """The unfitted model of a candidate."""
  return LinearSVR(
    C=complexity,
    epsilon=svr.epsilon,
    loss='squared_epsilon_insensitive',
    dual=False,  # the same minimum; on 6373 columns the dual solver does not get there in 1000 iterations
    max_iter=svr.max_iterations,
    random_state=seed,
  )


@dataclasses.dataclass(frozen=True)
class Rows:
  """What models learn from: the kept steps of all train recordings.

  Attributes:
    x: [N, D] standardised features.
    y: [N, K] labels, `delay` steps later.
  """

  x: np.ndarray
  y: np.ndarray


class Inputs:
  """What a regression sees: feature sets side by side.

  Attributes:
    windows: candidates for the windows of the sets, in seconds; (None,) where no set has a window.
  """

  def __init__(self, corpus: Corpus, features: Mapping[str, Mapping], windows: Sequence[float]):
    """
    Args:
      corpus: whose.
      features: `config.features`.
      windows: candidates.
    """
    self._corpus = corpus
    self._features = features
    known = any('window_seconds' in base.store.FEATURES[name].defaults for name in features)
    self.windows: Sequence[float | None] = tuple(windows) if known else (None,)
    self._loaded: dict[float | None, base.Sets] = {}

  def features(self, window: float | None) -> Callable[[Recording], np.ndarray]:
    """What gives [T, D] of a recording, standardised on train, with a window of the sets."""
    if window not in self._loaded:  # its moments over train take seconds
      options = {} if window is None else {'window_seconds': window}
      self._loaded[window] = base.Sets.load(self._corpus, self._features, **options)
    return lambda recording: self._loaded[window].standardised(recording.name)

  def beside(self, recording: Recording, delay: int) -> np.ndarray | None:
    """[T, P], what stands beside the features where labels come `delay` steps later; None: nothing."""
    return None


def fit_search(corpus: Corpus, inputs: Inputs, config: ml_collections.ConfigDict, what: str) -> tuple[Predictor, dict]:
  """Searches complexity, window and delay on validation, one model a target.

  Args:
    corpus: to learn from.
    inputs: of the corpus.
    config: with the fields of `add_fields`.
    what: the model, in words, for progress and page.

  Returns:
    As `Rival.fit`.
  """
  found = base.search(corpus, heads.of(config), _candidates(corpus, inputs, config, what), what)
  chosen = {target: found.best(target) for target in corpus.targets}
  fitted = []
  for k, candidate in enumerate(chosen.values()):
    features, delay = inputs.features(candidate['window_seconds']), corpus.steps(candidate['delay_seconds'])
    (rows,) = _rows(corpus, inputs, features, [delay], config)
    model, _ = fitted_to(linear_svr(candidate['complexity'], config.svr, config.seed), rows.x, rows.y[:, k])
    fitted.append((model, candidate['window_seconds'], delay))

  def of_recording(recording: Recording) -> np.ndarray:
    columns = []
    of_window = {window: inputs.features(window)(recording) for window in {window for _, window, _ in fitted}}
    for model, window, delay in fitted:
      x = _side_by_side(of_window[window], inputs.beside(recording, delay))
      columns.append(postprocess.time_shift(model.predict(x), delay))
    return np.stack(columns, axis=1)

  return base.RecordingPredictor(corpus, of_recording), {'searches': [found.record(what, chosen)]}


class SVR(base.Rival):
  """Linear SVR on one feature set, or on several side by side."""

  @staticmethod
  def get_config() -> ml_collections.ConfigDict:
    """Every field with its default."""
    c = base.regression_config('svr')
    add_fields(c)
    return c

  def fit(self, corpus: Corpus) -> tuple[Predictor, dict]:
    """See `base.Rival`."""
    inputs = Inputs(corpus, self.config.features.to_dict(), self.config.svr.window_seconds)
    return fit_search(corpus, inputs, self.config, f'SVR on {", ".join(self.config.features)}')


def _candidates(corpus, inputs, config, what) -> Iterator[tuple[dict, list[np.ndarray]]]:
  """Fits every candidate; yields those of a window when their models have read the validation partition, together."""
  svr = config.svr
  seconds = list(svr.delay_seconds)
  delays = [corpus.steps(of) for of in seconds]
  todo = [(window, i, c) for window in inputs.windows for i in range(len(delays)) for c in svr.complexity]
  steps = iter(progress.over(todo, what, 'candidates'))
  for window in inputs.windows:
    features = inputs.features(window)
    rows = _rows(corpus, inputs, features, delays, config)
    tried, weights, constants = [], [], []
    for i, of in enumerate(rows):
      models = []
      for complexity in svr.complexity:
        next(steps)
        of_targets = [fitted_to(linear_svr(complexity, svr, config.seed), of.x, y) for y in of.y.T]
        models += [model for model, _ in of_targets]
        candidate = {'complexity': complexity, 'window_seconds': window, 'delay_seconds': seconds[i]}
        tried.append(candidate | {'converged': all(converged for _, converged in of_targets)})
      weights.append(np.stack([model.coef_ for model in models], axis=1))  # [D, C · K]
      constants.append(np.concatenate([np.ravel(model.intercept_) for model in models]))
    # One product for all models of a delay; the features of a recording, perhaps 200 MB, are read once for all of them.
    said = []
    for recording in corpus.recordings['validation']:
      x = features(recording)
      of_delays = [
        postprocess.time_shift(_side_by_side(x, inputs.beside(recording, delay)) @ w + c, delay)
        for delay, w, c in zip(delays, weights, constants, strict=True)
      ]
      said.append(np.concatenate(of_delays, axis=1).reshape(len(x), len(tried), -1))  # [T, G, K]
    for g, candidate in enumerate(tried):
      yield candidate, [of[:, g] for of in said]
  for _ in steps:  # the bar ends
    pass


def _rows(corpus, inputs, features, delays, config) -> list[Rows]:
  """The rows of each delay; the features of a recording are read once for all of them."""
  parts: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in delays]
  for recording in corpus.recordings['train']:
    x = features(recording)
    for part, delay in zip(parts, delays, strict=True):
      steps, labels = base.learnt_rows(recording, delay, config.train_every)
      beside = inputs.beside(recording, delay)
      part.append((_side_by_side(x[steps], None if beside is None else beside[steps]), labels))
  rows = [Rows(np.concatenate([x for x, _ in part]), np.concatenate([y for _, y in part])) for part in parts]
  for delay, of in zip(delays, rows, strict=True):
    if not len(of.y):
      raise DataError(f'{corpus.folder}: no step of train has a label {delay} steps later; try shorter delays')
  return rows


def _side_by_side(features, beside) -> np.ndarray:
  return features if beside is None else np.concatenate([features, beside], axis=1)


def fitted_to(model: Any, x: np.ndarray, y: np.ndarray) -> tuple[Any, bool]:
  """The fitted model of liblinear, and whether the solver converged."""
  with warnings.catch_warnings():
    warnings.simplefilter('ignore', ConvergenceWarning)  # told in search.json
    model.fit(x, y)
  return model, bool(model.n_iter_ < model.max_iter)
