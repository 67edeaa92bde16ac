"""A network that takes one step at a time, while sound and picture are still coming in.

The network's filters (the paper's: 5 ms and 500 ms) look 252.5 ms ahead, so that a step of 40 ms is known seven steps
after its end. They are applied to one step at a time. The 1600 transforms of the long filter are made once, at the
start; a step then needs 80, one for each channel that goes in or comes out.

Features of a face wait for the sound's. The waveform is normalised by mean and deviation of the sound heard so far, not
of the whole recording.
"""

import collections
import copy
import functools
import math
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from scipy import fft

from data_prep.core.errors import UserError
from data_prep.face import cropping
from e2e_affect import streams
from e2e_affect.clips.network import Network
from e2e_affect.config import switches
from e2e_affect.layers.batch_norm import MaskedBatchNorm
from e2e_affect.layers.recurrent import initial_carry, RecurrentNetwork

_POOLED = 2  # samples into one, after the short filter


class OnlineNetwork:
  """A network that takes one step of sound and picture at a time.

  Attributes:
    ahead: L, steps of sound that must follow a step before it can be predicted; 0 of a network that does not hear.
    grid: of the sound and the steps.
    hears, sees: what the network takes.
    detector: of the faces.
  """

  def __init__(self, network: Network, statistics: tuple[float, float] | None = None):
    """
    Args:
      network: of speech, of faces or of both.
      statistics: mean and standard deviation of the sound, int16 units, where they are known beforehand.

    Raises:
      UserError: the network is none of numbers for each step, its speech part is not the paper's, or it takes more than
        sound and faces.
    """
    options, self.grid = network.config.model.speech, network.layout.grid
    per_step = self.grid.samples_per_step
    own, self.detector = streams.of(network.config.model), network.detector
    self.hears, self.sees = any(s.track and not s.picture for s in own), any(s.picture for s in own)
    if network.shows != 'numbers' or network.config.head != 'regression':
      raise UserError(
        f'--stream writes numbers as they come, and the head of this network is {network.config.head!r}; use one of '
        'regression'
      )
    others = set(network.modalities) - {'speech', 'visual'}
    if others:
      raise UserError(f'--stream reads sound and faces, and the network reads {", ".join(sorted(others))} too')
    if self.hears and (options.variant != 'paper' or not 1 < options.taps <= per_step):
      raise UserError(
        f'--stream runs model.speech.variant = paper with 2 to {per_step} taps, and this network '
        f'has {options.variant} with {options.taps}; use `predict` on files'
      )
    params, recurrent = network.variables['params'], network.config.model.recurrent
    self._params: dict[str, Any] = {'recurrent': params['recurrent']}
    self._carry = initial_carry(1, recurrent.layers, recurrent.units)
    self._sound: dict[str, Any] = {}
    sizes = _Sizes(options.taps, options.long_taps, per_step) if self.hears else None
    self.ahead = sizes.ahead if sizes else 0
    if sizes:
      response = jnp.conj(jnp.fft.rfft(jnp.moveaxis(params['speech']['long_conv_kernel'], 0, 2), sizes.block))
      self._params |= {
        'speech': {k: v for k, v in params['speech'].items() if k != 'long_conv_kernel'},
        'response': response,
      }
      self._sound = {
        'sound': jnp.zeros(sizes.before),
        'buffer': jnp.zeros((sizes.buffer, options.filters)),
        'valid': jnp.zeros(()),
      }
    if self.sees:
      self._params['visual'] = {
        kind: {'visual': network.variables[kind]['visual']} for kind in ('params', 'batch_stats')
      }
    self._statistics, self._heard = statistics, [0, 0, 0]
    self._unseen = cropping.grey(network.crop), 0.0
    # What is seen waits for the sound that follows it.
    self._seen = collections.deque([self._unseen] * self.ahead, maxlen=self.ahead + 1)
    config = network.config.copy_and_resolve_references()
    config.model = switches.settled(config.model)
    frozen = ml_collections.FrozenConfigDict(config)
    self._taken = 0
    # What the network says of a step is the trace of `label_delay_steps` later.
    self._said: collections.deque[np.ndarray] = collections.deque(maxlen=network.config.data.label_delay_steps + 1)
    # Compiled now: later the first sound would wait for it. The first call is slow, too.
    self._hear, heard = None, None
    if sizes:
      arguments = self._of_sound(np.zeros(per_step, np.int16), True)
      self._hear = jax.jit(functools.partial(_hear, config=frozen, sizes=sizes)).lower(*arguments).compile()
      heard, _ = self._hear(*arguments)
    arguments = self._of_face(heard, self._unseen)
    say = jax.jit(functools.partial(_say, config=frozen, num_targets=len(network.targets)))
    self._say = say.lower(*arguments).compile()
    jax.block_until_ready(self._say(*arguments))

  def __call__(
    self, samples: np.ndarray | None, face: np.ndarray | None = None, found: float = 0.0
  ) -> np.ndarray | None:
    """Takes the next step; returns the prediction of the step that lies `ahead` before it.

    Args:
      samples: [S] int16, fewer at the end of the sound (silence fills the step up), or None after the end.
      face: uint8 [size, size, 3] crop of this step; None: no picture.
      found: confidence that there is a face.

    Returns:
      [K] float32, or None as long as no step has enough sound after it.
    """
    return self.say(self.hear(samples), face, found)

  def fork(self) -> 'OnlineNetwork':
    """A network that has taken the same steps; from now on it takes what this one hears, and faces of its own."""
    other = copy.copy(self)  # arrays of the state are never changed in place
    other._seen, other._said = self._seen.copy(), self._said.copy()
    return other

  def hear(self, samples: np.ndarray | None) -> jax.Array | None:
    """What is heard in the step `ahead` before this one, [1, 1, D]; None of a network that does not hear."""
    if self._hear is None:
      return None
    if samples is not None:
      wide = samples.astype(np.int64)
      self._heard = [
        self._heard[0] + len(wide),
        self._heard[1] + int(wide.sum()),
        self._heard[2] + int((wide * wide).sum()),
      ]
    heard, self._sound = self._hear(*self._of_sound(samples, samples is not None))
    return heard

  def say(self, heard: jax.Array | None, face: np.ndarray | None, found: float) -> np.ndarray | None:
    """What `__call__` returns; `heard` is what this network, or the one that it forked from, has just heard."""
    self._seen.append(self._unseen if face is None else (face, found))
    prediction, self._carry = self._say(*self._of_face(heard, self._seen[0]))
    self._taken += 1
    # Waits for a prediction that is dropped, too: otherwise the first that is returned would wait for all of them.
    prediction = np.asarray(prediction)
    if self._taken <= self.ahead:
      return None
    self._said.append(prediction)
    return self._said[0]

  def _of_sound(self, samples, valid):
    count, total, squares = self._heard
    statistics = self._statistics or (
      (total / count, math.sqrt((count * squares - total * total) / count**2)) if count else (0.0, 0.0)
    )
    samples = np.zeros(0, np.int16) if samples is None else samples
    samples = np.pad(samples, (0, self.grid.samples_per_step - len(samples)))
    return self._params, self._sound, samples, np.float32(statistics), np.float32(valid)

  def _of_face(self, heard, seen):
    face, found = seen
    return self._params, self._carry, heard, face, np.float32(found), np.bool_(self._taken >= self.ahead)


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


