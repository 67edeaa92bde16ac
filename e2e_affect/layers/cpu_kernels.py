"""Convolution and pooling in forms that are faster on a CPU than the backend's; elsewhere the backend's own run."""

from collections.abc import Iterator
import contextlib
import contextvars
import functools

import jax
import jax.numpy as jnp
import numpy as np

_WINOGRAD_CHANNELS = 64  # fewer do not pay for the sums of Winograd's forms
_SHORT_ROW = 4  # pixels of one, of few channels, up to which products with the zeros of its matrix pay

_PORTABLE = contextvars.ContextVar('portable', default=False)


@contextlib.contextmanager
def portable() -> Iterator[None]:
  """What is traced in the body is for other machines, too: without forms that are for the CPU."""
  token = _PORTABLE.set(True)
  try:
    yield
  finally:
    _PORTABLE.reset(token)


def serve() -> bool:
  """The switch: whether forms for the CPU run. None was measured on an accelerator, whose libraries have such forms."""
  return jax.default_backend() == 'cpu' and not _PORTABLE.get()


def conv(x: jax.Array, kernel: jax.Array, strides: int, padding: str = 'SYMMETRIC') -> jax.Array:
  """A square convolution of odd size.

  Args:
    x: [N, H, W, C].
    kernel: [size, size, C, O], of the type of x.
    strides: in both directions.
    padding: 'SYMMETRIC', (size − 1) / 2 pixels on every side, or 'SAME', TensorFlow's: with strides, and an even number
      of pixels, one less at the top and left.

  Returns:
    [N, ceil(H / strides), ceil(W / strides), O].
  """
  size = len(kernel)
  if serve():
    if size == 1:  # a matrix product: 1.6 times as fast as the backend's convolution
      return product(x[:, ::strides, ::strides], kernel[0, 0])
    if size == 3 and strides == 1:
      many_channels, exact = x.shape[-1] >= _WINOGRAD_CHANNELS, x.dtype == jnp.float32  # sums would round bfloat16
      if x.shape[2] <= 2 or (x.shape[2] <= _SHORT_ROW and exact and not many_channels):
        return short_row_conv(x, kernel)
      if many_channels and exact:
        return map_of_three_conv(x, kernel) if x.shape[1:3] == (3, 3) else winograd_conv(x, kernel)
    if strides > 1:
      return strided_conv(x, kernel, strides, padding)
  return _backend_conv(x, kernel, strides, padding)


