"""Batch normalisation against its formula in float64."""

import re

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from e2e_affect.layers.batch_norm import MaskedBatchNorm
from e2e_affect.layers.resnet import Conv
from tests.gradients import value_and_gradients


@pytest.mark.parametrize('train, frozen', [(False, False), (True, True)])
def test_running_statistics_scale_the_kernel_and_give_what_normalising_gives(train, frozen):
  rng = np.random.default_rng(7)
  x = rng.normal(size=(2, 5, 4, 3)).astype(np.float32)
  kernel = rng.normal(size=(3, 3, 3, 6)).astype(np.float32)
  scale, bias, mean = rng.normal(size=(3, 6)).astype(np.float32)
  var = rng.uniform(0.1, 4, 6).astype(np.float32)
  weight = rng.normal(size=(2, 5, 4, 6)).astype(np.float32)

  class Folded(nn.Module):
    @nn.compact
    def __call__(self, x):
      norm = MaskedBatchNorm(frozen=frozen, epsilon=1e-3, name='norm')
      return norm(x, jnp.zeros(2), train, Conv(6, 3, name='conv'))

  def ours(kernel, scale, bias, x):
    params = {'conv': {'kernel': kernel}, 'norm': {'scale': scale, 'bias': bias}}
    return Folded().apply({'params': params, 'batch_stats': {'norm': {'mean': mean, 'var': var}}}, x)

  def theirs(kernel, scale, bias, x):
    y = jax.lax.conv_general_dilated(x, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC'))
    return (y - mean) / jnp.sqrt(var + 1e-3) * scale + bias

  args = kernel, scale, bias, x
  np.testing.assert_allclose(ours(*args), theirs(*args), atol=2e-5)
  for a, b in zip(value_and_gradients(ours, weight, *args)[1], value_and_gradients(theirs, weight, *args)[1]):
    np.testing.assert_allclose(a, b, atol=2e-4)
  variables = {'params': {'scale': scale, 'bias': bias}, 'batch_stats': {'mean': mean, 'var': var}}
  y = 5 * rng.normal(size=(2, 4, 3, 6)).astype(np.float32)  # the result of a convolution of someone else's
  found = MaskedBatchNorm(frozen=frozen).apply(variables, y, jnp.zeros(2), train)
  np.testing.assert_allclose(found, (y - mean) / np.sqrt(var + 1e-5) * scale + bias, atol=2e-5)
  # Gain and mean never meet the activations: they see the convolution and one addition.
  traced = str(jax.make_jaxpr(ours)(*args))
  assert not re.search(r'f32\[2,5,4,6\] = (mul|sub|div)', traced), traced


@pytest.mark.parametrize('devices', [1, 3])
def test_batch_norm_equals_float64_with_ragged_masks(devices):
  rng = np.random.default_rng(5)
  x = (2 * rng.normal(size=(3, 4, 2, 3, 5)) + 7).astype(np.float32)
  mask = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], np.float32)  # the second device has nothing to see
  weight = rng.normal(size=x.shape).astype(np.float32) * mask[..., None, None, None]
  params = {'scale': rng.uniform(0.5, 2, 5).astype(np.float32), 'bias': rng.normal(size=5).astype(np.float32)}
  before = {'mean': np.zeros(5, np.float32), 'var': np.ones(5, np.float32)}

  def value(params, x, mask, weight):
    norm = MaskedBatchNorm(axis_name='devices')
    y, after = norm.apply({'params': params, 'batch_stats': before}, x, mask, True, mutable=['batch_stats'])
    return (y * weight).sum(), (y, after['batch_stats'])

  shard = lambda a: a.reshape(devices, -1, *a.shape[2:])
  gradients = jax.pmap(jax.grad(value, argnums=(0, 1), has_aux=True), 'devices', in_axes=(None, 0, 0, 0))
  (d_params, d_x), (y, after) = gradients(params, shard(x), shard(mask), shard(weight))

  seen = mask.astype(bool)
  rows = lambda a: np.asarray(a, np.float64)[seen].reshape(-1, 5)
  mean, var = rows(x).mean(0), rows(x).var(0)
  normalised, g = (rows(x) - mean) / np.sqrt(var + 1e-5), rows(weight) * params['scale']
  expected = (g - g.mean(0) - normalised * (g * normalised).mean(0)) / np.sqrt(var + 1e-5)
  np.testing.assert_allclose(rows(y.reshape(x.shape)), normalised * params['scale'] + params['bias'], atol=1e-5)
  np.testing.assert_allclose(rows(d_x.reshape(x.shape)), expected, atol=1e-5)
  assert not np.any(d_x.reshape(x.shape)[~seen])
  np.testing.assert_allclose(d_params['scale'].sum(0), (rows(weight) * normalised).sum(0), atol=1e-4)
  np.testing.assert_allclose(after['mean'][0], 0.1 * mean, rtol=1e-5)
  np.testing.assert_allclose(after['var'][0], 0.9 + 0.1 * var, rtol=1e-5)
