"""Speech network: raw waveform in, 1280 features a step out (paper, section III-B)."""

from collections.abc import Callable
from typing import ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp

from e2e_affect.layers.batch_norm import MaskedBatchNorm
from e2e_affect.layers.cpu_kernels import largest
from e2e_affect.layers.dropout import dropout
from e2e_affect.layers.long_conv import long_conv

_POOL_TIME = 2  # 16 kHz -> 8 kHz


class WaveformNetwork(nn.Module):
  """Waveform in, features of every step out: what all variants are made of and called with.

  Attributes:
    filters: channels of the first layer.
    dropout_rate: in training.
    dtype: of the computation; parameters are float32.
  """

  filters: int = 40
  dropout_rate: float = 0.5
  dtype: jnp.dtype = jnp.float32
  multiple_of: ClassVar[int] = _POOL_TIME  # samples a step

  @nn.compact
  def __call__(
    self,
    audio: jax.Array,
    valid: jax.Array,
    *,
    found: jax.Array | None = None,
    train: bool = False,
    keys: jax.Array | None = None,
  ) -> jax.Array:
    """Computes the features of every step.

    Args:
      audio: [B, T, S] normalised waveform, S samples a step: 640 at 16 kHz and 40 ms.
      valid: [B, T], 0 where the step lies outside of the recording. Its neighbours see zeros there, as in the padding
        at the edges, so that a recording gives the same features in one piece and in chunks with enough context.
      found: [B, 1], False where a recording has no sound; only read where there is batch normalisation.
      train: dropout on.
      keys: [B] PRNG keys of the sequences; only read in training.

    Returns:
      [B, T, D].
    """
    if audio.ndim != 3 or audio.shape[2] % self.multiple_of or valid.shape != audio.shape[:2]:
      raise ValueError(
        f'speech: audio [B, T, S], S a multiple of {self.multiple_of}, and valid [B, T] expected, got {audio.shape} '
        f'and {valid.shape}'
      )
    return self._features(audio, valid, found, train, keys)

  def _features(self, audio, valid, found, train, keys):
    """See `__call__`."""
    raise NotImplementedError


class SpeechNetwork(WaveformNetwork):
  """The paper's two convolutions, over the whole sequence, so that the long filter sees across steps.

  Dropout is of the features, of which a step has S / 2 · filters / pool_channels.

  Attributes:
    taps: of the first convolution, at 16 kHz; 80 = 5 ms.
    long_taps: of the second convolution, at 8 kHz; 4000 = 500 ms. It has as many channels as the first.
    pool_channels: how many adjacent channels one maximum is taken over.
  """

  taps: int = 80
  long_taps: int = 4000
  pool_channels: int = 10

  def _features(self, audio, valid, found, train, keys):
    batch, steps, samples = audio.shape
    # [B, T, S] -> [B, T·S, 1] -> [B, T·S, F]
    x = audio.reshape(batch, steps * samples, 1).astype(self.dtype)
    # As a product over windows it takes half the time alone, but XLA's CPU then derives the pooling's gradient in the
    # windows' layout, element by element: a training step took 3 (batch 1) to 9 % (batch 25) longer.
    x = nn.Conv(self.filters, (self.taps,), dtype=self.dtype, name='conv')(x)
    # [B, T·S, F] -> [B, T·S/2, F]; ReLU after the maximum gives the same numbers for half of the work.
    x = nn.relu(largest(x.reshape(batch, -1, _POOL_TIME, self.filters), 2))
    samples_valid = jnp.repeat(valid.astype(x.dtype), samples // _POOL_TIME, axis=1)
    x = x * samples_valid[:, :, None]
    # [B, T·S/2, F] -> [B, T·S/2, F / 10]
    kernel = self.param(
      'long_conv_kernel', nn.initializers.lecun_normal(), (self.long_taps, self.filters, self.filters), jnp.float32
    )
    bias = self.param('long_conv_bias', nn.initializers.zeros_init(), (self.filters,), jnp.float32)
    x = long_conv(x, kernel) + bias.astype(self.dtype)
    # NOTE(paper): section III-B has a half-wave rectifier behind the first convolution alone; this one is ours.
    x = nn.relu(largest(x.reshape(batch, x.shape[1], -1, self.pool_channels), 3))
    # -> [B, T, D]
    x = x.reshape(batch, steps, -1)
    # NOTE(paper): section V has dropout "for all layers except the recurrent ones"; ours is the one of section III-B.
    # A ResNet is regularised by its batch normalisation. Dropping half of its pooled features would be noise of many
    # times their variation from step to step, and the demo's visual network then learns nothing.
    return dropout(x, keys, self.dropout_rate) if train else x


class ReleasedSpeechNetwork(WaveformNetwork):
  """The authors' published code, which is not what the paper describes.

  NOTE(paper): 20 and 40 taps inside each 40 ms step, no context across steps, batch normalisation after
  both convolutions and dropout on the raw input (their `models.py`; facts of its variables: 2 × 40
  filters, epsilon 1e-5, decay 0.997).

  Attributes:
    taps, long_taps, pool_channels: see `SpeechNetwork`.
    norm: bound `MaskedBatchNorm`.
  """

  taps: int = 20
  long_taps: int = 40
  pool_channels: int = 10
  norm: Callable[..., nn.Module] = MaskedBatchNorm

  def _features(self, audio, valid, found, train, keys):
    batch, steps, samples = audio.shape
    if train:
      audio = dropout(audio, keys, self.dropout_rate)
    mask = (valid if found is None else valid * found).reshape(-1)
    # [B, T, S] -> [B·T, S, 1] -> [B·T, S, F]
    x = audio.reshape(batch * steps, samples, 1).astype(self.dtype)
    x = nn.Conv(self.filters, (self.taps,), use_bias=False, dtype=self.dtype, name='conv')(x)
    x = nn.relu(self.norm(name='conv_norm')(x, mask, train))
    x = largest(x.reshape(batch * steps, -1, _POOL_TIME, self.filters), 2)
    # [B·T, S/2, F] -> [B·T, S/2, F / 10]
    x = nn.Conv(self.filters, (self.long_taps,), use_bias=False, dtype=self.dtype, name='conv_1')(x)
    x = nn.relu(self.norm(name='conv_1_norm')(x, mask, train))
    x = largest(x.reshape(batch * steps, x.shape[1], -1, self.pool_channels), 3)
    return x.reshape(batch, steps, -1)
