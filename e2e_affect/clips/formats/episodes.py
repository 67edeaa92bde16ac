"""Stretches of a recording that stand out, for programs that show segments better than curves.

A trace is high where it lies above the mean of this recording by more than its standard deviation, and low where it
lies below by as much. A network's level shifts with voice, camera and room, so that a fixed threshold would say more
of these than of the person. Stretches shorter than half a second are left out.
"""

from typing import NamedTuple

import numpy as np

from e2e_affect.clips.formats.base import Prediction

MIN_SECONDS = 0.5


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
    rule: how they were found, in a sentence.
  """

  name: str
  segments: list[Segment]
  rule: str


def tiers(prediction: Prediction) -> list[Tier]:
  """A tier for each trace of numbers, or one of the most probable class."""
  values = prediction.values.astype(np.float64)
  if prediction.shows != 'numbers':
    texts = [prediction.outputs[k] for k in values.argmax(1)]
    return [Tier('most probable class', _runs(texts), 'The class with the highest probability.')]
  return [_of_trace(name, values[:, k], prediction) for k, name in enumerate(prediction.outputs)]


def _of_trace(name, trace, prediction):
  if prediction.of_whole:
    return Tier(f'{name} of the recording', [Segment(0, len(trace), f'{trace[0]:+.2f}')], 'One value for the whole.')
  low, high = trace.mean() - trace.std(), trace.mean() + trace.std()
  texts = np.where(trace > high, 'high', np.where(trace < low, 'low', '')).tolist()
  kept = [
    segment for segment in _runs(texts) if (segment.end - segment.first) * prediction.grid.step_seconds >= MIN_SECONDS
  ]
  rule = (
    f'{name} is high above {high:+.4f} and low below {low:+.4f}, the mean of this recording and its standard '
    f'deviation, for at least {MIN_SECONDS} s.'
  )
  return Tier(f'{name} episodes', kept, rule)


def _runs(texts):
  """Runs of one text; those of '' are left out."""
  edges = [0, *(k for k in range(1, len(texts)) if texts[k] != texts[k - 1]), len(texts)]
  return [Segment(first, end, texts[first]) for first, end in zip(edges, edges[1:]) if texts[first]]
