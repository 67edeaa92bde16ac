"""One class for a whole recording: from the mean of its steps' outputs."""

from collections.abc import Mapping, Sequence

import numpy as np

from data_prep.core.errors import DataError
from e2e_affect.heads import recordings
from e2e_affect.heads.base import Loss
from e2e_affect.heads.losses import cross_entropy
from e2e_affect.heads.step_classes import StepClasses
from e2e_affect.traces.traces import Trace


class ClipClasses(recordings.CountsRecordings, StepClasses):
  """A class for every recording: logits are averaged over the valid steps before the softmax.

  Traces repeat the recording's probabilities in every step, as records repeat its label. See `recordings.py`.
  """

  name = 'clip_classes'
  losses: Mapping[str, Loss] = {'cross_entropy': recordings.loss(cross_entropy)}
  things = 'recordings'
  shows = 'recording'
  meaning = StepClasses.meaning.replace('All steps of', 'All recordings of')
  meaning_of_several = StepClasses.meaning_of_several.replace('All steps of', 'All recordings of')

  def _things(self, steps):
    """[C]: 1 for the recording's class, if it has one."""
    if np.count_nonzero(steps) > 1:
      raise DataError(
        f'a recording has steps of {np.count_nonzero(steps)} classes, and config.head = {self.name!r} learns one class '
        'for a whole recording; set --config.head=step_classes'
      )
    return np.minimum(steps, 1)

  def prediction(self, outputs: np.ndarray) -> np.ndarray:
    """Probabilities of the mean of a recording's logits, in every step."""
    return recordings.repeated(super().prediction, outputs)

  def fit(self, traces: Sequence[Trace], targets: Sequence[str]) -> dict:
    """See `StepClasses`."""
    return super().fit([recordings.trace(t) for t in traces], targets)
