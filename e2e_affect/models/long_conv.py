"""Convolution with long filters, by blocks of FFTs (overlap-save).

The paper's second speech layer has 40 × 40 filters of 4000 taps. Done directly on a 6 s sequence that is
614 GFLOP forward; by blocks of FFTs and a product over channels per frequency it is about 1.3 GFLOP.
"""

import jax
from jax import lax
import jax.numpy as jnp

# Up to this many sequences: about this FFT length over filter length. Measured on a CPU (benchmarks/long_conv.py):
# longer blocks do less work on the signal, but the transform of the kernel, which the batch shares, costs more.
_BLOCK_PER_TAP = ((3, 2.0), (float('inf'), 3.0))
# How many frequencies are multiplied at once, so that a CPU finds them in its caches; elsewhere all.
_FREQUENCIES_AT_ONCE = {'cpu': 64}


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

  signal = jnp.pad(x.astype(jnp.float32), ((0, 0), (left, (blocks + 1) * hop - left - length), (0, 0)))
  signal = signal.reshape(batch, blocks + 1, hop, c_in)
  # A block ends with what the next one begins with: [B, blocks, block, C_in]
  frames = jnp.concatenate([signal[:, :-1], signal[:, 1:, :taps - 1]], axis=2)
  y = _correlate(jnp.moveaxis(frames, 3, 1), kernel.astype(jnp.float32))  # [B, C_out, blocks, hop]
  y = jnp.moveaxis(y.reshape(batch, c_out, blocks * hop)[:, :, :length], 2, 1)
  return y.astype(x.dtype)


@jax.custom_vjp
def _correlate(frames, kernel):
  """[B, C_in, blocks, block] and [taps, C_in, C_out] -> [B, C_out, blocks, hop]; blocks keep to themselves.

  The derivative (reverse mode alone) needs no transforms but the two made here and plain ones of its own; autodiff
  would scale every frequency besides.
  """
  return _correlate_forward(frames, kernel)[0]


def _correlate_forward(frames, kernel):
  batch, _, blocks, block = frames.shape
  taps, _, c_out = kernel.shape
  rows = batch * blocks
  spectrum = _by_rows(jnp.fft.rfft(frames))  # [F, rows, C_in]
  response = jnp.transpose(jnp.fft.rfft(jnp.moveaxis(kernel, 0, 2), block), (2, 0, 1))  # [F, C_in, C_out]

  def multiply(spectrum, response):
    # Correlation, not convolution: the conjugate of the response takes the place of the flip.
    parts = _product('fri,fio->fro', _parts(spectrum, 1), _parts(response, 2))
    real, imag = parts[:, :rows], parts[:, rows:]
    return (lax.complex(real[..., :c_out] + imag[..., c_out:], imag[..., :c_out] - real[..., c_out:]),)

  product, = _over_frequencies(multiply, [(rows, c_out)], spectrum, response)
  product = jnp.transpose(product.reshape(-1, batch, blocks, c_out), (1, 3, 2, 0))
  return jnp.fft.irfft(product, block)[..., :block - taps + 1], (spectrum, response, kernel)


def _correlate_backward(residuals, gradient):
  spectrum, response, kernel = residuals
  batch, _, blocks, hop = gradient.shape
  taps, c_in, c_out = kernel.shape
  rows, block = batch * blocks, hop + taps - 1

  def multiply(spectrum, response, gradient):
    # Of the frames, response · gradient; of the kernel, spectrum · conj(gradient), summed over the rows.
    turned = lax.complex(-gradient.imag, gradient.real)
    gradient = jnp.concatenate([_parts(gradient, 1), _parts(turned, 1)], axis=2)  # [f, 2 · rows, 2 · C_out]
    d_frames = _product('fio,fro->fir', _parts(response, 2), gradient)
    d_kernel = _product('fri,fro->fio', _parts(spectrum, 1), gradient)
    return (lax.complex(d_frames[..., :rows], d_frames[..., rows:]),
            lax.complex(d_kernel[..., :c_out], d_kernel[..., c_out:]))

  d_frames, d_kernel = _over_frequencies(multiply, [(c_in, rows), (c_in, c_out)], spectrum, response,
                                         _by_rows(jnp.fft.rfft(gradient, block)))
  d_frames = jnp.transpose(d_frames.reshape(-1, c_in, batch, blocks), (2, 1, 3, 0))
  d_kernel = jnp.fft.irfft(jnp.transpose(d_kernel, (1, 2, 0)), block)[..., :taps]
  return jnp.fft.irfft(d_frames, block), jnp.moveaxis(d_kernel, 2, 0)


_correlate.defvjp(_correlate_forward, _correlate_backward)


def _by_rows(spectra):
  """[B, C, blocks, F] -> [F, B · blocks, C]."""
  batch, channels, blocks, frequencies = spectra.shape
  return jnp.transpose(spectra, (3, 0, 2, 1)).reshape(frequencies, batch * blocks, channels)


def _parts(x, axis):
  """Real part, then imaginary part: products of real matrices are several times as fast as of complex ones."""
  return jnp.concatenate([x.real, x.imag], axis)


def _product(spec, a, b):
  """In float32 also where matrices would be multiplied in less."""
  return jnp.einsum(spec, a, b, precision=lax.Precision.HIGHEST)


def _over_frequencies(multiply, shapes, *arrays):
  """The complex arrays [F, *shape] that `multiply` makes of some frequencies of `arrays` [F, …] at a time."""
  frequencies = arrays[0].shape[0]
  count = at_once(frequencies)

  def some(number, results):
    start = jnp.minimum(number * count, frequencies - count)  # the last ones overlap, and come out twice
    parts = multiply(*(lax.dynamic_slice_in_dim(a, start, count) for a in arrays))
    return tuple(lax.dynamic_update_slice_in_dim(r, part, start, 0) for r, part in zip(results, parts))

  zeros = tuple(jnp.zeros((frequencies, *shape), jnp.complex64) for shape in shapes)
  return lax.fori_loop(0, -(-frequencies // count), some, zeros)


def block_table(batch: int, length: int, taps: int) -> tuple[int, int]:
  """How many blocks a sequence is cut into, and their length, a number 2^a 3^b 5^c."""
  per_tap = next(ratio for most, ratio in _BLOCK_PER_TAP if batch <= most)
  hop = min(max(int(per_tap * taps), taps) - taps + 1, length)
  blocks = -(-length // hop)
  # No longer than they need be: the last one is as full as the others. Nor so short that one reaches past the next.
  block = max(-(-length // blocks), taps - 1) + taps - 1
  while not _is_5_smooth(block):
    block += 1
  return -(-length // (block - taps + 1)), block


def at_once(frequencies: int) -> int:
  """How many frequencies of so many are multiplied at a time, on this backend."""
  return min(_FREQUENCIES_AT_ONCE.get(jax.default_backend(), frequencies), frequencies)


def _is_5_smooth(n: int) -> bool:
  for prime in (2, 3, 5):
    while n % prime == 0:
      n //= prime
  return n == 1
