"""A voice by source and filter: glottal pulses, breath and friction through moving formants.

Loudness, pitch, syllable rate and spectral tilt follow arousal. Formants, the liveliness of the melody and the clarity
of the fricatives follow valence, faintly. All of it is vectorised over the recording: 48 s take under a second.
"""

from typing import NamedTuple

import numpy as np
from scipy import fft, ndimage
import soxr

from data_prep.simulate import processes

SAMPLE_RATE = 44_100  # Hz, of what is written
_RATE = 22_050  # Hz, of the synthesis: half the samples, and still all that 16 kHz will keep
_CONTROL = 200  # control values per second
_FRAME = 512  # samples; the filter is constant within a frame
_HOP = 256  # with a Hann window the frames add up to one
_FFT = 1024  # room for the filter to ring on

_AROUSAL_FIDELITY = 0.96
_VALENCE_FIDELITY = 0.6

# F1, F2, F3 in Hz of a man's vowels: i e a o u and the neutral one.
_VOWELS = np.array(
  [[280, 2250, 2900], [420, 2000, 2600], [720, 1250, 2500], [450, 850, 2450], [310, 800, 2300], [500, 1500, 2500]]
)
_LOCUS = np.array([330, 1600, 2500])  # where the formants come from and go to between vowels
_BANDWIDTHS = np.array([70, 90, 130, 200])


class Voice(NamedTuple):
  """One recording's speech.

  Attributes:
    samples: [N] int16 at 44.1 kHz.
    turns: [P, 2] seconds, start and stop of every stretch of speech between two pauses.
    opening: [T] in [0, 1], how far the mouth is open, one value per 40 ms.
  """

  samples: np.ndarray
  turns: np.ndarray
  opening: np.ndarray


class _Syllables(NamedTuple):
  onset: np.ndarray  # [M] seconds
  duration: np.ndarray  # [M] seconds
  vowel: np.ndarray  # [M] row of _VOWELS
  friction: np.ndarray  # [M] 0 where the syllable begins with no fricative
  stress: np.ndarray  # [M] about 1
  height: np.ndarray  # [M] position in its phrase, from 1 down to 0


def speak(rng: np.random.Generator, latents: processes.Latents, seconds: int) -> Voice:
  """Speaks for `seconds` seconds as the latents demand; the speaker's own voice is drawn from `rng` too."""
  steps = np.arange(seconds * processes.STEPS_PER_SECOND)
  step_time = (steps + 0.5) / processes.STEPS_PER_SECOND
  aroused = processes.impression(rng, latents.at('arousal', step_time), _AROUSAL_FIDELITY)
  pleased = processes.impression(rng, latents.at('valence', step_time), _VALENCE_FIDELITY)
  female = rng.random() < 0.5
  pitch = rng.uniform(175, 225) if female else rng.uniform(95, 135)
  tract = rng.uniform(1.10, 1.20) if female else rng.uniform(0.95, 1.05)
  level = rng.uniform(-33, -27)  # dB below full scale
  floor = 10 ** (rng.uniform(-52, -44) / 20)  # room noise, relative to the speech at its usual loudness
  pace = rng.uniform(0.9, 1.1)

  syllables, turns = _plan(rng, lambda t: np.interp(t, step_time, aroused), seconds, pace)
  time = np.arange(seconds * _CONTROL) / _CONTROL
  a, v = np.interp(time, step_time, aroused), np.interp(time, step_time, pleased)
  envelope, friction, formants, accent = _tracks(syllables, time)
  loudness = 10 ** ((4.0 * a + 1.2 * processes.wander(rng, len(time), 1.0 * _CONTROL)) / 20)
  drift = 0.02 * processes.wander(rng, len(time), 0.3 * _CONTROL)
  f0 = pitch * np.exp(0.13 * a + 0.05 * v + accent * np.exp(0.4 * v) + drift)
  f0 *= 1 + 0.008 * rng.standard_normal(len(time))  # jitter
  formants = formants * tract * np.exp(0.04 * v)[:, None]

  def at_samples(track):
    return np.interp(np.arange(seconds * _RATE) / _RATE, time, track).astype(np.float32)

  phase = np.cumsum(at_samples(f0) / _RATE, dtype=np.float64) % 1
  pulses = _glottal_pulses(phase.astype(np.float32), at_samples(0.16 * np.exp(-0.25 * a)))
  white = rng.standard_normal(len(phase), dtype=np.float32)
  breath = at_samples(0.10 * np.exp(-0.5 * a)) * (0.4 + 0.6 * (phase < 0.6))
  voiced = (pulses + breath * white) * at_samples(envelope * loudness)
  hiss = white * at_samples(friction * loudness * np.exp(0.6 * v))  # clearer articulation
  speech = _filter(voiced, hiss, time, formants, 1500 * np.exp(0.45 * a) * tract)
  usual = np.sqrt(np.mean(np.square(speech / np.maximum(at_samples(loudness), 0.1))))
  speech = speech / usual + floor * rng.standard_normal(len(speech), dtype=np.float32)
  speech = soxr.resample(speech * 10 ** (level / 20), _RATE, SAMPLE_RATE)
  samples = np.round(np.tanh(speech) * 32767).astype(np.int16)  # tanh: a loud peak bends, it does not crack

  opening = np.interp(step_time, time, envelope * np.interp(formants[:, 0] / tract, [250, 750], [0.35, 1.0]))
  return Voice(samples, turns, np.clip(opening, 0, 1))


