"""The sound: normalised over its recording, then through the speech network (paper, section III-B)."""

import functools
import math

import jax.numpy as jnp
import numpy as np

from data_prep.media import sound_levels
from data_prep.streams.speech import statistics
from e2e_affect.layers import filterbank
from e2e_affect.layers.filterbank import FilterbankSpeechNetwork
from e2e_affect.layers.speech import ReleasedSpeechNetwork, SpeechNetwork, WaveformNetwork
from e2e_affect.streams import sound_augmentation
from e2e_affect.streams.base import described, Stream

_STD_FLOOR = 1.0  # one int16 unit: digital silence stays zero instead of becoming NaN


class Speech(Stream):
  """Waveform [B, C+T+C, S] -> [B, T, 1280] for the paper's sizes."""

  name = 'speech'
  wide = ('audio',)
  evidence = 'audio_std'
  lack = 'sound'
  shared = ('variant', 'normalise', 'pool_channels')
  phrase = 'speech'
  track = 'a sound track'
  verb = 'hears'
  arrays = ('audio',)
  ends_early = True

  def reach(self, model, grid):
    """See `Stream`."""
    return math.ceil(self._reach(model, grid) / grid.samples_per_step)

  def _reach(self, model, grid):
    """Samples to either side that the filters see."""
    options = model.speech
    if options.variant == 'released':  # its filters stay within their step
      return 0
    if options.variant == 'filterbank':
      return filterbank.reach(grid.samples_per_step)
    # The half that comes later is the longer one, as padding SAME has it; the long filter's taps are two samples apart.
    return 2 * (options.long_taps // 2) + options.taps // 2

  def inputs(self, batch, model, augment, keys):
    """`audio` [B, T', S], `audio_mean`, `audio_std` and `audio_gain` [B] -> `audio` and `audio_found` [B]."""
    audio = batch['audio'].astype(jnp.float32)
    if model.speech.normalise == 'recording':
      # Zero mean and unit variance over the whole recording (paper, section III-B).
      mean, std = batch['audio_mean'][:, None, None], batch['audio_std'][:, None, None]
      # Where the sound was taken away (absence.py), samples are still there, and would come in thousands.
      audio = jnp.where(std > 0, (audio - mean) / jnp.maximum(std, _STD_FLOOR), 0)
    else:
      audio = audio / (32768 * batch['audio_gain'][:, None, None])  # as the authors' code decodes int16
    # A recording without a sound track is stored as zeros.
    audio = audio * batch['valid'][:, :, None]
    if keys is not None:
      audio = sound_augmentation.disturbed(audio, batch['valid'], augment, keys)
    return {
      'audio': audio,
      'audio_found': (batch['audio_std'] > 0).astype(jnp.float32),
    }

  def features(self, inputs, model, *, core, norm, dtype, train, keys):
    """See `Stream`."""
    options = model.speech
    of_all = dict(filters=options.filters, dropout_rate=options.dropout, dtype=dtype, name=self.name)
    sizes = dict(taps=options.taps, long_taps=options.long_taps, pool_channels=options.pool_channels)
    norm = functools.partial(norm, frozen=self.name in model.frozen)
    network: WaveformNetwork
    if options.variant == 'filterbank':
      network = FilterbankSpeechNetwork(**of_all, channels=options.channels, mask_bands=options.mask_bands, norm=norm)
    elif options.variant == 'released':
      # NOTE(paper): the released speech network's normalisation always learns from the batch, published weights or not,
      # as its authors trained it: a batch has hundreds of samples a step. `frozen` keeps it as it is.
      network = ReleasedSpeechNetwork(**of_all, **sizes, norm=functools.partial(norm, momentum=0.997))
    else:
      network = SpeechNetwork(**of_all, **sizes)
    found = inputs['audio_found'][:, None] > 0
    x = network(inputs['audio'], inputs['valid'], found=found, train=train, keys=keys)[:, core]
    return jnp.where(found[:, :, None], x, 0)

  def of_clip(self, clip):
    """See `Stream`."""
    if clip.samples is None:
      return None
    return {
      'audio': InSteps(clip.samples, clip.grid.samples_per_step),
      'audio_mean': clip.audio_mean,
      'audio_std': clip.audio_std,
      'audio_gain': clip.audio_gain,
    }

  def of_arrays(self, arrays, fields, grid):
    """See `Stream`; `audio` is [N] int16, or float with full scale at 1."""
    samples, gain = _int16(arrays['audio'], grid.sample_rate)
    mean, std = statistics(samples)
    return {
      'audio': InSteps(samples, grid.samples_per_step),
      'audio_mean': mean,
      'audio_std': std,
      'audio_gain': gain,
    }

  def amount(self, values):
    """See `Stream`."""
    return f'{len(values["audio"].samples)} samples'

  def takes(self, fields, grid, model):
    """See `Stream`."""
    reach = 1000 * self._reach(model, grid) / grid.sample_rate
    return (
      f'Sound at {_kilohertz(grid.sample_rate)}, mono, int16; the network sees {reach:.0f} ms to either side of a step.'
    )

  def example(self, fields, grid):
    """See `Stream`."""
    return 'audio=samples', f'int16 [N] at {_kilohertz(grid.sample_rate)}'


class InSteps:
  """Samples [N], read as steps [T, S]; the last one is filled up with silence.

  Attributes:
    samples: whatever is long may be mapped from a file: a slice reads its own steps alone.
  """

  def __init__(self, samples: np.ndarray, samples_per_step: int):
    self.samples, self._size = samples, samples_per_step

  def __len__(self) -> int:
    return math.ceil(len(self.samples) / self._size)

  def __getitem__(self, steps: slice) -> np.ndarray:
    first, end, _ = steps.indices(len(self))
    piece = self.samples[first * self._size : end * self._size]
    rows = np.zeros((max(0, end - first), self._size), self.samples.dtype)
    rows.reshape(-1)[: len(piece)] = piece
    return rows


def _kilohertz(sample_rate):
  return f'{sample_rate / 1000:g} kHz'


def _int16(audio, sample_rate):
  """The samples as files give them, and their gain."""
  if audio.ndim != 1 or not len(audio):
    raise ValueError(f'audio is {audio.dtype}{list(audio.shape)}, expected [N] samples at {_kilohertz(sample_rate)}')
  if audio.dtype == np.int16:
    return audio, 1.0
  if audio.dtype.kind != 'f' or not np.isfinite(audio).all() or np.abs(audio).max() > sound_levels.MOST:
    raise ValueError(
      f'audio is {described(audio)}, expected int16, or finite float in [−1, 1] (up to {sound_levels.MOST:g} is taken)'
    )
  gain = sound_levels.gain(float(np.abs(audio).max()))
  wide = audio.astype(np.promote_types(audio.dtype, np.float32), copy=False)
  return np.clip(np.rint(wide * (32768.0 * gain)), -32768, 32767).astype(np.int16), gain
