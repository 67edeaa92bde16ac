"""The blocked convolution against the direct one and against float64 FFTs of SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from e2e_affect.layers import long_conv as module
from e2e_affect.layers.long_conv import block_table, long_conv


def direct(x, kernel):
  return jax.lax.conv_general_dilated(x, kernel, (1,), 'SAME', dimension_numbers=('NWC', 'WIO', 'NWC'))


def make(batch, length, taps, c_in, c_out, seed=0):
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(batch, length, c_in)).astype(np.float32)
  kernel = rng.normal(size=(taps, c_in, c_out)).astype(np.float32) / np.sqrt(taps * c_in)
  return x, kernel


@pytest.mark.parametrize('batch', [2, pytest.param(5, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
  'length, taps',
  [(51, 8), *(pytest.param(*of, marks=pytest.mark.slow) for of in ((50, 7), (333, 20), (64, 1), (5, 12), (997, 100)))],
)
def test_equals_direct_convolution_forward_and_backward(batch, length, taps):
  x, kernel = make(batch, length, taps, 3, 4)
  weight = np.random.default_rng(1).normal(size=(batch, length, 4)).astype(np.float32)
  value = lambda conv: jax.value_and_grad(lambda x, k: (conv(x, k) * weight).sum(), argnums=(0, 1))(x, kernel)
  np.testing.assert_allclose(long_conv(x, kernel), direct(x, kernel), atol=2e-6)
  (_, ours), (_, theirs) = value(long_conv), value(direct)
  for a, b in zip(ours, theirs):
    np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(b).max())


@pytest.mark.slow
@pytest.mark.parametrize(
  'batch, length, taps, columns, count', [(2, 333, 37, 5, 18), (1, 333, 38, 4, 20), (5, 1000, 61, 4, 43)]
)
def test_transforms_of_many_rows_odd_and_even(monkeypatch, batch, length, taps, columns, count):
  monkeypatch.setattr(module, '_COLUMNS', columns)
  assert sum(block_table(batch, length, taps)[1:3]) == count
  test_equals_direct_convolution_forward_and_backward(length, taps, batch)


def test_blocks_are_short_and_hold_all():
  assert block_table(1, 48000, 4000) == (12, 50, 50, 80)  # 12 · 50 · 80 = 48000 outputs
  assert block_table(4, 48000, 4000) == (8, 75, 50, 80)
  assert block_table(25, 48000, 4000) == (6, 100, 50, 80)
  assert block_table(12, 24000, 4000) == (3, 100, 50, 80)
  assert block_table(1, 2400000, 4000) == (300, 100, 50, 80)
  assert block_table(12, 17000, 4000) == (3, 71, 50, 80)  # the last as full as the others
  assert block_table(1, 1, 4000) == (1, 50, 50, 80)  # no shorter than what a block needs of the next
  for batch, length, taps in ((1, 997, 20), (8, 1000, 1), (3, 5, 12), (30, 63, 64), (1, 25, 7), (1, 1, 1)):
    blocks, hop, tail, columns = block_table(batch, length, taps)
    assert blocks * hop * columns >= length > (blocks - 1) * hop * columns
    assert tail * columns >= taps - 1 and hop >= tail


def test_equals_float64_at_the_papers_size():
  x, kernel = make(1, 24000, 4000, 2, 3)
  expected = np.zeros((24000, 3))
  for i in range(2):
    for o in range(3):
      # Correlation: the kernel flipped; SAME pads 1999 before and 2000 after for 4000 taps.
      padded = np.pad(x[0, :, i].astype(np.float64), (1999, 2000))
      expected[:, o] += scipy.signal.fftconvolve(padded, kernel[::-1, i, o].astype(np.float64), 'valid')
  error = np.abs(np.asarray(long_conv(x, kernel))[0] - expected).max() / np.abs(expected).max()
  assert error < 1e-6


def test_bfloat16_input_is_transformed_in_float32():
  x, kernel = make(2, 300, 40, 3, 4)
  half = long_conv(jnp.asarray(x, jnp.bfloat16), kernel)
  assert half.dtype == jnp.bfloat16
  exact = direct(jnp.asarray(x, jnp.bfloat16).astype(jnp.float32), kernel)
  # Only the result is rounded: 8 bits of mantissa.
  np.testing.assert_allclose(half.astype(jnp.float32), exact, rtol=2**-8, atol=1e-6)


@pytest.mark.slow
def test_works_under_vmap_and_remat():
  x, kernel = make(3, 90, 11, 2, 5)
  mapped = jax.vmap(lambda one, k: jax.checkpoint(long_conv)(one[None], k)[0], in_axes=(0, None))
  both = lambda conv: jax.vjp(conv, x, kernel)[1](jnp.cos(x @ np.ones((2, 5), np.float32)))
  np.testing.assert_allclose(mapped(x, kernel), direct(x, kernel), atol=2e-6)
  for ours, theirs in zip(both(mapped), both(direct)):
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_refuses_shapes_that_do_not_fit():
  with pytest.raises(ValueError, match=r'C_in.*\(1, 9, 2\) and \(3, 4, 5\)'):
    long_conv(jnp.zeros((1, 9, 2)), jnp.zeros((3, 4, 5)))
