"""Takes streams of a batch away, so that a network sees what it sees of recordings that lack them.

What shows that a stream is there (`Stream.evidence`) becomes 0: its features are then 0, and it enters no statistics.
"""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from e2e_affect import streams


def without(batch: dict[str, np.ndarray], names: Iterable[str]) -> dict[str, np.ndarray]:
  """A batch whose recordings all lack these streams.

  Args:
    batch: fields of the input pipeline, those of the streams among them.
    names: of streams.
  """
  return batch | {field: np.zeros_like(batch[field]) for field in (streams.STREAMS[name].evidence for name in names)}


def drop_one(batch: dict[str, jax.Array], model: Any, keys: jax.Array) -> dict[str, jax.Array]:
  """A batch of which some sequences lack one of their streams: modality dropout.

  A sequence that has two streams or more loses one of them, each equally often, with the probability
  `config.model.modality_dropout`. One that has a single stream keeps it.

  Args:
    batch: fields of the input pipeline, [B, …].
    model: `config.model`.
    keys: [B] PRNG keys, one a sequence, so that the draw does not depend on how a batch is spread over devices.
  """
  fields = [stream.evidence for stream in streams.of(model)]
  # [B, N]
  there = jnp.stack([(batch[field] != 0).reshape(len(keys), -1).any(axis=1) for field in fields], axis=1)

  def lost(key, there):
    whether, which = jax.random.split(key)
    loses = jax.random.uniform(whether) < model.modality_dropout
    drawn = jax.random.categorical(which, jnp.where(there, 0.0, -jnp.inf))
    return loses & (there.sum() > 1) & (jnp.arange(len(fields)) == drawn)

  gone = jax.vmap(lost)(keys, there)
  return batch | {
    field: jnp.where(gone[:, n].reshape(-1, *(1,) * (batch[field].ndim - 1)), 0, batch[field])
    for n, field in enumerate(fields)
  }
