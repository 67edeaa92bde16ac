"""Training from start to results; reads top to bottom."""

from collections.abc import Callable
import json
import pathlib
import time

from absl import logging
from flax import jax_utils, traverse_util
import jax
from jax.experimental import multihost_utils
import ml_collections
import numpy as np

from data_prep import embedded
from data_prep.errors import DataError, UserError
from data_prep.records import Manifest, PARTITIONS
from e2e_affect import checkpoints, chunks, config_check, evaluate, feed, hold, init_from, input_pipeline, memory
from e2e_affect import results, steps, stop
from e2e_affect import workdir as workdirs
from e2e_affect.metric_writer import MetricWriter
from e2e_affect.metrics import Moments
from e2e_affect.steps import TrainState

_MOST_SKIPPED = 10  # updates in a row without a finite gradient that end the run
# What a run that goes on may have otherwise: where things lie, how long, how fast, how much is said.
_MAY_CHANGE = ('name', 'log_every_steps', 'total_steps', 'epochs', 'evaluate_chunk_seconds', 'postprocessing_from',
               'data.dir', 'data.cache', 'data.read_threads')
_LESS_MEMORY = ('lower --config.batch_size, --config.data.sequence_steps or --config.evaluate_chunk_seconds, or set '
                '--config.model.visual.remat=True')


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: str) -> dict:
  """Trains, or goes on with the training in `workdir`, and evaluates the best checkpoint on all partitions.

  Args:
    config: as made by a file in configs/; where its data folder is the default one and absent, the embedded corpus is
      made there.
    workdir: folder of the run; whatever is in it already is continued.

  Returns:
    The content of `results.json`.

  Raises:
    UserError: for everything that a user can mend; see data_prep/errors.py.
    SystemExit: 143 after SIGTERM, 130 after SIGINT, once the state is saved.
  """
  config_check.check(config)
  goes_on = checkpoints.has_any(pathlib.Path(workdir))
  config = init_from.settle(config, workdirs.read_config(workdir) if goes_on else None)
  if embedded.is_absent(config.data.dir):
    _num_updates(config, embedded.num_sequences(config.data.train_on, config.data.sequence_steps))
  first_host = jax.process_index() == 0
  with hold.held(workdir, writes=first_host) as folder, memory.told(_LESS_MEMORY):
    memory.refuse_absurd_batch(config)
    embedded.make_if_absent(config.data.dir)  # minutes of work, and so after what may refuse the run
    # Devices. A batch that they do not divide is filled up with masked sequences, which change no number.
    devices = jax.local_device_count()
    per_round = devices * jax.process_count()
    batch_size = -(-config.batch_size // per_round) * per_round
    logging.info('%d device(s): %s', jax.device_count(), jax.devices()[0].device_kind)
    if batch_size != config.batch_size:
      logging.warning('batch size %d over %d devices: %d of %d places are padding', config.batch_size,
                      per_round, batch_size - config.batch_size, batch_size)

    # Data.
    manifest = input_pipeline.read_manifest(config.data.dir)
    if config.postprocessing_from:
      results.read_postprocessing(config.postprocessing_from, manifest.targets)  # now, not after hours of training
    sequences = input_pipeline.num_sequences(config, manifest)
    epoch_steps = sequences / config.batch_size
    total_steps = _num_updates(config, sequences)
    if total_steps:
      input_pipeline.check_streams(config, manifest)
    evaluated = tuple(sorted({shard.partition for shard in manifest.shards} - set(config.data.train_on)))
    for partition in evaluated:
      input_pipeline.check_records(config, manifest, partition)
    evaluate_every = max(1, round(config.evaluate_every_epochs * epoch_steps))
    logging.info('%s: %d sequences of %d steps to train on, targets %s; %d updates, %.3g epochs', config.data.dir,
                 sequences, config.data.sequence_steps, ', '.join(manifest.targets), total_steps,
                 total_steps / epoch_steps)
    if manifest.preparation.get('simulated'):
      logging.warning('this is the simulated corpus: nothing here is about people; --config.data.dir=… names yours')

    # Model.
    state = steps.init_state(config, len(manifest.targets))
    logging.info('%s network: %d parameters', ' + '.join(config.model.modalities),
                 sum(x.size for x in jax.tree.leaves(state.params)))

    # Restore: 1 resume; 2 published weights and features of trained networks; 3 from scratch.
    manager = checkpoints.open_manager(folder)
    resumed = checkpoints.restore_newest(manager, state)
    if resumed is not None:
      begun = workdirs.read_config(folder)
      _refuse_other_config(folder, begun, config)
      _refuse_other_data(folder, manifest, moved=begun.data.dir != config.data.dir)
      state = resumed
      logging.info('resuming from step %d of %s', state.step, manager.directory)
    else:
      state = init_from.start(state, config)
    first_step = int(state.step)
    _refuse_hosts_that_differ(first_step)
    if first_host:
      workdirs.write_config(folder, config)
      workdirs.write_dataset(folder, manifest)
      writer = MetricWriter(folder)
      writer.truncate_after(first_step)
    else:
      writer = None

    # Loop: fetch, step, log, evaluate, save.
    train_step, eval_step = steps.pmap_steps(config, len(manifest.targets), chunks.context_steps(config.model))
    state = steps.replicate(state)
    batches = feed.device_batches(config, manifest, first_step, total_steps, batch_size)
    log = _Log(writer, config.learning_rate, total_steps, manifest.targets)
    before = logged = None
    on_cpu = jax.default_backend() == 'cpu'
    if not total_steps and resumed is None:  # published weights as they are
      checkpoints.save(manager, jax_utils.unreplicate(state), _validate(state, eval_step, config, manifest) or None)
    with stop.Request() as asked:
      for step in range(first_step + 1, total_steps + 1):
        fetched = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - fetched
        # Each step under way has buffers of its own, often gigabytes: one at a time on a CPU, two on an accelerator.
        done = logged if on_cpu else before
        jax.block_until_ready(done)
        _stop_if_all_are_skipped(done, step - 1 if on_cpu else step - 2)
        before = logged
        state, logged = train_step(state, batch, np.uint32(config.seed))
        log.add(logged, waited)
        if step % config.log_every_steps == 0 or step == total_steps:
          log.write(step)
          _stop_if_all_are_skipped(logged, step)
        if step % evaluate_every == 0 or step == total_steps:
          scores = _validate(state, eval_step, config, manifest)
          if scores:
            log.write_validation(step, scores | {'epoch': step / epoch_steps})
          checkpoints.save(manager, jax_utils.unreplicate(state), scores or None)
          log.restart_clock()
        if asked.on_all_hosts(step):
          if manager.latest_step() != step:
            checkpoints.save(manager, jax_utils.unreplicate(state), None)
          logging.warning('terminated: step %d is saved; start the same command again to go on', step)
          raise SystemExit(asked.exit_code)
    if writer:
      writer.close()
    manager.close()

    # Final evaluation, with the best checkpoint. All is saved: signals need not wait any more.
    state, checkpoint = evaluate.replicated_best(folder, config, len(manifest.targets))
    logging.info('evaluating the checkpoint of step %d', checkpoint['step'])
    return evaluate.evaluate(config, folder, state, checkpoint, eval_step, manifest, evaluated)


def evaluate_only(workdir: str, partition: str) -> dict:
  """Evaluates the best checkpoint of a run; errors as `train_and_evaluate`.

  Args:
    workdir: of the run.
    partition: to evaluate, beside those that its `results.json` already has: no result is lost.
  """
  config = workdirs.read_config(workdir)
  with hold.held(workdir, writes=jax.process_index() == 0) as folder, memory.told(_LESS_MEMORY):
    try:
      manifest = input_pipeline.read_manifest(config.data.dir)
    except DataError as e:
      raise DataError(f'{e}; the folder is data.dir of {folder / workdirs.CONFIG_FILE}: change it there if the data '
                      'was moved') from None
    _refuse_other_data(folder, manifest, moved=False)
    _, eval_step = steps.pmap_steps(config, len(manifest.targets), chunks.context_steps(config.model))
    state, checkpoint = evaluate.replicated_best(folder, config, len(manifest.targets))
    before = set(results.read_results(folder)) if (folder / results.RESULTS_FILE).exists() else set()
    partitions = tuple(sorted(before & set(PARTITIONS) | {partition}))
    return evaluate.evaluate(config, folder, state, checkpoint, eval_step, manifest, partitions)


def _num_updates(config, sequences):
  """Updates of the whole training; 0 where `config.epochs` = 0 asks for none.

  Raises:
    UserError: training was asked for, and rounds to no update at all: an untrained network would be evaluated.
  """
  updates = config.total_steps or round(config.epochs * sequences / config.batch_size)
  if not updates and config.epochs:
    raise UserError(f'config.epochs = {config.epochs} over {sequences} sequences is no update of config.batch_size = '
                    f'{config.batch_size}; set --config.batch_size={sequences} or less, more --config.epochs, or '
                    '--config.total_steps')
  return updates


def _refuse_other_config(folder, begun, config):
  """A resumed run must be the one that was begun: another order or rate would make it neither."""
  for field, before, now in _differences(begun.to_json(), config.to_json()):
    if field not in _MAY_CHANGE:
      raise UserError(f'{folder}: was begun with config.{field} = {before!r}, now {now!r}; choose another --workdir, '
                      'or the old value')


def _refuse_other_data(folder, manifest, moved):
  """The network's outputs go by position: data that were prepared again may name them in another order.

  Args:
    folder: of the run.
    manifest: of the data now.
    moved: their folder is another one than before: all that is known of them must be as it was.
  """
  begun, now = workdirs.read_dataset(folder), workdirs.describe(manifest)
  if begun['targets'] != now['targets']:
    raise DataError(f'{folder}: was trained on the targets {", ".join(begun["targets"])}, the data now have '
                    f'{", ".join(now["targets"])}; prepare them as they were, or choose another --workdir')
  if moved:
    for what, before, now in _differences(json.dumps(begun), json.dumps(now)):
      raise DataError(f'{folder}: was begun with other data: {what} was {str(before)[:100]}, in --config.data.dir it '
                      f'is {str(now)[:100]}; name the folder that the same data were moved to, or choose another '
                      '--workdir')


def _differences(before, now):
  """(name, value before, value now) of what two JSON objects have otherwise."""
  before, now = (traverse_util.flatten_dict(json.loads(text), sep='.') for text in (before, now))
  for name in dict.fromkeys([*before, *now]):
    if before.get(name) != now.get(name):
      yield name, before.get(name), now.get(name)


def _refuse_hosts_that_differ(first_step):
  """All hosts must see the same checkpoints: with a disk each, only the first would resume."""
  if jax.process_count() > 1:
    steps_of_hosts = multihost_utils.process_allgather(np.asarray(first_step))
    if len(set(steps_of_hosts.tolist())) > 1:
      raise UserError(f'the hosts would start at steps {steps_of_hosts.tolist()}; --workdir must be a folder that all '
                      'of them share')


def _stop_if_all_are_skipped(logged, step):
  """Looks at the updates up to `step`, whatever `config.log_every_steps` is.

  Args:
    logged: of an update that the devices are done with, so that nothing waits here; None: none is yet.
    step: of this update.

  Raises:
    DataError: ten updates in a row were skipped.
  """
  if logged is not None and logged['skipped_in_a_row'].addressable_data(0).item() >= _MOST_SKIPPED:
    raise DataError(f'step {step}: the loss or its gradient was not finite {_MOST_SKIPPED} times in a row; look for '
                    'NaN in the data (`python -m data_prep.shards --verify`) or lower --config.learning_rate')


def _validate(state: TrainState, eval_step: Callable, config: ml_collections.ConfigDict, manifest: Manifest) -> dict:
  """CCC of each target on the validation partition, pooled, and their mean; {} without labels, or if trained on."""
  if 'validation' in config.data.train_on:
    return {}
  moments = Moments.empty(len(manifest.targets))
  for trace in evaluate.predict_partition(state, eval_step, config, manifest, 'validation'):
    moments = moments.update(trace.prediction, trace.gold, trace.mask)
  if not moments.count:
    logging.warning('the validation partition has no labels: the newest checkpoint will count as the best')
    return {}
  values = moments.ccc()
  scores = {f'ccc_{target}': float(value) for target, value in zip(manifest.targets, values)}
  return scores | {checkpoints.BEST_METRIC: float(np.mean(values))}


class _Log:
  """Gathers what steps report and writes it now and then, so that the device need not wait for the host."""

  def __init__(self, writer, learning_rate, total_steps, targets):
    self._writer, self._rate, self._total_steps, self._targets = writer, learning_rate, total_steps, targets
    self._pending = []
    self.restart_clock()

  def restart_clock(self):
    """Evaluation and saving do not count as time of the steps."""
    self._started, self._counted = time.perf_counter(), 0
    self._waited = 0.0

  def add(self, logged, waited):
    self._pending.append(logged)
    self._counted += 1
    self._waited += waited

  def write(self, step):
    """One row for all steps since the last one."""
    rows = jax.device_get([jax.tree.map(lambda x: x[0], row) for row in self._pending])
    seconds = time.perf_counter() - self._started
    moments = Moments.empty(len(self._targets))
    for row in rows:
      moments = moments.merge(Moments(**{k: np.asarray(v, np.float64) for k, v in row['moments'].items()}))
    last = rows[-1]
    values = {'loss': float(np.mean([row['loss'] for row in rows])),
              **{f'ccc_{name}': float(value) for name, value in zip(self._targets, moments.ccc())},
              'grad_norm': last['grad_norm'], 'param_norm': last['param_norm'], 'learning_rate': self._rate,
              'steps_per_second': self._counted / seconds, 'input_wait': self._waited / seconds,
              'skipped': int(last['skipped'])}
    left = (self._total_steps - step) * seconds / self._counted
    if self._writer:
      self._writer.write(step, 'train', values, left)
    self._pending = []
    self.restart_clock()

  def write_validation(self, step, scores):
    if self._writer:
      self._writer.write(step, 'validation', scores)
