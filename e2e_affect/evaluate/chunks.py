"""A recording in chunks: audio beside each for the long filter, the recurrent state carried on from one to the next.

Evaluation (shards) and prediction (clips) both go through here, so that they give the same traces, whatever the
length of the chunks.
"""

from collections.abc import Callable, Iterable, Iterator
import functools
from typing import cast

import jax
import ml_collections
import numpy as np

from data_prep.schema.fields import Layout
from data_prep.schema.grid import Grid
from e2e_affect import streams
from e2e_affect.layers import recurrent
from e2e_affect.models import devices
from e2e_affect.models.affect import AffectNetwork, inputs_of, make_model


def context_steps(model: ml_collections.ConfigDict, grid: Grid) -> int:
  """Steps of sound beside a chunk that the filters of the network see, in whole records: `eval_step` and `split`.

  Args:
    model: `config.model`.
    grid: of the recordings.
  """
  reach = max(stream.reach(model) for stream in streams.of(model))
  return -(-reach // (grid.samples_per_step * grid.steps_per_record)) * grid.steps_per_record


def split(
  batch: dict[str, np.ndarray], context: int, model: ml_collections.ConfigDict, layout: Layout
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Splits chunks that came with context on all fields.

  Args:
    batch: [B, C+T+C, …] each but fields per recording [B, …].
    context: C.
    model: `config.model`.
    layout: of the data.

  Returns:
    What `eval_step` takes: the context on `valid` and the streams' wide fields alone; and what traces hold.
  """
  core = slice(context, batch['valid'].shape[1] - context)
  inputs = {'valid': batch['valid']}
  for stream in streams.of(model):
    for field in layout.streams[stream.name]:
      whole = field.per == 'recording' or field.name in stream.wide
      inputs[field.name] = batch[field.name] if whole else batch[field.name][:, core]
  return inputs, {name: batch[name][:, core] for name in ('label', 'mask', 'face_found') if name in batch}


def eval_step(
  variables: dict,
  batch: dict,
  carry: recurrent.Carry,
  *,
  model: AffectNetwork,
  config: ml_collections.FrozenConfigDict,
  context: int,
) -> tuple[jax.Array, recurrent.Carry]:
  """Predictions [B, T, K] of the next T steps of B recordings, and the recurrent state to go on with."""
  inputs = inputs_of(batch, model.config, config.augment, keys=None)
  predicted = model.apply(variables, inputs, train=False, carry=carry, context=context)
  return cast(tuple[jax.Array, recurrent.Carry], predicted)  # Flax's type allows for changed variables, too


def over_devices(config: ml_collections.ConfigDict, layout: Layout) -> Callable:
  """`eval_step` of a config over all local devices; all arguments have an axis of devices."""
  step = functools.partial(
    eval_step,
    model=make_model(config, layout, None),
    config=ml_collections.FrozenConfigDict(config),
    context=context_steps(config.model, layout.grid),
  )
  return devices.spread(step, donate=2)


def predict(
  eval_step: Callable, variables: dict, inputs: Iterable[dict[str, np.ndarray]], carry: recurrent.Carry
) -> Iterator[np.ndarray]:
  """Predicts chunk after chunk of the same recordings.

  Args:
    eval_step: of `steps`, pmapped or jitted.
    variables: of the network.
    inputs: of consecutive chunks.
    carry: zeros at the start of the recordings.

  Yields:
    The predictions of each chunk.
  """
  for chunk in inputs:
    prediction, carry = eval_step(variables, chunk, carry)
    yield np.asarray(prediction)
