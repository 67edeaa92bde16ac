"""Convolution with long filters, by blocks of FFTs (overlap-save).

The paper's second speech layer has 40 × 40 filters of 4000 taps. Done directly on a 6 s sequence that is
614 GFLOP forward; by blocks of FFTs and a product over channels per frequency it is about 1.3 GFLOP.
"""

import jax
import jax.numpy as jnp

# Up to this many sequences: about this FFT length over filter length. Measured on a CPU (benchmarks/long_conv.py):
# longer blocks do less work on the signal, but the transform of the kernel, which the batch shares, costs more.
_BLOCK_PER_TAP = ((7, 2.5), (float('inf'), 4.0))


def long_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """Convolves along time as `jax.lax.conv_general_dilated(..., padding='SAME')` does: no kernel flip.

  Args:
    x: [B, N, C_in], any float type.
    kernel: [taps, C_in, C_out]; taps may be odd or even and longer than N.

  Returns:
    [B, N, C_out] in the type of `x`; transforms and products are float32, because FFTs of half-precision
    numbers do not exist and their sums over thousands of taps would not be accurate.

  Raises:
    ValueError: ranks or channel counts do not fit.
  """
  if x.ndim != 3 or kernel.ndim != 3 or x.shape[2] != kernel.shape[1]:
    raise ValueError(f'long_conv: x [B, N, C_in] and kernel [taps, C_in, C_out] expected, '
                     f'got {x.shape} and {kernel.shape}')
  batch, length, c_in = x.shape
  taps, _, c_out = kernel.shape
  blocks, block = block_table(batch, length, taps)
  hop = block - taps + 1  # outputs per block that no wrap-around touches
  left = (taps - 1) // 2  # SAME: the smaller half comes first

  # Autodiff of what follows keeps both transforms for the derivative, and sums the kernel's gradient over blocks and
  # batch before the one transform back: nothing is left for a derivative of our own to save.
  signal = jnp.pad(x.astype(jnp.float32), ((0, 0), (left, (blocks + 1) * hop - left - length), (0, 0)))
  signal = signal.reshape(batch, blocks + 1, hop, c_in)
  # A block ends with what the next one begins with: [B, blocks, block, C_in]
  frames = jnp.concatenate([signal[:, :-1], signal[:, 1:, :taps - 1]], axis=2)
  spectrum = jnp.fft.rfft(jnp.moveaxis(frames, 3, 1))  # [B, C_in, blocks, F]
  # Correlation, not convolution: the conjugate takes the place of the flip.
  response = jnp.conj(jnp.fft.rfft(jnp.moveaxis(kernel.astype(jnp.float32), 0, 2), block))  # [C_in, C_out, F]
  product = jnp.einsum('bimf,iof->bomf', spectrum, response)
  y = jnp.fft.irfft(product, block)[..., :hop]  # [B, C_out, blocks, hop]
  y = jnp.moveaxis(y.reshape(batch, c_out, blocks * hop)[:, :, :length], 2, 1)
  return y.astype(x.dtype)


def block_table(batch: int, length: int, taps: int) -> tuple[int, int]:
  """How many blocks a sequence is cut into, and their length, a number 2^a 3^b 5^c."""
  per_tap = next(ratio for most, ratio in _BLOCK_PER_TAP if batch <= most)
  hop = min(max(int(per_tap * taps), taps) - taps + 1, length)
  blocks = -(-length // hop)
  # No longer than they need be: the last one is as full as the others. Nor so short that one reaches past the next.
  block = max(-(-length // blocks), taps - 1) + taps - 1
  while not _is_5_smooth(block):
    block += 1
  return blocks, block


def _is_5_smooth(n: int) -> bool:
  for prime in (2, 3, 5):
    while n % prime == 0:
      n //= prime
  return n == 1
