import io

import numpy as np
import pytest

from data_prep.simulate import corpus, processes, raters


def _ramp(seconds):
  """Latents that rise by 0.1 each second from 0 at t = 0, so that a delay shows as a lower value."""
  time = np.arange(-100, seconds * 25 + 1) / 25
  return processes.Latents(time, 0.1 * time, -0.1 * time)


def test_lag_gain_and_bias(monkeypatch):
  monkeypatch.setattr(raters, '_NOISE_STD', 0)
  monkeypatch.setattr(raters, '_LAG_JITTER', 0)
  monkeypatch.setattr(raters, '_RECORDING_BIAS_STD', 0)
  habits = raters.Traits(np.array([0.5, 1, 2, 3, 4, 1]), np.array([1, 1, 1, 1, 1, 1.3]), np.array([0, 0, 0, 0, 0, 0.2]))
  ratings = raters.rate(np.random.default_rng(0), habits, _ramp(7), 'arousal')
  assert ratings.shape == (7 * 25 + 1, 6)
  # At t = 5 s: 0.1 · (5 − lag) · gain + bias.
  np.testing.assert_allclose(ratings[125], [0.45, 0.40, 0.30, 0.20, 0.10, 0.72], atol=1e-9)
  # At t = 0 they rate what was before the recording: −0.1 · lag.
  np.testing.assert_allclose(ratings[0, :5], [-0.05, -0.10, -0.20, -0.30, -0.40], atol=1e-9)


def test_ratings_are_clipped_to_two_decimals():
  habits = raters.traits(np.random.default_rng(3))
  ratings = raters.rate(np.random.default_rng(0), habits, _ramp(30), 'arousal')
  assert ratings.max() == 1
  np.testing.assert_array_equal(ratings, np.round(ratings, 2))
  assert raters.rate(np.random.default_rng(0), habits, _ramp(30), 'valence').min() == -1


def test_traits_are_as_different_as_people():
  habits = raters.traits(np.random.default_rng(0))
  assert min(habits.lag) >= 0.5 and max(habits.lag) <= 4 and np.ptp(habits.lag) > 2
  assert min(habits.gain) == 0.7 and max(habits.gain) == 1.3


@pytest.mark.parametrize('target', ['arousal', 'valence'])
def test_the_mean_of_raters_follows_the_delayed_latent(target):
  for subject in ('P16', 'P45', 'P63'):
    mean = corpus.ratings(subject, 48, 0, target).mean(axis=1)
    time = np.arange(48 * 25 + 1) / 25
    truth = corpus.latents(subject, 48, 0)
    delayed = np.corrcoef(mean, truth.at(target, time - 2.05))[0, 1]
    assert delayed > 0.93
    assert delayed > np.corrcoef(mean, truth.at(target, time))[0, 1] + 0.03  # they do lag


def test_file_has_recolas_quirks():
  file = io.BytesIO()
  raters.write(file, np.array([[0, -0.5, 1, 0.25, -0.0, -1], [0.01] * 6, [0.02] * 6]))
  lines = file.getvalue().decode().split('\n')
  assert lines == [
    'time;FM1 ;FM2 ;FM3 ;FF1 ;FF2 ;FF3',
    '0.00;0.00;-0.50;1.00;0.25;0.00;-1.00',
    '0.04;0.01;0.01;0.01;0.01;0.01;0.01',
    '0.08;0.02;0.02;0.02;0.02;0.02;0.02',
    '',
  ]
