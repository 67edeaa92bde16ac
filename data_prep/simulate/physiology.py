"""A heart that beats and a skin that sweats: ECG and EDA of sensors on the body, at 1 kHz.

Heart rate follows arousal, late and smoothed, around a rate of the person's own; breathing pulls at it and moves the
baseline. Skin conductance responds to rises of arousal, seconds later, on a level that follows slowly. Valence shows in
neither.
"""

from typing import NamedTuple

import numpy as np
from scipy import ndimage, signal

from data_prep.simulate import processes

SAMPLE_RATE = 1000  # Hz, of RECOLA's sensors

_HEART_FIDELITY = 0.8
_SKIN_FIDELITY = 0.75
_SECOND = processes.STEPS_PER_SECOND

# Waves of a beat: how high beside R, how long before or after it and how wide, seconds. T comes earlier in short beats.
_WAVES = np.array(
  [[0.12, -0.17, 0.022], [-0.1, -0.032, 0.009], [1.0, 0.0, 0.011], [-0.2, 0.03, 0.011], [0.3, 0.28, 0.045]]
)
_T_WAVE = 4
_BEAT = np.arange(round(-0.3 * SAMPLE_RATE), round(0.6 * SAMPLE_RATE)) / SAMPLE_RATE  # seconds around R


class Body(NamedTuple):
  """What the sensors say.

  Attributes:
    ecg: [N] millivolts at 1 kHz.
    eda: [N] microsiemens at 1 kHz.
  """

  ecg: np.ndarray
  eda: np.ndarray


def measure(rng: np.random.Generator, latents: processes.Latents, seconds: int) -> Body:
  """Measures a body that goes through `latents`; whose body it is, is drawn from `rng` too."""
  time = np.arange(seconds * SAMPLE_RATE) / SAMPLE_RATE
  return Body(_heart(rng, latents, time), _skin(rng, latents, time))


def write(file, body: Body, has_ecg: bool = True) -> None:
  """Writes a body as RECOLA does: `;`, milliseconds, a space behind the last name; without ECG, EDA alone."""
  columns = [('EDA', '%.4f', body.eda)] + [('ECG ', '%.4f', body.ecg)] * has_ecg
  time = np.arange(len(body.eda)) / SAMPLE_RATE
  header = ';'.join(['time', *(name for name, _, _ in columns)])
  rows = np.column_stack([time, *(values for _, _, values in columns)])
  np.savetxt(file, rows, ['%.3f', *(form for _, form, _ in columns)], delimiter=';', header=header, comments='')


def _heart(rng, latents, time) -> np.ndarray:
  """[N] millivolts at the times [N]."""
  rate, lag, height = rng.uniform(62, 88), rng.uniform(1.0, 2.0), rng.uniform(0.7, 1.5)
  breathing = rng.uniform(0.22, 0.3)  # Hz
  aroused = processes.impression(rng, latents.arousal, _HEART_FIDELITY)
  aroused = ndimage.gaussian_filter1d(aroused, 1.0 * _SECOND)  # its flanks lie 2.4 s apart
  breath = np.sin(2 * np.pi * breathing * time + rng.uniform(0, 2 * np.pi))
  wandering = processes.wander(rng, len(latents.time), 0.5 * _SECOND)
  per_minute = rate + 10 * np.interp(time - lag, latents.time, aroused) + 1.5 * breath
  per_minute += 1.0 * np.interp(time, latents.time, wandering)
  beats = rng.uniform(0, 1) + np.cumsum(np.maximum(per_minute, 40) / 60 / SAMPLE_RATE)
  peaks = np.flatnonzero(np.diff(np.floor(beats))) + 1
  trace = np.zeros(len(time) + 2 * len(_BEAT))
  for peak in peaks:
    waves = _WAVES.copy()
    waves[_T_WAVE, 1] *= np.sqrt(60 / per_minute[peak])
    beat = waves[:, :1] * np.exp(-0.5 * np.square((_BEAT - waves[:, 1:2]) / waves[:, 2:]))
    first = len(_BEAT) + peak + round(_BEAT[0] * SAMPLE_RATE)
    trace[first : first + len(_BEAT)] += beat.sum(0)
  drift = 0.12 * breath + 0.15 * np.interp(time, latents.time, processes.wander(rng, len(latents.time), 4.0 * _SECOND))
  mains = 0.02 * np.sin(2 * np.pi * 50 * time + rng.uniform(0, 2 * np.pi))
  return height * trace[len(_BEAT) : len(_BEAT) + len(time)] + drift + mains + 0.02 * rng.standard_normal(len(time))


def _skin(rng, latents, time) -> np.ndarray:
  """[N] microsiemens at the times [N]."""
  level, lag = rng.uniform(2, 12), rng.uniform(1.0, 2.0)
  liveliness = 0.06 * level * rng.uniform(0.7, 1.3)  # who sweats more responds more
  aroused = processes.impression(rng, latents.arousal, _SKIN_FIDELITY)
  rises = np.maximum(np.gradient(aroused) * _SECOND, 0)  # a second
  # The response to a rise: 1 s up, seconds down; as after the nerve, it begins late.
  after = np.arange(round(20 * _SECOND)) / _SECOND
  response = np.exp(-after / 3.0) - np.exp(-after / 0.7)
  phasic = signal.fftconvolve(rises, response / response.max())[: len(rises)] / _SECOND
  decay = np.exp(-1 / (6.0 * _SECOND))
  tonic = signal.lfilter([1 - decay], [1, -decay], aroused)
  wandering = processes.wander(rng, len(latents.time), 60.0 * _SECOND)
  slow = level * (1 + 0.03 * wandering) + liveliness * (1.5 * phasic + 1.0 * tonic)
  return np.interp(time - lag, latents.time, slow) + 0.005 * rng.standard_normal(len(time))
