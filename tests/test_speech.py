"""The speech network's pooling against the plain one, and the whole network against its description in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from e2e_affect.models import speech


@pytest.mark.parametrize('axis', [1, 2, 3])
def test_largest_equals_the_plain_maximum(axis):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
  weight = rng.normal(size=x.max(axis).shape).astype(np.float32)
  both = lambda f: jax.value_and_grad(lambda x: (weight * f(x)).sum())(x)
  ours, theirs = both(lambda x: speech.largest(x, axis)), both(lambda x: x.max(axis))
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_first_of_equal_maxima_has_the_gradient():
  x = jnp.array([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
  for axis, x in ((1, x), (0, x.T)):
    gradient = jax.grad(lambda x: (speech.largest(x, axis) * jnp.array([5.0, 7.0])).sum())(x)
    np.testing.assert_array_equal(jnp.moveaxis(gradient, axis, 1), [[0, 5, 0, 0], [7, 0, 0, 0]])


def test_network_equals_its_description_in_float64():
  rng = np.random.default_rng(1)
  batch, steps, filters, taps, long_taps, group = 2, 3, 6, 9, 50, 3
  network = speech.SpeechNetwork(filters, taps, long_taps, group)
  audio, valid = rng.normal(size=(batch, steps, 640)), np.array([[1, 1, 1], [1, 1, 0]])
  params = network.init(jax.random.key(0), audio, valid)['params']
  params = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape) / np.sqrt(p.size / p.shape[-1]), jnp.float32),
                        params)
  ours = jax.jit(network.apply)({'params': params}, audio, valid)

  def convolution(x, kernel, bias):
    """[N, I] and [taps, I, O] -> [N, O], SAME: the smaller half of the padding comes first."""
    padded = np.pad(x, (((len(kernel) - 1) // 2, len(kernel) // 2), (0, 0)))
    return np.stack([sum(np.correlate(padded[:, i], kernel[:, i, o]) for i in range(x.shape[1])) + bias[o]
                     for o in range(kernel.shape[2])], axis=1)

  p = jax.tree.map(lambda w: np.asarray(w, np.float64), params)
  for b in range(batch):
    x = np.maximum(convolution(audio[b].reshape(-1, 1), p['conv']['kernel'], p['conv']['bias']), 0)  # [1920, F]
    x = x.reshape(-1, 2, filters).max(1) * np.repeat(valid[b], 320)[:, None]
    x = np.maximum(convolution(x, p['long_conv_kernel'], p['long_conv_bias']), 0)  # [960, F]
    expected = x.reshape(-1, filters // group, group).max(2).reshape(steps, -1)  # [3, 320 · F / 3]
    np.testing.assert_allclose(ours[b], expected, atol=5e-6)
