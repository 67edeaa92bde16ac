"""Acoustic features against openSMILE called plainly, in processes without TensorFlow."""

import json
import subprocess
import sys

import numpy as np
import pytest

from data_prep.features import acoustic, base
from data_prep.schema.grid import Grid

pytest.importorskip('opensmile', reason='openSMILE is not installed (extra features)')

# Run apart: openSMILE corrupts the heap of a process that has loaded TensorFlow before.
_WINDOWS = """
import json, sys
import numpy as np, opensmile
from data_prep.features import FEATURES
rng = np.random.default_rng(3)
rate, seconds = 16000, 5
t = np.arange(rate * seconds) / rate
pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * t)
voice = sum(np.sin(2 * np.pi * k * np.cumsum(pitch) / rate) / k for k in range(1, 9))
signal = (0.1 * voice * (np.sin(2 * np.pi * 0.4 * t) > -0.3) + 0.002 * rng.normal(size=len(t))).astype(np.float32)
ours = FEATURES[sys.argv[1]]
plain = lambda level: opensmile.Smile(getattr(opensmile.FeatureSet, ours.feature_set), level)
frames = plain(opensmile.FeatureLevel.LowLevelDescriptors).process_signal(signal, rate)
windows = ours.windows(signal, rate, 2.0, 0.5)
names = plain(opensmile.FeatureLevel.Functionals).feature_names
print(json.dumps([list(frames.columns), frames.to_numpy().tolist(), windows.tolist(), names]))
"""


@pytest.fixture(scope='module')
def egemaps():
  done = subprocess.run([sys.executable, '-c', _WINDOWS, 'egemaps'], capture_output=True, text=True, timeout=300)
  assert done.returncode == 0, done.stderr
  descriptors, frames, windows, names = json.loads(done.stdout.splitlines()[-1])
  return descriptors, np.array(frames), np.array(windows), names


def test_windows_are_functionals_of_the_frames_that_begin_in_them(egemaps):
  descriptors, frames, windows, names = egemaps
  assert windows.shape == (6, 88)  # 5 s less what a frame reaches: windows of 2 s begin at 0, .5, …, 2.5
  compared = 0
  for j, values in enumerate(windows):
    within = frames[50 * j : 50 * j + 200]  # frames of 10 ms
    for k, descriptor in enumerate(descriptors):
      descriptor = descriptor.replace('Loudness', 'loudness')  # openSMILE writes it in both ways
      of_all = f'{descriptor}_amean'
      if of_all not in names or 'nz' in descriptor:
        continue
      mean = within[:, k].mean()
      np.testing.assert_allclose(values[names.index(of_all)], mean, rtol=1e-4, atol=1e-5)
      deviation = values[names.index(f'{descriptor}_stddevNorm')]
      np.testing.assert_allclose(deviation, within[:, k].std() / mean, rtol=2e-3)  # near a mean of 0 float32 shows
      compared += 1
  assert compared == 6 * 6  # loudness, spectral flux, four MFCCs
  pitch = descriptors.index('F0semitoneFrom27.5Hz_sma3nz')
  for j, values in enumerate(windows):
    voiced = frames[50 * j : 50 * j + 200, pitch]
    mean = voiced[voiced > 0].mean()
    np.testing.assert_allclose(values[names.index('F0semitoneFrom27.5Hz_sma3nz_amean')], mean, rtol=1e-4)


def test_the_window_of_a_step_is_the_newest_that_has_ended():
  grid = Grid()  # steps of 40 ms
  # Window j of 0.1 s begins at 0.06 j and ends, with what frames reach beyond it, 0.01 s later than 0.06 j + 0.1.
  # Ends of steps: .04 .08 .12 .16 .20 .24; ends of windows: .11 .17 .23 .29.
  found = base.ends_of_windows(6, grid, 0.1, 0.06, 4, beyond=0.01)
  np.testing.assert_array_equal(found, [0, 0, 0, 0, 1, 2])
  np.testing.assert_array_equal(base.ends_of_windows(6, grid, 0.1, 0.06, 2, beyond=0.01), [0, 0, 0, 0, 1, 1])


def test_the_waveform_is_as_loud_as_it_was_recorded():
  fields = {'audio': np.array([[16384, -32768, 32767], [100, 0, 1]], np.int16), 'audio_gain': 2.0}
  np.testing.assert_array_equal(
    acoustic.waveform(fields), np.array([0.25, -0.5, 32767 / 65536, 100 / 65536, 0, 1 / 65536], np.float32)
  )
  loud = {'audio': np.array([[32767]], np.int16), 'audio_gain': 0.5}
  assert acoustic.waveform(loud) == np.float32(1 - 1 / 32768)
