"""The speech network against its description in NumPy float64, and its dropout."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from e2e_affect.layers import speech
from e2e_affect.layers.dropout import dropout


@pytest.mark.parametrize('rate', [1e-6, 0.001, 1 / 3, 0.1, 0.5, 0.9, 0.999, 0.9999])
def test_dropout_drops_the_share_that_it_is_given_and_keeps_the_mean(rate):
  shape, count = (3, 1000, 501), 1000 * 501
  kept = np.asarray(dropout(jnp.ones(shape), jax.random.split(jax.random.key(2), 3), rate))
  for of_sequence in kept:
    deviation = (count * rate * (1 - rate)) ** 0.5  # of the binomial
    assert abs((of_sequence == 0).sum() - count * rate) < 4 * deviation + 1
  np.testing.assert_allclose(kept[kept != 0], 1 / (1 - rate), rtol=1e-5)
  assert (kept[0] != kept[1]).any() or rate < 0.001


def test_dropout_at_the_ends_of_its_range_is_never_a_scale_alone():
  x, keys = jnp.ones((2, 70, 30)), jax.random.split(jax.random.key(3), 2)
  np.testing.assert_array_equal(dropout(x, keys, 0.0), x)
  np.testing.assert_array_equal(dropout(x, keys, 1e-12), x)
  assert not dropout(x, keys, 1 - 1e-12).any()


def test_dropout_of_a_half_is_drawn_by_single_bytes():
  """Ten times as fast as others; the published networks were trained with these very numbers."""
  x, keys = jax.random.normal(jax.random.key(4), (2, 9, 7)), jax.random.split(jax.random.key(5), 2)
  bits = np.stack([jax.random.bits(key, (9, 7), jnp.uint8) for key in keys])
  np.testing.assert_array_equal(dropout(x, keys, 0.5), np.where(bits >= 128, 2 * x, 0))


@pytest.mark.slow
def test_network_equals_its_description_in_float64():
  rng = np.random.default_rng(1)
  batch, steps, filters, taps, long_taps, group = 2, 3, 6, 9, 50, 3
  network = speech.SpeechNetwork(filters, taps=taps, long_taps=long_taps, pool_channels=group)
  audio, valid = rng.normal(size=(batch, steps, 640)), np.array([[1, 1, 1], [1, 1, 0]])
  params = network.init(jax.random.key(0), audio, valid)['params']
  params = jax.tree.map(
    lambda p: jnp.asarray(rng.normal(size=p.shape) / np.sqrt(p.size / p.shape[-1]), jnp.float32), params
  )
  ours = jax.jit(network.apply)({'params': params}, audio, valid)

  def convolution(x, kernel, bias):
    """[N, I] and [taps, I, O] -> [N, O], SAME: the smaller half of the padding comes first."""
    padded = np.pad(x, (((len(kernel) - 1) // 2, len(kernel) // 2), (0, 0)))
    return np.stack(
      [
        sum(np.correlate(padded[:, i], kernel[:, i, o]) for i in range(x.shape[1])) + bias[o]
        for o in range(kernel.shape[2])
      ],
      axis=1,
    )

  p = jax.tree.map(lambda w: np.asarray(w, np.float64), params)
  for b in range(batch):
    x = np.maximum(convolution(audio[b].reshape(-1, 1), p['conv']['kernel'], p['conv']['bias']), 0)  # [1920, F]
    x = x.reshape(-1, 2, filters).max(1) * np.repeat(valid[b], 320)[:, None]
    x = np.maximum(convolution(x, p['long_conv_kernel'], p['long_conv_bias']), 0)  # [960, F]
    expected = x.reshape(-1, filters // group, group).max(2).reshape(steps, -1)  # [3, 320 · F / 3]
    np.testing.assert_allclose(ours[b], expected, atol=5e-6)
