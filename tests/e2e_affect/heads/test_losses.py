"""The loss against the float64 metric, finite differences and the closed gradient."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from e2e_affect.heads import losses
from e2e_affect.traces import metrics

B, T, K = 3, 11, 2


@pytest.fixture
def data():
  rng = np.random.default_rng(0)
  prediction = rng.normal(0.3, 0.5, (B, T, K)).astype(np.float32)
  target = (0.6 * prediction + rng.normal(-0.2, 0.4, (B, T, K))).astype(np.float32)
  mask = np.ones((B, T), np.float32)
  mask[1, 7:] = 0
  mask[2, 0] = 0
  return prediction, target, mask


def loss_of(prediction, target, mask, loss=losses.ccc_loss):
  return loss(prediction=prediction, target=target, mask=mask)[0]


def test_equals_the_metric(data):
  prediction, target, mask = data
  keep = mask > 0
  expected = np.mean([1 - metrics.ccc(prediction[keep][:, k], target[keep][:, k]) for k in range(K)])
  np.testing.assert_allclose(loss_of(*data), expected, rtol=1e-6)


def test_mse_equals_numpy(data):
  prediction, target, mask = data
  expected = np.mean((prediction[mask > 0].astype(np.float64) - target[mask > 0]) ** 2)
  np.testing.assert_allclose(loss_of(*data, losses.mse_loss), expected, rtol=1e-6)


def closed_gradient(prediction, target, mask, centre):
  """(2/N)·(2σ_xy(x − μ)/ψ² + (μ_y − y)/ψ) / K in float64; μ is μ_y in truth and μ_x as the paper prints it."""
  gradient = np.zeros(prediction.shape)
  keep = mask > 0
  for k in range(K):
    x, y = prediction[keep][:, k].astype(np.float64), target[keep][:, k].astype(np.float64)
    psi = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    covariance = np.mean((x - x.mean()) * (y - y.mean()))
    mu = {'mu_y': y.mean(), 'mu_x': x.mean()}[centre]
    gradient[keep, k] = 2 / len(x) * (2 * covariance * (x - mu) / psi**2 + (y.mean() - y) / psi) / K
  return gradient


def test_gradient_equals_the_closed_form_and_not_the_papers(data):
  gradient = jax.grad(loss_of)(*data)
  exact = closed_gradient(*data, 'mu_y')
  np.testing.assert_allclose(gradient, exact, atol=1e-6 * np.abs(exact).max())
  # NOTE(paper): equation (4) has μ_x in its first term. The means of this data differ, and so does its result.
  printed = closed_gradient(*data, 'mu_x')
  assert np.abs(printed - exact).max() > 0.05 * np.abs(exact).max()
  # Where the means agree both are the same.
  prediction, target, mask = data
  shifted = target + (prediction[mask > 0].mean(0) - target[mask > 0].mean(0))
  np.testing.assert_allclose(
    closed_gradient(prediction, shifted, mask, 'mu_x'), closed_gradient(prediction, shifted, mask, 'mu_y'), atol=1e-6
  )


def test_gradient_equals_finite_differences(data):
  prediction, target, mask = data

  def value(x):
    keep = mask > 0
    return np.mean([1 - metrics.ccc(x[keep][:, k], target[keep][:, k]) for k in range(K)])

  gradient = np.asarray(jax.grad(loss_of)(*data))
  for index in [(0, 0, 0), (1, 3, 1), (2, 10, 0)]:
    step = np.zeros((B, T, K))
    step[index] = 1e-5
    wide = prediction.astype(np.float64)
    np.testing.assert_allclose(gradient[index], (value(wide + step) - value(wide - step)) / 2e-5, rtol=1e-4)


def test_masked_steps_do_not_matter_even_if_not_finite(data):
  prediction, target, mask = data
  broken = target.copy()
  broken[mask == 0] = np.nan
  value, gradient = jax.value_and_grad(loss_of)(prediction, broken, mask)
  np.testing.assert_array_equal(value, loss_of(*data))
  assert np.isfinite(gradient).all() and (gradient[mask == 0] == 0).all()


def test_a_large_offset_costs_no_digits():
  rng = np.random.default_rng(1)
  x = rng.normal(size=(1, 200, 1))
  y = x + rng.normal(size=x.shape) * 0.1
  expected = 1 - metrics.ccc((x + 1000).astype(np.float32).ravel(), (y + 1000).astype(np.float32).ravel())
  ours = loss_of((x + 1000).astype(np.float32), (y + 1000).astype(np.float32), np.ones((1, 200)))
  np.testing.assert_allclose(ours, expected, atol=1e-5)  # one-pass moments are off by 0.17 here


@pytest.mark.parametrize('devices', [1, 2, 4, 8])
def test_devices_share_one_loss_and_one_gradient(devices):
  """Ragged masks; with 8 devices the last one holds nothing but padding."""
  rng = np.random.default_rng(2)
  prediction, target = rng.normal(size=(2, 16, T, K)).astype(np.float32)
  mask = (np.arange(T) < rng.integers(1, T + 1, (16, 1))).astype(np.float32)
  mask[14:] = 0
  expected_value, expected_gradient = jax.value_and_grad(loss_of)(prediction, target, mask)

  @functools.partial(jax.pmap, axis_name='d', devices=jax.devices()[:devices])
  def shared(prediction, target, mask):
    loss = lambda p: losses.ccc_loss(prediction=p, target=target, mask=mask, axis_name='d')[0]
    value, gradient = jax.value_and_grad(loss)(prediction)
    return value, gradient / devices  # what `pmean` does to the gradient of replicated parameters

  split = lambda x: x.reshape(devices, -1, *x.shape[1:])
  value, gradient = shared(split(prediction), split(target), split(mask))
  np.testing.assert_allclose(value, np.full(devices, expected_value), rtol=1e-5)
  np.testing.assert_allclose(
    np.asarray(gradient).reshape(expected_gradient.shape),
    expected_gradient,
    atol=1e-5 * np.abs(expected_gradient).max(),
  )


def test_a_mean_of_ccc_per_device_is_another_loss():
  rng = np.random.default_rng(3)
  prediction, target = rng.normal(size=(2, 8, T, K)).astype(np.float32) + rng.normal(size=(8, 1, 1))
  whole = loss_of(prediction, target, np.ones((8, T)))
  parts = np.mean([loss_of(prediction[i : i + 1], target[i : i + 1], np.ones((1, T))) for i in range(8)])
  assert abs(whole - parts) > 0.1


def test_the_weight_penalty_is_that_of_convolution_kernels_alone():
  """Half of the squares, as `tf.nn.l2_loss`; slim leaves biases, batch normalisation, LSTM and head out."""
  rng = np.random.default_rng(4)
  draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
  params = {
    'speech': {
      'conv': {'kernel': draw(5, 1, 4), 'bias': draw(4)},
      'long_conv_kernel': draw(6, 4, 3),
      'long_conv_bias': draw(3),
      'conv_1_norm': {'scale': draw(4), 'bias': draw(4)},
    },
    'visual': {'stage1_unit1': {'conv2': {'kernel': draw(3, 3, 2, 7)}, 'norm2': {'scale': draw(7)}}},
    'recurrent': {'lstm_0': {'kernel': draw(9, 8), 'recurrent_kernel': draw(2, 8)}, 'head': {'kernel': draw(2, 2)}},
  }
  kernels = (
    params['speech']['conv']['kernel'],
    params['speech']['long_conv_kernel'],
    params['visual']['stage1_unit1']['conv2']['kernel'],
  )
  expected = sum((np.asarray(kernel, np.float64) ** 2).sum() / 2 for kernel in kernels)
  np.testing.assert_allclose(losses.weight_penalty(params), expected, rtol=1e-6)
  assert losses.weight_penalty({'recurrent': params['recurrent']}) == 0


def test_refuses_shapes_that_differ():
  with pytest.raises(ValueError, match='mask'):
    loss_of(jnp.zeros((2, 3, 4)), jnp.zeros((2, 3, 4)), jnp.zeros((3, 2)))
