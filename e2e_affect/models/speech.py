"""Speech network: raw waveform in, 1280 features a step out (paper, section III-B)."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp

from data_prep.records import SAMPLES_PER_STEP
from e2e_affect.models.long_conv import long_conv
from e2e_affect.models.dropout import dropout
from e2e_affect.models.product import product

_POOL_TIME = 2  # 16 kHz -> 8 kHz
_RESULTS = 16  # of one window of `waveform_conv`: by benchmarks/waveform_conv.py


class SpeechNetwork(nn.Module):
  """The paper's two convolutions, over the whole sequence, so that the long filter sees across steps.

  Attributes:
    filters: channels of both convolutions.
    taps: of the first convolution, at 16 kHz; 80 = 5 ms.
    long_taps: of the second convolution, at 8 kHz; 4000 = 500 ms.
    pool_channels: how many adjacent channels one maximum is taken over.
    dropout_rate: of the features, in training.
    dtype: of the computation; parameters are float32.
  """

  filters: int = 40
  taps: int = 80
  long_taps: int = 4000
  pool_channels: int = 10
  dropout_rate: float = 0.5
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, audio: jax.Array, valid: jax.Array, *, train: bool = False,
               keys: jax.Array | None = None) -> jax.Array:
    """Computes the features of every step.

    Args:
      audio: [B, T, S] normalised waveform, S = 640 samples at 16 kHz.
      valid: [B, T], 0 where the step lies outside of the recording; such steps look to their neighbours
        as the zero padding at the edges does, so that a recording gives the same features in one piece
        and in chunks with enough context.
      train: dropout on.
      keys: [B] PRNG keys of the sequences; only read in training.

    Returns:
      [B, T, 320 · filters / pool_channels].
    """
    _check_audio(audio, valid)
    batch, steps, _ = audio.shape
    # [B, T, S] -> [B, T·S] -> [B, T·S, F]
    x = WaveformConv(self.filters, self.taps, dtype=self.dtype, name='conv')(audio.reshape(batch, -1))
    # [B, T·S, F] -> [B, T·S/2, F]; ReLU after the maximum gives the same numbers for half of the work.
    x = nn.relu(largest(x.reshape(batch, -1, _POOL_TIME, self.filters), 2))
    samples_valid = jnp.repeat(valid.astype(x.dtype), SAMPLES_PER_STEP // _POOL_TIME, axis=1)
    x = x * samples_valid[:, :, None]
    # [B, T·S/2, F] -> [B, T·S/2, F / 10]
    kernel = self.param('long_conv_kernel', nn.initializers.lecun_normal(),
                        (self.long_taps, self.filters, self.filters), jnp.float32)
    bias = self.param('long_conv_bias', nn.initializers.zeros_init(), (self.filters,), jnp.float32)
    x = long_conv(x, kernel) + bias.astype(self.dtype)
    x = nn.relu(largest(x.reshape(batch, x.shape[1], -1, self.pool_channels), 3))
    # -> [B, T, D]
    x = x.reshape(batch, steps, -1)
    # NOTE(paper): section V has dropout "for all layers except the recurrent ones"; ours is the one of section III-B.
    # A ResNet is regularised by its batch normalisation: half of its pooled features gone would be noise many times
    # what they vary by from step to step, and the demo's visual network then learns nothing.
    return dropout(x, keys, self.dropout_rate) if train else x


class ReleasedSpeechNetwork(nn.Module):
  """The authors' published code, which is not what the paper describes.

  NOTE(paper): 20 and 40 taps inside each 40 ms step, no context across steps, batch normalisation after
  both convolutions and dropout on the raw input (their `models.py`; facts of its variables: 2 × 40
  filters, epsilon 1e-5, decay 0.997).

  Attributes:
    filters, pool_channels, dtype: as in `SpeechNetwork`.
    taps, long_taps: of the two convolutions.
    dropout_rate: on the raw waveform, in training.
  """

  filters: int = 40
  taps: int = 20
  long_taps: int = 40
  pool_channels: int = 10
  dropout_rate: float = 0.5
  dtype: jnp.dtype = jnp.float32
  norm: type[nn.Module] = None  # bound `resnet.MaskedBatchNorm`

  @nn.compact
  def __call__(self, audio: jax.Array, valid: jax.Array, *, train: bool, keys: jax.Array | None) -> jax.Array:
    """As `SpeechNetwork`."""
    _check_audio(audio, valid)
    batch, steps, _ = audio.shape
    if train:
      audio = dropout(audio, keys, self.dropout_rate)
    mask = valid.reshape(-1)
    # [B, T, S] -> [B·T, S] -> [B·T, S, F]
    x = WaveformConv(self.filters, self.taps, use_bias=False, dtype=self.dtype, name='conv')(
        audio.reshape(batch * steps, SAMPLES_PER_STEP))
    x = nn.relu(self.norm(name='conv_norm')(x, mask, train))
    x = x.reshape(batch * steps, -1, _POOL_TIME, self.filters).max(axis=2)
    # [B·T, S/2, F] -> [B·T, S/2, F / 10]
    x = nn.Conv(self.filters, (self.long_taps,), use_bias=False, dtype=self.dtype, name='conv_1')(x)
    x = nn.relu(self.norm(name='conv_1_norm')(x, mask, train))
    x = x.reshape(batch * steps, x.shape[1], -1, self.pool_channels).max(axis=3)
    return x.reshape(batch, steps, -1)


class WaveformConv(nn.Module):
  """The convolution of one channel; parameters as those of `nn.Conv`.

  Attributes:
    features: channels to make.
    taps: of the kernel; the smaller half of the padding comes first.
    use_bias: add one.
    dtype: of the computation; parameters are float32.
  """

  features: int
  taps: int
  use_bias: bool = True
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """[B, N] -> [B, N, features]."""
    kernel = self.param('kernel', nn.initializers.lecun_normal(), (self.taps, 1, self.features), jnp.float32)
    y = waveform_conv(x.astype(self.dtype), kernel[:, 0])
    if not self.use_bias:
      return y
    return y + self.param('bias', nn.initializers.zeros_init(), (self.features,), jnp.float32).astype(self.dtype)


def waveform_conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """[B, N] and [taps, F] -> [B, N, F], SAME: a matrix product over windows.

  Several results come from one window and one matrix, in whose columns the taps stand several times, each time one
  sample later. With the kernel's gradient 1.5 times as fast on a CPU as the backend's convolution.
  """
  batch, samples = x.shape
  taps, filters = kernel.shape
  before, windows, pieces = (taps - 1) // 2, -(-samples // _RESULTS), 1 - (1 - taps) // _RESULTS
  x = jnp.pad(x, ((0, 0), (before, (windows + pieces - 1) * _RESULTS - before - samples)))
  x = x.reshape(batch, -1, _RESULTS)
  x = jnp.concatenate([x[:, k:k + windows] for k in range(pieces)], axis=2)
  matrix = jnp.stack([jnp.pad(kernel, ((k, pieces * _RESULTS - taps - k), (0, 0))) for k in range(_RESULTS)], axis=1)
  # The taps are rounded here alone, so that the sum of their gradients is not.
  y = product(x, matrix.reshape(pieces * _RESULTS, _RESULTS * filters).astype(x.dtype))
  return y.reshape(batch, -1, filters)[:, :samples]


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def largest(x: jax.Array, axis: int) -> jax.Array:
  """Maximum over an axis ≥ 0; of several largest elements the first has the gradient, as in pooling elsewhere.

  With the derivative three times as fast on a CPU as `x.max(axis)`, which shares the gradient between them.
  """
  return x.max(axis)


def _largest_forward(x, axis):
  y = x.max(axis)
  return y, (x, y)


def _largest_backward(axis, residuals, gradient):
  x, y = residuals
  first = jnp.argmax(x == jnp.expand_dims(y, axis), axis, keepdims=True)
  place = jax.lax.broadcasted_iota(first.dtype, x.shape, axis)
  return (jnp.where(place == first, jnp.expand_dims(gradient, axis), 0).astype(x.dtype),)


largest.defvjp(_largest_forward, _largest_backward)


def _check_audio(audio, valid):
  if audio.ndim != 3 or audio.shape[2] != SAMPLES_PER_STEP or valid.shape != audio.shape[:2]:
    raise ValueError(f'speech: audio [B, T, {SAMPLES_PER_STEP}] and valid [B, T] expected, '
                     f'got {audio.shape} and {valid.shape}')
