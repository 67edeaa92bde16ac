"""Responses of filters against SciPy, and the figure of a network."""

import cv2
import numpy as np
import pytest
from scipy import signal

from data_prep.core.errors import UserError
from e2e_affect.paper import filters
from e2e_affect.run import workdir as workdirs
from tests.e2e_affect.paper.runs import write_run


def test_responses_equal_freqz():
  kernel = np.random.default_rng(0).normal(size=(9, 3)).astype(np.float32)
  frequencies, magnitudes = filters.responses(kernel, 16000, 50)
  assert frequencies.shape == (26,) and magnitudes.shape == (26, 3)
  for f in range(3):
    _, expected = signal.freqz(kernel[:, f].astype(np.float64), worN=frequencies, fs=16000)
    np.testing.assert_allclose(magnitudes[:, f], np.abs(expected), atol=1e-12)


def test_modulation_spectra_are_the_mean_of_magnitudes_over_inputs():
  kernel = np.random.default_rng(1).normal(size=(30, 4, 3)).astype(np.float32)
  frequencies, spectra = filters.modulation_spectra(kernel, 8000, 10)
  # No fewer points than four times the taps: 120 of them, 61 of these from 0 to half of the rate.
  np.testing.assert_allclose(frequencies, np.arange(61) * 8000 / 120)
  for m in range(3):
    of_inputs = [np.abs(signal.freqz(kernel[:, c, m], worN=frequencies, fs=8000)[1]) for c in range(4)]
    np.testing.assert_allclose(spectra[:, m], np.mean(of_inputs, axis=0), atol=1e-12)


def test_decibels():
  found = filters.decibels(np.array([[1.0, 0.0], [10.0, 0.0], [0.001, 0.0]]))
  np.testing.assert_allclose(found, [[-20, -30], [0, -30], [-30, -30]], atol=1e-12)


def test_filters_of_a_run_are_sorted_by_their_centres(tmp_path, small_config):
  """Each of the short filters is made a sine of one frequency, and each of the long ones, too."""
  small_config.model.modalities = ('speech',)
  short = [5000, 800, 3100, 6500, 2000, 7200, 1500, 4300, 2600, 3700]
  long = [700, 40, 3000, 120, 1000, 60, 2200, 90, 300, 20]

  def change(params):
    taps, long_taps = small_config.model.speech.taps, small_config.model.speech.long_taps
    sines = lambda at, rate, taps: np.sin(2 * np.pi * np.outer(np.arange(taps), at) / rate)
    params['speech']['conv']['kernel'] = sines(short, 16000, taps)[:, None].astype(np.float32)
    of_inputs = np.linspace(1, 2, 10)[None, :, None]
    params['speech']['long_conv_kernel'] = (sines(long, 8000, long_taps)[:, None] * of_inputs).astype(np.float32)

  write_run(tmp_path / 'run', small_config, change)
  found = filters.figure(tmp_path / 'run', tmp_path / 'figures' / 'filters.png')
  # 9 taps at 16 kHz are 1.8 kHz wide and 400 at 8 kHz 20 Hz: a peak is drawn to its mirror image below 0.
  np.testing.assert_allclose(found['short_centres'][2:-2], sorted(short)[2:-2], atol=300)
  np.testing.assert_allclose(found['long_centres'], sorted(long), atol=6)
  assert found['sample_rate'] == 16000 and '10 short filters' in found['caption']
  assert cv2.imread(str(tmp_path / 'figures' / 'filters.png')).shape[1] == 900


def test_a_network_without_speech_is_refused(tmp_path, small_config):
  small_config.model.modalities = ('visual',)
  workdirs.write_config(tmp_path, small_config)
  with pytest.raises(UserError, match='a visual network has no filters or units of sound; name a run with speech'):
    filters.figure(tmp_path, tmp_path / 'filters.png')


def test_a_rival_is_refused(tmp_path, small_config):
  workdirs.write_config(tmp_path, small_config)
  with pytest.raises(UserError, match='no checkpoints in it; name the workdir of a trained network'):
    filters.figure(tmp_path, tmp_path / 'filters.png')
