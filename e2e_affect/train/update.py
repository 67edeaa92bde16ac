"""One update: a pure function of one device's share of the batch, spread over the devices by `spread`."""

from collections.abc import Callable
import functools

import jax
import jax.numpy as jnp
import ml_collections
import optax

from data_prep.schema.fields import Layout
from e2e_affect import heads
from e2e_affect.heads.base import Loss
from e2e_affect.heads.losses import weight_penalty
from e2e_affect.models import devices
from e2e_affect.models.affect import AffectNetwork, inputs_of, make_model
from e2e_affect.streams import absence, sound_augmentation
from e2e_affect.train import optimizer, train_state
from e2e_affect.train.train_state import TrainState, variables_of


def _norm(tree):
  """The Euclidean norm over all leaves.

  For the gradient of the long filter, which lies transposed in memory, `optax.global_norm` takes XLA's CPU 40 ms: it
  sums in windows of the array's own shape.
  """
  return jnp.linalg.norm(jnp.stack([jnp.linalg.norm(leaf) for leaf in jax.tree.leaves(tree)]))


def train_step(
  state: TrainState,
  batch: dict,
  seed: jax.Array,
  *,
  model: AffectNetwork,
  config: ml_collections.FrozenConfigDict,
  loss_of: Loss | None = None,
) -> tuple[TrainState, dict]:
  """One update on one device's share of the global batch.

  Args:
    state: replicated.
    batch: this device's share; `index` [B] is each sequence's place in the global batch.
    seed: the run's; with the step and the place it makes the key of each sequence.
    model: with the axis name this function runs under, or None.
    config: the whole config.
    loss_of: of `Head.loss`; None: the loss of that name, as the head has it.

  Returns:
    The new state and what the log needs: `loss`, `grad_norm`, `param_norm`, `skipped`, `skipped_in_a_row`
    (scalars), and the `sums` of this batch, for the head's metric over many.
  """
  step_key = jax.random.fold_in(jax.random.key(seed), state.step)
  keys = jax.vmap(lambda place: jax.random.fold_in(step_key, place))(batch['index'])
  augment_keys, dropout_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
  if config.model.modality_dropout:
    # 0 and 1 are the two of the line above: with this option, augmentation and dropout are those without it.
    batch = absence.drop_one(batch, config.model, jax.vmap(lambda key: jax.random.fold_in(key, 2))(keys))
  if config.augment.speed:
    batch = sound_augmentation.at_other_speed(
      batch, config.augment.speed, jax.vmap(lambda key: jax.random.fold_in(key, 3))(keys)
    )
  inputs = inputs_of(batch, model.config, config.augment, augment_keys)

  trained = train_state.trained(state.params, config)

  def loss_fn(trained):
    variables = variables_of(state.params | trained, state.batch_stats)
    (prediction, _), updated = model.apply(variables, inputs, train=True, keys=dropout_keys, mutable=['batch_stats'])
    loss, sums = (loss_of or heads.of(config).losses[config.loss])(
      prediction=prediction, target=batch['label'], mask=batch['mask'], axis_name=model.axis_name
    )
    if config.weight_decay:
      loss += config.weight_decay * weight_penalty(trained)
    return loss, (sums, updated.get('batch_stats', {}))

  (loss, (sums, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(trained)
  if model.axis_name:
    # The loss is already that of the global batch; every device holds its share of the gradient times the
    # number of devices, because the transpose of psum is psum. The mean is the whole gradient.
    grads = jax.lax.pmean(grads, model.axis_name)
  grad_norm = _norm(grads)
  updates, opt_state = optimizer.of(config).update(grads, state.opt_state, trained)
  params = state.params | optax.apply_updates(trained, updates)

  good = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
  keep = functools.partial(jax.tree.map, lambda new, old: jnp.where(good, new, old))
  average = {}
  if config.average_decay:
    # Shorter at the start, or the average would long remember the random parameters.
    decay = jnp.minimum(config.average_decay, (1 + state.step) / (10 + state.step))
    # Not of parts that are fixed: their average with themselves would be rounded.
    average = {
      kind: {
        part: new
        if part in config.model.frozen
        else optax.incremental_update(new, state.average[kind][part], 1 - decay)
        for part, new in parts.items()
      }
      for kind, parts in variables_of(params, batch_stats).items()
    }
  new_state = TrainState(
    step=state.step + 1,
    params=keep(params, state.params),
    batch_stats=keep(batch_stats, state.batch_stats),
    average=keep(average, state.average),
    opt_state=keep(opt_state, state.opt_state),
    skipped=state.skipped + ~good,
    skipped_in_a_row=jnp.where(good, 0, state.skipped_in_a_row + 1),
  )
  logged = {
    'loss': loss,
    'grad_norm': grad_norm,
    'param_norm': _norm(new_state.params),
    'skipped': new_state.skipped,
    'skipped_in_a_row': new_state.skipped_in_a_row,
    'sums': sums,
  }
  return new_state, logged


def over_devices(config: ml_collections.ConfigDict, layout: Layout, loss_of: Loss | None = None) -> Callable:
  """`train_step` of a config over all local devices; state and batch have an axis of devices, the seed has none."""
  step = functools.partial(
    train_step,
    model=make_model(config, layout, devices.AXIS),
    config=ml_collections.FrozenConfigDict(config),
    loss_of=loss_of,
  )
  return devices.spread(step, in_axes=(0, 0, None), donate=0)
