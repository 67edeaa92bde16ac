"""Speech network for small corpora: it begins as a mel spectrogram, and learns on from there.

A few speakers do not tell a network of random filters what a spectrum is. Here the first convolution starts as a
Fourier transform of short windows, the second layer as a mel filterbank of its power; both are trained with the rest.
"""

from collections.abc import Callable
from typing import ClassVar

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from data_prep.schema.grid import PAPER
from e2e_affect.layers.batch_norm import MaskedBatchNorm
from e2e_affect.layers.dropout import dropout
from e2e_affect.layers.speech import WaveformNetwork

_FRAMES = 4  # of the spectrogram a step: one every 10 ms on the paper's grid
_WINDOW = 3  # frames that a window is long
_RATE = PAPER.sample_rate  # that the mel scale is for; at another rate the network starts from other bands
_FLOOR = 1e-7  # of a band's power; a sine of full scale has 1, and the quietest rooms are below −70 dB
_TAPS = 5  # of the convolutions over frames
_POOLS = (2, 2, 1, 1)  # of each; together _FRAMES


class FilterbankSpeechNetwork(WaveformNetwork):
  """Log power in mel bands every quarter of a step, then four short convolutions over time.

  Attributes:
    filters: F, bands.
    channels: C, of the convolutions.
    mask_bands: in training up to so many neighbouring bands of a sequence are taken away (SpecAugment; Park et al.
      2019).
    norm: bound `MaskedBatchNorm`.
  """

  channels: int = 96
  mask_bands: int = 0
  multiple_of: ClassVar[int] = _FRAMES
  norm: Callable[..., nn.Module] = MaskedBatchNorm

  def _features(self, audio, valid, found, train, keys):
    batch, steps, samples = audio.shape
    hop = samples // _FRAMES

    def at(frames):  # [B, T] -> [B, frames · T, 1]
      return jnp.repeat(valid, frames, axis=1)[:, :, None].astype(self.dtype)

    def normalised(x, name):  # 0 outside of the recording, as the padding is
      frames = x.shape[1] // steps
      counts = jnp.repeat(valid if found is None else valid * found, frames, axis=1).reshape(-1)
      return self.norm(name=name)(x.reshape(-1, x.shape[2]), counts, train).reshape(x.shape)

    # [B, T, S] -> [B, 4T, S/4] -> [B, 4T, 2K]: a convolution over samples whose stride is a frame.
    x = audio.reshape(batch, steps * _FRAMES, hop).astype(self.dtype)
    bins = _WINDOW * hop // 2
    x = nn.Conv(2 * bins, (_WINDOW,), use_bias=False, dtype=self.dtype, kernel_init=_fourier(hop), name='fourier')(x)
    # -> [B, 4T, K] power, of a sine of full scale 1 -> [B, 4T, F]
    x = x.astype(jnp.float32) * (4 / (_WINDOW * hop))
    power = x[:, :, :bins] ** 2 + x[:, :, bins:] ** 2
    mel = self.param('mel', lambda key, shape: jnp.asarray(mel_filterbank(*shape)), (bins, self.filters))
    x = jnp.log(power @ nn.relu(mel) + _FLOOR)
    x = normalised(x, 'mel_norm') * at(_FRAMES)
    if train and self.mask_bands:
      x = x * _bands_left(keys, self.filters, self.mask_bands)[:, None, :]
    x = x.astype(self.dtype)
    for layer, pool in enumerate(_POOLS):
      # [B, n, …] -> [B, n / pool, C]
      x = nn.Conv(self.channels, (_TAPS,), use_bias=False, dtype=self.dtype, name=f'conv_{layer}')(x)
      x = nn.relu(normalised(x, f'conv_{layer}_norm'))
      x = x.reshape(batch, -1, pool, self.channels).max(axis=2)
      x = x * at(x.shape[1] // steps)
      if train:
        x = dropout(x, jax.vmap(lambda key, n=layer: jax.random.fold_in(key, n))(keys), self.dropout_rate)
    return x


def reach(samples_per_step: int) -> int:
  """Samples to either side of a step that its features depend on."""
  frames, wide = (_WINDOW - 1) // 2, 1
  for pool in _POOLS:
    frames += (_TAPS - 1) // 2 * wide
    wide *= pool
  return frames * samples_per_step // _FRAMES


def _fourier(hop):
  """Initialiser [3, S/4, 2K]: cosines and sines of K frequencies, each under a Hann window of three frames."""

  def initialise(key, shape, dtype=jnp.float32):
    length = _WINDOW * hop
    time = np.arange(length) + 0.5
    phase = 2 * np.pi * np.outer(time, np.arange(1, shape[2] // 2 + 1)) / length
    window = np.sin(np.pi * time / length) ** 2
    return jnp.asarray(window[:, None] * np.concatenate([np.cos(phase), np.sin(phase)], 1), dtype).reshape(shape)

  return initialise


def mel_filterbank(bins: int, bands: int) -> np.ndarray:
  """[K, F] triangles, each from the centre of the band before to that of the next, equally far on the mel scale.

  Args:
    bins: K; bin k is the frequency (k + 1) / (2 K) of `_RATE`, its half the last.
    bands: F.
  """
  mel = lambda hertz: 2595 * np.log10(1 + hertz / 700)
  edges = np.linspace(0, mel(_RATE / 2), bands + 2)
  place = mel(_RATE / 2 * np.arange(1, bins + 1) / bins)[:, None]
  rising = (place - edges[:-2]) / (edges[1:-1] - edges[:-2])
  falling = (edges[2:] - place) / (edges[2:] - edges[1:-1])
  return np.maximum(0, np.minimum(rising, falling)).astype(np.float32)


def _bands_left(keys, bands, most):
  """[B, F], 0 for the bands that are taken away."""

  def of(key):
    width, first = jax.random.split(key)
    width = jax.random.randint(width, (), 0, most + 1)
    place = jnp.arange(bands) - jax.random.randint(first, (), 0, bands - width + 1)
    return ~((place >= 0) & (place < width))

  return jax.vmap(of)(keys).astype(jnp.float32)
