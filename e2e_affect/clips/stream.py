"""Traces while the sound is still coming in: PCM in, one line per step out.

The network's filters (the paper's: 5 ms and 500 ms) look 252.5 ms ahead, so that a step of 40 ms is known seven steps
after its end. They are applied to one step at a time. The 1600 transforms of the long filter are made once, at the
start; a step then needs 80, one for each channel that goes in or comes out.

Two things differ from `predict` and cannot be otherwise: the waveform is normalised by mean and deviation of the sound
heard so far, not of the whole recording; and post-processing, which looks both ways in time, is left out.
"""

import collections
from collections.abc import Iterator
import functools
import math
import sys
import time
from typing import BinaryIO, TextIO

from flax import linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from scipy import fft

from data_prep.core import cli
from data_prep.core.errors import DataError, UserError
from data_prep.schema.grid import Grid
from e2e_affect.clips import pcm
from e2e_affect.clips.network import Network
from e2e_affect.layers.recurrent import initial_carry, RecurrentNetwork
from e2e_affect.run.origin import SIMULATED
from e2e_affect.streams import STREAMS

_POOLED = 2  # samples into one, after the short filter


class Stream:
  """A network that takes one step of sound at a time.

  Attributes:
    ahead: L, steps of sound that must follow a step before it can be predicted.
    grid: of the sound and the steps.
  """

  def __init__(self, network: Network, statistics: tuple[float, float] | None = None):
    """
    Args:
      network: one that hears; a fused one runs with the picture masked.
      statistics: mean and standard deviation of the sound, int16 units, where they are known beforehand.

    Raises:
      UserError: the network does not hear, or is not the paper's.
    """
    options, self.grid = network.config.model.speech, network.layout.grid
    per_step = self.grid.samples_per_step
    if network.shows != 'numbers' or network.config.head != 'regression':
      raise UserError(
        f'--stream writes numbers as they come, and the head of this network is {network.config.head!r}; use one of '
        'regression'
      )
    if STREAMS['speech'].name not in network.modalities:
      raise UserError(
        f'--stream reads sound, and this is a {" + ".join(network.modalities)} network; use one that hears'
      )
    if options.variant != 'paper' or not 1 < options.taps <= per_step:
      raise UserError(
        f'--stream runs model.speech.variant = paper with 2 to {per_step} taps, and this network '
        f'has {options.variant} with {options.taps}; use `predict` on files'
      )
    sizes = _Sizes(options.taps, options.long_taps, per_step)
    params = network.variables['params']
    self.ahead = sizes.ahead
    self._statistics, self._heard = statistics, [0, 0, 0]
    response = jnp.conj(jnp.fft.rfft(jnp.moveaxis(params['speech']['long_conv_kernel'], 0, 2), sizes.block))
    self._params = {
      'speech': {k: v for k, v in params['speech'].items() if k != 'long_conv_kernel'},
      'response': response,
      'recurrent': params['recurrent'],
    }
    recurrent = network.config.model.recurrent
    self._state = {
      'sound': jnp.zeros(sizes.before),
      'buffer': jnp.zeros((sizes.buffer, options.filters)),
      'valid': jnp.zeros(()),
      'carry': initial_carry(1, recurrent.layers, recurrent.units),
    }
    frozen = ml_collections.FrozenConfigDict(network.config)
    step = jax.jit(functools.partial(_step, config=frozen, sizes=sizes, num_targets=len(network.targets)))
    self._taken = 0
    # What the network says of a step is the trace of `label_delay_steps` later.
    self._said: collections.deque[np.ndarray] = collections.deque(maxlen=network.config.data.label_delay_steps + 1)
    # Compiled now: later the first sound would wait for it.
    arguments = self._arguments(np.zeros(per_step, np.int16), True)
    self._compiled = step.lower(*arguments).compile()
    jax.block_until_ready(self._compiled(*arguments))  # the first call is slow, too

  def __call__(self, samples: np.ndarray | None) -> np.ndarray | None:
    """Takes the next step of sound; returns the prediction of the step that lies `ahead` before it.

    Args:
      samples: [S] int16, fewer at the end of the sound (silence fills the step up), or None after the end.

    Returns:
      [K] float32, or None as long as no step has enough sound after it.
    """
    if samples is not None:
      wide = samples.astype(np.int64)
      self._heard = [
        self._heard[0] + len(wide),
        self._heard[1] + int(wide.sum()),
        self._heard[2] + int((wide * wide).sum()),
      ]
    prediction, self._state = self._compiled(*self._arguments(samples, samples is not None))
    self._taken += 1
    # Waits for a prediction that is dropped, too: otherwise the first that is returned would wait for all of them.
    prediction = np.asarray(prediction)
    if self._taken <= self.ahead:
      return None
    self._said.append(prediction)
    return self._said[0]

  def _arguments(self, samples, valid):
    count, total, squares = self._heard
    statistics = self._statistics or (
      (total / count, math.sqrt((count * squares - total * total) / count**2)) if count else (0.0, 0.0)
    )
    samples = np.zeros(0, np.int16) if samples is None else samples
    samples = np.pad(samples, (0, self.grid.samples_per_step - len(samples)))
    return (
      self._params,
      self._state,
      samples,
      np.float32(statistics),
      np.float32(valid),
      np.bool_(self._taken >= self.ahead),
    )


