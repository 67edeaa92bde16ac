"""The simulated heart and skin, looked at by SciPy's peaks and by correlation."""

import numpy as np
import pytest
from scipy import ndimage, signal

from data_prep.corpora import avec2016, recola
from data_prep.physiology import signal_files
from data_prep.simulate import corpus, physiology, processes

SECONDS = 96
PEOPLE = ('P25', 'P15', 'P16', 'P18', 'P21', 'P23')
STEPS = np.arange(SECONDS * 25) / 25


def heart_rate(ecg):
  """Beats a minute every 40 ms, of a second's mean."""
  band = signal.sosfiltfilt(signal.butter(3, [5, 25], 'bandpass', fs=1000, output='sos'), ecg)
  peaks = signal.find_peaks(band, height=0.5 * np.percentile(band, 99.5), distance=300)[0] / 1000
  return ndimage.gaussian_filter1d(np.interp(STEPS, peaks[1:], 60 / np.diff(peaks)), 25), 60 * len(peaks) / SECONDS


def delayed_correlation(trace, latents, target, seconds):
  return np.corrcoef(trace, latents.at(target, STEPS - seconds))[0, 1]


def test_heart_and_skin_follow_arousal_seconds_later_and_not_valence():
  told = {'arousal': [], 'valence': []}
  for name in PEOPLE:
    body, latents = corpus.body(name, SECONDS, 0), corpus.latents(name, SECONDS, 0)
    rate, mean = heart_rate(body.ecg)
    assert 50 < mean < 110 and 40 < rate.min() and rate.max() < 130
    assert 0 < body.eda.min() < body.eda.max() < 40
    eda = body.eda.reshape(-1, 40).mean(axis=1)
    for target, of in told.items():
      of.append([[delayed_correlation(x, latents, target, lag) for lag in (-2, 2)] for x in (rate, eda)])
  (heart_before, heart_after), (skin_before, skin_after) = np.mean(told['arousal'], axis=0)
  # .78 and .32, .64 and .41: moods last for seconds, so that what comes is known a little.
  assert heart_after > 0.65 and heart_after > heart_before + 0.3
  assert skin_after > 0.5 and skin_after > skin_before + 0.1
  assert np.abs(np.mean(told['valence'], axis=0)).max() < 0.25


def test_beats_are_those_of_the_rate():
  """Of a latent that is flat, the heart keeps to its own rate but for breathing and wandering."""
  latents = corpus.latents('P25', SECONDS, 0)
  rates = []
  for seed in range(3):
    rng = processes.generator(seed, 'P25', 6)
    ecg = physiology.measure(rng, latents, SECONDS).ecg
    rates.append(heart_rate(ecg)[1])
    assert np.abs(ecg).max() < 3 and ecg.std() > 0.05  # millivolts
  assert np.ptp(rates) > 2  # other people


def test_the_file_is_that_of_recola(tmp_path):
  body = corpus.body('P25', 4, 5)
  physiology.write(tmp_path / 'P25.csv', body)
  lines = (tmp_path / 'P25.csv').read_text().splitlines()
  assert lines[0] == 'time;EDA;ECG ' and lines[1].startswith('0.000;') and lines[-1].startswith('3.999;')
  found = signal_files.read(tmp_path / 'P25.csv')
  np.testing.assert_allclose(found['ecg'].values, body.ecg, atol=5.1e-5)
  np.testing.assert_allclose(found['eda'].values, body.eda, atol=5.1e-5)
  physiology.write(tmp_path / 'P53.csv', body, has_ecg=False)
  assert list(signal_files.read(tmp_path / 'P53.csv')) == ['eda']


@pytest.mark.slow
def test_the_same_people_in_the_folders_of_avec_2016(tmp_path):
  corpus.simulate(tmp_path / 'avec', 5, 4, 5, 2, 'avec2016')
  found = avec2016.read(tmp_path / 'avec')
  assert [r.recording for r in found.recordings] == ['dev_1', 'test_1', 'train_1', 'train_2', 'train_3']
  assert all(r.sensors and r.labels for r in found.recordings) and found.streams[-1] == 'physiology'
  # The first of AVEC's people to train on is P16, who is in RECOLA, too.
  ours, theirs = (corpus.files(tmp_path / 'avec', 'P16', 'avec2016'), tmp_path / 'recola')
  assert ours['sensors'].name == 'train_1.csv'
  corpus._make(theirs, 'P16', 4, 5)
  for kind, path in corpus.files(theirs, 'P16').items():
    assert kind not in ours or ours[kind].read_bytes() == path.read_bytes()
  assert recola.read(theirs, split={'train': ('P16',)}).streams[-1] == 'physiology'
