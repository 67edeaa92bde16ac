"""The LSTM against Keras's, and against a plain float64 recurrence with peepholes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from e2e_affect.models import recurrent

B, T, D, H = 2, 13, 5, 7


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def reference(x, params, cell, hidden, cell_clip):
  """One layer in float64 NumPy, written from the equations of TensorFlow's LSTMCell with peepholes."""
  p = {name: np.asarray(value, np.float64) for name, value in params.items()}
  peephole = lambda gate: p.get(f'peephole_{gate}', 0.0)
  outputs = []
  for t in range(x.shape[1]):
    gates = x[:, t] @ p['kernel'] + hidden @ p['recurrent_kernel'] + p['bias']
    i, j, f, o = np.split(gates, 4, axis=1)
    cell = sigmoid(f + 1 + peephole('f') * cell) * cell + sigmoid(i + peephole('i') * cell) * np.tanh(j)
    if cell_clip:
      cell = np.clip(cell, -cell_clip, cell_clip)
    hidden = sigmoid(o + peephole('o') * cell) * np.tanh(cell)
    outputs.append(hidden)
  return np.stack(outputs, 1), cell, hidden


@pytest.mark.parametrize('peepholes, cell_clip', [(False, 0.0), (True, 0.0), (True, 0.2)])
def test_layer_equals_the_equations(peepholes, cell_clip):
  rng = np.random.default_rng(0)
  x, cell, hidden = rng.normal(size=(B, T, D)), rng.normal(size=(B, H)), rng.normal(size=(B, H))
  layer = recurrent.LSTM(H, peepholes, cell_clip)
  params = layer.init(jax.random.key(0), x, (cell, hidden))['params']
  params = jax.tree.map(lambda w: jnp.asarray(rng.normal(size=w.shape) * 0.5, jnp.float32), params)
  (cell_after, hidden_after), y = layer.apply({'params': params}, x, (cell, hidden))
  expected = reference(x, params, cell, hidden, cell_clip)
  for ours, theirs in zip((y, cell_after, hidden_after), expected):
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


def test_layer_equals_keras():
  keras = pytest.importorskip('keras')
  rng = np.random.default_rng(1)
  x = rng.normal(size=(B, T, D)).astype(np.float32)
  layer = recurrent.LSTM(H)
  zeros = (jnp.zeros((B, H)), jnp.zeros((B, H)))
  params = layer.init(jax.random.key(1), x, zeros)['params']
  theirs = keras.layers.LSTM(H, return_sequences=True)
  theirs.build(x.shape)
  # Keras orders the gates i, f, candidate, o and keeps the forget bias of 1 in the bias itself.
  order = lambda w: np.concatenate([np.split(np.asarray(w), 4, -1)[k] for k in (0, 2, 1, 3)], -1)
  bias = order(params['bias'])
  bias[H:2 * H] += 1
  theirs.set_weights([order(params['kernel']), order(params['recurrent_kernel']), bias])
  np.testing.assert_allclose(layer.apply({'params': params}, x, zeros)[1], theirs(x).numpy(), atol=1e-6)


def test_state_goes_on_over_chunks():
  rng = np.random.default_rng(2)
  x = rng.normal(size=(B, T, D)).astype(np.float32)
  network = recurrent.RecurrentNetwork(3, layers=2, units=H)
  variables = network.init(jax.random.key(2), x)
  whole, _ = network.apply(variables, x)
  first, carry = network.apply(variables, x[:, :4])
  second, _ = network.apply(variables, x[:, 4:], carry)
  np.testing.assert_allclose(np.concatenate([first, second], 1), whole, atol=1e-6)
  forgetful, _ = network.apply(variables, x[:, 4:])
  assert np.abs(np.asarray(forgetful) - whole[:, 4:]).max() > 1e-3


def test_refuses_a_missing_axis():
  with pytest.raises(ValueError, match=r'\[B, T, D\].*\(4, 5\)'):
    recurrent.RecurrentNetwork(3).init(jax.random.key(0), jnp.zeros((4, 5)))
