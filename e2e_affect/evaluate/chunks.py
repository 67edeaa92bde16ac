"""Predicts recordings chunk by chunk: each comes with what lies beside it, and the recurrent state is carried on.

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
  """Steps on either side of a chunk that the network's filters see, rounded up to whole records.

  Args:
    model: `config.model`.
    grid: of the recordings.
  """
  reach = max(stream.reach(model, grid) for stream in streams.of(model))
  return grid.records(reach) * grid.steps_per_record


def split(
  batch: dict[str, np.ndarray], context: int, model: ml_collections.ConfigDict, layout: Layout
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Splits chunks that came with context on all fields.

  Args:
    batch: fields per step [B, C+T+C, …] and per recording [B, …].
    context: C, of `context_steps`.
    model: `config.model`.
    layout: of the data.

  Returns:
    The inputs of `eval_step`, with context on `valid` and on the streams' wide fields alone; and the fields that traces
    hold, [B, T, …].
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
  """Outputs of the head [B, T, O] for the next T steps of B recordings, and the recurrent state to go on with."""
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
    eval_step: `eval_step` of this file, jitted or of `over_devices`.
    variables: of the network.
    inputs: of consecutive chunks.
    carry: zeros at the start of the recordings.

  Yields:
    The predictions of each chunk.
  """
  for chunk in inputs:
    prediction, carry = eval_step(variables, chunk, carry)
    yield np.asarray(prediction)
