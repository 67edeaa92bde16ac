"""The assembled networks: speech, visual or both, and the recurrent part on top (paper, Fig. 1)."""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from e2e_affect.config import switches
from e2e_affect.input import augment
from e2e_affect.layers import recurrent
from e2e_affect.layers.batch_norm import MaskedBatchNorm
from e2e_affect.layers.resnet import ResNet50
from e2e_affect.layers.speech import ReleasedSpeechNetwork, SpeechNetwork


class AffectNetwork(nn.Module):
  """Features of each modality, concatenated speech first, and the recurrent part.

  Attributes:
    num_targets: K.
    config: `config.model`, frozen and settled (config/switches.py); its fields are explained in config/defaults.py.
    dtype: of the computation; parameters and predictions are float32.
    axis_name: of the devices that share a batch, for batch normalisation; None for one device.
  """

  num_targets: int
  config: ml_collections.FrozenConfigDict
  dtype: jnp.dtype = jnp.float32
  axis_name: str | None = None

  @nn.compact
  def __call__(
    self,
    inputs: dict[str, jax.Array],
    *,
    train: bool,
    keys: jax.Array | None = None,
    carry: recurrent.Carry | None = None,
    context: int = 0,
  ) -> tuple[jax.Array, recurrent.Carry]:
    """Predicts the targets of every step.

    Args:
      inputs: `audio` [B, C+T+C, S] normalised waveform, `audio_found` [B], `face` [B, T, H, W, 3] normalised
        frames, `face_found` [B, T], `landmarks` [B, T, L, 2] aligned, `valid` [B, C+T+C]; those of an absent modality
        may be left out.
      train: dropout on, batch statistics of this batch.
      keys: [B] PRNG keys of this batch's sequences; only read in training.
      carry: state of the recurrent part before the first step; None starts from zero.
      context: C, steps of audio before and after the T steps to predict, which the long filter sees.

    Returns:
      Predictions [B, T, K] float32 and the recurrent state after the last step.
    """
    valid = inputs['valid']
    core = slice(context, valid.shape[1] - context)
    norm = functools.partial(MaskedBatchNorm, axis_name=self.axis_name, dtype=self.dtype)
    features = []
    if 'speech' in self.config.modalities:
      # [B, C+T+C, S] -> [B, T, 1280]
      found = inputs['audio_found'][:, None] > 0
      # NOTE(paper): the released speech network's normalisation always learns from the batch, published weights or not,
      # as its authors trained it: a batch has hundreds of samples a step. `frozen` keeps it as it is.
      x = self._speech(functools.partial(norm, frozen='speech' in self.config.frozen))(
        inputs['audio'], valid, found=found, train=train, keys=keys
      )[:, core]
      features.append(jnp.where(found[:, :, None], x, 0))
    if 'visual' in self.config.modalities:
      # [B, T, H, W, 3] -> [B·T, H, W, 3] -> [B, T, 2048]
      face = inputs['face']
      options = self.config.visual
      found = inputs['face_found'] > 0
      mask = (valid[:, core] * found).reshape(-1)
      frames = face.reshape(-1, *face.shape[2:])
      if train:
        # Batch normalisation of few frames, much alike, makes others a hundred times larger in every layer, until
        # 0 · inf is NaN: what is not to count looks like a frame that does.
        frames = jnp.where(mask[:, None, None, None] > 0, frames, frames[mask.argmax()])
      norm = functools.partial(
        norm,
        epsilon=options.batch_norm_epsilon,
        momentum=options.batch_norm_momentum,
        frozen=options.batch_norm == 'frozen' or 'visual' in self.config.frozen,
      )
      x = ResNet50(
        width=options.width,
        stride_on=options.stride_on,
        stem_pool_padding=options.stem_pool_padding,
        norm=norm,
        remat=options.remat,
        dtype=self.dtype,
        name='visual',
      )(frames, mask, train)
      features.append(jnp.where(found[:, :, None], x.reshape(*face.shape[:2], -1), 0))
    if 'geometric' in self.config.modalities:
      # [B, T, L, 2] -> [B, T, 2L]
      x = inputs['landmarks']
      features.append(x.reshape(*x.shape[:2], -1).astype(self.dtype))
    x = jnp.concatenate(features, axis=-1)
    options = self.config.recurrent
    network = recurrent.RecurrentNetwork(
      self.num_targets,
      options.layers,
      options.units,
      options.peepholes,
      options.cell_clip,
      self.dtype,
      options.input_scale,
      0 if train else options.restart_steps,
      name='recurrent',
    )
    if train and options.warm_up:
      # Evaluation carries the state through whole recordings; a short sequence that begins at zero never meets such
      # states. Its own features, repeated, lead to one of this person.
      carry = network(jnp.tile(x, (1, options.warm_up, 1)), carry)[1]
      carry = jax.lax.stop_gradient(carry)
    return network(x, carry)

  def _speech(self, norm):
    options = self.config.speech
    sizes = dict(
      filters=options.filters,
      taps=options.taps,
      long_taps=options.long_taps,
      pool_channels=options.pool_channels,
      dropout_rate=options.dropout,
      dtype=self.dtype,
      name='speech',
    )
    if options.variant == 'released':
      return ReleasedSpeechNetwork(**sizes, norm=functools.partial(norm, momentum=0.997))
    return SpeechNetwork(**sizes)


def make_model(config: ml_collections.ConfigDict, num_targets: int, axis_name: str | None) -> AffectNetwork:
  """The network of a config; `axis_name` as in `AffectNetwork`."""
  model = ml_collections.FrozenConfigDict(switches.settled(config.model))
  return AffectNetwork(num_targets, model, jnp.dtype(config.dtype), axis_name)


def example_batch(config: ml_collections.ConfigDict, num_targets: int, batch_size: int = 1, steps: int = 25) -> dict:
  """A batch of zeros in the shapes and types of the input pipeline, to trace with."""
  from data_prep.schema.records import FACE_SIZE, SAMPLES_PER_STEP

  batch = {
    'label': jnp.zeros((batch_size, steps, num_targets)),
    'mask': jnp.zeros((batch_size, steps)),
    'valid': jnp.ones((batch_size, steps)),
    'index': jnp.arange(batch_size),
  }
  if 'speech' in config.model.modalities:
    batch |= {
      'audio': jnp.zeros((batch_size, steps, SAMPLES_PER_STEP), jnp.int16),
      'audio_mean': jnp.zeros(batch_size),
      'audio_std': jnp.ones(batch_size),
      'audio_gain': jnp.ones(batch_size),
    }
  if 'visual' in config.model.modalities:
    batch |= {
      'face': jnp.zeros((batch_size, steps, FACE_SIZE, FACE_SIZE, 3), jnp.uint8),
      'face_found': jnp.ones((batch_size, steps)),
    }
  if 'geometric' in config.model.modalities:
    batch['landmarks'] = jnp.zeros((batch_size, steps, config.model.geometric.landmarks, 2))
  return batch


def init_variables(config: ml_collections.ConfigDict, num_targets: int) -> dict:
  """Fresh `params` and `batch_stats` from `config.seed`; the same whatever the devices."""
  model = make_model(config, num_targets, axis_name=None)
  batch = example_batch(config, num_targets)

  @jax.jit
  def init(key):
    inputs = augment.prepare(batch, model.config, config.augment, keys=None)
    return model.init(key, inputs, train=False)

  variables = init(jax.random.key(config.seed))
  return {'params': variables['params'], 'batch_stats': variables.get('batch_stats', {})}
