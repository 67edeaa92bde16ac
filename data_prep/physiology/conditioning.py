"""Signals of the body on the grid: resampled by time, freed of drift, on a scale that recordings share."""

import math

import numpy as np
import soxr

from data_prep.physiology.signal_files import Signal

LIMIT = 5.0  # of normalised values: artefacts of motion end here

_HOLE_SAMPLES = 5  # so far apart samples are still joined by a line
_EDGE_SECONDS = 2.0  # the first and last value are held so long for the filters
_DRIFT_HERTZ = 0.5  # below it an ECG holds breathing and electrodes, and no heart
_BEAT_SECONDS = 2.0  # of a heart of 30 beats a minute or more, such a window has one
_DEVIATIONS = 2.563  # of a normal distribution, from its 10th to its 90th percentile


def on_grid(signal: Signal, rate: float, count: int) -> tuple[np.ndarray, np.ndarray]:
  """A signal of any rate at the times 0, 1 / rate, 2 / rate, …, without what lies above half of the rate.

  Args:
    signal: times may be irregular, and samples missing.
    rate: Hz.
    count: N.

  Returns:
    [N] float64, a line over holes, and [N] bool: False in holes of more than five samples, and beyond both ends.
  """
  there = np.isfinite(signal.values)
  if there.sum() < 2:
    return np.zeros(count), np.zeros(count, bool)
  times, values = signal.times[there], signal.values[there]
  own_rate = 1 / float(np.median(np.diff(signal.times)))
  edge = math.ceil(_EDGE_SECONDS * rate)  # samples
  level = float(np.median(values))
  own = np.arange(math.ceil((count + 2 * edge) / rate * own_rate) + 1) / own_rate - edge / rate
  resampled = soxr.resample(np.interp(own, times, values) - level, own_rate, rate)[edge : edge + count] + level

  wanted = np.arange(count) / rate
  after = np.searchsorted(times, wanted)
  around = np.concatenate([[-np.inf], times, [np.inf]])
  before, next_ = around[after], around[after + 1]  # the samples on both sides of a time
  longest = _HOLE_SAMPLES / own_rate
  near = np.minimum(wanted - before, next_ - wanted) <= longest
  joined = np.where(np.isfinite(before) & np.isfinite(next_), next_ - before <= longest, near)
  return resampled, joined


def hole_seconds(signal: Signal) -> float:
  """How long no sample was there between the first and the last one, in holes of more than five samples."""
  times = signal.times[np.isfinite(signal.values)]
  gaps = np.diff(times)
  return float(gaps[gaps > _HOLE_SAMPLES * np.median(np.diff(signal.times))].sum())


def is_constant(signal: Signal) -> bool:
  """Whether it never changes: the sensor was not on, or not on the body."""
  values = signal.values[np.isfinite(signal.values)]
  return not len(values) or float(np.ptp(values)) == 0


def heart(values: np.ndarray, found: np.ndarray, rate: float) -> np.ndarray:
  """An ECG without drift, its R waves about 1 high (or deep, as electrodes may be the wrong way round).

  The scale is the median over windows of 2 s of their largest deviation: neither noise between beats nor artefacts in
  fewer than half of the windows change it.

  Args:
    values: [N], of `on_grid`.
    found: [N].
    rate: Hz.

  Returns:
    [N] in ± `LIMIT`, 0 where it is not found.
  """
  from scipy import signal as filters  # here: its import takes half a second, which other streams need not wait for

  drift_free = filters.sosfiltfilt(
    filters.butter(2, _DRIFT_HERTZ, 'highpass', fs=rate, output='sos'),
    values,
    padlen=min(len(values) - 1, round(_EDGE_SECONDS * rate)),
  )
  drift_free[~found] = 0
  window = round(_BEAT_SECONDS * rate)
  starts = range(0, len(values), window)
  heights = [np.abs(drift_free[i : i + window]).max() for i in starts if found[i : i + window].mean() > 0.5]
  return _scaled(drift_free, found, float(np.median(heights)) if heights else 0.0)


def skin(values: np.ndarray, found: np.ndarray) -> np.ndarray:
  """Skin conductance around its median, in deviations that its 10th and 90th percentile tell.

  Its level counts within a recording; between people it is a matter of skin and electrodes.

  Args:
    values: [N], of `on_grid`.
    found: [N].

  Returns:
    [N] in ± `LIMIT`, 0 where it is not found.
  """
  if not found.any():
    return np.zeros(len(values))
  low, median, high = np.percentile(values[found], [10, 50, 90])
  return _scaled(values - median, found, (high - low) / _DEVIATIONS)


def _scaled(values, found, scale):
  if not scale > 0:
    return np.zeros(len(values))
  return np.where(found, np.clip(values / scale, -LIMIT, LIMIT), 0)
