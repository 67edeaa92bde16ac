"""The LSTM against Keras's, and against a plain float64 recurrence with peepholes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_prep.core.errors import UserError
from e2e_affect.layers import recurrent

B, T, D, H = 2, 13, 5, 7
TILED = 192  # units for which the loop's products are sums over tiles, on a CPU


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


@pytest.mark.parametrize(
  'peepholes, cell_clip, units', [(False, 0.0, H), (True, 0.0, H), (True, 0.2, H), (True, 0.2, TILED)]
)
def test_layer_equals_the_equations(peepholes, cell_clip, units):
  rng = np.random.default_rng(0)
  x, cell, hidden = rng.normal(size=(B, T, D)), rng.normal(size=(B, units)), rng.normal(size=(B, units))
  layer = recurrent.LSTM(units, peepholes, cell_clip)
  params = layer.init(jax.random.key(0), x, (cell, hidden))['params']
  params = jax.tree.map(lambda w: jnp.asarray(rng.normal(size=w.shape) * 1.3 / units**0.5, jnp.float32), params)
  (cell_after, hidden_after), y = layer.apply({'params': params}, x, (cell, hidden))
  expected = reference(x, params, cell, hidden, cell_clip)
  for ours, theirs in zip((y, cell_after, hidden_after), expected):
    np.testing.assert_allclose(ours, theirs, atol=2e-6)


@pytest.mark.parametrize(
  'peepholes, cell_clip, units', [(False, 0.0, H), (True, 0.0, H), (False, 0.3, H), (True, 0.3, H), (True, 0.3, TILED)]
)
def test_gradient_equals_differences_of_the_equations(peepholes, cell_clip, units):
  """Slopes along a random direction of every argument, by central differences in float64."""
  rng = np.random.default_rng(3)
  spread = 1.3 / units**0.5
  arguments = {
    'x': rng.normal(size=(B, T, D)),
    'cell': rng.normal(size=(B, units)) * 0.1,
    'hidden': rng.normal(size=(B, units)),
    'kernel': rng.normal(size=(D, 4 * units)) * spread,
    'recurrent_kernel': rng.normal(size=(units, 4 * units)) * spread,
    'bias': rng.normal(size=4 * units),
  }
  if peepholes:
    arguments |= {f'peephole_{gate}': rng.normal(size=units) for gate in 'ifo'}
  weights = [rng.normal(size=shape) for shape in ((B, T, units), (B, units), (B, units))]  # of y, cell and hidden

  def ours(a):
    params = {name: value for name, value in a.items() if name not in ('x', 'cell', 'hidden')}
    (cell, hidden), y = recurrent.LSTM(units, peepholes, cell_clip).apply(
      {'params': params}, a['x'], (a['cell'], a['hidden'])
    )
    return sum((w * out).sum() for w, out in zip(weights, (y, cell, hidden)))

  def theirs(a):
    outputs = reference(a['x'], a, a['cell'], a['hidden'], cell_clip)
    return sum((w * out).sum() for w, out in zip(weights, outputs))

  if cell_clip:  # the clip must matter, and not be all there is
    cells = np.concatenate(
      [
        reference(arguments['x'][:, :t], arguments, arguments['cell'], arguments['hidden'], cell_clip)[1]
        for t in range(1, T)
      ]
    )
    assert 0.1 < (np.abs(cells) >= cell_clip).mean() < 0.9
  gradient = jax.jit(jax.grad(ours))({name: jnp.asarray(a, jnp.float32) for name, a in arguments.items()})
  for name, value in arguments.items():
    direction = rng.normal(size=value.shape)
    shifted = [theirs(arguments | {name: value + sign * 1e-6 * direction}) for sign in (1, -1)]
    slope = (shifted[0] - shifted[1]) / 2e-6
    scale = np.linalg.norm(gradient[name]) * np.linalg.norm(direction)  # of which cancellation leaves the slope
    assert abs((gradient[name] * direction).sum() - slope) < 2e-6 * scale, name


def test_gradient_of_half_precision_is_that_of_single_but_for_rounding():
  rng = np.random.default_rng(4)
  x = rng.normal(size=(B, T, D)).astype(np.float32)
  zeros = (jnp.zeros((B, H)), jnp.zeros((B, H)))
  params = recurrent.LSTM(H).init(jax.random.key(4), x, zeros)['params']
  loss = lambda params, dtype: (recurrent.LSTM(H, dtype=dtype).apply({'params': params}, x, zeros)[1] ** 2).sum()
  exact, half = (jax.jit(jax.grad(lambda p: loss(p, dtype)))(params) for dtype in (jnp.float32, jnp.bfloat16))
  for name in params:
    assert half[name].dtype == jnp.float32
    # Eight bits of mantissa, in sums of some dozens.
    assert np.linalg.norm(half[name] - exact[name]) < 0.02 * np.linalg.norm(exact[name])


def test_layer_equals_pytorch_forward_and_backward():
  torch = pytest.importorskip('torch', reason='PyTorch comes with the extra "dev"')
  rng = np.random.default_rng(5)
  x = rng.normal(size=(B, T, D)).astype(np.float32)
  weight = rng.normal(size=(B, T, H)).astype(np.float32)
  zeros = (jnp.zeros((B, H)), jnp.zeros((B, H)))
  params = recurrent.LSTM(H).init(jax.random.key(5), x, zeros)['params']
  loss = lambda params, x: (recurrent.LSTM(H).apply({'params': params}, x, zeros)[1] * weight).sum()
  value, (gradient, d_x) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, x)

  # PyTorch orders the gates i, f, candidate, o, transposes the kernels and adds no forget bias.
  order = lambda w: np.concatenate([np.split(np.asarray(w), 4, -1)[k] for k in (0, 2, 1, 3)], -1)
  layer = torch.nn.LSTM(D, H, batch_first=True)
  with torch.no_grad():
    layer.weight_ih_l0.copy_(torch.tensor(order(params['kernel']).T))
    layer.weight_hh_l0.copy_(torch.tensor(order(params['recurrent_kernel']).T))
    layer.bias_ih_l0.copy_(torch.tensor(order(params['bias'])))
    layer.bias_hh_l0.zero_()[H : 2 * H] = 1.0
  theirs_x = torch.tensor(x, requires_grad=True)
  theirs = (layer(theirs_x)[0] * torch.tensor(weight)).sum()
  theirs.backward()
  np.testing.assert_allclose(value, theirs.item(), rtol=1e-5)
  for ours, other in (
    (d_x, theirs_x.grad),
    (order(gradient['kernel']), layer.weight_ih_l0.grad.T),
    (order(gradient['recurrent_kernel']), layer.weight_hh_l0.grad.T),
    (order(gradient['bias']), layer.bias_ih_l0.grad),
  ):
    np.testing.assert_allclose(ours, other, atol=1e-5 * np.abs(other.numpy()).max())


@pytest.mark.parametrize('units', [H, TILED])
def test_gradient_works_under_vmap_and_remat(units):
  rng = np.random.default_rng(6)
  x = rng.normal(size=(3, B, T, D)).astype(np.float32)
  zeros = (jnp.zeros((B, units)), jnp.zeros((B, units)))
  params = recurrent.LSTM(units).init(jax.random.key(6), x[0], zeros)['params']
  loss = lambda params, x: (recurrent.LSTM(units).apply({'params': params}, x, zeros)[1] ** 2).sum()
  mapped = jax.jit(jax.vmap(jax.grad(jax.checkpoint(loss)), (None, 0)))(params, x)
  plain = jax.jit(jax.grad(loss))
  for k in range(3):
    for name, value in plain(params, x[k]).items():
      np.testing.assert_allclose(mapped[name][k], value, atol=1e-5 * np.abs(value).max())


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='accelerators keep to matrix products')
@pytest.mark.parametrize(
  'rows, dtype, products',
  [(1, 'float32', 2), (2, 'float32', 1), (3, 'float32', 1), (4, 'float32', 2), (2, 'bfloat16', 2)],
)
def test_tiles_serve_two_and_three_rows(rows, dtype, products):  # the product of the inputs is always one
  zeros = jnp.zeros((rows, TILED)), jnp.zeros((rows, TILED))
  layer = recurrent.LSTM(TILED, dtype=jnp.dtype(dtype))
  apply = lambda: layer.init_with_output(jax.random.key(0), jnp.ones((rows, T, D)), zeros)[0]
  assert str(jax.make_jaxpr(apply)()).count('dot_general') == products


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
  bias[H : 2 * H] += 1
  theirs.set_weights([order(params['kernel']), order(params['recurrent_kernel']), bias])
  np.testing.assert_allclose(layer.apply({'params': params}, x, zeros)[1], theirs(x).numpy(), atol=1e-6)


@pytest.mark.slow
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


@pytest.mark.parametrize('scale', [None, 0.2, 1.0, 0.03])
def test_input_kernels_start_in_the_stated_share_of_glorots_range(scale):
  """Section III-D names Glorot: limits of √(6 / (inputs + outputs)), reached to a hundredth by thousands of draws."""
  settings = {} if scale is None else {'input_scale': scale}
  network = recurrent.RecurrentNetwork(3, layers=2, units=60, **settings)
  params = network.init(jax.random.key(0), jnp.zeros((1, 2, 90)))['params']
  for layer, inputs in (('lstm_0', 90), ('lstm_1', 60)):
    limit = (6 / (inputs + 240)) ** 0.5
    np.testing.assert_allclose(np.abs(params[layer]['kernel']).max(), (scale or 0.2) * limit, rtol=0.01)
    np.testing.assert_allclose(np.abs(params[layer]['recurrent_kernel']).max(), (6 / 300) ** 0.5, rtol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize('peepholes, cell_clip', [(False, 0.0), (True, 0.2)])
def test_a_restart_forgets_at_fixed_steps_whatever_the_chunks(peepholes, cell_clip):
  rng = np.random.default_rng(7)
  x = rng.normal(size=(B, T, D)).astype(np.float32)
  plain = recurrent.RecurrentNetwork(3, 2, H, peepholes, cell_clip)
  restarting = recurrent.RecurrentNetwork(3, 2, H, peepholes, cell_clip, restart_steps=4)
  variables = plain.init(jax.random.key(2), x)
  alone, across = jax.jit(plain.apply), jax.jit(restarting.apply)
  expected = np.concatenate([alone(variables, x[:, first : first + 4])[0] for first in range(0, T, 4)], 1)
  assert np.abs(expected - alone(variables, x)[0]).max() > 1e-3
  for ends in ((T,), (3, 4, 9, T), (4, 8, 12, T), tuple(range(1, T + 1))):
    carry, rows, first = recurrent.initial_carry(B, 2, H), [], 0
    for end in ends:
      y, carry = across(variables, x[:, first:end], carry)
      rows.append(y)
      first = end
    np.testing.assert_allclose(np.concatenate(rows, 1), expected, atol=1e-6)


LENGTHS = np.array([13, 9])  # of T: the second sequence has four steps of padding


def bidirectional(layers=2, **settings):
  """A network that reads both ways, its parameters at random, and features [B, T, D]."""
  rng = np.random.default_rng(8)
  x = rng.normal(size=(B, T, D)).astype(np.float32)
  network = recurrent.RecurrentNetwork(3, layers, H, bidirectional=True, **settings)
  params = network.init(jax.random.key(8), x)['params']
  return network, jax.tree.map(lambda w: jnp.asarray(rng.normal(size=w.shape) * 0.5, jnp.float32), params), x


@pytest.mark.slow
@pytest.mark.parametrize('peepholes, cell_clip', [(False, 0.0), (True, 0.2)])
def test_run_backwards_in_time_a_bidirectional_network_equals_itself_mirrored(peepholes, cell_clip):
  network, params, x = bidirectional(peepholes=peepholes, cell_clip=cell_clip)
  mirrored = {
    f'lstm_{layer}{after}': params[f'lstm_{layer}{before}']
    for layer in range(2)
    for before, after in (('', '_backward'), ('_backward', ''))
  }
  # What takes both readings has the rows of the one where those of the other were.
  swap = lambda tree: tree | {'kernel': jnp.roll(tree['kernel'], H, axis=0)}
  mirrored |= {name: swap(mirrored[name]) for name in ('lstm_1', 'lstm_1_backward')} | {'head': swap(params['head'])}
  apply = jax.jit(network.apply)
  y, _ = apply({'params': params}, x, None, LENGTHS)
  turned, _ = apply({'params': mirrored}, recurrent.reverse(x, LENGTHS), None, LENGTHS)
  for row, length in enumerate(LENGTHS):
    np.testing.assert_allclose(turned[row, :length][::-1], y[row, :length], atol=1e-6)
  assert (
    np.abs(np.asarray(apply({'params': params}, recurrent.reverse(x, LENGTHS), None, LENGTHS)[0] - turned)).max() > 0.1
  )


@pytest.mark.slow
def test_what_fills_a_sequence_up_does_not_reach_the_backward_reading():
  network, params, x = bidirectional()
  apply = jax.jit(network.apply)
  y, _ = apply({'params': params}, x, None, LENGTHS)
  filled = x.copy()
  filled[1, 9:] = 50.0
  np.testing.assert_array_equal(apply({'params': params}, filled, None, LENGTHS)[0][1, :9], y[1, :9])
  alone, _ = network.apply({'params': params}, x[1:, :9])
  np.testing.assert_allclose(y[1:, :9], alone, atol=1e-6)
  whole, _ = apply({'params': params}, x)  # the same padding, taken for steps of the recording
  assert np.abs(np.asarray(whole[1, :9] - y[1, :9])).max() > 1e-2


def test_bidirectional_network_equals_pytorch_on_packed_sequences():
  torch = pytest.importorskip('torch', reason='PyTorch comes with the extra "dev"')
  network, params, x = bidirectional()
  order = lambda w: np.concatenate([np.split(np.asarray(w), 4, -1)[k] for k in (0, 2, 1, 3)], -1)
  theirs = torch.nn.LSTM(D, H, num_layers=2, batch_first=True, bidirectional=True)
  with torch.no_grad():
    for layer in range(2):
      for ours, suffix in (('', ''), ('_backward', '_reverse')):
        of = params[f'lstm_{layer}{ours}']
        getattr(theirs, f'weight_ih_l{layer}{suffix}').copy_(torch.tensor(order(of['kernel']).T))
        getattr(theirs, f'weight_hh_l{layer}{suffix}').copy_(torch.tensor(order(of['recurrent_kernel']).T))
        getattr(theirs, f'bias_ih_l{layer}{suffix}').copy_(torch.tensor(order(of['bias'])))
        getattr(theirs, f'bias_hh_l{layer}{suffix}').zero_()[H : 2 * H] = 1.0
    packed = torch.nn.utils.rnn.pack_padded_sequence(torch.tensor(x), torch.tensor(LENGTHS), batch_first=True)
    hidden, _ = torch.nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
  expected = hidden.numpy() @ np.asarray(params['head']['kernel']) + np.asarray(params['head']['bias'])
  y, _ = jax.jit(network.apply)({'params': params}, x, None, LENGTHS)
  for row, length in enumerate(LENGTHS):
    np.testing.assert_allclose(y[row, :length], expected[row, :length], atol=5e-6)


def test_bidirectional_layer_equals_keras():
  keras = pytest.importorskip('keras')
  network, params, x = bidirectional(layers=1)
  order = lambda w: np.concatenate([np.split(np.asarray(w), 4, -1)[k] for k in (0, 2, 1, 3)], -1)

  def weights(of):
    bias = order(of['bias'])
    bias[H : 2 * H] += 1
    return [order(of['kernel']), order(of['recurrent_kernel']), bias]

  theirs = keras.layers.Bidirectional(keras.layers.LSTM(H, return_sequences=True))
  theirs.build(x.shape)
  theirs.set_weights(weights(params['lstm_0']) + weights(params['lstm_0_backward']))
  hidden = theirs(x, mask=np.arange(T) < LENGTHS[:, None]).numpy()
  expected = hidden @ np.asarray(params['head']['kernel']) + np.asarray(params['head']['bias'])
  y, _ = network.apply({'params': params}, x, None, LENGTHS)
  for row, length in enumerate(LENGTHS):
    np.testing.assert_allclose(y[row, :length], expected[row, :length], atol=2e-6)


def test_without_backward_reading_the_tree_is_as_it_was():
  x = jnp.zeros((B, T, D))
  names = lambda **settings: sorted(
    recurrent.RecurrentNetwork(3, 2, H, **settings).init(jax.random.key(0), x)['params']
  )
  assert names() == ['head', 'lstm_0', 'lstm_1']
  assert names(bidirectional=True) == ['head', 'lstm_0', 'lstm_0_backward', 'lstm_1', 'lstm_1_backward']
  with pytest.raises(ValueError, match='restart_steps = 4, expected 0 of a bidirectional'):
    names(bidirectional=True, restart_steps=4)


@pytest.mark.parametrize('settings', [{'bidirectional': True}, {'restart_steps': 4}, {'pool': True}])
def test_repeats_are_of_layers_that_read_on(settings):
  network = recurrent.RecurrentNetwork(3, 2, H, **settings)
  with pytest.raises(ValueError, match='repeats = 2, expected 1'):
    network.init(jax.random.key(0), jnp.zeros((B, T, D)), repeats=2)


@pytest.mark.slow
@pytest.mark.parametrize('layers', [0, 1])
def test_the_mean_of_pooled_outputs_is_the_head_of_mean_and_maximum(layers):
  """In one piece and in chunks, against NumPy in float64."""
  rng = np.random.default_rng(8)
  batch, steps, units = 2, 40, 6
  x = rng.normal(size=(batch, steps, units)).astype(np.float32)
  network = recurrent.RecurrentNetwork(3, layers, units, pool=True)
  variables = network.init(jax.random.key(1), x)
  apply = jax.jit(network.apply)
  whole, _ = apply(variables, x)
  read = x
  if layers:
    read, _ = recurrent.LSTM(units).apply({'params': variables['params']['lstm_0']}, x, initial(batch, units))[::-1]
  read = np.maximum(np.asarray(read, np.float64), 0)
  head = jax.tree.map(lambda w: np.asarray(w, np.float64), variables['params']['head'])
  for end in (1, 7, steps):
    pooled = np.concatenate([read[:, :end].mean(1), read[:, :end].max(1)], axis=1)
    np.testing.assert_allclose(whole[:, :end].mean(1), pooled @ head['kernel'] + head['bias'], atol=1e-5)
  rows, carry = [], None
  for first, end in ((0, 1), (1, 30), (30, 40)):
    of_chunk, carry = apply(variables, x[:, first:end], carry)
    rows.append(of_chunk)
  # An output is the difference of two numbers that grow with the steps.
  np.testing.assert_allclose(np.concatenate(rows, axis=1), whole, atol=1e-4)


def initial(batch, units):
  return recurrent.initial_carry(batch, 1, units).layers[0]


def test_a_pool_of_other_features_than_units_is_an_error_with_the_number_to_set():
  with pytest.raises(UserError, match=r'units = 6, .* is of 5 features; set --config.model.recurrent.units=5'):
    recurrent.RecurrentNetwork(3, 0, 6, pool=True).init(jax.random.key(1), np.zeros((1, 4, 5)))
