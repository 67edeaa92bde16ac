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
_SOUND = """
import json, sys
import numpy as np, opensmile
from data_prep.features import FEATURES
rng = np.random.default_rng(3)
rate, seconds = 16000, int(sys.argv[2])
t = np.arange(rate * seconds) / rate
pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * t)
voice = sum(np.sin(2 * np.pi * k * np.cumsum(pitch) / rate) / k for k in range(1, 9))
signal = (0.1 * voice * (np.sin(2 * np.pi * 0.4 * t) > -0.3) + 0.002 * rng.normal(size=len(t))).astype(np.float32)
ours = FEATURES[sys.argv[1]]
plain = lambda level: opensmile.Smile(getattr(opensmile.FeatureSet, ours.feature_set), level)
"""

_WINDOWS = """
frames = plain(opensmile.FeatureLevel.LowLevelDescriptors).process_signal(signal, rate)
windows = ours.windows(signal, rate, 2.0, 0.5)
names = plain(opensmile.FeatureLevel.Functionals).feature_names
print(json.dumps([list(frames.columns), frames.to_numpy().tolist(), windows.tolist(), names]))
"""

# Windows of 2 s begin at 1, 2, …, 9 s. A frame reaches 0.05 s beyond the window.
_ALONE = """
alone = [signal[j * rate : int((j + 2.05) * rate)] for j in range(1, 10)]
descriptors = plain(opensmile.FeatureLevel.LowLevelDescriptors)
within = descriptors.process_signal(signal, rate).to_numpy()
differ = np.zeros((9, 194, within.shape[1]), bool)
for j, sound in enumerate(alone, 1):
  own = descriptors.process_signal(sound, rate).to_numpy()[2:196]
  there = within[100 * j + 2 : 100 * j + 196]
  differ[j - 1] = np.abs(own - there) > 1e-4 * np.maximum(1, np.abs(there))
functionals = plain(opensmile.FeatureLevel.Functionals)
of_alone = np.nan_to_num(np.stack([functionals.process_signal(sound, rate).to_numpy()[0] for sound in alone]))
of_windows = ours.windows(signal, rate, 2.0, 1.0)[1:10]
counts = dict(zip(descriptors.feature_names, differ.sum(axis=(0, 1)).tolist()))
print(json.dumps([counts, of_alone.tolist(), of_windows.tolist()]))
"""

# 5 s are 125 steps; the recording ends 250 samples before the end of the last one, with two samples of silence.
_WHOLE = """
import types
from data_prep.schema.grid import Grid
count = rate * seconds - 250
samples = np.rint(signal[:count] * 32768).astype(np.int16)
samples[-2:] = 0
stored = np.zeros(rate * seconds, np.int16)
stored[:count] = samples
fields = {'audio': stored.reshape(-1, 640), 'audio_gain': 1.0, 'valid': np.ones(len(stored) // 640)}
fields |= {'audio_mean': np.float32(samples.mean()), 'audio_std': np.float32(samples.std())}
found = ours.extract(fields, types.SimpleNamespace(grid=Grid()), {})
functionals = plain(opensmile.FeatureLevel.Functionals)
of = lambda sound: functionals.process_signal((sound / 32768).astype(np.float32), rate).to_numpy()[0].tolist()
print(json.dumps([found[[0, 77, -1]].tolist(), list(found.shape), of(samples), of(stored)]))
"""

# What openSMILE computes of sound before the window, too: these differ throughout a window, not at its edges alone.
_REMEMBER = ('jitter', 'shimmer', 'logHNR', 'audSpec_Rfilt', 'audspecRasta')


def apart(script, name, seconds):
  """What a script prints, run on so many seconds of a voice."""
  command = [sys.executable, '-c', _SOUND + script, name, str(seconds)]
  done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope='module')
def egemaps():
  descriptors, frames, windows, names = apart(_WINDOWS, 'egemaps', 5)
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


@pytest.mark.slow
def test_windows_of_compare_are_functionals_of_the_frames_that_begin_in_them():
  descriptors, frames, windows, names = apart(_WINDOWS, 'compare', 5)
  frames, windows = np.array(frames), np.array(windows)
  assert windows.shape == (6, 6373)
  places = {name: k for k, name in enumerate(names)}
  # Of the pitch and what follows it voiced frames alone count, and these have their own test above.
  whole = [d for d in descriptors if not d.startswith(('F0', 'voicing', 'jitter', 'shimmer', 'logHNR'))]
  assert len(whole) == 65 - 6
  for j, values in enumerate(windows):
    within = frames[50 * j : 50 * j + 200][:, [descriptors.index(d) for d in whole]]
    for functional, expected in (
      ('amean', within.mean(axis=0)),
      ('stddev', within.std(axis=0)),
      ('range', within.max(axis=0) - within.min(axis=0)),
    ):
      found = [values[places[f'{d}_{functional}']] for d in whole if f'{d}_{functional}' in places]
      of = [e for d, e in zip(whole, expected, strict=True) if f'{d}_{functional}' in places]
      assert len(found) == len(whole)
      np.testing.assert_allclose(found, of, rtol=1e-4, atol=1e-4, err_msg=functional)


