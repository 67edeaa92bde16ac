"""Smooth random processes: the latent arousal and valence, and everything about a person that drifts."""

from typing import NamedTuple

import numpy as np
from scipy import ndimage, signal

from data_prep.schema.grid import PAPER

STEPS_PER_SECOND = round(PAPER.steps_per_second)  # of RECOLA, for which the corpus stands in
PREROLL_SECONDS = 4.0  # raters lag by up to this much: they still rate what happened before the recording began

_LATENT_SECONDS = 2.5  # the correlation falls to 1/e after twice this
_LATENT_STD = (0.25, 0.31)
_BETWEEN_SUBJECTS_STD = 0.05
_AROUSAL_VALENCE_CORRELATION = 0.15


class Latents(NamedTuple):
  """What a subject goes through; voice, face and ratings are made of it.

  Attributes:
    time: [T + preroll] seconds, in steps of 40 ms from −`PREROLL_SECONDS` to the end of the recording.
    arousal, valence: [T + preroll], about [−1, 1].
  """

  time: np.ndarray
  arousal: np.ndarray
  valence: np.ndarray

  def at(self, target: str, time: np.ndarray) -> np.ndarray:
    """The trace of `target` ('arousal' or 'valence') at the given times (seconds), interpolated."""
    return np.interp(time, self.time, getattr(self, target))


def generator(seed: int, subject: str, *stream: int) -> np.random.Generator:
  """A random generator of its own for every part (`stream`) of every subject: parts do not disturb each other."""
  return np.random.default_rng([seed, int(subject.lstrip('P')), *stream])


def smooth(rng: np.random.Generator, n: int, width: float) -> np.ndarray:
  """A stationary Gaussian process [n] of zero mean and unit variance, smooth on a scale of `width` points."""
  white = rng.standard_normal(n + int(8 * width))
  trace = ndimage.gaussian_filter1d(white, width, mode='wrap')[:n]
  return trace * np.sqrt(2 * np.sqrt(np.pi) * width)


def wander(rng: np.random.Generator, n: int, width: float) -> np.ndarray:
  """An Ornstein-Uhlenbeck process [n] of unit variance; its correlation falls to 1/e over `width` points."""
  decay = np.exp(-1 / width)
  white = rng.standard_normal(n) * np.sqrt(1 - decay**2)
  start = signal.lfiltic([1.0], [1.0, -decay], [rng.standard_normal()])
  return signal.lfilter([1.0], [1.0, -decay], white, zi=start)[0]


def latents(rng: np.random.Generator, seconds: float) -> Latents:
  """Draws the latent traces of one recording.

  Variance and correlation are set within the recording, not only on average: a recording of a minute holds so few
  excursions that they would otherwise differ wildly between subjects, and with them what can be learnt.
  """
  first = -round(PREROLL_SECONDS * STEPS_PER_SECOND)
  steps = np.arange(first, round(seconds * STEPS_PER_SECOND) + 1)

  def draw():
    return _standardize(smooth(rng, len(steps), _LATENT_SECONDS * STEPS_PER_SECOND))

  arousal = draw()
  other = _unlike(draw(), arousal)
  r = _AROUSAL_VALENCE_CORRELATION
  valence = r * arousal + np.sqrt(1 - r**2) * other
  std = rng.uniform(*_LATENT_STD, size=2)
  offset = rng.normal(0, _BETWEEN_SUBJECTS_STD, size=2)
  return Latents(steps / STEPS_PER_SECOND, arousal * std[0] + offset[0], valence * std[1] + offset[1])


def impression(rng: np.random.Generator, latent: np.ndarray, fidelity: float) -> np.ndarray:
  """How much of a latent trace shows in one modality, in units of the latent's usual deviation.

  What does not come from the latent varies just as slowly, so no smoothing removes it: `fidelity` is about the
  correlation that the best observer of this modality alone can reach.

  Args:
    rng: random generator.
    latent: [T], one value per 40 ms.
    fidelity: in [0, 1].

  Returns:
    [T], about unit variance.
  """
  other = _unlike(smooth(rng, len(latent), _LATENT_SECONDS * STEPS_PER_SECOND), _standardize(latent))
  return fidelity * latent / np.mean(_LATENT_STD) + np.sqrt(1 - fidelity**2) * other


def _unlike(trace, reference):
  """The part of the trace that is uncorrelated with the standardized reference, standardized."""
  return _standardize(trace - reference * np.mean(trace * reference))


def _standardize(trace):
  return (trace - trace.mean()) / trace.std()
