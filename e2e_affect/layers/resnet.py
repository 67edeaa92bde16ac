"""ResNet-50, version 1 (paper, section III-A and Table I; He et al. 2016)."""

from collections.abc import Callable
import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from e2e_affect.layers import cpu_kernels
from e2e_affect.layers.batch_norm import MaskedBatchNorm

_BLOCKS = (3, 4, 6, 3)  # bottleneck units in each of the four stages, Table I

# For training from scratch at the paper's rate of 1e-4, which was meant for pretrained weights. Batch normalisation
# makes the result independent of a kernel's scale, and Adam's updates have a size of their own: at a tenth of He's
# deviation the same rate turns kernels ten times as fast, and the recurrent part does not learn too fast.
_KERNEL_INIT = nn.initializers.variance_scaling(0.02, 'fan_in', 'normal')
_KERNEL_VARIANCE = 0.01  # what such kernels make of inputs of unit variance: running statistics start there
# Also from scratch: the gain that a unit's branch starts with. At 1, sixteen branches outweigh the shortcuts, and
# rounding decides when the network starts to learn; from 0 (Goyal et al. 2017) a rate of 1e-4 takes long.
_BRANCH_SCALE = 0.25


class Conv(nn.Module):
  """A square convolution without bias.

  Attributes:
    features: maps to make.
    size: of the kernel, odd.
    strides: in both directions.
    dtype: of the computation; the kernel is float32.
    padding: see `cpu_kernels.conv`.
  """

  features: int
  size: int
  strides: int = 1
  dtype: jnp.dtype = jnp.float32
  padding: str = 'SYMMETRIC'

  @nn.compact
  def __call__(self, x: jax.Array, gain: jax.Array | None = None) -> jax.Array:
    """[N, H, W, C] -> [N, ceil(H / strides), ceil(W / strides), features], times gain [features]."""
    kernel = self.param('kernel', _KERNEL_INIT, (self.size, self.size, x.shape[-1], self.features), jnp.float32)
    if gain is not None:
      kernel = kernel * gain
    return cpu_kernels.conv(x.astype(self.dtype), kernel.astype(self.dtype), self.strides, self.padding)


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
    """[N, H, W, C] -> [N, H / strides, W / strides, 4 · features]; `mask` and `train` as in `ResNet50`."""
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
    stem_padding: of the first convolution, 'SYMMETRIC' or 'SAME' (VGGFace2's); see `cpu_kernels.conv`.
    stem_pool_padding: 'SAME' (TF-slim), 'SYMMETRIC', one pixel on every side (torchvision, Keras), or 'VALID', none.
    norm: bound `MaskedBatchNorm`.
    remat: recompute each unit in the backward pass: long sequences in less memory.
    dtype: of the computation.
  """

  width: int = 64
  stride_on: str = '1x1'
  stem_padding: str = 'SYMMETRIC'
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
    x = norm(name='norm1')(x, mask, train, Conv(self.width, 7, 2, self.dtype, self.stem_padding, name='conv1'))
    # Of an odd number of pixels TensorFlow's SAME pads one on every side, too.
    before = {'SAME': x.shape[1] % 2, 'SYMMETRIC': 1, 'VALID': 0}[self.stem_pool_padding]
    height, width = x.shape[1:3]
    x = nn.relu(cpu_kernels.max_pool(x, before))  # in this order the same numbers for a quarter of the work
    if self.stem_pool_padding == 'VALID':  # without the windows that reach past the end
      x = x[:, : (height - 1) // 2, : (width - 1) // 2]
    unit = nn.remat(Bottleneck, static_argnums=(3,)) if self.remat else Bottleneck
    for stage, count in enumerate(_BLOCKS):
      for index in range(count):
        strides = 2 if stage > 0 and index == 0 else 1
        x = unit(
          self.width * 2**stage, strides, self.stride_on, norm, self.dtype, name=f'stage{stage + 1}_unit{index + 1}'
        )(x, mask, train)
    return x.mean(axis=(1, 2))
