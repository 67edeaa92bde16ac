"""ResNet-50, version 1 (paper, section III-A and Table I; He et al. 2016)."""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

_BLOCKS = (3, 4, 6, 3)  # bottleneck units in each of the four stages, Table I

# For training from scratch at the paper's rate of 1e-4, which was meant for pretrained weights. Batch normalisation
# takes the scale of a kernel out of the result, but not out of the relative size of Adam's updates: at a tenth of He's
# deviation the same rate turns kernels ten times as fast, while the recurrent part moves no faster than it can bear.
_KERNEL_INIT = nn.initializers.variance_scaling(0.02, 'fan_in', 'normal')
_KERNEL_VARIANCE = 0.01  # what such kernels make of inputs of unit variance: running statistics start there
# Also from scratch: the gain that a unit's branch starts with. At 1, sixteen of them bury the shortcuts, and when a
# network starts to learn is a matter of rounding; at 0 (Goyal et al. 2017) a rate of 1e-4 takes long to wake them.
_BRANCH_SCALE = 0.25


class MaskedBatchNorm(nn.Module):
  """Batch normalisation over the valid frames of the global batch.

  Flax's own weighs uneven devices equally and returns NaN where one device holds nothing but padding. A batch without a
  single valid frame leaves the running statistics as they are.

  Attributes:
    axis_name: of the devices that share the batch, or None for one device.
    momentum: of the running statistics.
    epsilon: added to the variance.
    initial_variance: where the running variance starts.
    initial_scale: where the gain starts.
    frozen: normalise by the running statistics in training, too, and leave them as they are.
    dtype: of the output; statistics are float32.
  """

  axis_name: str | None = None
  momentum: float = 0.9
  epsilon: float = 1e-5
  initial_variance: float = 1.0
  initial_scale: float = 1.0
  frozen: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, mask: jax.Array, train: bool, conv: 'Conv | None' = None) -> jax.Array:
    """Normalises per channel, after a convolution into whose kernel running statistics are folded.

    Args:
      x: [N, ...].
      mask: [N], frames of 0 do not enter the statistics.
      train: statistics of this batch, unless frozen.
      conv: the convolution, or None: x is its result.

    Returns:
      [N, ..., C].
    """
    channels = x.shape[-1] if conv is None else conv.features
    scale = self.param('scale', nn.initializers.constant(self.initial_scale), (channels,), jnp.float32)
    bias = self.param('bias', nn.initializers.zeros_init(), (channels,), jnp.float32)
    running_mean = self.variable('batch_stats', 'mean', jnp.zeros, (channels,), jnp.float32)
    running_var = self.variable('batch_stats', 'var', jnp.full, (channels,), self.initial_variance, jnp.float32)
    running = not train or self.frozen
    if running and conv is not None:
      gain = scale * jax.lax.rsqrt(running_var.value + self.epsilon)
      # A large mean cancels here: no more is lost than the convolution's own rounding took.
      return (conv(x, gain) + (bias - running_mean.value * gain)).astype(self.dtype)
    x32 = (x if conv is None else conv(x)).astype(jnp.float32)
    if running:
      mean, var = running_mean.value, running_var.value
    else:
      total = functools.partial(jax.lax.psum, axis_name=self.axis_name) if self.axis_name else (lambda s: s)
      weight = mask.astype(jnp.float32)[:, None]
      within = tuple(range(1, x32.ndim - 1))  # a frame's own sum first: the mask then weighs [N, C]
      # max(…, 1) clips nothing but a batch without a single valid frame.
      count = jnp.maximum(total(weight.sum() * (x32.size // (channels * len(x32)))), 1.0)
      mean = total((weight * x32.sum(within)).sum(0)) / count
      # The gradient of the variance by the mean is 0 over the global batch: a pass over the activations saved.
      deviation = x32 - jax.lax.stop_gradient(mean)
      var = total((weight * (deviation**2).sum(within)).sum(0)) / count
      if not self.is_initializing():
        seen = total(weight.sum()) > 0
        for running_value, of_batch in ((running_mean, mean), (running_var, var)):
          new = self.momentum * running_value.value + (1 - self.momentum) * of_batch
          running_value.value = jnp.where(seen, new, running_value.value)
    # The mean first: x · gain − mean · gain would cancel where the mean is large.
    return ((x32 - mean) * (scale * jax.lax.rsqrt(var + self.epsilon)) + bias).astype(self.dtype)


class Conv(nn.Module):
  """A square convolution without bias, with (size − 1) / 2 pixels of padding on every side.

  Attributes:
    features: maps to make.
    size: of the kernel, odd.
    strides: in both directions.
    dtype: of the computation; the kernel is float32.
  """

  features: int
  size: int
  strides: int = 1
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, gain: jax.Array | None = None) -> jax.Array:
    """[N, H, W, C] -> [N, ceil(H / strides), ceil(W / strides), features], times gain [features]."""
    kernel = self.param('kernel', _KERNEL_INIT, (self.size, self.size, x.shape[-1], self.features), jnp.float32)
    if gain is not None:
      kernel = kernel * gain
    x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
    if self.size == 1:  # a matrix product: on a CPU 1.6 times as fast as the backend's convolution
      return product(x[:, :: self.strides, :: self.strides], kernel[0, 0])
    if self.size == 3 and self.strides == 1:
      if max(x.shape[1:3]) < 3:
        return small_map_conv(x, kernel)
      # Fewer channels do not pay for the sums of Winograd's form, and bfloat16 would round them. Not measured on
      # accelerators; cuDNN has such forms itself.
      if x.shape[-1] >= 64 and x.dtype == jnp.float32 and jax.default_backend() == 'cpu':
        return winograd_conv(x, kernel)
    padding = (self.size // 2, self.size // 2)
    return jax.lax.conv_general_dilated(
      x, kernel, (self.strides, self.strides), (padding, padding), dimension_numbers=('NHWC', 'HWIO', 'NHWC')
    )


@jax.custom_vjp
def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """[..., C] and [C, O] -> [..., O].

  The kernel's gradient sums over rows as they lie. Autodiff asks for transposed ones, which XLA's CPU writes out, with
  all that they are made of: a third of a training step.
  """
  return x @ kernel


def _product_backward(residuals, gradient):
  x, kernel = residuals
  rows = lambda a: a.reshape(-1, a.shape[-1])
  return gradient @ kernel.T, jax.lax.dot_general(rows(x), rows(gradient), (((0,), (0,)), ((), ())))


product.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _product_backward)


def small_map_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A 3×3 convolution of maps [N, H, W, C] smaller than its kernel, without the products with nothing but padding.

  On a CPU 5 times as fast as the backend's on maps of 2×2, and 12 times on 1×1, of a small network's last stages.
  """
  height, width = x.shape[1:3]
  padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
  products = (
    padded[:, row : row + height, column : column + width] @ kernel[row, column]
    for row in range(3)
    if abs(row - 1) < height
    for column in range(3)
    if abs(column - 1) < width
  )
  return sum(products, start=jnp.zeros((), x.dtype))


def winograd_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A 3×3 convolution of maps [N, H, W, C] by 4 products for each pixel instead of 9: F(2×2, 3×3).

  Every 2×2 results come from 16 products of sums of the 4×4 pixels under them with sums of the kernel's taps (Lavin and
  Gray, 2016). With the gradients 1.5 to 2 times as fast on a CPU as the backend's, from 24×24×64 to 3×3×512; the
  rounding error is twice the backend's, the memory of a ResNet-50's training step a seventh more.
  """
  height, width = x.shape[1:3]
  rows, columns = -(-height // 2), -(-width // 2)
  padded = jnp.pad(x, ((0, 0), (1, 2 * rows + 1 - height), (1, 2 * columns + 1 - width), (0, 0)))
  products = [
    [product(*pair) for pair in zip(_sums_of_pixels(pixels, 2), _sums_of_taps(taps))]
    for pixels, taps in zip(_sums_of_pixels(padded, 1), _sums_of_taps(kernel))
  ]
  # [N, rows, 2, columns, 2, O]
  y = _results([_results(part, 3) for part in products], 2)
  return y.reshape(len(x), 2 * rows, 2 * columns, kernel.shape[-1])[:, :height, :width]


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
  for axis in (1, 2):
    size = -(-x.shape[axis] // 2)
    padding = [(0, 0)] * 4
    padding[axis] = (before, 2 * size + 2 - before - x.shape[axis])
    first, second, third, _ = _windows(jnp.pad(x, padding, constant_values=-jnp.inf), axis)
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


class Bottleneck(nn.Module):
  """1×1, 3×3 and 1×1 convolutions and a shortcut, equation (2) of the paper.

  Attributes:
    features: maps of the first two convolutions; the third has four times as many.
    strides: 1 or 2.
    stride_on: '1x1' (the original, TF-slim's and Keras's weights) or '3x3' (torchvision's).
    norm: bound `MaskedBatchNorm`.
    dtype: of the computation.
  """

  features: int
  strides: int
  stride_on: str
  norm: Callable[..., nn.Module]
  dtype: jnp.dtype

  @nn.compact
  def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
    first, second = (self.strides, 1) if self.stride_on == '1x1' else (1, self.strides)
    conv = functools.partial(Conv, dtype=self.dtype)
    normalise = lambda name, x, conv, **settings: self.norm(name=name, **settings)(x, mask, train, conv)
    y = nn.relu(normalise('norm1', x, conv(self.features, 1, first, name='conv1')))
    y = nn.relu(normalise('norm2', y, conv(self.features, 3, second, name='conv2')))
    y = normalise('norm3', y, conv(4 * self.features, 1, name='conv3'), initial_scale=_BRANCH_SCALE)
    if x.shape[-1] != 4 * self.features or self.strides != 1:
      x = normalise('shortcut_norm', x, conv(4 * self.features, 1, self.strides, name='shortcut'))
    return nn.relu(x + y)


class ResNet50(nn.Module):
  """Frames in, pooled features out.

  Attributes:
    width: maps of the first convolution; 64 is ResNet-50.
    stride_on: see `Bottleneck`.
    stem_pool_padding: 'SAME' (TF-slim) or 'SYMMETRIC', one pixel on every side (torchvision, Keras).
    norm: bound `MaskedBatchNorm`.
    remat: recompute each unit in the backward pass: long sequences in less memory.
    dtype: of the computation.
  """

  width: int = 64
  stride_on: str = '1x1'
  stem_pool_padding: str = 'SAME'
  norm: Callable[..., nn.Module] = MaskedBatchNorm
  remat: bool = False
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
    """[N, H, W, 3] and mask [N] -> [N, 32 · width]."""
    if x.ndim != 4 or x.shape[-1] != 3 or mask.shape != x.shape[:1]:
      raise ValueError(f'resnet: frames [N, H, W, 3] and mask [N] expected, got {x.shape} and {mask.shape}')
    norm = functools.partial(self.norm, initial_variance=_KERNEL_VARIANCE)
    # [N, H, W, 3] -> [N, H/2, W/2, width] -> [N, H/4, W/4, width]
    x = norm(name='norm1')(x, mask, train, Conv(self.width, 7, 2, self.dtype, name='conv1'))
    # Of an odd number of pixels TensorFlow's SAME pads one on every side, too.
    before = {'SAME': x.shape[1] % 2, 'SYMMETRIC': 1}[self.stem_pool_padding]
    x = nn.relu(max_pool(x, before))  # in this order the same numbers for a quarter of the work
    unit = nn.remat(Bottleneck, static_argnums=(3,)) if self.remat else Bottleneck
    for stage, count in enumerate(_BLOCKS):
      for index in range(count):
        strides = 2 if stage > 0 and index == 0 else 1
        x = unit(
          self.width * 2**stage, strides, self.stride_on, norm, self.dtype, name=f'stage{stage + 1}_unit{index + 1}'
        )(x, mask, train)
    return x.mean(axis=(1, 2))
