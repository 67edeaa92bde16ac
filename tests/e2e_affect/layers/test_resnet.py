"""The ResNet's own forms of pooling and of convolution against the backend's and TensorFlow's."""

import re

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from e2e_affect.layers import resnet


def value_and_gradients(f, weight, *args):
  """Value and gradients of sum(weight · f(*args))."""
  return jax.jit(jax.value_and_grad(lambda *a: (weight * f(*a)).sum(), argnums=tuple(range(len(args)))))(*args)


@pytest.mark.parametrize('height, width', [(8, 6), (7, 5), (2, 4), (1, 3)])
@pytest.mark.parametrize('stem_pool_padding', ['SAME', 'SYMMETRIC'])
def test_max_pool_equals_the_backends(height, width, stem_pool_padding):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, height, width, 3)).astype(np.float32)
  before = height % 2 if stem_pool_padding == 'SAME' else 1
  padding = 'SAME' if stem_pool_padding == 'SAME' else [(0, 0), (1, 1), (1, 1), (0, 0)]
  theirs = lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding)
  ours = lambda x: resnet.max_pool(x, before)
  expected = theirs(x)
  np.testing.assert_array_equal(ours(x), expected)
  weight = rng.normal(size=expected.shape).astype(np.float32)
  # Up to nine windows share a pixel: their sum has another order.
  np.testing.assert_allclose(
    value_and_gradients(ours, weight, x)[1][0], value_and_gradients(theirs, weight, x)[1][0], atol=1e-6
  )


@pytest.mark.parametrize('size', [9, 12])
def test_max_pool_equals_tensorflow(size):
  tf = pytest.importorskip('tensorflow')
  x = np.random.default_rng(1).normal(size=(2, size, size, 3)).astype(np.float32)
  np.testing.assert_array_equal(resnet.max_pool(x, size % 2), tf.nn.max_pool2d(x, 3, 2, 'SAME').numpy())


@pytest.mark.parametrize(
  'size, height, width, strides',
  [
    (3, 1, 1, 1),
    (3, 2, 2, 1),
    (3, 1, 2, 1),
    (3, 2, 1, 1),
    (3, 3, 4, 1),
    (3, 2, 2, 2),
    (3, 6, 5, 2),
    (1, 5, 7, 1),
    (1, 5, 7, 2),
    (7, 9, 8, 2),
  ],
)
def test_conv_equals_the_backends(size, height, width, strides):
  rng = np.random.default_rng(2)
  x = rng.normal(size=(3, height, width, 4)).astype(np.float32)
  kernel = rng.normal(size=(size, size, 4, 5)).astype(np.float32)
  ours = lambda x, k: resnet.Conv(5, size, strides).apply({'params': {'kernel': k}}, x)
  padding = 2 * ((size // 2, size // 2),)
  theirs = lambda x, k: jax.lax.conv_general_dilated(
    x, k, (strides, strides), padding, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  expected = theirs(x, kernel)
  np.testing.assert_allclose(ours(x, kernel), expected, atol=1e-5)
  weight = rng.normal(size=expected.shape).astype(np.float32)
  for a, b in zip(value_and_gradients(ours, weight, x, kernel)[1], value_and_gradients(theirs, weight, x, kernel)[1]):
    np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize('height, width', [(6, 4), (5, 8), (3, 3), (1, 2)])
def test_winograd_equals_the_backends(height, width):
  rng = np.random.default_rng(6)
  x = rng.normal(size=(2, height, width, 7)).astype(np.float32)
  kernel = rng.normal(size=(3, 3, 7, 5)).astype(np.float32)
  theirs = lambda x, k: jax.lax.conv_general_dilated(
    x, k, (1, 1), ((1, 1), (1, 1)), dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  weight = rng.normal(size=(2, height, width, 5)).astype(np.float32)
  np.testing.assert_allclose(resnet.winograd_conv(x, kernel), theirs(x, kernel), atol=2e-5)
  for a, b in zip(
    value_and_gradients(resnet.winograd_conv, weight, x, kernel)[1], value_and_gradients(theirs, weight, x, kernel)[1]
  ):
    np.testing.assert_allclose(a, b, atol=5e-5)


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='accelerators keep to the backend')
@pytest.mark.parametrize(
  'channels, strides, dtype, products',
  [(64, 1, 'float32', 16), (64, 2, 'float32', 0), (32, 1, 'float32', 0), (64, 1, 'bfloat16', 0)],
)
def test_winograd_serves_wide_float32_layers(channels, strides, dtype, products):
  conv = resnet.Conv(3, 3, strides, jnp.dtype(dtype))
  apply = lambda: conv.init_with_output(jax.random.key(0), jnp.ones((1, 4, 4, channels)))[0]
  assert str(jax.make_jaxpr(apply)()).count('dot_general') == products


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
      norm = resnet.MaskedBatchNorm(frozen=frozen, epsilon=1e-3, name='norm')
      return norm(x, jnp.zeros(2), train, resnet.Conv(6, 3, name='conv'))

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
  found = resnet.MaskedBatchNorm(frozen=frozen).apply(variables, y, jnp.zeros(2), train)
  np.testing.assert_allclose(found, (y - mean) / np.sqrt(var + 1e-5) * scale + bias, atol=2e-5)
  # Gain and mean never meet the activations: they see the convolution and one addition.
  traced = str(jax.make_jaxpr(ours)(*args))
  assert not re.search(r'f32\[2,5,4,6\] = (mul|sub|div)', traced), traced


def test_a_fresh_units_branch_has_a_quarter_of_its_shortcuts_deviation():
  unit = resnet.Bottleneck(4, 1, '1x1', resnet.MaskedBatchNorm, jnp.float32)
  x = jax.random.normal(jax.random.key(1), (20, 8, 8, 3))
  _, after = unit.init_with_output(jax.random.key(0), 100 * x, jnp.ones(20), True, capture_intermediates=True)
  deviation = {
    name: np.std(seen['__call__'][0], (0, 1, 2))
    for name, seen in after['intermediates'].items()
    if name in ('norm3', 'shortcut_norm')
  }
  np.testing.assert_allclose(deviation['norm3'], 0.25, rtol=0.01)
  np.testing.assert_allclose(deviation['shortcut_norm'], 1, rtol=0.01)


@pytest.mark.parametrize('devices', [1, 3])
def test_batch_norm_equals_float64_with_ragged_masks(devices):
  rng = np.random.default_rng(5)
  x = (2 * rng.normal(size=(3, 4, 2, 3, 5)) + 7).astype(np.float32)
  mask = np.array([[1, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]], np.float32)  # the second device has nothing to see
  weight = rng.normal(size=x.shape).astype(np.float32) * mask[..., None, None, None]
  params = {'scale': rng.uniform(0.5, 2, 5).astype(np.float32), 'bias': rng.normal(size=5).astype(np.float32)}
  before = {'mean': np.zeros(5, np.float32), 'var': np.ones(5, np.float32)}

  def value(params, x, mask, weight):
    norm = resnet.MaskedBatchNorm(axis_name='devices')
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
