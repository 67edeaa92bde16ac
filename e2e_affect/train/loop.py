"""Training from start to results; reads top to bottom."""

from collections.abc import Callable, Collection
import contextlib
import functools
import pathlib
import time

from absl import logging
from flax import jax_utils
import jax
import ml_collections
import numpy as np

from data_prep.core import remote
from data_prep.core.errors import DataError, UserError
from data_prep.schema.manifest import Manifest, PARTITIONS
from data_prep.simulate import embedded
from e2e_affect import heads, streams
from e2e_affect.config import on_resume, ranges, schedule
from e2e_affect.evaluate import chunks, predictor, results
from e2e_affect.input import checks, corpus, feed, labels, recordings
from e2e_affect.models import devices
from e2e_affect.run import hold, hosts, memory, metric_writer, stop
from e2e_affect.run import workdir as workdirs
from e2e_affect.train import checkpoint_files, finish, init_from, resume, train_state, update
from e2e_affect.train.log import Log
from e2e_affect.train.train_state import TrainState

_MOST_SKIPPED = 10  # updates in a row without a finite gradient that end the run; all, where there are fewer
_LESS_MEMORY = (
  'set --config.model.visual.remat=True or lower --config.evaluate_chunk_seconds, with which a run goes on; or begin '
  'another --workdir with a lower --config.batch_size or --config.data.sequence_steps'
)


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: str) -> dict:
  """Trains, or goes on with the training in `workdir`, and evaluates the best checkpoint on all partitions.

  Args:
    config: as made by a file in configs/; where its data folder is the default one and absent, the embedded corpus is
      made there.
    workdir: folder of the run; whatever is in it already is continued.

  Returns:
    The content of `results.json`.

  Raises:
    UserError: for everything that a user can mend; see data_prep/core/errors.py.
    SystemExit: 143 after SIGTERM, 130 after SIGINT, once the state is saved.
  """
  ranges.check(config)
  goes_on = checkpoint_files.has_any(pathlib.Path(workdir))
  config = init_from.settle(config, workdirs.read_config(workdir) if goes_on else None)
  absent = embedded.is_absent(config.data.dir)
  of_data = None if absent else recordings.read_manifest(config.data.dir, config.data.fold)
  layout = of_data or streams.layout_of_paper(config.model, ())
  recordings.records_per_sequence(config, layout.grid)
  if absent:
    schedule.num_updates(config, embedded.num_sequences(config.data.train_on, config.data.sequence_steps))
  first_host = jax.process_index() == 0
  with hold.held(workdir, writes=first_host) as folder, memory.told(_LESS_MEMORY):
    memory.refuse_absurd_batch(config, layout)
    # Minutes of work, and so after what may refuse the run.
    hosts.first_host_first(functools.partial(embedded.make_if_absent, config.data.dir))
    # Devices. A batch that they do not divide is filled up with masked sequences, which change no number.
    per_round = jax.local_device_count() * jax.process_count()
    batch_size = -(-config.batch_size // per_round) * per_round
    logging.info('%d device(s): %s', jax.device_count(), jax.devices()[0].device_kind)
    if batch_size != config.batch_size:
      logging.warning(
        'batch size %d over %d devices: %d of %d places are padding',
        config.batch_size,
        per_round,
        batch_size - config.batch_size,
        batch_size,
      )

    # Data.
    manifest = hosts.first_host_first(functools.partial(corpus.read, config, folder))
    if config.postprocessing_from:
      finish.read_postprocessing(config, manifest)  # now, not after hours of training
    sequences = len(recordings.windows(config, manifest))
    epoch_steps = sequences / config.batch_size
    total_steps = schedule.num_updates(config, sequences)
    if total_steps:
      checks.check_streams(config, manifest)
    evaluated = tuple(sorted({shard.partition for shard in manifest.shards} - set(config.data.train_on)))
    for partition in evaluated:
      checks.check_records(config, manifest, partition)
    head, targets = heads.of(config), heads.Targets.of(manifest)
    read_labels = functools.cache(functools.partial(labels.of_partition, config, manifest))
    loss_of = None
    if total_steps:
      head.check_labels(targets, read_labels, config.data.dir, config.data.train_on)
      loss_of = head.loss(config, targets, read_labels)
    evaluate_every = schedule.updates_between_evaluations(config, sequences)
    logging.info(
      '%s: %d sequences of %d steps to train on, targets %s; %d updates, %.3g epochs',
      config.data.dir,
      sequences,
      config.data.sequence_steps,
      ', '.join(manifest.targets),
      total_steps,
      total_steps / epoch_steps,
    )
    if manifest.preparation.get('simulated'):
      logging.warning('this is the simulated corpus: nothing here is about people; --config.data.dir=… names yours')

    # Model.
    state = train_state.init_state(config, manifest)
    logging.info(
      '%s network: %d parameters',
      ' + '.join(config.model.modalities),
      sum(x.size for x in jax.tree.leaves(state.params)),
    )

    # Restore: 1 resume; 2 published weights and features of trained networks; 3 from scratch.
    manager = checkpoint_files.open_manager(folder, head)
    resumed = checkpoint_files.restore_newest(manager, state)
    if resumed is not None:
      begun = workdirs.read_config(folder)
      on_resume.refuse_other(folder, begun, config)
      resume.refuse_other_data(folder, manifest, moved=begun.data.dir != config.data.dir)
      state = resumed
      logging.info('resuming from update %d of %s', state.step, manager.directory)
    else:
      state = init_from.start(state, config)
    first_step = int(state.step)
    resume.refuse_hosts_that_differ(first_step)
    if first_host:
      workdirs.write_config(folder, config)
      workdirs.write_dataset(folder, manifest)
      writer = metric_writer.MetricWriter(folder)
      writer.truncate_after(first_step)
    else:
      writer = None

    # Loop: fetch, step, log, evaluate, save.
    train_step = update.over_devices(config, manifest, loss_of)
    eval_step = chunks.over_devices(config, manifest)
    state = devices.replicate(state)
    batches = feed.device_batches(config, manifest, first_step, total_steps, batch_size)
    log = Log(writer, config, total_steps, targets, metric_writer.elapsed_seconds(folder, first_step))
    before = logged = None
    on_cpu = jax.default_backend() == 'cpu'
    if not total_steps and resumed is None:  # published weights as they are
      checkpoint_files.save(
        manager, jax_utils.unreplicate(state), _validate(state, eval_step, config, manifest) or None
      )
    with stop.Request() as asked:

      def evaluate_and_save(step):
        scores = {}
        with contextlib.suppress(stop.Asked):  # the state is saved all the same, and evaluated when the run goes on
          scores = _validate(state, eval_step, config, manifest, asked.look)
        if scores:
          log.write_validation(step, scores | {'epoch': step / epoch_steps})
        checkpoint_files.save(manager, jax_utils.unreplicate(state), scores or None)
        remote.send(folder)
        log.restart_clock()

      is_due = lambda step: step % evaluate_every == 0 or step == total_steps
      if first_step and is_due(first_step) and not checkpoint_files.was_evaluated(manager, first_step):
        evaluate_and_save(first_step)
      for step in range(first_step + 1, total_steps + 1):
        fetched = time.perf_counter()
        batch = next(batches)
        waited = time.perf_counter() - fetched
        # Each step under way has buffers of its own, often gigabytes: one at a time on a CPU, two on an accelerator.
        done = logged if on_cpu else before
        jax.block_until_ready(done)
        _stop_if_all_are_skipped(done, step - 1 if on_cpu else step - 2, total_steps)
        before = logged
        state, logged = train_step(state, batch, np.uint32(config.seed))
        log.add(logged, waited)
        # The first one, too: whoever has one update an epoch would wait for ten of them.
        if step % config.log_every_steps == 0 or step in (1, total_steps):
          log.write(step)
          _stop_if_all_are_skipped(logged, step, total_steps)
        if is_due(step):
          evaluate_and_save(step)
        if asked.on_all_hosts(step):
          if manager.latest_step() != step:
            checkpoint_files.save(manager, jax_utils.unreplicate(state), None)
          logging.warning('terminated: update %d is saved; start the same command again to go on', step)
          raise SystemExit(asked.exit_code)
    if writer:
      writer.close()
    manager.close()

    # Final evaluation, with the best checkpoint. All is saved: signals need not wait any more.
    state, checkpoint = finish.replicated_best(folder, config, manifest)
    logging.info('evaluating the checkpoint of update %d', checkpoint['step'])
    return finish.evaluate(config, folder, state, checkpoint, eval_step, manifest, evaluated)


def evaluate_only(workdir: str, partition: str, without: Collection[str] = ()) -> dict:
  """Evaluates the best checkpoint of a run; errors as `train_and_evaluate`.

  Args:
    workdir: of the run.
    partition: to evaluate, beside those that its `results.json` already has: no result is lost.
    without: streams to take away from every recording; the results are then a file of their own.
  """
  config = workdirs.read_config(workdir)
  modalities = tuple(config.model.modalities)
  if not set(without) < set(modalities):
    raise UserError(
      f'--without={",".join(without)}: {workdir} is a {" + ".join(modalities)} network; name one of these or more, and '
      'leave one'
    )
  without = tuple(name for name in modalities if name in without)
  less_memory = f'lower evaluate_chunk_seconds in {workdir}/{workdirs.CONFIG_FILE}'
  with hold.held(workdir, writes=jax.process_index() == 0) as folder, memory.told(less_memory):
    try:
      manifest = hosts.first_host_first(functools.partial(corpus.read, config, folder))
    except DataError as e:
      raise DataError(
        f'{e}; the folder is data.dir of {folder / workdirs.CONFIG_FILE}: change it there if the data was moved'
      ) from None
    resume.refuse_other_data(folder, manifest, moved=False)
    eval_step = chunks.over_devices(config, manifest)
    state, checkpoint = finish.replicated_best(folder, config, manifest)
    written = (folder / results.results_file(without)).exists()
    before = set(results.read_results(folder, without)) if written else set()
    partitions = tuple(sorted(before & set(PARTITIONS) | {partition}))
    return finish.evaluate(config, folder, state, checkpoint, eval_step, manifest, partitions, without)


def _stop_if_all_are_skipped(logged, step, total_steps):
  """Looks at the updates up to `step`, whatever `config.log_every_steps` is.

  Args:
    logged: of an update that the devices are done with, so that nothing waits here; None: none is yet.
    step: of this update.
    total_steps: of the whole training: where all are skipped, the network was not trained.

  Raises:
    DataError: ten updates in a row were skipped, or all.
  """
  most = min(_MOST_SKIPPED, total_steps)
  if logged is not None and logged['skipped_in_a_row'].addressable_data(0).item() >= most:
    raise DataError(
      f'update {step}: the loss or its gradient was not finite {most} times in a row; look for '
      'NaN in the data (`python -m data_prep.shards --verify`) or lower --config.learning_rate'
    )


def _validate(
  state: TrainState,
  eval_step: Callable,
  config: ml_collections.ConfigDict,
  manifest: Manifest,
  look: Callable[[], None] = lambda: None,
) -> dict:
  """Scores of the head on the whole validation partition, and the best of them; {} without labels, or if trained on.

  `look` is called between chunks, and may raise.
  """
  if 'validation' in config.data.train_on:
    return {}
  head = heads.of(config)
  targets = heads.Targets.of(manifest)
  metric = head.metric(targets)
  network = predictor.NetworkPredictor(state.evaluated(), eval_step, config, manifest, look=look)
  for trace in network.each_trace('validation'):
    metric = metric.update(trace.prediction, trace.gold, trace.mask)
  if not metric.count:
    logging.warning('the validation partition has no labels: the newest checkpoint will count as the best')
    return {}
  scores = head.scores(metric, targets)
  return scores | {head.best_score: head.best_of(scores)}
