"""`avec2017`, `avec2019`, `affwild2` and `muse`: the files that these challenges' own scorers take.

They are written by `traces/own_files`, at the times and in the way that hold for the corpora themselves. Values are on
the scale −1 … 1 of the training's gold standard, which is these corpora's own.
"""

import functools
import pathlib

import numpy as np

from data_prep.core.errors import DataError
from data_prep.media import frame_times
from data_prep.schema.label_clock import OwnLabels
from e2e_affect.clips import sources
from e2e_affect.clips.formats.base import Format, Prediction
from e2e_affect.traces import own_clock
from e2e_affect.traces.own_files import affwild2, avec, muse
from e2e_affect.traces.traces import Trace

_PLANE = ('arousal', 'valence')
_OF_AVEC = (*_PLANE, 'liking')  # in this order


def _write_at_intervals(folder, prediction, own, known=None):
  """At the corpus's own interval.

  Args:
    folder, prediction: as in `Format.write`.
    own: of `traces.own_files`.
    known: outputs that the files have room for, in their order; None: all.
  """
  outputs = [name for name in known or prediction.outputs if name in prediction.outputs]
  own(folder, [_rows(prediction, outputs)], [sources.safe(name) for name in outputs])  # they name folders


def _write_frames(folder: pathlib.Path, prediction: Prediction) -> None:
  """A line for every video frame; raises DataError where there is no video."""
  if prediction.media is None:
    raise DataError(
      f'{prediction.recording}: nothing says which video it is, and --format=affwild2 has a line for each of its '
      'frames; convert NAME.csv of a clip, with NAME.json beside it'
    )
  affwild2.write_video(folder, _rows(prediction, _PLANE, frame_times.frame_ends(prediction.media)), _PLANE)


def _rows(prediction, outputs, times=()):
  """What `traces.own_files` takes: a trace at times of its own, or at those that the writer chooses."""
  steps = np.zeros(len(prediction.values), np.float32)
  values = prediction.values[:, [prediction.outputs.index(name) for name in outputs]]
  trace = Trace(prediction.recording, '', 'new', values, np.zeros_like(values), steps, steps, prediction.grid)
  labels = {prediction.recording: OwnLabels(np.asarray(times), np.full((len(times), len(outputs)), np.nan))}
  scale = {name: [1.0, 0.0] for name in outputs}
  return own_clock.rows(own_clock.OwnClock(tuple(outputs), scale, labels, None, ''), trace)


_NUMBERS = ('numbers',)
FORMATS = (
  Format('avec2017', functools.partial(_write_at_intervals, own=avec.write_2017, known=_OF_AVEC), _NUMBERS, _PLANE),
  Format('avec2019', functools.partial(_write_at_intervals, own=avec.write_2019, known=_OF_AVEC), _NUMBERS, _PLANE),
  Format('affwild2', _write_frames, _NUMBERS, _PLANE),
  Format('muse', functools.partial(_write_at_intervals, own=muse.write), _NUMBERS),
)