def _say(params, carry, heard, face, found, emit, *, config, num_targets):
  """One step through the network behind its ears; prediction [K] and the new state."""
  features = [] if heard is None else [heard]
  if sight := params.get('visual'):
    features.append(_see(sight, face, found, config))
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
  x = jnp.concatenate(features, axis=-1)
  prediction, after = network.apply({'params': params['recurrent']}, x, carry)
  # Before the first step of the recording there is nothing to remember.
  return prediction[0, 0], jax.tree.map(lambda new, old: jnp.where(emit, new, old), after, carry)


def _hear(params, state, samples, statistics, valid, *, config, sizes):
  """One step through `SpeechNetwork`: features [1, 1, D] of the step `ahead` before it, and the new state."""
  options = config.model.speech
  inputs = streams.STREAMS['speech'].inputs(
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
  return y, {'sound': sound[-sizes.before :], 'buffer': buffer, 'valid': valid}


class _Sight(nn.Module):
  """The visual stream's part of `AffectNetwork`, in evaluation."""

  config: ml_collections.FrozenConfigDict

  @nn.compact
  def __call__(self, inputs):
    dtype = jnp.dtype(self.config.dtype)
    norm = functools.partial(MaskedBatchNorm, dtype=dtype)
    return streams.STREAMS['visual'].features(
      inputs, self.config.model, core=slice(None), norm=norm, dtype=dtype, train=False, keys=None
    )


def _see(variables, face, found, config):
  """Features [1, 1, D] of a face; without one they are zeros, and cost nothing."""
  batch = {'face': face[None, None], 'face_found': found[None, None]}

  def features(batch):
    inputs = streams.STREAMS['visual'].inputs(batch, config.model, config.augment, keys=None)
    return _Sight(config).apply(variables, {**inputs, 'valid': jnp.ones((1, 1))})

  of = jax.eval_shape(features, batch)
  return jax.lax.cond(found > 0, features, lambda batch: jnp.zeros(of.shape, of.dtype), batch)
