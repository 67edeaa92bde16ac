import numpy as np
import pytest

from data_prep.simulate import processes, voice

SECONDS = 24


@pytest.fixture(scope='module')
def swelling():
  """A voice whose arousal goes from −0.6 to 0.6; valence swings evenly."""
  time = np.arange(-100, SECONDS * 25 + 1) / 25
  latents = processes.Latents(time, 0.6 * np.tanh((time - SECONDS / 2) / 2), 0.3 * np.sin(time))
  return voice.speak(np.random.default_rng(0), latents, SECONDS)


def _pitch(samples):
  """Median pitch in Hz by the highest autocorrelation, over the louder frames of 50 ms; 70 to 450 Hz."""
  frames = samples[: len(samples) // 2205 * 2205].reshape(-1, 2205).astype(np.float64)
  power = np.mean(frames**2, axis=1)
  frames = frames[power > np.median(power)]
  correlation = np.fft.irfft(np.abs(np.fft.rfft(frames, 8192, axis=1)) ** 2, axis=1)
  return np.median(44_100 / (98 + correlation[:, 98:630].argmax(axis=1)))


def test_sizes(swelling):
  assert swelling.samples.shape == (SECONDS * 44_100,) and swelling.samples.dtype == np.int16
  assert swelling.opening.shape == (SECONDS * 25,)
  assert swelling.opening.min() >= 0 and 0.5 < swelling.opening.max() <= 1
  assert np.abs(swelling.samples.astype(int)).max() < 32767


def test_turns_hold_the_speech(swelling):
  start, stop = swelling.turns.T
  assert np.all(stop > start) and np.all(start[1:] > stop[:-1]) and stop[-1] <= SECONDS
  time = np.arange(len(swelling.samples)) / 44_100
  speaking = np.any((time[:, None] > start) & (time[:, None] < stop), axis=1)
  # Away from the edges, where the mouth is still closing, only the noise of the room is left.
  near = np.any((time[:, None] > start - 0.06) & (time[:, None] < stop + 0.06), axis=1)
  loud, quiet = (np.std(swelling.samples[mask].astype(float)) for mask in (speaking, ~near))
  assert loud > 20 * quiet > 0
  assert np.all(swelling.opening[~near[::1764][: SECONDS * 25]] < 0.05)


def test_arousal_makes_it_louder_higher_and_faster(swelling):
  half = len(swelling.samples) // 2
  calm, excited = swelling.samples[:half], swelling.samples[half:]
  # 4 dB and a factor exp(0.13) per standard deviation of 0.28; ±0.6 is over 4 deviations apart.
  assert 10 < 20 * np.log10(np.std(excited.astype(float)) / np.std(calm.astype(float))) < 22
  assert 1.3 < _pitch(excited) / _pitch(calm) < 2.2
  openings = np.diff((swelling.opening > 0.2).astype(int)) == 1
  assert openings[len(openings) // 2 :].sum() > 1.2 * openings[: len(openings) // 2].sum()


def test_speakers_differ():
  latents = processes.latents(np.random.default_rng(0), 8)
  pitches = [_pitch(voice.speak(np.random.default_rng(seed), latents, 8).samples) for seed in range(8)]
  assert min(pitches) < 150 and max(pitches) > 170


def test_glottal_flow_returns_to_zero():
  # What opens closes again: the derivative of the flow sums to zero over a cycle, however fast the closing.
  phase = np.linspace(0, 1, 100_000, endpoint=False)
  for closing in (0.08, 0.16, 0.3):
    pulse = voice._glottal_pulses(phase, closing)
    assert pulse.mean() == pytest.approx(0, abs=1e-3)
    # The steepest fall is 0.5 π / closing: a fast closing excites more.
    assert pulse.min() == pytest.approx(-0.5 * np.pi / closing, rel=1e-3)


def test_filter_without_formants_changes_nothing():
  time = np.arange(200) / 200
  source = np.random.default_rng(0).standard_normal(22_050).astype(np.float32)
  far = np.full((200, 4), 1e9)
  out = voice._filter(source, np.zeros_like(source), time, far, np.full(200, 1e12))
  np.testing.assert_allclose(out, source, atol=1e-4)


def test_filter_resonates_where_the_formants_are_when_they_are():
  time = np.arange(400) / 200
  formants = np.full((400, 4), 1e9)
  formants[:, 0] = np.where(time < 1, 600, 1800)
  source = np.random.default_rng(0).standard_normal(2 * 22_050).astype(np.float32)
  out = voice._filter(source, np.zeros_like(source), time, formants, np.full(400, 1e12))
  for part, resonance in ((out[2000:20_000], 600), (out[24_000:42_000], 1800)):
    # Welch: the mean of 17 spectra, bins of 21.5 Hz.
    power = np.mean(np.abs(np.fft.rfft(part[: 17 * 1024].reshape(17, 1024) * np.hanning(1024), axis=1)) ** 2, axis=0)
    assert power.argmax() * 22_050 / 1024 == pytest.approx(resonance, abs=60)
