"""One step of training and of evaluation: pure functions of one device, pmapped in one place."""

from collections.abc import Callable
import functools

from flax import jax_utils, struct
import jax
import jax.numpy as jnp
import ml_collections
import optax

from e2e_affect import augment, switches
from e2e_affect.losses import LOSSES, weight_penalty
from e2e_affect.models import recurrent
from e2e_affect.models.affect import AffectNetwork

AXIS = 'batch'  # the devices that share one global batch


@struct.dataclass
class TrainState:
  """All that a step changes, and so all that a checkpoint holds.

  Attributes:
    step: updates tried, skipped ones counted.
    params: the network's parameters, float32.
    batch_stats: running statistics of batch normalisation.
    opt_state: of the optimiser.
    skipped: updates that were skipped because the loss or the gradient was not finite.
    skipped_in_a_row: of these, how many came last without a good one between.
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
    return self.average or _variables(self.params, self.batch_stats)


def make_model(config: ml_collections.ConfigDict, num_targets: int, axis_name: str | None) -> AffectNetwork:
  """The network of a config; `axis_name` as in `AffectNetwork`."""
  model = ml_collections.FrozenConfigDict(switches.settled(config.model))
  return AffectNetwork(num_targets, model, jnp.dtype(config.dtype), axis_name)


def make_optimizer(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
  """Adam at a fixed rate (paper, section V)."""
  return optax.adam(config.learning_rate)


def example_batch(config: ml_collections.ConfigDict, num_targets: int, batch_size: int = 1, steps: int = 25) -> dict:
  """A batch of zeros in the shapes and types of the input pipeline, to trace with."""
  from data_prep.records import FACE_SIZE, SAMPLES_PER_STEP
  batch = {'label': jnp.zeros((batch_size, steps, num_targets)), 'mask': jnp.zeros((batch_size, steps)),
           'valid': jnp.ones((batch_size, steps)), 'index': jnp.arange(batch_size)}
  if 'speech' in config.model.modalities:
    batch |= {'audio': jnp.zeros((batch_size, steps, SAMPLES_PER_STEP), jnp.int16),
              'audio_mean': jnp.zeros(batch_size), 'audio_std': jnp.ones(batch_size),
              'audio_gain': jnp.ones(batch_size)}
  if 'visual' in config.model.modalities:
    batch |= {'face': jnp.zeros((batch_size, steps, FACE_SIZE, FACE_SIZE, 3), jnp.uint8),
              'face_found': jnp.ones((batch_size, steps))}
  if 'geometric' in config.model.modalities:
    batch['landmarks'] = jnp.zeros((batch_size, steps, config.model.geometric.landmarks, 2))
  return batch


def init_state(config: ml_collections.ConfigDict, num_targets: int) -> TrainState:
  """Fresh parameters from `config.seed`; the same whatever the devices."""
  model = make_model(config, num_targets, axis_name=None)
  batch = example_batch(config, num_targets)

  @jax.jit
  def init(key):
    inputs = augment.prepare(batch, model.config, config.augment, keys=None)
    return model.init(key, inputs, train=False)

  variables = init(jax.random.key(config.seed))
  return first_state(variables['params'], variables.get('batch_stats', {}), config)


def first_state(params: dict, batch_stats: dict, config: ml_collections.ConfigDict) -> TrainState:
  """What a training starts with, from these parameters and statistics."""
  zero = jnp.zeros((), jnp.int32)
  opt_state = make_optimizer(config).init(_trained(params, config))
  return TrainState(step=zero, params=params, batch_stats=batch_stats, opt_state=opt_state,
                    skipped=zero, skipped_in_a_row=zero,
                    average=_variables(params, batch_stats) if config.average_decay else {})


def _trained(params, config):
  return {part: tree for part, tree in params.items() if part not in config.model.frozen}


def _variables(params, batch_stats):
  return {'params': params, 'batch_stats': batch_stats}


def _norm(tree):
  """The Euclidean norm over all leaves.

  For the gradient of the long filter, which lies transposed in memory, `optax.global_norm` takes XLA's CPU 40 ms: it
  sums in windows of the array's own shape.
  """
  return jnp.linalg.norm(jnp.stack([jnp.linalg.norm(leaf) for leaf in jax.tree.leaves(tree)]))


def train_step(state: TrainState, batch: dict, seed: jax.Array, *, model: AffectNetwork,
               config: ml_collections.FrozenConfigDict) -> tuple[TrainState, dict]:
  """One update on one device's share of the global batch.

  Args:
    state: replicated.
    batch: this device's share; `index` [B] is each sequence's place in the global batch.
    seed: the run's; with the step and the place it makes the key of each sequence.
    model: with the axis name this function runs under, or None.
    config: the whole config.

  Returns:
    The new state and what the log needs: `loss`, `grad_norm`, `param_norm`, `skipped`, `skipped_in_a_row`
    (scalars), and the `moments` of this batch, for the CCC over many.
  """
  step_key = jax.random.fold_in(jax.random.key(seed), state.step)
  keys = jax.vmap(lambda place: jax.random.fold_in(step_key, place))(batch['index'])
  augment_keys, dropout_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
  inputs = augment.prepare(batch, model.config, config.augment, augment_keys)

  trained = _trained(state.params, config)

  def loss_fn(trained):
    variables = _variables(state.params | trained, state.batch_stats)
    (prediction, _), updated = model.apply(variables, inputs, train=True, keys=dropout_keys, mutable=['batch_stats'])
    loss, moments = LOSSES[config.loss](prediction=prediction, target=batch['label'], mask=batch['mask'],
                                  axis_name=model.axis_name)
    if config.weight_decay:
      loss += config.weight_decay * weight_penalty(trained)
    return loss, (moments, updated.get('batch_stats', {}))

  (loss, (moments, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(trained)
  if model.axis_name:
    # The loss is already that of the global batch; every device holds its share of the gradient times the
    # number of devices, because the transpose of psum is psum. The mean is the whole gradient.
    grads = jax.lax.pmean(grads, model.axis_name)
  grad_norm = _norm(grads)
  updates, opt_state = make_optimizer(config).update(grads, state.opt_state, trained)
  params = state.params | optax.apply_updates(trained, updates)

  good = jnp.isfinite(loss) & jnp.isfinite(grad_norm)
  keep = functools.partial(jax.tree.map, lambda new, old: jnp.where(good, new, old))
  average = {}
  if config.average_decay:
    # Shorter at the start, or the average would long remember the random parameters.
    decay = jnp.minimum(config.average_decay, (1 + state.step) / (10 + state.step))
    # Not of parts that are fixed: their average with themselves would be rounded.
    average = {kind: {part: new if part in config.model.frozen else optax.incremental_update(
        new, state.average[kind][part], 1 - decay) for part, new in parts.items()}
               for kind, parts in _variables(params, batch_stats).items()}
  new_state = TrainState(
      step=state.step + 1, params=keep(params, state.params), batch_stats=keep(batch_stats, state.batch_stats),
      average=keep(average, state.average),
      opt_state=keep(opt_state, state.opt_state), skipped=state.skipped + ~good,
      skipped_in_a_row=jnp.where(good, 0, state.skipped_in_a_row + 1))
  logged = {'loss': loss, 'grad_norm': grad_norm, 'param_norm': _norm(new_state.params),
            'skipped': new_state.skipped, 'skipped_in_a_row': new_state.skipped_in_a_row, 'moments': moments}
  return new_state, logged


def eval_step(variables: dict, batch: dict, carry: recurrent.Carry, *, model: AffectNetwork,
              config: ml_collections.FrozenConfigDict, context: int) -> tuple[jax.Array, recurrent.Carry]:
  """Predictions [B, T, K] of the next T steps of B recordings, and the recurrent state to go on with."""
  inputs = augment.prepare(batch, model.config, config.augment, keys=None)
  return model.apply(variables, inputs, train=False, carry=carry, context=context)


def pmap_steps(config: ml_collections.ConfigDict, num_targets: int, context: int) -> tuple[Callable, Callable]:
  """`train_step` and `eval_step` over all local devices; the one place that knows how steps are spread."""
  frozen = ml_collections.FrozenConfigDict(config)
  train = functools.partial(train_step, model=make_model(config, num_targets, AXIS), config=frozen)
  evaluate = functools.partial(eval_step, model=make_model(config, num_targets, None), config=frozen, context=context)
  return (jax.pmap(train, axis_name=AXIS, in_axes=(0, 0, None), donate_argnums=(0,)),
          jax.pmap(evaluate, axis_name=AXIS, donate_argnums=(2,)))


@functools.partial(jax.pmap, axis_name=AXIS)
def _as_a_step_returns_it(tree):
  return tree


def replicate(tree):
  """One copy a device, placed as the results of steps are: fed anything else, a step is compiled a second time."""
  return _as_a_step_returns_it(jax_utils.replicate(tree))
