"""Changes of the sound, against NumPy in float64 and by what can be measured of them."""

import functools

import jax
import ml_collections
import numpy as np
import pytest

from e2e_affect.streams import sound_augmentation

S = 640


at_other_speed = jax.jit(sound_augmentation.at_other_speed, static_argnums=1)


def keys_of(count, seed=0):
  return jax.random.split(jax.random.key(seed), count)


def batch_of(audio, valid_steps):
  count, steps = audio.shape[:2]
  valid = (np.arange(steps) < np.array(valid_steps)[:, None]).astype(np.float32)
  label = np.repeat(np.arange(steps, dtype=np.float32)[None, :, None], count, axis=0)
  mask = valid * (np.arange(steps) != 3)
  return {'audio': (audio * valid[:, :, None]).astype(np.int16), 'valid': valid, 'mask': mask, 'label': label}


def drawn(count, largest, seed=0):
  """The speeds: what the module draws from its keys, in hundredths."""
  within = round(100 * largest)
  return [100 + int(jax.random.randint(key, (), -within, within + 1)) for key in keys_of(count, seed)]


def test_another_speed_is_the_interpolation_of_the_samples_and_moves_labels():
  rng = np.random.default_rng(0)
  count, steps = 8, 10
  batch = batch_of(rng.integers(-20000, 20000, (count, steps, S)), [10] * 5 + [6, 3, 1])
  played = at_other_speed(batch, 0.2, keys_of(count))
  speeds = drawn(count, 0.2)
  assert min(speeds) < 95 and max(speeds) > 105
  for b, speed in enumerate(np.array(speeds) / 100):
    flat = batch['audio'][b].reshape(-1).astype(np.float64)
    at = np.arange(steps * S) * speed
    # Past the last sample it falls to the silence behind it.
    expected = np.interp(at, np.arange(len(flat) + 1), [*flat, 0.0])
    np.testing.assert_allclose(played['audio'][b].reshape(-1), expected, atol=0.02)  # float32 of ±20000
    step = np.arange(steps)
    ends = (step + 1) * speed  # in steps of the recording
    whole = ends <= batch['valid'][b].sum() + 1e-9
    last_begun = np.ceil(ends - 1e-9) <= batch['valid'][b].sum()
    np.testing.assert_array_equal(played['valid'][b], last_begun)
    assert (whole >= last_begun).all()
    middle = np.minimum(np.floor((step + 0.5) * speed + 1e-9), steps - 1).astype(int)
    np.testing.assert_array_equal(played['label'][b, :, 0], middle)
    np.testing.assert_array_equal(played['mask'][b], batch['mask'][b][middle] * last_begun)


def test_a_faster_tone_is_a_higher_one():
  steps = 50
  tone = 10000 * np.sin(2 * np.pi * 440 * np.arange(steps * S) / 16000)
  batch = batch_of(np.stack([tone.reshape(steps, S)] * 4), [steps] * 4)
  played = at_other_speed(batch, 0.1, keys_of(4, seed=1))
  for sound, speed in zip(np.asarray(played['audio']), drawn(4, 0.1, seed=1), strict=True):
    half = sound.reshape(-1)[: steps * S // 2]
    heard = np.abs(np.fft.rfft(half * np.hanning(len(half)), 160000)).argmax() / 10  # Hz
    assert heard == pytest.approx(4.40 * speed, abs=0.2)


def test_long_sequences_are_played_to_the_sample():
  """A float32 of the place would be wrong by samples after ten minutes."""
  steps = 15_000
  ramp = (np.arange(steps * S) % 1000).astype(np.int16).reshape(1, steps, S)
  played = at_other_speed(batch_of(ramp, [steps]), 0.1, keys_of(1, seed=3))
  (speed,) = drawn(1, 0.1, seed=3)
  number = np.arange(9_000_000, 9_000_000 + 2000, dtype=np.int64)
  low, rest = np.divmod(number * speed, 100)
  flat = ramp.reshape(-1).astype(np.float64)
  inside = low + 1 < len(flat)
  expected = flat[low[inside]] * (1 - rest[inside] / 100) + flat[low[inside] + 1] * rest[inside] / 100
  np.testing.assert_allclose(np.asarray(played['audio']).reshape(-1)[number[inside]], expected, atol=1e-3)


def disturbed(audio, valid, keys, **kwargs):
  augment = ml_collections.ConfigDict({'gain': 0.0, 'noise_snr': (), 'time_mask': 0} | kwargs)
  return np.asarray(sound_augmentation.disturbed(audio, valid, augment, keys))


@pytest.fixture(scope='module')
def sound():
  rng = np.random.default_rng(1)
  valid = (np.arange(25) < np.array([25, 20, 25, 8] * 16)[:, None]).astype(np.float32)
  return rng.normal(size=(64, 25, S)).astype(np.float32) * 0.1 * valid[:, :, None], valid


def test_nothing_is_changed_by_default(sound):
  np.testing.assert_array_equal(disturbed(*sound, keys_of(64)), sound[0])


def test_noise_has_the_ratio_that_is_drawn(sound):
  audio, valid = sound
  added = disturbed(audio, valid, keys_of(64), noise_snr=(12, 12)) - audio
  energy = lambda x: (x.astype(np.float64) ** 2).sum(axis=(1, 2))
  # 5,120 samples at least: the estimate of a power from so many is good to √(2 / 5120) = 2 %, four of which 0.34 dB.
  np.testing.assert_allclose(10 * np.log10(energy(audio) / energy(added)), 12, atol=0.35)
  assert not added[valid == 0].any()
  spread = disturbed(audio, valid, keys_of(64), noise_snr=(0, 40)) - audio
  ratios = 10 * np.log10(energy(audio) / energy(spread))
  assert ratios.min() < 5 and ratios.max() > 35 and ((ratios > -0.35) & (ratios < 40.35)).all()


def test_gain_is_drawn_from_both_sides_of_none(sound):
  audio, valid = sound
  louder = disturbed(audio, valid, keys_of(64), gain=6.0)
  ratio = np.linalg.norm(louder, axis=(1, 2)) / np.linalg.norm(audio, axis=(1, 2))
  np.testing.assert_allclose(louder, audio * ratio[:, None, None], atol=1e-6)
  decibels = 20 * np.log10(ratio)
  assert decibels.min() < -4 and decibels.max() > 4 and (np.abs(decibels) <= 6.001).all()


def test_a_gap_lies_in_the_recording_and_is_no_longer_than_asked(sound):
  audio, valid = sound
  cut = disturbed(audio, valid, keys_of(64), time_mask=6)
  silent = (cut == 0).all(axis=2) & (valid > 0)
  widths = silent.sum(axis=1)
  assert set(widths) == set(range(7))
  for row in silent:
    places = np.flatnonzero(row)
    assert not len(places) or np.ptp(places) == len(places) - 1
  np.testing.assert_array_equal(cut[~silent], audio[~silent])


@pytest.mark.slow
def test_a_sequence_gets_the_same_whatever_the_others_of_its_batch(sound):
  """As dropout and faces: one device or eight, the draws are those of the sequence's key."""
  audio, valid = sound
  disturb = functools.partial(disturbed, gain=6.0, noise_snr=(10, 30), time_mask=5)
  whole = disturb(audio, valid, keys_of(64))
  np.testing.assert_allclose(disturb(audio[5:7], valid[5:7], keys_of(64)[5:7]), whole[5:7], atol=1e-6)
