"""The sound: normalised over its recording, then through the speech network (paper, section III-B)."""

import functools

import jax.numpy as jnp

from e2e_affect.layers.speech import ReleasedSpeechNetwork, SpeechNetwork
from e2e_affect.streams.base import Stream

_STD_FLOOR = 1.0  # one int16 unit: digital silence stays zero instead of becoming NaN


class Speech(Stream):
  """Waveform [B, C+T+C, S] -> [B, T, 1280] for the paper's sizes."""

  name = 'speech'
  wide = ('audio',)
  evidence = 'audio_std'
  lack = 'sound'
  shared = ('variant', 'normalise', 'pool_channels')

  def reach(self, model):
    """See `Stream`."""
    options = model.speech
    if options.variant == 'released':  # its filters stay within their step
      return 0
    # The half that comes later is the longer one, as padding SAME has it; the long filter's taps are two samples apart.
    return 2 * (options.long_taps // 2) + options.taps // 2

  def inputs(self, batch, model, augment, keys):
    """`audio` [B, T', S], `audio_mean`, `audio_std` and `audio_gain` [B] -> `audio` and `audio_found` [B]."""
    audio = batch['audio'].astype(jnp.float32)
    if model.speech.normalise == 'recording':
      # Zero mean and unit variance over the whole recording (paper, section III-B).
      mean, std = batch['audio_mean'][:, None, None], batch['audio_std'][:, None, None]
      audio = (audio - mean) / jnp.maximum(std, _STD_FLOOR)
    else:
      audio = audio / (32768 * batch['audio_gain'][:, None, None])  # as the authors' code decodes int16
    # A recording without a sound track is stored as zeros.
    return {
      'audio': audio * batch['valid'][:, :, None],
      'audio_found': (batch['audio_std'] > 0).astype(jnp.float32),
    }

  def features(self, inputs, model, *, core, norm, dtype, train, keys):
    """See `Stream`."""
    options = model.speech
    sizes = dict(
      filters=options.filters,
      taps=options.taps,
      long_taps=options.long_taps,
      pool_channels=options.pool_channels,
      dropout_rate=options.dropout,
      dtype=dtype,
      name=self.name,
    )
    if options.variant == 'released':
      # NOTE(paper): the released speech network's normalisation always learns from the batch, published weights or not,
      # as its authors trained it: a batch has hundreds of samples a step. `frozen` keeps it as it is.
      norm = functools.partial(norm, frozen=self.name in model.frozen, momentum=0.997)
      network = ReleasedSpeechNetwork(**sizes, norm=norm)
    else:
      network = SpeechNetwork(**sizes)
    found = inputs['audio_found'][:, None] > 0
    x = network(inputs['audio'], inputs['valid'], found=found, train=train, keys=keys)[:, core]
    return jnp.where(found[:, :, None], x, 0)