def _plan(rng, aroused_at, seconds, pace):
  """Syllables and phrases; the one loop, over some two hundred syllables."""
  rows, turns = [], []
  t = rng.uniform(0.1, 0.5)
  while t < seconds - 0.5:
    start, count = t, rng.integers(6, 15)
    for i in range(count):
      duration = np.exp(rng.normal(0, 0.18)) / (4.4 * pace * np.exp(0.14 * aroused_at(t)))
      if t + duration > seconds - 0.1:
        break
      friction = rng.uniform(0.2, 0.5) if rng.random() < 0.4 else 0.0
      rows.append((t, duration, rng.integers(len(_VOWELS)), friction, rng.uniform(0.65, 1.2), 1 - i / count))
      t += duration
    turns.append((start, t))
    t += rng.uniform(0.2, 0.6) * np.exp(-0.2 * aroused_at(min(t, seconds)))
  columns = np.array(rows).T
  return _Syllables(columns[0], columns[1], columns[2].astype(int), *columns[3:]), np.array(turns)


def _tracks(s, time):
  """Amplitude [C], friction [C], formants [C, 4] in Hz and melody [C] (log frequency) at the control times."""

  def through(fractions, values):
    """Interpolates between points at `fractions` of every syllable, then rounds the corners."""
    points = (s.onset[:, None] + s.duration[:, None] * np.array(fractions)).ravel()
    track = np.interp(time, points, np.stack(np.broadcast_arrays(*values), axis=1).ravel(), left=0, right=0)
    return ndimage.gaussian_filter1d(track, 0.012 * _CONTROL)

  envelope = through([0.001, 0.15, 0.35, 0.8, 0.999], [s.stress * x for x in (0.0, 0.1, 1.0, 0.8, 0.0)])
  friction = through([0.001, 0.08, 0.22, 0.32, 0.999], [s.friction * x for x in (0.0, 1.0, 1.0, 0.0, 0.0)])
  target = _VOWELS[s.vowel]
  formants = [through([0.001, 0.4, 0.75, 0.999], [_LOCUS[k], target[:, k], target[:, k], _LOCUS[k]]) for k in range(3)]
  silent = formants[0] < 250  # before the first and behind the last syllable
  formants = [np.where(silent, _LOCUS[k], f) for k, f in enumerate(formants)] + [np.full(len(time), 3500.0)]
  accent = through([0.001, 0.5, 0.999], [0.10 * s.height, 0.10 * s.height + 0.25 * (s.stress - 0.6), 0.10 * s.height])
  return envelope, friction, np.stack(formants, axis=1), accent


def _glottal_pulses(phase, closing):
  """The derivative of Rosenberg's glottal flow at `phase` [N] of the cycle; `closing` [N]: part of it spent closing.

  The faster the folds close, the more high frequencies: a pressed voice; a slow closing makes a breathy one.
  """
  opening = np.float32(0.42)
  rise = 0.5 * np.pi / opening * np.sin(np.pi * phase / opening)
  fall = -0.5 * np.pi / closing * np.sin(0.5 * np.pi * (phase - opening) / closing)
  return np.where(phase < opening, rise, np.where(phase < opening + closing, fall, np.float32(0)))


def _filter(voiced, hiss, time, formants, corner):
  """Sends the sources through the vocal tract, frame by frame, and overlaps and adds.

  Args:
    voiced: [N] pulses and breath. hiss: [N] friction, which does not pass the formants.
    time: [C] seconds; formants: [C, 4] Hz; corner: [C] Hz above which the pulses lose another 6 dB per octave.

  Returns:
    [N] float32.
  """
  n = len(voiced)
  count = n // _HOP + 2
  centre = np.arange(count) * _HOP / _RATE
  window = np.hanning(_FRAME + 1)[:-1].astype(np.float32)

  def spectra(x):
    padded = np.pad(x.astype(np.float32), (_HOP, (count + 1) * _HOP - n))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP][:count]
    return fft.rfft(frames * window, _FFT, axis=1)

  def at_frames(track):
    return np.interp(centre, time, track).astype(np.float32)[:, None]

  f = fft.rfftfreq(_FFT, 1 / _RATE).astype(np.float32)[None, :]
  spectrum = spectra(voiced)
  spectrum /= 1 + 1j * f / at_frames(corner)
  for k, bandwidth in enumerate(_BANDWIDTHS):
    resonance = at_frames(formants[:, k])
    spectrum /= 1 - np.square(f / resonance) + 1j * (f * np.float32(bandwidth)) / np.square(resonance)
  # Friction: a broad band around 5 kHz.
  spectrum += spectra(hiss) * np.exp(-0.5 * np.square((f - 5200) / 1500))
  frames = fft.irfft(spectrum, _FFT, axis=1)
  total = np.zeros((count + 3, _HOP), np.float32)
  for part in range(_FFT // _HOP):
    total[part : part + count] += frames[:, part * _HOP : (part + 1) * _HOP]
  return total.ravel()[_HOP : _HOP + n]
