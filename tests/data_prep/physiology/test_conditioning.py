"""Resampling and normalisation against formulas, SciPy's polyphase filter, and a real heart and skin."""

import pathlib

import numpy as np
import pytest
from scipy import signal as filters

from data_prep.physiology import conditioning, signal_files
from data_prep.physiology.signal_files import Signal

REAL = pathlib.Path(__file__).resolve().parents[4] / 'shared' / 'data' / 'physio'


def sine(hertz, times):
  return 3 + np.sin(2 * np.pi * hertz * times)


@pytest.mark.parametrize('rate', [1000, 2048, 256, 499.7])
def test_any_rate_comes_to_the_same_wave(rate):
  times = np.arange(round(6 * rate)) / rate
  values, found = conditioning.on_grid(Signal(times, sine(12, times)), 250, 1500)
  assert found.all()
  inner = slice(100, 1400)  # the held ends are no sine
  np.testing.assert_allclose(values[inner], sine(12, np.arange(1500) / 250)[inner], atol=0.01)


def test_what_the_new_rate_cannot_hold_is_gone():
  times = np.arange(6000) / 1000
  fast = Signal(times, sine(3, times) + np.sin(2 * np.pi * 190 * times))  # would come back as 60 Hz
  values, _ = conditioning.on_grid(fast, 250, 1500)
  np.testing.assert_allclose(values[100:1400], sine(3, np.arange(1500) / 250)[100:1400], atol=2e-3)


def test_it_is_scipys_polyphase_filter_within_the_band():
  rng = np.random.default_rng(0)
  noise = filters.sosfiltfilt(filters.butter(8, 60, fs=1000, output='sos'), rng.normal(size=8000))
  values, _ = conditioning.on_grid(Signal(np.arange(8000) / 1000, noise), 250, 2000)
  expected = filters.resample_poly(noise, 1, 4)
  np.testing.assert_allclose(values[200:1800], expected[200:1800], atol=0.01 * noise.std())


def test_times_that_jitter_and_begin_late_are_kept():
  rng = np.random.default_rng(1)
  times = 0.8 + np.arange(5000) / 1000 + rng.uniform(-3e-4, 3e-4, 5000)
  values, found = conditioning.on_grid(Signal(times, sine(5, times)), 250, 1500)
  np.testing.assert_array_equal(found, (np.arange(1500) / 250 > 0.795) & (np.arange(1500) / 250 < 5.805))
  wanted = np.arange(1500) / 250
  np.testing.assert_allclose(values[300:1400], sine(5, wanted)[300:1400], atol=0.01)


def test_a_slow_sensor_is_drawn_on():
  times = np.arange(120) / 4  # a wristband's EDA
  values, found = conditioning.on_grid(Signal(times, sine(0.1, times)), 25, 750)
  assert found.all()
  np.testing.assert_allclose(values[50:700], sine(0.1, np.arange(750) / 25)[50:700], atol=0.01)


@pytest.mark.parametrize('as_rows', [True, False])
def test_holes_are_masked_and_single_samples_are_not(as_rows):
  """Rows without a number, and rows that are not there."""
  times = np.arange(6000) / 1000
  gone = np.zeros(6000, bool)
  gone[[700, 701, 1200]] = gone[2000:3500] = True  # 1.5 s
  values = np.where(gone, np.nan, sine(2, times))
  signal = Signal(times, values) if as_rows else Signal(times[~gone], values[~gone])
  found = conditioning.on_grid(signal, 250, 1500)[1]
  # The sample behind the hole, at 3.5 s, is counted into it.
  np.testing.assert_array_equal(np.flatnonzero(~found), np.arange(500, 876))
  assert conditioning.hole_seconds(signal) == pytest.approx(1.501)
  whole = Signal(times, sine(2, times))
  assert conditioning.hole_seconds(whole) == 0 and conditioning.on_grid(whole, 250, 1500)[1].all()


def test_nothing_measured_is_nothing_found():
  for values in (np.full(100, np.nan), np.where(np.arange(100) == 7, 1.0, np.nan)):
    on_grid, found = conditioning.on_grid(Signal(np.arange(100) / 100, values), 250, 250)
    assert not found.any() and not on_grid.any()
    assert conditioning.is_constant(Signal(np.arange(100) / 100, values))
  assert not conditioning.heart(np.zeros(250), np.zeros(250, bool), 250).any()
  assert not conditioning.skin(np.zeros(25), np.zeros(25, bool)).any()


def beats(seconds=40, rate=250, period=0.8):
  """R waves of a height of 2 at 0.3, 1.1, 1.9, … s."""
  times = np.arange(seconds * rate) / rate
  place = (times - 0.3 + period / 2) % period - period / 2
  return times, 2 * np.exp(-0.5 * np.square(place / 0.012))


