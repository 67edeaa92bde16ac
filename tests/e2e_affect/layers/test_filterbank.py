"""The speech network that begins as a spectrogram, against SciPy and its description in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from e2e_affect.layers import filterbank

S = 640
HOP, WINDOW, BINS = 160, 480, 240


def network(**kwargs):
  return filterbank.FilterbankSpeechNetwork(filters=8, channels=6, **kwargs)


def variables_of(audio, valid):
  """The network's start, with statistics of batch normalisation that are not 0 and 1."""
  variables = network().init(jax.random.key(0), audio, valid)
  rng = np.random.default_rng(4)
  moved = lambda path, x: jnp.asarray(x + rng.uniform(0.1, 0.5, x.shape), jnp.float32)
  return variables | {'batch_stats': jax.tree_util.tree_map_with_path(moved, variables['batch_stats'])}


def test_it_begins_as_the_power_of_short_windows():
  """SciPy's spectrogram of the same windows; its bin 0 is the mean, which we leave out."""
  rng = np.random.default_rng(1)
  sound = rng.normal(size=4 * S)
  kernel = np.asarray(filterbank._fourier(HOP)(None, (3, HOP, 2 * BINS)), np.float64).reshape(WINDOW, -1)
  padded = np.pad(sound, HOP)
  windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]  # the frame is the middle third
  amplitudes = windows @ kernel * (4 / WINDOW)
  power = amplitudes[:, :BINS] ** 2 + amplitudes[:, BINS:] ** 2
  hann = np.sin(np.pi * (np.arange(WINDOW) + 0.5) / WINDOW) ** 2
  _, _, expected = scipy.signal.spectrogram(
    padded, nperseg=WINDOW, noverlap=WINDOW - HOP, window=hann, detrend=False, scaling='spectrum', mode='magnitude'
  )
  # 'spectrum' divides by the window's sum, half of its length: twice that is the amplitude of a sine.
  np.testing.assert_allclose(power, (2 * expected[1:].T) ** 2, atol=1e-6 * power.max())


def test_a_sine_of_full_scale_has_power_1_in_its_band():
  time = np.arange(4 * S) / 16000
  mel = filterbank.mel_filterbank(BINS, 40)
  centre = int(mel[:, 20].argmax())
  hertz = 16000 * (centre + 1) / WINDOW
  kernel = np.asarray(filterbank._fourier(HOP)(None, (3, HOP, 2 * BINS))).reshape(WINDOW, -1)
  amplitudes = np.sin(2 * np.pi * hertz * time[:WINDOW]) @ kernel * (4 / WINDOW)
  power = amplitudes[:BINS] ** 2 + amplitudes[BINS:] ** 2
  np.testing.assert_allclose(power[centre], 1, atol=1e-3)


def test_mel_bands_are_triangles_that_sum_to_one_between_the_outer_centres():
  mel = filterbank.mel_filterbank(2400, 40).astype(np.float64)
  hertz = 8000 * np.arange(1, 2401) / 2400
  edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 42) / 2595) - 1)
  inner = (hertz > edges[1]) & (hertz < edges[-2])
  # Straight on the mel scale, both sides of a neighbourhood add up to 1.
  np.testing.assert_allclose(mel[inner].sum(axis=1), 1, atol=1e-5)
  centres = hertz[mel.argmax(axis=0)]
  np.testing.assert_allclose(centres, edges[1:-1], atol=8000 / 2400)


@pytest.mark.slow
def test_network_equals_its_description_in_float64():
  rng = np.random.default_rng(2)
  steps = 5
  audio = rng.normal(size=(2, steps, S)).astype(np.float32) * 0.1
  valid = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]], np.float32)
  audio *= valid[:, :, None]
  variables = variables_of(audio, valid)
  ours = network().apply(variables, audio, valid)
  params, stats = (jax.tree.map(lambda x: np.asarray(x, np.float64), variables[k]) for k in ('params', 'batch_stats'))

  def normalised(x, name):
    mean, var = stats[name]['mean'], stats[name]['var']
    return (x - mean) / np.sqrt(var + 1e-5) * params[name]['scale'] + params[name]['bias']

  for b in range(2):
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(audio[b].reshape(-1).astype(np.float64), HOP), WINDOW)
    amplitudes = windows[::HOP] @ params['fourier']['kernel'].reshape(WINDOW, -1) * (4 / WINDOW)
    power = amplitudes[:, :BINS] ** 2 + amplitudes[:, BINS:] ** 2
    x = normalised(np.log(power @ np.maximum(params['mel'], 0) + 1e-7), 'mel_norm')
    x *= np.repeat(valid[b], 4)[:, None]
    for layer, pool in enumerate((2, 2, 1, 1)):
      padded = np.pad(x, ((2, 2), (0, 0)))
      kernel = params[f'conv_{layer}']['kernel']  # [5, I, O]
      x = sum(padded[k : k + len(x)] @ kernel[k] for k in range(5))
      x = np.maximum(normalised(x, f'conv_{layer}_norm'), 0)
      x = x.reshape(-1, pool, x.shape[1]).max(axis=1)
      x *= np.repeat(valid[b], len(x) // steps)[:, None]
    np.testing.assert_allclose(ours[b], x, atol=2e-5)


@pytest.mark.slow
def test_a_step_depends_on_the_sound_within_its_reach_and_on_no_other():
  reach, steps = filterbank.reach(S), 15
  assert reach == 23 * HOP
  rng = np.random.default_rng(3)
  audio, valid = rng.normal(size=(1, steps, S)).astype(np.float32), np.ones((1, steps), np.float32)
  variables, step = network().init(jax.random.key(0), audio, valid), 7
  of = jax.jit(lambda audio: network().apply(variables, audio, valid)[0, step])
  first, end = step * S - reach, (step + 1) * S + reach
  for far, near in ((first - 1, first), (end, end - 1)):
    changed = [audio.reshape(-1).copy() for _ in range(2)]
    changed[0][far] += 1e7  # under the end of the window
    changed[1][near] += 1e7  # under the end of the window
    outside, inside = (of(x.reshape(audio.shape)) for x in changed)
    np.testing.assert_array_equal(outside, of(audio))
    assert (inside != of(audio)).any()


def test_bands_are_taken_away_side_by_side_and_up_to_the_most():
  keys = jax.random.split(jax.random.key(5), 400)
  left = np.asarray(filterbank._bands_left(keys, 40, 9))
  widths = (left == 0).sum(axis=1)
  assert set(widths) == set(range(10))
  assert (np.abs(np.diff(left, axis=1)).sum(axis=1) <= 2).all()
  assert (left == 0).any(axis=0).all()
