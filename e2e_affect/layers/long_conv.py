"""Convolution with long filters, by blocks of Fourier transforms (overlap-save).

The paper's second speech layer has 40 × 40 filters of 4000 taps. Done directly on a 6 s sequence that is 614 GFLOP
forward. Here the transforms are matrix products too, in the two steps of Cooley and Tukey: more operations than an FFT
has, 4 to 10 GFLOP a sequence, but of real numbers, at the rate of matrix products, in the layout that the product over
channels wants. Blocks of FFTs, with their transposes, took a CPU 1.1 to 1.3 times as long.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

# Pairs of numbers, both over the number of taps: for a batch of at most that many samples, blocks of about that length.
# Longer blocks do less work on the signal and more on the kernel, which all blocks share. Measured on a CPU for 12, 24,
# 48, 96 and 300 times as many samples as taps (benchmarks/long_conv.py).
_BLOCK_PER_TAP = ((16, 2.0), (64, 2.5), (float('inf'), 3.0))
# Samples of a row of a block, at most. Both steps of a transform cost the same where a row has the square root of half
# a block, which is 63 to 77, and 80 divides the paper's lengths.
_COLUMNS = 80


def long_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Convolves along time as `jax.lax.conv_general_dilated(..., padding='SAME')` does: no kernel flip.

  Autodiff transforms nothing twice: the kernel's gradient is summed over the blocks before it is transformed back.

  Args:
    x: [B, N, C_in], any float type.
    kernel: [taps, C_in, C_out]; taps may be odd or even and longer than N.

  Returns:
    [B, N, C_out] in the type of `x`; transforms and products are float32, because sums over thousands of taps would
    not be accurate in less.

  Raises:
    ValueError: ranks or channel counts do not fit.
  """
  if x.ndim != 3 or kernel.ndim != 3 or x.shape[2] != kernel.shape[1]:
    raise ValueError(
      f'long_conv: x [B, N, C_in] and kernel [taps, C_in, C_out] expected, got {x.shape} and {kernel.shape}'
    )
  batch, length, c_in = x.shape
  taps, _, c_out = kernel.shape
  blocks, hop, tail, columns = block_table(batch, length, taps)
  left = (taps - 1) // 2  # SAME: the smaller half comes first
  rows = batch * blocks

  signal = jnp.pad(x.astype(jnp.float32), ((0, 0), (left, (blocks + 1) * hop * columns - left - length), (0, 0)))
  signal = jnp.transpose(signal.reshape(batch, blocks + 1, hop, columns, c_in), (2, 3, 0, 1, 4))
  # A block ends with what the next one begins with: [hop + tail, columns, B, blocks, C_in]
  frames = jnp.concatenate([signal[:, :, :, :-1], signal[:tail, :, :, 1:]])
  filters = jnp.pad(kernel.astype(jnp.float32), ((0, -taps % columns), (0, 0), (0, 0)))
  filters = filters.reshape(-1, columns, c_in, c_out)

  spectrum = _transform(frames, hop + tail).reshape(-1, 2, rows, c_in)  # [F, real and imaginary, rows, C_in]
  response = _transform(filters, hop + tail).reshape(-1, 2 * c_in, c_out)
  # Correlation, not convolution: the conjugate of the response takes the place of the flip. The spectrum twice, because
  # the response twice would have to be transposed, there and back.
  real, imag = spectrum[:, 0], spectrum[:, 1]
  parts = jnp.concatenate([jnp.concatenate([real, imag], 2), jnp.concatenate([imag, -real], 2)], 1)
  product = _product('frc,fco->fro', parts, response)  # [F, 2 · rows, C_out]
  y = _inverse(product.reshape(-1, 2 * columns, rows * c_out), hop, hop + tail)
  y = jnp.transpose(y.reshape(hop, columns, batch, blocks, c_out), (2, 3, 0, 1, 4))
  return y.reshape(batch, -1, c_out)[:, :length].astype(x.dtype)


def _transform(x, count):
  """[a, columns, …], those of `count` rows that are not zero -> frequencies [count // 2 + 1, columns · 2, all of …].

  Time runs along rows, then down; of each frequency real, then imaginary part; see `_matrices` for their order.
  """
  columns = x.shape[1]
  first, second, _ = _matrices(count, columns)
  halfway = _product('fa,ak->fk', first[:, : x.shape[0]], x.reshape(x.shape[0], -1))
  return _product('fgh,fhk->fgk', second, halfway.reshape(len(second), 2 * columns, -1))


def _inverse(x, wanted, count):
  """Inverse of `_transform`, of which the first rows are wanted: [count // 2 + 1, columns · 2, k] -> [wanted, …]."""
  _, second, last = _matrices(count, x.shape[1] // 2)
  halfway = _product('fgh,fgk->fhk', second, x).reshape(len(last), -1)
  return _product('fa,fk->ak', last[:, :wanted], halfway)


@functools.lru_cache(maxsize=8)  # the same arrays for all calls: JAX puts each into a program once
def _matrices(count, columns):
  """The two steps of a transform of n = count · columns real numbers at times t = columns · a + b.

  Frequency u + count · v is Σ_b w^((u + count · v) · b) Σ_a w^(columns · u · a) x[t], w = exp(−2πi / n). The
  frequencies with 2u > count are conjugates of others.

  Returns:
    first: [(u, real and imaginary), a].
    second: [u, (v, real and imaginary), (real and imaginary, b)].
    last: [(u, real and imaginary), a], the inverse's: `first` times 1 / n, twice that where a conjugate is left out.
  """
  n = count * columns
  turns = lambda numerator: np.exp(-2j * np.pi * (numerator % n) / n)
  u, v, b = np.arange(count // 2 + 1), np.arange(columns)[:, None], np.arange(columns)
  first = turns(columns * np.outer(u, np.arange(count)))
  second = turns((u[:, None, None] + count * v) * b)
  weights = np.where(2 * u % count == 0, 1, 2) / n
  second = np.stack([np.concatenate([second.real, -second.imag], 2), np.concatenate([second.imag, second.real], 2)], 2)
  second = second.reshape(len(u), 2 * columns, 2 * columns)
  first = np.stack([first.real, first.imag], 1)
  last = first * weights[:, None, None]
  return tuple(a.astype(np.float32) for a in (first.reshape(-1, count), second, last.reshape(-1, count)))


def _product(spec, a, b):
  """In float32 also where matrices would be multiplied in less."""
  return jnp.einsum(spec, a, b, precision=jax.lax.Precision.HIGHEST)


def block_table(batch: int, length: int, taps: int) -> tuple[int, int, int, int]:
  """How a sequence is cut into blocks, each a matrix of samples along rows, then down.

  Returns:
    The number of blocks, the rows from one block to the next, the further rows of a block, the samples of a row.
  """
  columns = min(_COLUMNS, taps)
  tail = -(-(taps - 1) // columns)
  per_tap = next(ratio for most, ratio in _BLOCK_PER_TAP if batch * length <= most * taps)
  # At least the tail, so that no block reaches past the next one; no more than the sequence has; and no longer than
  # they need be: the last block is as full as the others.
  hop = min(max(round((per_tap - 1) * taps / columns), tail, 1), -(-length // columns))
  blocks = -(-length // (hop * columns))
  hop = max(-(-length // (blocks * columns)), tail, 1)
  return -(-length // (hop * columns)), hop, tail, columns
