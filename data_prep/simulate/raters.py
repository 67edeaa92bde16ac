"""Six raters who watch a recording and move a slider: late, each on a scale of their own, never quite steadily."""

from typing import NamedTuple

import numpy as np

from data_prep.simulate import processes

RATERS = ('FM1', 'FM2', 'FM3', 'FF1', 'FF2', 'FF3')

_LAGS = np.array([0.6, 1.1, 1.7, 2.2, 2.9, 3.8])  # seconds; mean 2.05
_LAG_JITTER = 0.15  # seconds, from recording to recording
_GAIN = (0.7, 1.3)
_BIAS_STD = 0.08
_RECORDING_BIAS_STD = 0.04
_NOISE_STD = 0.12
_NOISE_SECONDS = 1.2


class Traits(NamedTuple):
  """Habits of the six raters, the same for every recording; [6] each, the lag in seconds."""

  lag: np.ndarray
  gain: np.ndarray
  bias: np.ndarray


def traits(rng: np.random.Generator) -> Traits:
  """Draws the six raters' habits for one target."""
  gain = np.linspace(*_GAIN, len(RATERS))
  return Traits(rng.permutation(_LAGS), rng.permutation(gain), rng.normal(0, _BIAS_STD, len(RATERS)))


def rate(rng: np.random.Generator, habits: Traits, latents: processes.Latents, target: str) -> np.ndarray:
  """The traces that six raters leave.

  Args:
    rng: random generator of this recording and target.
    habits: from `traits`.
    latents: what the subject goes through.
    target: 'arousal' or 'valence'.

  Returns:
    [T + 1, 6] in [−1, 1], two decimals, one row per 40 ms from t = 0 to the end.
  """
  time = latents.time[latents.time > -1e-9]
  columns = []
  for lag, gain, bias in zip(*habits):
    lag = np.clip(lag + rng.normal(0, _LAG_JITTER), 0.5, processes.PREROLL_SECONDS)
    bias = bias + rng.normal(0, _RECORDING_BIAS_STD)
    noise = processes.smooth(rng, len(time), _NOISE_SECONDS * processes.STEPS_PER_SECOND)
    columns.append(gain * latents.at(target, time - lag) + bias + _NOISE_STD * noise)
  return np.round(np.clip(np.stack(columns, axis=1), -1, 1), 2)


def write(file, ratings: np.ndarray) -> None:
  """Writes ratings [T + 1, 6] as RECOLA does: `;`, two decimals, a space behind every name but the last."""
  header = 'time;' + ' ;'.join(RATERS)
  time = np.arange(len(ratings)) / processes.STEPS_PER_SECOND
  np.savetxt(file, np.column_stack([time, ratings + 0.0]), fmt='%.2f', delimiter=';', header=header, comments='')