class _Sizes:
  """Lengths of the two filters' windows; SAME padding puts the smaller half first.

  Attributes:
    step: samples of a step, as they come in.
    half: of a step after the pooling to half the rate.
    before: samples kept from earlier steps for the short filter.
    late: samples, at half the rate, by which the short filter's output trails the sound.
    ahead: L.
    window: samples, at half the rate, that the long filter reads for one step.
    buffer: samples, at half the rate, that are kept; the first `window` belong to the step to predict.
    block: length of the transforms.
  """

  def __init__(self, taps, long_taps, samples_per_step):
    self.step, self.half = samples_per_step, samples_per_step // _POOLED
    left, right = (taps - 1) // 2, taps - 1 - (taps - 1) // 2
    long_right = long_taps - 1 - (long_taps - 1) // 2
    self.late = -(-right // _POOLED)
    self.before = left + _POOLED * self.late
    self.ahead = -(-(long_right + self.late) // self.half)
    self.window = self.half + long_taps - 1
    self.buffer = self.window + self.half * self.ahead - self.late - long_right
    self.block = fft.next_fast_len(self.window, real=True)


def _step(params, state, samples, statistics, valid, emit, *, config, sizes, num_targets):
  """One step through `SpeechNetwork` and `RecurrentNetwork`; prediction [K] and the new state."""
  options = config.model.speech
  inputs = STREAMS['speech'].inputs(
    {
      'audio': samples[None, None],
      'audio_mean': statistics[:1],
      'audio_std': statistics[1:],
      'audio_gain': jnp.ones(1),
      'valid': valid[None, None],
    },
    config.model,
    config.augment,
    keys=None,
  )
  # The short filter, as far as the sound has come: [before + S] -> [S / 2, F]
  sound = jnp.concatenate([state['sound'], inputs['audio'].reshape(-1)])
  conv = nn.Conv(options.filters, (options.taps,), padding='VALID')
  x = conv.apply({'params': params['speech']['conv']}, sound[None, :, None])[0, : sizes.step]
  x = nn.relu(x.reshape(sizes.half, _POOLED, -1).max(axis=1))
  # The first outputs still belong to the step before. Outside the recording outputs are zeros.
  x *= jnp.concatenate([jnp.repeat(state['valid'], sizes.late), jnp.repeat(valid, sizes.half - sizes.late)])[:, None]
  buffer = jnp.concatenate([state['buffer'][sizes.half :], x])
  # The long filter: [window, F] -> [S / 2, F]
  spectrum = jnp.fft.rfft(buffer[: sizes.window].T, sizes.block)
  y = jnp.fft.irfft(jnp.einsum('if,iof->of', spectrum, params['response']), sizes.block)[:, : sizes.half].T
  y = y + params['speech']['long_conv_bias']
  y = nn.relu(y.reshape(sizes.half, -1, options.pool_channels).max(axis=2)).reshape(1, 1, -1) * inputs['audio_found']
  # A masked picture gives features of zero, after those of the speech.
  wanted = params['recurrent']['lstm_0']['kernel'].shape[0]
  features = jnp.pad(y, ((0, 0), (0, 0), (0, wanted - y.shape[2])))
  recurrent = config.model.recurrent
  network = RecurrentNetwork(
    num_targets,
    recurrent.layers,
    recurrent.units,
    recurrent.peepholes,
    recurrent.cell_clip,
    jnp.dtype(config.dtype),
    restart_steps=recurrent.restart_steps,
  )
  prediction, carry = network.apply({'params': params['recurrent']}, features, state['carry'])
  # Before the first step of the recording there is nothing to remember.
  carry = jax.tree.map(lambda new, old: jnp.where(emit, new, old), carry, state['carry'])
  return prediction[0, 0], {'sound': sound[-sizes.before :], 'buffer': buffer, 'valid': valid, 'carry': carry}


def predictions(stream: Stream, source: BinaryIO, costs: list[float]) -> Iterator[np.ndarray]:
  """Yields [K] for every step that the sound begins.

  Args:
    stream: fresh.
    source: signed 16-bit little-endian mono PCM at the grid's rate.
    costs: the seconds of work of each step are appended.

  Raises:
    DataError: it begins as a media file; nothing has been yielded. Or the sound ends within a sample; all steps before
      have been yielded.
  """
  wanted = 2 * stream.grid.samples_per_step  # bytes

  def advance(samples):
    begin = time.perf_counter()
    prediction = stream(samples)
    costs.append(time.perf_counter() - begin)
    return () if prediction is None else (prediction,)

  # Two steps at once: enough to see two frames of every kind of file. It delays no line by more than a step.
  waiting = _read(source, 2 * wanted)
  kind = pcm.container_of(waiting)
  if kind:
    raise DataError(
      f'standard input begins as {kind} file; expected 16-bit PCM without a header: {_format(stream.grid)}. Analyse '
      'the file by its name, without --stream, or let FFmpeg decode it: '
      f'ffmpeg -i FILE -f s16le -ac 1 -ar {stream.grid.sample_rate} - | …'
    )
  while True:
    data, waiting = (waiting[:wanted], waiting[wanted:]) if waiting else (_read(source, wanted), b'')
    whole = data[: len(data) // 2 * 2]
    if whole:
      yield from advance(np.frombuffer(whole, '<i2'))
    if len(data) < wanted:
      break
  for _ in range(stream.ahead):
    yield from advance(None)
  if len(data) % 2:
    raise DataError(f'standard input ends within a sample; expected 16-bit PCM: {_format(stream.grid)}')


def _read(source, count) -> bytes:
  try:
    return source.read(count)
  except OSError as e:
    raise DataError(f'standard input cannot be read ({e.strerror}); expected 16-bit PCM') from None


def _format(grid: Grid) -> str:
  return f'{grid.sample_rate / 1000:g} kHz, mono, little-endian'


def run(network: Network, source: BinaryIO, sink: TextIO) -> None:
  """The command: writes CSV lines to `sink`, and the cost to standard error."""
  stream = Stream(network)
  grid = stream.grid
  cli.complain(
    f"a step's line comes {1000 * grid.step_seconds * stream.ahead:.0f} ms after its end: the filters look ahead; raw "
    'traces, by the loudness heard so far'
  )
  if network.simulated:
    cli.warn(SIMULATED, sys.stderr)
  print(','.join(['time', *network.targets]), file=sink, flush=True)
  costs: list[float] = []
  steps = 0
  for steps, prediction in enumerate(predictions(stream, source, costs), 1):
    print(','.join([grid.time(steps - 1), *prediction.astype(str)]), file=sink, flush=True)
  if not steps:
    raise DataError(f'standard input is empty; expected 16-bit PCM: {_format(stream.grid)}')
  seconds = steps * grid.step_seconds
  cli.complain(
    f'{steps} steps ({seconds:.2f} s); real-time factor {sum(costs) / seconds:.3f}; a step takes '
    f'{1000 * np.median(costs):.1f} ms, at most {1000 * max(costs):.1f} ms'
  )
