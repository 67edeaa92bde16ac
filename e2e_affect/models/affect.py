"""The assembled networks: speech, visual, both or more, and the recurrent part on top (paper, Fig. 1)."""

import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
import ml_collections

from data_prep.schema.fields import Layout
from e2e_affect import heads, streams
from e2e_affect.config import switches
from e2e_affect.layers import recurrent
from e2e_affect.layers.batch_norm import MaskedBatchNorm


class AffectNetwork(nn.Module):
  """Features of each modality, concatenated speech first, and the recurrent part.

  Attributes:
    num_outputs: O, of the head.
    config: `config.model`, frozen and settled (config/switches.py); its fields are explained in config/defaults.py.
    dtype: of the computation; parameters and predictions are float32.
    axis_name: of the devices that share a batch, for batch normalisation; None for one device.
  """

  num_outputs: int
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
    """Predicts every step.

    Args:
      inputs: `audio` [B, C+T+C, S] normalised waveform, `audio_found` [B], `face` [B, T, H, W, 3] normalised
        frames, `face_found` [B, T], `landmarks` [B, T, L, 2] aligned, `valid` [B, C+T+C], and so on: what the streams'
        `inputs` return; those of an absent modality may be left out.
      train: dropout on, batch statistics of this batch.
      keys: [B] PRNG keys of this batch's sequences; only read in training.
      carry: state of the recurrent part before the first step; None starts from zero.
      context: C, steps before and after the T steps to predict, which long filters see.

    Returns:
      Outputs [B, T, O] float32 and the recurrent state after the last step.
    """
    valid = inputs['valid']
    core = slice(context, valid.shape[1] - context)
    norm = functools.partial(MaskedBatchNorm, axis_name=self.axis_name, dtype=self.dtype)
    features = [
      stream.features(inputs, self.config, core=core, norm=norm, dtype=self.dtype, train=train, keys=keys)
      for stream in streams.of(self.config)
    ]
    x = jnp.concatenate(features, axis=-1)
    options = self.config.recurrent
    network = recurrent.RecurrentNetwork(
      self.num_outputs,
      options.layers,
      options.units,
      options.peepholes,
      options.cell_clip,
      self.dtype,
      options.input_scale,
      0 if train else options.restart_steps,
      options.bidirectional,
      options.pool,
      name='recurrent',
    )
    # [B]: nothing is valid past the end of a recording, and all is before.
    lengths = valid[:, core].sum(axis=1) if options.bidirectional else None
    if train and options.warm_up:
      # Evaluation carries the state through whole recordings, and a short sequence from zero never reaches such states.
      # Reading its own features several times leads to a state of this person.
      carry = network(x, carry, repeats=options.warm_up)[1]
      carry = jax.lax.stop_gradient(carry)
    return network(x, carry, lengths)


def make_model(config: ml_collections.ConfigDict, layout: Layout, axis_name: str | None) -> AffectNetwork:
  """The network of a config for data of a layout; `axis_name` as in `AffectNetwork`."""
  model = ml_collections.FrozenConfigDict(switches.settled(config.model))
  return AffectNetwork(
    len(heads.of(config).outputs(heads.Targets.of(layout))), model, jnp.dtype(config.dtype), axis_name
  )


def inputs_of(batch: dict[str, jax.Array], model: Any, augment: Any, keys: jax.Array | None) -> dict[str, jax.Array]:
  """Makes the network's inputs of a batch as it comes from the input pipeline.

  Args:
    batch: the fields of the network's streams, [B, T, …] or [B], and `valid` [B, T].
    model: `config.model`.
    augment: `config.augment`.
    keys: [B] PRNG keys, one a sequence, or None to evaluate.
  """
  inputs = {'valid': batch['valid']}
  for stream in streams.of(model):
    inputs |= stream.inputs(batch, model, augment, keys)
  return inputs


def example_batch(config: ml_collections.ConfigDict, layout: Layout, batch_size: int = 1, steps: int = 1) -> dict:
  """A batch in the shapes and types of the input pipeline, to trace with; what shows that a stream is there is 1."""
  batch = {
    'label': jnp.zeros((batch_size, steps, len(layout.targets))),
    'mask': jnp.zeros((batch_size, steps)),
    'valid': jnp.ones((batch_size, steps)),
    'index': jnp.arange(batch_size),
  }
  for stream in streams.of(config.model):
    for field in layout.streams[stream.name]:
      shape = (batch_size, steps, *field.shape) if field.per == 'step' else (batch_size, *field.shape)
      value = 1 if field.name == stream.evidence else field.default or 0
      batch[field.name] = jnp.full(shape, value, 'uint8' if field.dtype == 'jpeg' else field.dtype)
  return batch


def init_variables(config: ml_collections.ConfigDict, layout: Layout) -> dict:
  """Fresh `params` and `batch_stats` from `config.seed`; the same whatever the devices."""
  model = make_model(config, layout, axis_name=None)
  batch = example_batch(config, layout)

  @jax.jit
  def init(key):
    return model.init(key, inputs_of(batch, model.config, config.augment, keys=None), train=False)

  variables = init(jax.random.key(config.seed))
  return {'params': variables['params'], 'batch_stats': variables.get('batch_stats', {})}
