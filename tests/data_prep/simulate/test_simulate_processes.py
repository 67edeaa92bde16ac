import numpy as np
import pytest

from data_prep.simulate import processes


def test_streams_are_repeatable_and_independent():
  draw = lambda *key: processes.generator(*key).random()
  assert draw(3, 'P16', 1) == draw(3, 'P16', 1)
  assert len({draw(3, 'P16', 1), draw(4, 'P16', 1), draw(3, 'P17', 1), draw(3, 'P16', 2), draw(3, 'P16', 1, 5)}) == 5


def test_smooth_has_unit_variance_and_its_scale():
  x = processes.smooth(np.random.default_rng(0), 200_000, 7.0)
  assert x.var() == pytest.approx(1, abs=0.05)
  # White noise through a Gaussian of width w has the correlation exp(−lag² / 4w²): 1/e at twice the width.
  assert np.mean(x[:-14] * x[14:]) == pytest.approx(np.exp(-1), abs=0.05)


def test_wander_has_unit_variance_and_its_scale():
  x = processes.wander(np.random.default_rng(0), 200_000, 9.0)
  assert x.var() == pytest.approx(1, abs=0.05)
  assert np.mean(x[:-9] * x[9:]) == pytest.approx(np.exp(-1), abs=0.05)
  # It starts in the middle of things, not at 0.
  starts = [processes.wander(np.random.default_rng(seed), 3, 9.0)[0] for seed in range(400)]
  assert np.var(starts) == pytest.approx(1, abs=0.25)


def test_latents_are_controlled_within_each_recording():
  for seed in range(5):
    latents = processes.latents(np.random.default_rng(seed), 31)
    # 4 s before the recording, 31 s of it, both ends included.
    assert latents.time.shape == latents.arousal.shape == latents.valence.shape == ((4 + 31) * 25 + 1,)
    assert latents.time[0] == -4 and latents.time[-1] == 31
    assert 0.25 <= latents.arousal.std() <= 0.31 and 0.25 <= latents.valence.std() <= 0.31
    assert np.corrcoef(latents.arousal, latents.valence)[0, 1] == pytest.approx(0.15)
    assert np.abs(np.diff(latents.arousal)).max() < 0.03  # smooth: a full swing takes seconds


def test_latents_between_steps():
  latents = processes.Latents(np.array([0.0, 1.0, 2.0]), np.array([0.0, 4.0, 0.0]), np.array([1.0, 1.0, 3.0]))
  np.testing.assert_allclose(latents.at('arousal', np.array([0.25, 1.5])), [1.0, 2.0])
  np.testing.assert_allclose(latents.at('valence', np.array([0.25, 1.5])), [1.0, 2.0])


@pytest.mark.parametrize('fidelity', [0.0, 0.4, 1.0])
def test_impression_is_as_faithful_as_it_says(fidelity):
  latent = 0.28 * processes.smooth(np.random.default_rng(1), 900, 60) + 0.1
  shown = processes.impression(np.random.default_rng(2), latent, fidelity)
  # Beside `fidelity` parts of the latent, in units of the usual 0.28, stand sqrt(1 − fidelity²) of something unlike it.
  part = fidelity * latent.std() / 0.28
  expected = part / np.sqrt(part**2 + 1 - fidelity**2)
  assert np.corrcoef(shown, latent)[0, 1] == pytest.approx(expected, abs=1e-9)
