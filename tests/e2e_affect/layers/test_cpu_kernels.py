"""Pooling and convolution as they run on a CPU, and as they run elsewhere, against the backend's and TensorFlow's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from e2e_affect.layers import cpu_kernels
from e2e_affect.layers.resnet import Conv
from tests.gradients import value_and_gradients


@pytest.fixture(params=[True, False], ids=['ours', 'the backend'])
def served(request, monkeypatch):
  monkeypatch.setattr(cpu_kernels, 'serve', lambda: request.param)


@pytest.mark.parametrize('height, width', [(8, 6), (7, 5), (2, 4), (1, 3)])
@pytest.mark.parametrize('stem_pool_padding', ['SAME', 'SYMMETRIC'])
def test_max_pool_equals_the_backends(served, height, width, stem_pool_padding):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, height, width, 3)).astype(np.float32)
  before = height % 2 if stem_pool_padding == 'SAME' else 1
  padding = 'SAME' if stem_pool_padding == 'SAME' else [(0, 0), (1, 1), (1, 1), (0, 0)]
  theirs = lambda x: jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding)
  ours = lambda x: cpu_kernels.max_pool(x, before)
  expected = theirs(x)
  np.testing.assert_array_equal(ours(x), expected)
  weight = rng.normal(size=expected.shape).astype(np.float32)
  # Up to nine windows share a pixel: their sum has another order.
  np.testing.assert_allclose(
    value_and_gradients(ours, weight, x)[1][0], value_and_gradients(theirs, weight, x)[1][0], atol=1e-6
  )


@pytest.mark.parametrize('size', [9, 12])
def test_max_pool_equals_tensorflow(served, size):
  tf = pytest.importorskip('tensorflow')
  x = np.random.default_rng(1).normal(size=(2, size, size, 3)).astype(np.float32)
  np.testing.assert_array_equal(cpu_kernels.max_pool(x, size % 2), tf.nn.max_pool2d(x, 3, 2, 'SAME').numpy())


@pytest.mark.parametrize('padding', ['SYMMETRIC', 'SAME'])
@pytest.mark.parametrize(
  'size, height, width, strides',
  [
    (3, 1, 1, 1),
    (3, 2, 2, 1),
    (3, 1, 2, 1),
    (3, 2, 1, 1),
    (3, 3, 4, 1),
    (3, 7, 3, 1),
    (3, 1, 4, 1),
    (3, 5, 1, 1),
    (3, 6, 9, 3),
    (3, 2, 2, 2),
    (3, 6, 5, 2),
    (1, 5, 7, 1),
    (1, 5, 7, 2),
    (7, 9, 8, 2),
    (7, 8, 9, 2),
    (5, 10, 11, 3),
  ],
)
def test_conv_equals_the_backends(served, size, height, width, strides, padding):
  rng = np.random.default_rng(2)
  x = rng.normal(size=(3, height, width, 4)).astype(np.float32)
  kernel = rng.normal(size=(size, size, 4, 5)).astype(np.float32)
  ours = lambda x, k: Conv(5, size, strides, padding=padding).apply({'params': {'kernel': k}}, x)
  pixels = 'SAME' if padding == 'SAME' else 2 * ((size // 2, size // 2),)
  theirs = lambda x, k: jax.lax.conv_general_dilated(
    x, k, (strides, strides), pixels, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  expected = theirs(x, kernel)
  np.testing.assert_allclose(ours(x, kernel), expected, atol=1e-5)
  weight = rng.normal(size=expected.shape).astype(np.float32)
  for a, b in zip(value_and_gradients(ours, weight, x, kernel)[1], value_and_gradients(theirs, weight, x, kernel)[1]):
    np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize(
  'form, height, width',
  [(cpu_kernels.winograd_conv, *size) for size in ((6, 4), (5, 8), (3, 3), (1, 2))]
  + [(cpu_kernels.map_of_three_conv, 3, 3)],
)
def test_winograds_forms_equal_the_backends(form, height, width):
  rng = np.random.default_rng(6)
  x = rng.normal(size=(2, height, width, 7)).astype(np.float32)
  kernel = rng.normal(size=(3, 3, 7, 5)).astype(np.float32)
  theirs = lambda x, k: jax.lax.conv_general_dilated(
    x, k, (1, 1), ((1, 1), (1, 1)), dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  weight = rng.normal(size=(2, height, width, 5)).astype(np.float32)
  np.testing.assert_allclose(form(x, kernel), theirs(x, kernel), atol=2e-5)
  for a, b in zip(
    value_and_gradients(form, weight, x, kernel)[1],
    value_and_gradients(theirs, weight, x, kernel)[1],
  ):
    np.testing.assert_allclose(a, b, atol=5e-5)


@pytest.mark.skipif(jax.default_backend() != 'cpu', reason='accelerators keep to the backend')
@pytest.mark.parametrize(
  'size, channels, strides, dtype, products',
  [
    (4, 64, 1, 'float32', 16),
    (3, 64, 1, 'float32', 25),
    (4, 64, 2, 'float32', 0),
    (5, 32, 1, 'float32', 0),
    (4, 32, 1, 'float32', 6),
    (2, 64, 1, 'bfloat16', 6),
    (4, 32, 1, 'bfloat16', 0),
    (3, 64, 1, 'bfloat16', 0),
  ],
)
def test_forms_that_serve_the_sizes_they_are_for(size, channels, strides, dtype, products):
  conv = Conv(3, 3, strides, jnp.dtype(dtype))
  apply = lambda: conv.init_with_output(jax.random.key(0), jnp.ones((1, size, size, channels)))[0]
  assert str(jax.make_jaxpr(apply)()).count('dot_general') == products


@pytest.mark.parametrize('axis', [1, 2, 3])
def test_largest_equals_the_plain_maximum(served, axis):
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
  weight = rng.normal(size=x.max(axis).shape).astype(np.float32)
  both = lambda f: jax.value_and_grad(lambda x: (weight * f(x)).sum())(x)
  ours, theirs = both(lambda x: cpu_kernels.largest(x, axis)), both(lambda x: x.max(axis))
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_first_of_equal_maxima_has_the_gradient(served):
  x = jnp.array([[1.0, 3.0, 3.0, 2.0], [0.0, 0.0, 0.0, 0.0]])
  for axis, turned in ((1, x), (0, x.T)):
    gradient = jax.grad(lambda x: (cpu_kernels.largest(x, axis) * jnp.array([5.0, 7.0])).sum())(turned)
    np.testing.assert_array_equal(jnp.moveaxis(gradient, axis, 1), [[0, 5, 0, 0], [7, 0, 0, 0]])