def _backend_conv(x, kernel, strides, padding):
  pixels = 'SAME' if padding == 'SAME' else [(len(kernel) // 2, len(kernel) // 2)] * 2
  return jax.lax.conv_general_dilated(x, kernel, (strides, strides), pixels, dimension_numbers=('NHWC', 'HWIO', 'NHWC'))


@jax.custom_vjp
def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """[..., C] and [C, O] -> [..., O].

  The kernel's gradient sums over rows as they lie. Autodiff asks for transposed ones, and XLA's CPU writes these
  to memory with all that they are computed from: a third of a training step.
  """
  return x @ kernel


def _product_backward(residuals, gradient):
  x, kernel = residuals
  return gradient @ kernel.T, _over_rows(x, gradient)


def _over_rows(x, gradient):
  """[..., C] and [..., O] -> [C, O], the kernel's gradient. Fewer channels first is 1.2 to 1.5 times as fast."""
  rows = lambda a: a.reshape(-1, a.shape[-1])
  product_of = lambda a, b: jax.lax.dot_general(rows(a), rows(b), (((0,), (0,)), ((), ())))
  if x.shape[-1] <= gradient.shape[-1]:
    return product_of(x, gradient)
  # XLA would take the transpose back into the product, but for the barrier.
  return jax.lax.optimization_barrier(product_of(gradient, x)).T


product.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _product_backward)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def strided_conv(x: jax.Array, kernel: jax.Array, strides: int, padding: str) -> jax.Array:
  """The backend's convolution with strides, see `conv`; its kernel's gradient is a product with the pixels under it.

  Forward and kernel's gradient of a ResNet's first convolution together are 2.3 times as fast as the backend's, of 3×3
  from 24×24×128 with all gradients 1.8 times (a CPU of 137 GFLOP/s).
  """
  return _backend_conv(x, kernel, strides, padding)


def _strided_backward(strides, padding, residuals, gradient):
  x, kernel = residuals
  (d_x,) = jax.vjp(lambda x: _backend_conv(x, kernel, strides, padding), x)[1](gradient)
  d_kernel = _over_rows(_patches(x, len(kernel), strides, padding), gradient)
  d_kernel = d_kernel.reshape(len(kernel), -1, *kernel.shape[2:])
  return d_x, d_kernel[:, : len(kernel)]  # without the columns that fill up a stride


strided_conv.defvjp(
  lambda x, kernel, strides, padding: (_backend_conv(x, kernel, strides, padding), (x, kernel)), _strided_backward
)


def _patches(x, size, strides, padding):
  """The pixels under a kernel at each of its places, row after row, each row filled up to whole strides.

  [N, H, W, C] -> [N, ceil(H / strides), ceil(W / strides), size · ceil(size / strides) · strides · C]. The pixels of a
  stride are copied together.
  """
  strides_a_row = -(-size // strides)
  height, width = (-(-length // strides) for length in x.shape[1:3])
  padded = []
  for length, results in ((x.shape[1], height), (x.shape[2], width)):
    before = max((results - 1) * strides + size - length, 0) // 2 if padding == 'SAME' else size // 2
    padded.append((before, strides * (results + strides_a_row - 1) - before - length, 0))
  x = jax.lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *padded, (0, 0, 0)])  # or cut, where strides skip the end
  x = x.reshape(len(x), x.shape[1] // strides, strides, x.shape[2] // strides, strides * x.shape[3])
  return jnp.concatenate(
    [
      x[:, row // strides : row // strides + height, row % strides, column : column + width]
      for row in range(size)
      for column in range(strides_a_row)
    ],
    axis=-1,
  )


def short_row_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A 3×3 convolution of maps [N, H, W, C] of short rows, by a product of whole rows for each row of taps.

  The matrix [W · C, W · O] of a row of taps has zeros for pixels that are no neighbours: none in rows of two, 3/8 in
  rows of four. With the gradients 1.5 to 2.2 times as fast on a CPU as a product for each tap, and 1.7 to 18 times as
  fast as the backend's, from 4×4×32 to 1×1×128.
  """
  count, height, width, channels = x.shape
  neighbours = np.stack([np.eye(width, k=1 - tap) for tap in range(3)])  # [tap, pixel, result]
  rows = jnp.pad(x.reshape(count, height, width * channels), ((0, 0), (1, 1), (0, 0)))
  y = jnp.zeros((), x.dtype)
  for row, taps in enumerate(kernel):
    if abs(row - 1) < height:
      matrix = jnp.einsum('tpr,tco->pcro', neighbours.astype(x.dtype), taps)
      y += product(rows[:, row : row + height], matrix.reshape(width * channels, -1))
  return y.reshape(count, height, width, -1)


def winograd_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A 3×3 convolution of maps [N, H, W, C] by 4 products for each pixel instead of 9: F(2×2, 3×3).

  Every 2×2 results come from 16 products of sums of the 4×4 pixels under them with sums of the kernel's taps (Lavin and
  Gray, 2016). With the gradients 1.5 to 2 times as fast on a CPU as the backend's, from 24×24×64 to 3×3×512; the
  rounding error is twice the backend's, the memory of a ResNet-50's training step a seventh more.
  """
  height, width = x.shape[1:3]
  rows, columns = -(-height // 2), -(-width // 2)
  padded = jnp.pad(x, ((0, 0), (1, 2 * rows + 1 - height), (1, 2 * columns + 1 - width), (0, 0)))
  y = _of_products(padded, kernel, _sums_of_pixels, _sums_of_taps, _results)
  return y.reshape(len(x), 2 * rows, 2 * columns, kernel.shape[-1])[:, :height, :width]


def map_of_three_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A 3×3 convolution of maps [N, 3, 3, C] by 25 products; `winograd_conv` takes 64 there, and twice as long.

  Along an axis the results are coefficients 1 to 3 of the product of two polynomials of second degree: the pixels, and
  the taps backwards. Its values at 1, −1 and i give them, as coefficients 0 and 4 fall on each other there. The value
  at i is a complex product, by three real ones. The rounding error is that of `winograd_conv`.
  """
  y = _of_products(x, kernel, _sums_of_three_pixels, _sums_of_three_taps, _three_results)
  return y.reshape(len(x), 3, 3, kernel.shape[-1])


def _of_products(x, kernel, sums_of_pixels, sums_of_taps, results):
  """Products of sums along both axes of a map, and what they give: [N, rows, results, columns, results, O]."""
  products = [
    [product(*pair) for pair in zip(sums_of_pixels(pixels, 2), sums_of_taps(taps))]
    for pixels, taps in zip(sums_of_pixels(x, 1), sums_of_taps(kernel))
  ]
  return results([results(part, 3) for part in products], 2)


def _sums_of_three_pixels(x: jax.Array, axis: int) -> tuple[jax.Array, ...]:
  """The polynomial at 1 and −1; of a + bi, its value at i, a + b, a and b."""
  first, middle, last = jnp.split(x, 3, axis)
  ends, a = first + last, first - last
  return ends + middle, ends - middle, a + middle, a, middle


def _sums_of_three_taps(kernel: jax.Array) -> tuple[jax.Array, ...]:
  """A quarter of the polynomial at 1 and −1; of half of c + di, its value at i, c, d − c and d + c."""
  first, middle, last = kernel
  ends, c, d = first + last, (last - first) / 2, middle / 2
  return (ends + middle) / 4, (ends - middle) / 4, c, d - c, d + c


def _three_results(products: list[jax.Array], axis: int) -> jax.Array:
  """Three results, on a new axis, from their five products."""
  at_one, at_minus_one, of_c, of_a, of_b = products
  odd, imaginary = at_one - at_minus_one, of_c + of_a
  return jnp.stack([odd + imaginary, at_one + at_minus_one - of_c + of_b, odd - imaginary], axis)


def _sums_of_pixels(x: jax.Array, axis: int) -> tuple[jax.Array, ...]:
  """Four sums for every two results along an axis, from the four pixels under them."""
  a, b, c, d = _windows(x, axis)
  return a - c, b + c, c - b, b - d


def _sums_of_taps(kernel: jax.Array) -> tuple[jax.Array, ...]:
  """Four sums of the three taps on the first axis."""
  a, b, c = kernel
  return a, (a + b + c) / 2, (a - b + c) / 2, c


def _results(products: list[jax.Array], axis: int) -> jax.Array:
  """Every two results, on a new axis, from their four products."""
  a, b, c, d = products
  return jnp.stack([a + b + c, b - c - d], axis)


def _windows(x: jax.Array, axis: int) -> tuple[jax.Array, ...]:
  """The first, second, third and fourth pixels of windows of four, every two pixels along an axis of even length."""
  pairs = x.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
  first, second = (jax.lax.index_in_dim(pairs, k, axis + 1, keepdims=False) for k in (0, 1))
  take = functools.partial(jax.lax.slice_in_dim, axis=axis)
  return take(first, 0, -1), take(second, 0, -1), take(first, 1, None), take(second, 1, None)


def max_pool(x: jax.Array, before: int) -> jax.Array:
  """Maximum over windows of 3×3 every 2 pixels; with the gradient 3 to 10 times as fast on a CPU as the backend's.

  Args:
    x: [N, H, W, C].
    before: pixels of padding at the top and left, 0 or 1; as many follow as the last window needs.

  Returns:
    [N, ceil(H / 2), ceil(W / 2), C].
  """
  sizes = [-(-size // 2) for size in x.shape[1:3]]
  padding = [(0, 0), *((before, 2 * out + 1 - before - size) for out, size in zip(sizes, x.shape[1:3])), (0, 0)]
  if not serve():
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), padding)
  for axis in (1, 2):
    pad = [(0, 0)] * 4
    pad[axis] = (padding[axis][0], padding[axis][1] + 1)  # `_windows` makes windows of four
    first, second, third, _ = _windows(jnp.pad(x, pad, constant_values=-jnp.inf), axis)
    x = larger(larger(first, second), third)
  return x


@jax.custom_jvp
def larger(a: jax.Array, b: jax.Array) -> jax.Array:
  """The larger of two at every place; of two that are equal each has half of the gradient.

  As `jnp.maximum`, whose derivative asks which of the two equals the result. Compilers compute the two again for the
  backward pass, where the last bit may be another, and behind a normalisation neither then has the gradient.
  """
  return jnp.maximum(a, b)


@larger.defjvp
def _larger_derivative(primals, tangents):
  (a, b), (d_a, d_b) = primals, tangents
  more, equal = a > b, a == b  # selected, not multiplied: a third faster on a CPU
  of_a, of_b = (jnp.where(equal, 0.5 * d, d) for d in (d_a, d_b))
  return jnp.maximum(a, b), jnp.where(more | equal, of_a, 0) + jnp.where(more, 0, of_b)


def largest(x: jax.Array, axis: int) -> jax.Array:
  """Maximum over an axis ≥ 0; of several largest elements the first has the gradient, as in pooling elsewhere.

  `x.max(axis)` shares the gradient between them, and with the derivative takes some times as long on a CPU.
  """
  if serve():
    return _largest(x, axis)
  window = [1] * x.ndim
  window[axis] = x.shape[axis]
  return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, window, [1] * x.ndim, 'VALID').squeeze(axis)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def _largest(x: jax.Array, axis: int) -> jax.Array:
  return x.max(axis)


@_largest.defjvp
def _largest_derivative(axis, primals, tangents):
  # The place, not the value: compilers compute x again for the backward pass, where the last bit may be another, and
  # behind a normalisation whole windows then hold no element that equals their maximum.
  (x,), (d_x,) = primals, tangents
  first = jnp.argmax(x, axis, keepdims=True)
  is_first = jax.lax.broadcasted_iota(first.dtype, x.shape, axis) == first
  return x.max(axis), jnp.where(is_first, d_x, 0).sum(axis)
