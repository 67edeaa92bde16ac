"""A recording in chunks: audio beside each for the long filter, the recurrent state carried on from one to the next.

Evaluation (shards) and prediction (clips) both go through here, so that they give the same traces, whatever the
length of the chunks.
"""

from collections.abc import Callable, Iterable, Iterator
import functools

import jax
import ml_collections
import numpy as np

from data_prep.schema.records import SAMPLE_RATE, STEPS_PER_RECORD
from e2e_affect.input import augment
from e2e_affect.layers import recurrent
from e2e_affect.models import devices
from e2e_affect.models.affect import AffectNetwork, make_model


def context_seconds(model: ml_collections.ConfigDict) -> int:
  """Whole seconds, as records are, of sound beside a chunk that the speech network's filters see.

  Args:
    model: `config.model`.
  """
  options = model.speech
  if 'speech' not in model.modalities or options.variant == 'released':  # its filters stay within their step
    return 0
  # The half that comes later is the longer one, as padding SAME has it; the long filter's taps are two samples apart.
  reach = 2 * (options.long_taps // 2) + options.taps // 2
  return -(-reach // SAMPLE_RATE)


def context_steps(model: ml_collections.ConfigDict) -> int:
  """`context_seconds` in steps: what `steps.eval_step` and `split` are given."""
  return context_seconds(model) * STEPS_PER_RECORD


def split(batch: dict[str, np.ndarray], context: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Splits chunks that came with context on all fields.

  Args:
    batch: [B, C+T+C, …] each but `audio_mean`, `audio_std` and `audio_gain` [B].
    context: C.

  Returns:
    What `steps.eval_step` takes: the context on sound and `valid` alone; and all other fields without context.
  """
  core = slice(context, batch['valid'].shape[1] - context)
  inputs = {name: batch[name] for name in ('audio', 'audio_mean', 'audio_std', 'audio_gain', 'valid') if name in batch}
  if 'face' in batch:
    inputs |= {name: batch[name][:, core] for name in ('face', 'face_found')}
  if 'landmarks' in batch:
    inputs['landmarks'] = batch['landmarks'][:, core]
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
  inputs = augment.prepare(batch, model.config, config.augment, keys=None)
  return model.apply(variables, inputs, train=False, carry=carry, context=context)


def over_devices(config: ml_collections.ConfigDict, num_targets: int) -> Callable:
  """`eval_step` of a config over all local devices; all arguments have an axis of devices."""
  step = functools.partial(
    eval_step,
    model=make_model(config, num_targets, None),
    config=ml_collections.FrozenConfigDict(config),
    context=context_steps(config.model),
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
