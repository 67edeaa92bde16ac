"""Stretches of a recording that stand out, for programs that show segments better than curves.

A trace is high where it lies above the mean of this recording by more than its standard deviation, and low where it
lies below by as much. A network's level shifts with voice, camera and room, so that a fixed threshold would say more
of these than of the person. Stretches shorter than half a second are left out.

A trace that hardly moves has a standard deviation, too. A deviation therefore counts from `LEAST_OF_BAND` of the band's
half width on: where errors are normally distributed, half of them lie within 0.41 of the half width that holds 90 % of
them, and what is smaller than the usual error is no event. Without a band it counts from `LEAST` on, half a step of the
nine-point scale on which people rate arousal and valence.

Steps that say nothing of the person belong to no episode, and to neither mean nor deviation: the first value of a trace
that is shifted later, as long as it is held, and, of a network that sees, what it says without a face.
"""

from typing import NamedTuple

import numpy as np

from e2e_affect.clips.formats.base import Prediction
from e2e_affect.traces import postprocess

MIN_SECONDS = 0.5
LEAST_OF_BAND = 0.4  # of its half width
LEAST = 0.125  # nine points from −1 to 1 are 0.25 apart


class Segment(NamedTuple):
  """Steps first … end − 1, and what is said of them."""

  first: int
  end: int
  text: str


class Tier(NamedTuple):
  """Segments in their order, which do not overlap.

  Attributes:
    name: of the tier.
    segments: of the recording.
    rule: how they were found, in some sentences.
  """

  name: str
  segments: list[Segment]
  rule: str


def tiers(prediction: Prediction) -> list[Tier]:
  """A tier for each trace of numbers, or one of the most probable class."""
  if prediction.shows == 'numbers':
    return [_of_trace(name, k, prediction) for k, name in enumerate(prediction.outputs)]
  held = max(_held(prediction, k) for k in range(len(prediction.outputs)))
  says = _says(prediction, held)
  texts = [prediction.outputs[k] if of else '' for k, of in zip(prediction.values.argmax(1), says)]
  rule = 'The class with the highest probability.' + _left_out(prediction, held, says)
  return [Tier('most probable class', _runs(texts), rule)]


def _of_trace(name, k, prediction):
  trace, held = prediction.values[:, k].astype(np.float64), _held(prediction, k)
  says = _says(prediction, held)
  left_out = _left_out(prediction, held, says)
  if prediction.of_whole:
    segments = [Segment(0, len(trace), f'{trace[0]:+.2f}')] if says.any() else []
    return Tier(f'{name} of the recording', segments, f'One value for the whole.{left_out}')
  if not says.any():
    return Tier(f'{name} episodes', [], f'{name} has no episodes.{left_out}')
  mean, deviation = trace[says].mean(), trace[says].std()
  least, why = _least(name, prediction)
  low, high = mean - max(deviation, least), mean + max(deviation, least)
  texts = np.where(says & (trace > high), 'high', np.where(says & (trace < low), 'low', '')).tolist()
  kept = [
    segment for segment in _runs(texts) if (segment.end - segment.first) * prediction.grid.step_seconds >= MIN_SECONDS
  ]
  measure = 'its standard deviation' if deviation >= least else f'{why}, as its standard deviation is smaller'
  rule = (
    f'{name} is high above {high:+.4f} and low below {low:+.4f}, the mean of this recording and {measure}, for at '
    f'least {MIN_SECONDS} s.'
  )
  return Tier(f'{name} episodes', kept, rule + left_out)


def _least(name, prediction):
  """The deviation from which on a trace stands out, and what it is in words."""
  low, high = (prediction.columns.get(f'{name}_{end}') for end in ('low', 'high'))
  if low is None or high is None:
    return LEAST, f'{LEAST}, half a step of a nine-point scale'
  return LEAST_OF_BAND * (float(high[0]) - float(low[0])) / 2, f"{LEAST_OF_BAND} of the band's half width"


def _held(prediction, k):
  """In how many steps at the start the trace of an output holds its first value."""
  if prediction.held is not None:
    return prediction.held[prediction.outputs[k]]
  # Nothing tells by how much it is shifted: the first value is held as long as it is repeated.
  values = prediction.values[:, k]
  others = np.flatnonzero(values != values[0])
  return int(others[0]) - 1 if len(others) else 0


def _says(prediction, held):
  """[T] whether a trace that is shifted by so much says something of the person."""
  says, found = np.ones(len(prediction.values), bool), prediction.found
  if prediction.of_whole:
    return says & (held < len(says)) & (found is None or found.any())
  says[:held] = False
  # A step has a face at its own time, and at the one that a shifted trace shows then.
  return says if found is None else says & found & postprocess.time_shift(found, held)


def _left_out(prediction, held, says):
  """A sentence on steps that belong to no episode; '' where there are none."""
  if says.all():
    return ''
  reasons = ['where the first value is held'] if held else []
  reasons += ['where no face was found'] if prediction.found is not None and not prediction.found.all() else []
  seconds = float(np.count_nonzero(~says) * prediction.grid.step)
  return f' Left out are {seconds:.2f} s {" and ".join(reasons)}.'


def _runs(texts):
  """Runs of one text; those of '' are left out."""
  edges = [0, *(k for k in range(1, len(texts)) if texts[k] != texts[k - 1]), len(texts)]
  return [Segment(first, end, texts[first]) for first, end in zip(edges, edges[1:]) if texts[first]]
