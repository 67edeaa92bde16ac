"""Strength modelling: a second regression that sees what a first model said (Han et al., 2017).

Stated in the literature. Han et al. (Image and Vision Computing 65, 2017, abstract): two models are concatenated; the
predictions of the first, its strength, are joined with the original features, and this expanded space is the input of
the second. The models are SVR and BLSTM. The frame works with feature-level and decision-level fusion.

Our reading. The first model is a run, of any kind: its traces are read from its folder, and stand, standardised on
train, beside the features of the second, a linear SVR. All targets of the first are there for each target of the
second. Traces of train are those of a model that has learnt from train, not out of fold: the abstract knows of no
folds, and a BLSTM would have to be trained once for each. The second model may so trust the first too much; its
complexity is chosen on validation, which the first has not learnt from. With a delay of d steps the features of step t
stand beside the trace of step t + d, which is the first model's word on the label that is learnt. Feature-level: the
features of all modalities, and the traces of a run on all of them. Decision-level: no features, and the traces of a run
for each modality.
"""

from collections.abc import Callable, Mapping, Sequence
import pathlib

import ml_collections
import numpy as np

from data_prep.core.errors import UserError
from e2e_affect.baselines import base, svr
from e2e_affect.baselines.base import Corpus, Recording
from e2e_affect.evaluate.predictor import Predictor
from e2e_affect.input import first_runs


class Strength(base.Rival):
  """A linear SVR on features and the traces of first runs."""

  @staticmethod
  def get_config() -> ml_collections.ConfigDict:
    """Every field with its default."""
    c = base.regression_config('strength')
    svr.add_fields(c)
    c.strength = ml_collections.ConfigDict()
    c.strength.first = ()  # workdirs of the runs whose traces stand beside the features
    return c

  def fit(self, corpus: Corpus) -> tuple[Predictor, dict]:
    """See `base.Rival`.

    Raises:
      UserError: no first run is named.
      DataError: a first run is of other data, or has no traces of a partition.
    """
    config = self.config
    if not config.strength.first:
      raise UserError('config.strength.first is empty; name the runs, as in --config.strength.first="(\'runs/svr\',)"')
    inputs = Beside(corpus, config.features.to_dict(), config.svr.window_seconds, config.strength.first)
    names = [pathlib.Path(run).name for run in config.strength.first]
    return svr.fit_search(corpus, inputs, config, f'SVR on {", ".join([*config.features, *names])}')


class Beside(svr.Inputs):
  """Feature sets, perhaps none, with the traces of runs beside them."""

  def __init__(self, corpus: Corpus, features: Mapping[str, Mapping], windows: Sequence[float], runs: Sequence[str]):
    """
    Args:
      corpus, features, windows: as in `Inputs`; features may be empty.
      runs: their workdirs.
    """
    super().__init__(corpus, features, windows)
    self._first = first_runs.read(runs, corpus.manifest, corpus.folder)

  def features(self, window: float | None) -> Callable[[Recording], np.ndarray]:
    """See `Inputs`."""
    if not self._features:
      return lambda recording: np.zeros((len(recording.mask), 0), np.float32)
    return super().features(window)

  def beside(self, recording: Recording, delay: int) -> np.ndarray:
    """See `Inputs`; the last trace stands where a recording has ended."""
    traces = self._first.standardised(recording.name)
    return traces[np.minimum(np.arange(len(traces)) + delay, len(traces) - 1)]
