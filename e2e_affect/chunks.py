"""A recording in chunks: audio beside each for the long filter, the recurrent state carried on from one to the next.

Evaluation (shards) and prediction (clips) both go through here, so that they give the same traces, whatever the
length of the chunks.
"""

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from data_prep.records import STEPS_PER_RECORD
from e2e_affect.models import recurrent

# Audio beside a chunk that the long filter may see: 250 ms and a little; records hold whole seconds.
CONTEXT_SECONDS = 1
CONTEXT = CONTEXT_SECONDS * STEPS_PER_RECORD  # steps


def split(batch: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
  """Splits chunks that came with context on all fields.

  Args:
    batch: [B, C+T+C, …] each but `audio_mean` and `audio_std` [B]; C is `CONTEXT`.

  Returns:
    What `steps.eval_step` takes: the context on sound and `valid` alone; and all other fields without context.
  """
  core = slice(CONTEXT, batch['valid'].shape[1] - CONTEXT)
  inputs = {name: batch[name] for name in ('audio', 'audio_mean', 'audio_std', 'valid') if name in batch}
  if 'face' in batch:
    inputs |= {name: batch[name][:, core] for name in ('face', 'face_found')}
  if 'landmarks' in batch:
    inputs['landmarks'] = batch['landmarks'][:, core]
  return inputs, {name: batch[name][:, core] for name in ('label', 'mask', 'face_found') if name in batch}


def predict(eval_step: Callable, variables: dict, inputs: Iterable[dict[str, np.ndarray]],
            carry: recurrent.Carry) -> Iterator[np.ndarray]:
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
