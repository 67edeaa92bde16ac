"""Whether a clip is like the recordings of validation: how loud, how sure and large its face, where its outputs lie.

Four cheap signs, and no more than signs: a clip without a note may be of people, rooms and languages that the network
has never met.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import special

from e2e_affect.traces.traces import Trace

_TAIL = 0.005  # on either side: of recordings like those of validation, one in a hundred gets a note by each sign
# Half widths that an interval has at least, as few recordings may be alike by chance: of level, confidence and size.
_LEAST_DECIBEL, _LEAST_CONFIDENCE, _LEAST_FACTOR = 6.0, 0.1, 1.5


def ranges(traces: Sequence[Trace], outputs: Sequence[str]) -> dict:
  """What the recordings of a partition are like.

  Of loudness, confidence and the logarithm of the face's size it is the interval in which 99 % of such recordings lie
  where they are normally distributed, by Student's t of the recordings. Of each output it is what 99 % of all steps lie
  in: a short clip varies as steps do, not as the means of long recordings.

  Args:
    traces: of the partition, as the network says them.
    outputs: O names.

  Returns:
    For JSON, of what is known: `{"loudness": [low, high], "face": [low, 1], "face_size": [low, high], "outputs": {name:
    [low, high]}}`.
  """
  found: dict = {}
  loudness = np.array([t.loudness for t in traces if np.isfinite(t.loudness)])
  if len(loudness) > 1:
    half = max(_half(loudness), _LEAST_DECIBEL)
    found['loudness'] = [float(loudness.mean() - half), float(loudness.mean() + half)]
  face = np.array([t.face_found.mean() for t in traces if t.face_found.any()], np.float64)
  if len(face) > 1:
    found['face'] = [float(max(0, face.mean() - max(_half(face), _LEAST_CONFIDENCE))), 1.0]
  # Recordings that were prepared before sizes were kept have none: those of some would not be the partition's.
  size = np.log([t.face_size for t in traces if t.face_found.any()])
  if len(size) > 1 and np.isfinite(size).all():
    half = max(_half(size), np.log(_LEAST_FACTOR))
    found['face_size'] = [float(np.exp(size.mean() - half)), float(np.exp(size.mean() + half))]
  # A head that says one thing of a whole recording has no steps to tell a range from.
  if any(np.ptp(t.prediction, axis=0).any() for t in traces):
    low, high = np.quantile(np.concatenate([t.prediction for t in traces]), [_TAIL, 1 - _TAIL], axis=0)
    found['outputs'] = {name: [float(low[k]), float(high[k])] for k, name in enumerate(outputs)}
  return found


def notes(
  known: Mapping, loudness: float, face: float | None, size: float, prediction: np.ndarray, outputs: Sequence[str]
) -> list[str]:
  """One note where a clip lies outside of `ranges`, else none.

  Args:
    known: of `ranges`; {} where an earlier version said nothing.
    loudness: of the clip, as in `Trace`.
    face: mean confidence of the face over all steps; None: no picture was looked at.
    size: of the face, as in `Trace`.
    prediction: [T, O], as the network says it.
    outputs: O names.
  """
  said = []
  if 'loudness' in known and _outside(loudness, known['loudness']):
    said.append(f'sound of {loudness:.0f} dB ({_between(known["loudness"], ".0f")})')
  if face is not None and 'face' in known and _outside(face, known['face']):
    said.append(f'face confidence {face:.2f} ({_between(known["face"], ".2f")})')
  if 'face_size' in known and _outside(size, known['face_size']):
    said.append(f'face of {size:.0f} pixels ({_between(known["face_size"], ".0f")})')
  for name, of in known.get('outputs', {}).items():
    middle = float(np.median(prediction[:, list(outputs).index(name)]))
    if _outside(middle, of):
      said.append(f'{name} of {middle:+.2f} in the middle ({_between(of, "+.2f")})')
  text = f'unlike the recordings of validation (their range in parentheses): {", ".join(said)}'
  return [text.replace('-', '−')] if said else []


def _half(values):
  """Half the interval that a further value of a normal distribution lies in, of which [N] are known."""
  count = len(values)
  return float(special.stdtrit(count - 1, 1 - _TAIL) * np.std(values, ddof=1) * np.sqrt(1 + 1 / count))


def _outside(value, interval):
  return not np.isnan(value) and not interval[0] <= value <= interval[1]


def _between(interval, form):
  return ' … '.join(format(end, form) for end in interval)
