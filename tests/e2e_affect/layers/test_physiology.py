"""The physiology network against its description in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from e2e_affect.layers import physiology

BATCH, STEPS, SAMPLES, FILTERS, TAPS, LONG_TAPS, FEATURES = 2, 12, 4, 3, 5, 7, 6


@pytest.fixture(scope='module')
def made():
  """Network, parameters and a batch; of the second sequence the ECG is absent, then the EDA, then both."""
  rng = np.random.default_rng(1)
  network = physiology.PhysiologyNetwork(FILTERS, TAPS, LONG_TAPS, FEATURES)
  found = np.ones((BATCH, STEPS, 2), np.float32)
  found[1, 2:4, 0] = found[1, 5:7, 1] = found[1, 9:11] = 0
  ecg = rng.normal(size=(BATCH, STEPS, SAMPLES)) * found[:, :, :1]
  eda = rng.normal(size=(BATCH, STEPS, 2)) * found[:, :, 1:]
  shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), ecg, eda, found))['params']
  params = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape) / np.sqrt(p.size / p.shape[-1])), shapes)
  return network, params, ecg, eda, found


def convolution(x, kernel, bias):
  """[N, I] and [taps, I, O] -> [N, O], SAME of an odd number of taps."""
  padded = np.pad(x, ((len(kernel) // 2, len(kernel) // 2), (0, 0)))
  return np.stack([np.einsum('ki,kio->o', padded[i : i + len(kernel)], kernel) for i in range(len(x))]) + bias


def test_network_equals_its_description_in_float64(made):
  network, params, ecg, eda, found = made
  ours = network.apply({'params': params}, ecg, eda, found)
  assert ours.shape == (BATCH, STEPS, FEATURES)
  p = jax.tree.map(lambda w: np.asarray(w, np.float64), params)
  for b in range(BATCH):
    x = convolution(ecg[b].reshape(-1, 1), p['conv']['kernel'], p['conv']['bias'])  # [48, F]
    x = np.maximum(x.reshape(STEPS, SAMPLES, FILTERS).max(axis=1), 0) * found[b, :, :1]  # [12, F]
    x = np.concatenate([x, eda[b], found[b]], axis=1)  # [12, F + 2 + 2]
    x = np.maximum(convolution(x, p['long_conv']['kernel'], p['long_conv']['bias']), 0)
    np.testing.assert_allclose(ours[b], x * found[b].any(axis=1, keepdims=True), atol=5e-6)


def test_steps_without_a_sensor_have_no_features_and_those_with_one_have(made):
  network, params, ecg, eda, found = made
  ours = network.apply({'params': params}, ecg, eda, found)
  assert not ours[1, 9:11].any() and all(ours[1, step].any() for step in (2, 3, 5, 6, 8, 11))


def test_dropout_is_of_the_features_alone(made):
  network, params, ecg, eda, found = made
  ours = network.apply({'params': params}, ecg, eda, found)
  keys = jax.random.split(jax.random.key(3), BATCH)
  dropped = network.apply({'params': params}, ecg, eda, found, train=True, keys=keys)
  kept = dropped != 0
  np.testing.assert_allclose(dropped[kept], 2 * ours[kept], rtol=1e-5)
  assert 0.3 < kept.sum() / (ours != 0).sum() < 0.7


def test_other_shapes_are_refused(made):
  network, params, ecg, eda, found = made
  with pytest.raises(ValueError, match=r'physiology: .* expected, got \(2, 12, 4\), \(2, 12, 2\) and \(2, 12, 1\)'):
    network.apply({'params': params}, ecg, eda, found[:, :, :1])
