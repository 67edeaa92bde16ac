"""All that an update changes, and so all that a checkpoint holds."""

from flax import struct
import jax
import jax.numpy as jnp
import ml_collections
import optax

from data_prep.schema.fields import Layout
from e2e_affect.models import affect
from e2e_affect.train import optimizer


@struct.dataclass
class TrainState:
  """What training carries from one update to the next.

  Attributes:
    step: updates tried, skipped ones counted.
    params: the network's parameters, float32.
    batch_stats: running statistics of batch normalisation.
    opt_state: of the optimiser.
    skipped: updates that were skipped because the loss or the gradient was not finite.
    skipped_in_a_row: of these, those since the last good update.
    average: moving averages of `params` and `batch_stats`, under these names; empty without `average_decay`.
  """

  step: jax.Array
  params: dict
  batch_stats: dict
  opt_state: optax.OptState
  skipped: jax.Array
  skipped_in_a_row: jax.Array
  average: dict

  def evaluated(self) -> dict:
    """The `params` and `batch_stats` that evaluation uses and that other trainings start from."""
    return self.average or variables_of(self.params, self.batch_stats)


def init_state(config: ml_collections.ConfigDict, layout: Layout) -> TrainState:
  """Fresh parameters from `config.seed`; the same whatever the devices."""
  return first_state(**affect.init_variables(config, layout), config=config)


def first_state(params: dict, batch_stats: dict, config: ml_collections.ConfigDict) -> TrainState:
  """What a training starts with, from these parameters and statistics."""
  zero = jnp.zeros((), jnp.int32)
  opt_state = optimizer.of(config).init(trained(params, config))
  return TrainState(
    step=zero,
    params=params,
    batch_stats=batch_stats,
    opt_state=opt_state,
    skipped=zero,
    skipped_in_a_row=zero,
    average=variables_of(params, batch_stats) if config.average_decay else {},
  )


def trained(params: dict, config: ml_collections.ConfigDict) -> dict:
  """The parts of the parameters that an update changes: all but `config.model.frozen`."""
  return {part: tree for part, tree in params.items() if part not in config.model.frozen}


def variables_of(params: dict, batch_stats: dict) -> dict:
  """What `AffectNetwork.apply` takes."""
  return {'params': params, 'batch_stats': batch_stats}