@pytest.mark.parametrize('sign', [1, -1])
def test_a_heart_has_r_waves_of_one_without_drift(sign):
  times, ecg = beats()
  drift = 9 * np.sin(2 * np.pi * 0.05 * times) + 40
  found = np.ones(len(times), bool)
  normal = conditioning.heart(sign * ecg + drift, found, 250)
  peaks = np.flatnonzero(np.isclose((times - 0.3) % 0.8, 0))
  np.testing.assert_allclose(normal[peaks], sign, atol=0.03)
  between = np.flatnonzero(np.isclose((times - 0.7) % 0.8, 0))
  np.testing.assert_allclose(normal[between], 0, atol=0.1)
  # Electrodes are moved in four of twenty windows: the scale stays, and what is beyond it ends at the limit.
  jerk = np.where(times % 10 < 0.1, 80.0, 0)
  assert conditioning.heart(ecg + jerk, found, 250)[peaks[3]] == pytest.approx(normal[peaks[3]] * sign, abs=0.2)
  assert np.abs(conditioning.heart(ecg + jerk, found, 250)).max() == conditioning.LIMIT


def test_the_scale_of_the_heart_does_not_come_from_where_it_is_not_found():
  times, ecg = beats()
  found = times > 15
  normal = conditioning.heart(np.where(found, ecg, 0), found, 250)
  assert not normal[~found].any() and normal.max() == pytest.approx(1, abs=0.05)


def test_a_skin_is_the_same_whatever_its_unit_and_its_level():
  rng = np.random.default_rng(2)
  raw, found = rng.normal(size=2000), np.arange(2000) % 9 > 0
  normal = conditioning.skin(raw, found)
  np.testing.assert_allclose(conditioning.skin(-3 + 0.01 * raw, found), normal, atol=1e-9)
  assert np.median(normal[found]) == pytest.approx(0, abs=1e-9) and not normal[~found].any()
  assert np.std(normal[found]) == pytest.approx(1, abs=0.06)  # four deviations of the percentiles of 1778 draws


# A real heart of 15 s and a real skin of 150 s, 12 bit at 1 kHz.


def real(name):
  if not REAL.is_dir():
    pytest.skip('../shared/data/physio is absent')
  return signal_files.read(REAL / f'{name}_1khz.txt')[name]


def peaks_of(ecg, rate):
  """Times of R waves: SciPy's peaks of the band in which a QRS lies."""
  band = filters.sosfiltfilt(filters.butter(3, [5, 20], 'bandpass', fs=rate, output='sos'), ecg)
  return filters.find_peaks(band, height=0.5 * np.percentile(band, 99.5), distance=round(0.35 * rate))[0] / rate


def test_beats_of_a_real_heart_are_where_they_were():
  ecg = real('ecg')
  assert len(ecg.values) == 15_000 and ecg.times[-1] == pytest.approx(14.999)
  expected = peaks_of(ecg.values, 1000)
  assert 60 < 60 / np.median(np.diff(expected)) < 110
  for step in (1, 2, 3):  # 1000, 500 and 333 Hz
    for drift in (0, 1):
      values = ecg.values[::step] + drift * 300 * np.sin(2 * np.pi * 0.15 * ecg.times[::step])
      on_grid, found = conditioning.on_grid(Signal(ecg.times[::step], values), 250, 3750)
      normal = conditioning.heart(on_grid, found, 250)
      np.testing.assert_allclose(peaks_of(normal, 250), expected, atol=0.006)
      inner = (expected > 1) & (expected < 14)
      heights = normal[np.round(expected[inner] * 250).astype(int)]
      np.testing.assert_allclose(heights, 1, atol=0.25)
      assert found.all()


def test_a_real_heart_with_a_gap_keeps_the_beats_around_it():
  ecg = real('ecg')
  kept = (ecg.times < 5) | (ecg.times >= 8)
  on_grid, found = conditioning.on_grid(Signal(ecg.times[kept], ecg.values[kept]), 250, 3750)
  assert found[:1249].all() and not found[1252:1999].any() and found[2002:].all()
  normal = conditioning.heart(on_grid, found, 250)
  expected = peaks_of(ecg.values, 1000)
  expected = expected[(expected < 4.9) | (expected > 8.1)]
  assert (normal[np.round(expected * 250).astype(int)] > 0.6).all() and not normal[~found].any()


def test_a_real_skin_keeps_its_shape():
  eda = real('eda')
  on_grid, found = conditioning.on_grid(eda, 25, 3750)
  assert found.all() and len(eda.values) == 150_000
  means = np.convolve(eda.values, np.ones(41) / 41, 'same')[::40]  # of 20 ms to either side of a sample
  normal = conditioning.skin(on_grid, found)
  assert np.corrcoef(normal[50:-50], means[50:-50])[0, 1] > 0.999
  assert np.abs(normal).max() < conditioning.LIMIT