@pytest.mark.slow
@pytest.mark.parametrize('name, equal, near', [('egemaps', 23, 0.9), ('compare', 34, 0.7)])
def test_a_window_alone_differs_at_its_edges_and_in_what_remembers(name, equal, near):
  counts, alone, windows = apart(_ALONE, name, 12)
  differing = [descriptor for descriptor, count in counts.items() if count]
  # From the third frame to the last but four, the others are those of the window's sound alone to 1e-4.
  assert all(descriptor.startswith(_REMEMBER) for descriptor in differing), differing
  assert len(counts) - sum(descriptor.startswith(_REMEMBER) for descriptor in counts) == equal
  assert differing  # or the docs would promise too little
  alone, windows = np.array(alone), np.array(windows)
  assert alone.shape == windows.shape and len(windows) == 9
  scale = np.maximum(np.abs(alone), windows.std(axis=0) + 1e-6)
  assert np.mean(np.abs(alone - windows) <= 0.05 * scale) > near
  assert np.mean(np.abs(alone[:-1] - windows[1:]) <= 0.05 * scale[:-1]) < 0.3  # a window too late would show
  exact = np.abs(alone - windows) <= 1e-4 * np.maximum(1, np.abs(alone))
  assert not exact.all(axis=0).all()


@pytest.mark.parametrize(
  'name, size', [('egemaps_whole', 88), pytest.param('compare_whole', 6373, marks=pytest.mark.slow)]
)
def test_functionals_of_the_whole_are_those_of_opensmile_on_the_samples(name, size):
  found, shape, expected, padded = apart(_WHOLE, name, 5)
  assert shape == [125, size] and found[0] == found[1] == found[2]
  np.testing.assert_allclose(found[0], np.nan_to_num(expected, posinf=0, neginf=0), rtol=1e-6, atol=1e-6)
  assert not np.allclose(found[0], np.nan_to_num(padded), rtol=1e-6, atol=1e-6)  # silence behind the end is heard


def test_a_recording_ends_where_its_statistics_say():
  sound = np.array([300, -200, 100, 0, 0], np.int16)  # of which two samples are silent
  of = lambda count, **statistics: acoustic.recorded(
    {
      'audio': np.concatenate([sound, np.zeros(3, np.int16)]).reshape(2, 4),
      'audio_gain': 1.0,
      'audio_mean': np.float32(sound[:count].mean()),
      'audio_std': np.float32(sound[:count].std()),
      **statistics,
    }
  )
  for count in (3, 4, 5):
    np.testing.assert_array_equal(of(count), sound[:count] / np.float32(32768))
  assert len(of(3, audio_std=1e4)) == 3 and len(of(3, audio_mean=0, audio_std=0)) == 8  # of other sound: nothing is cut


def test_the_window_of_a_step_is_the_newest_that_has_ended():
  grid = Grid()  # steps of 40 ms
  # Window j of 0.1 s begins at 0.06 j and ends, with what frames reach beyond it, 0.01 s later than 0.06 j + 0.1.
  # Ends of steps: .04 .08 .12 .16 .20 .24; ends of windows: .11 .17 .23 .29.
  found = base.window_of_step(6, grid, 0.1, 0.06, 4, beyond=0.01)
  np.testing.assert_array_equal(found, [0, 0, 0, 0, 1, 2])
  np.testing.assert_array_equal(base.window_of_step(6, grid, 0.1, 0.06, 2, beyond=0.01), [0, 0, 0, 0, 1, 1])


def test_the_waveform_is_as_loud_as_it_was_recorded():
  fields = {'audio': np.array([[16384, -32768, 32767], [100, 0, 1]], np.int16), 'audio_gain': 2.0}
  np.testing.assert_array_equal(
    acoustic.waveform(fields), np.array([0.25, -0.5, 32767 / 65536, 100 / 65536, 0, 1 / 65536], np.float32)
  )
  loud = {'audio': np.array([[32767]], np.int16), 'audio_gain': 0.5}
  assert acoustic.waveform(loud) == np.float32(1 - 1 / 32768)
