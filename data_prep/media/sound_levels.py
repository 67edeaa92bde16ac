"""Which channel of a sound is used, and by what power of two its samples are stored: decided once for a recording."""

import math

import numpy as np

# Peaks within are stored as they are. Full scale is 1, and decoders of MP3, AAC or Vorbis overshoot it a little.
QUIETEST, LOUDEST = 2.0**-8, 1.25
SILENT = 2.0**-20  # a lower peak is the rounding of a decoder, and stays digital silence
MOST = 16.0  # times full scale; larger samples are integers, stored as float
_FAR_BELOW = 1 / 8  # of the loudest channel's power; of two channels that have nothing in common the mean has a quarter
_CANCELS = 1 / 4  # of the power that the mean would have of channels that have nothing in common
_MOST_CANCELLED = 0.05  # share of the sound's energy that the mean may cancel
_BLOCK = 1 << 15  # samples, about a second, within which phases are taken not to turn over
_NOTHING = 1e-4  # of the loudest channel's power, −40 dB: then it is alone


def gain(peak: float) -> float:
  """The power of two that samples of this peak are multiplied by before they are rounded to 16 bits.

  Of a quiet sound 16 bits would keep the loudest moments alone, and a hot one they would clip. Within the range the
  gain is 1; else it brings the peak to between a quarter and a half of full scale.
  """
  if QUIETEST <= peak <= LOUDEST or peak < SILENT:
    return 1.0
  return 2.0 ** (-1 - math.frexp(peak)[1])


class Levels:
  """Powers and peaks of the C channels of a sound and of their mean, gathered piece by piece."""

  def __init__(self, channels: int):
    self._count = 0
    self._sums = np.zeros(channels)
    self._products = np.zeros((channels, channels))
    self._peaks = np.zeros(channels)
    self._mean_peak = 0.0
    self._before = self._count, self._sums, self._products  # of the block that is not full yet
    self._cancelled = self._heard = 0.0  # energy of the loudest channel

  def add(self, samples: np.ndarray, mean: np.ndarray) -> None:
    """Takes float32 [C, n] and the mean of the channels [n]."""
    wide = samples.astype(np.float64)
    self._count = self._count + wide.shape[1]
    self._sums = self._sums + wide.sum(axis=1)
    self._products = self._products + wide @ wide.T
    if self._count - self._before[0] >= _BLOCK:
      self._end_block()
    self._peaks = np.maximum(self._peaks, np.abs(samples).max(axis=1, initial=0))
    self._mean_peak = max(self._mean_peak, float(np.abs(mean).max(initial=0)))

  def _end_block(self):
    count, sums, products = (now - then for now, then in zip((self._count, self._sums, self._products), self._before))
    self._before = self._count, self._sums, self._products
    powers, mean = _powers(count, sums, products)
    self._heard += count * powers.max()
    self._cancelled += count * powers.max() * (mean < _CANCELS * powers.sum() / len(powers) ** 2)

  def channel(self) -> tuple[int, str] | None:
    """The channel to take instead of the mean of all, and why, in words; None: the mean serves.

    The mean cancels opposite phases, also where they turn over on the way, and it buries one voice among silent or
    noisy channels.
    """
    self._end_block()
    powers, mean = _powers(self._count, self._sums, self._products)
    loudest = int(np.argmax(powers))
    if len(powers) == 1 or powers[loudest] <= 0:
      return None
    if mean < _FAR_BELOW * powers[loudest] or powers.sum() - powers[loudest] < _NOTHING * powers[loudest]:
      below = -10 * math.log10(max(mean / powers[loudest], 1e-12))
      return loudest, f'the mean of all is {below:.0f} dB below it'
    if self._cancelled > _MOST_CANCELLED * self._heard:
      return loudest, f'in the mean of all {100 * self._cancelled / self._heard:.0f} % of the sound cancel'
    return None

  def peak(self, channel: int | None) -> float:
    """Of a channel, or of the mean."""
    return self._mean_peak if channel is None else float(self._peaks[channel])


def _powers(count, sums, products):
  """Powers of C channels around their means, [C], and that of their mean."""
  means = sums / max(count, 1)
  covariance = products / max(count, 1) - np.outer(means, means)
  return np.diag(covariance), max(covariance.sum() / len(sums) ** 2, 0.0)
