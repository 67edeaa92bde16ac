"""The end of a training: the best checkpoint over whole partitions, and everything that is made of its traces."""

from collections.abc import Callable
import functools
import pathlib

from absl import logging
import jax
import ml_collections

from data_prep.core import remote
from data_prep.core.errors import DataError
from data_prep.schema.fields import Layout
from data_prep.schema.manifest import Manifest, PARTITIONS
from e2e_affect import heads
from e2e_affect.evaluate import predictor, results
from e2e_affect.models import devices
from e2e_affect.report import comparison, plots, run_report
from e2e_affect.run import hosts, origin
from e2e_affect.run import workdir as workdirs
from e2e_affect.traces import own_clock
from e2e_affect.train import checkpoint_files, train_state
from e2e_affect.train.train_state import TrainState


def evaluate(
  config: ml_collections.ConfigDict,
  workdir: pathlib.Path,
  state: TrainState,
  checkpoint: dict,
  eval_step: Callable,
  manifest: Manifest,
  partitions: tuple[str, ...],
  without: tuple[str, ...] = (),
) -> dict:
  """Evaluates partitions and writes predictions, `results.json`, figures and the report into the workdir.

  Where streams are taken away, the predictions and results are files of their own, and figures and report stay as they
  are. The post-processing is then fitted on validation without these streams, too. Of several hosts the first scores
  and writes; the others wait, and read what it wrote.

  Args:
    state: replicated.
    checkpoint: what is said of the checkpoint in `results.json`.
    partitions: which to evaluate; 'validation' is read for the post-processing, too, unless the network was trained on
      it or the config names another run's.
    config, eval_step, manifest: as in `predictor.NetworkPredictor`.
    workdir: of the run.
    without: streams that are taken away from every recording.

  Returns:
    The content of `results.json`, or of the file beside it.

  Raises:
    DataError: a partition that was asked for has no recording.
  """
  head, targets = heads.of(config), heads.Targets.of(manifest)
  network = predictor.NetworkPredictor(state.evaluated(), eval_step, config, manifest, without)
  present = {shard.partition for shard in manifest.shards}
  for partition in partitions:
    if partition not in present:
      raise DataError(f'{config.data.dir}: the {partition} partition is empty; name another with --partition')
  fitted = read_postprocessing(config, manifest, without) if config.postprocessing_from else None
  to_fit_on = head.fitted_on if fitted is None and head.fitted_on not in config.data.train_on else None
  traces = {}
  for partition in PARTITIONS:
    if partition in partitions or partition in present & {to_fit_on}:
      logging.info('predicting the %s partition', partition)
      traces[partition] = network.predict(partition)

  def score_and_write():
    learnt_from = origin.of(workdirs.dataset_if_written(workdir), train_on=config.data.train_on)
    made_with = checkpoint | {'trained_on': learnt_from.line}
    own = own_clock.read(config.data.dir, manifest, targets)
    content = results.evaluate_traces(traces, head, targets, config.seed, made_with, fitted, own, manifest.about)
    results.write_results(workdir, content, traces, head, targets, without, own, simulated=learnt_from.simulated)
    if not without:
      plots.write_figures(workdir, content, traces, head, targets)
      run_report.write_report(workdir)
    for line in comparison.in_words(content, head.measure):
      logging.info('%s', line)
    if without:
      logging.info('results: %s', workdir / results.results_file(without))
    return content

  return hosts.first_host_first(score_and_write, functools.partial(results.read_results, workdir, without))


def read_postprocessing(config: ml_collections.ConfigDict, manifest: Manifest, without: tuple[str, ...] = ()) -> dict:
  """The post-processing of the run `config.postprocessing_from`, for data of this manifest.

  Where streams are taken away, it is that of the same run without them.

  Raises:
    DataError: there is none, or it was fitted to other targets or on another grid.
  """
  run = config.postprocessing_from
  remote.fetch(run)
  fitted = results.read_postprocessing(run, heads.of(config), heads.Targets.of(manifest), without)
  grid = workdirs.grid_of(workdirs.dataset_if_written(run))
  if grid.step_seconds != manifest.grid.step_seconds:
    raise DataError(
      f'{run}: its post-processing was fitted to steps of {grid.step_seconds:g} s, the data have steps of '
      f'{manifest.grid.step_seconds:g} s; name another run with --config.postprocessing_from, or none'
    )
  return fitted


def replicated_best(
  workdir: pathlib.Path, config: ml_collections.ConfigDict, layout: Layout
) -> tuple[TrainState, dict]:
  """The best checkpoint of a run whose lock is held, replicated, and what `results.json` says of it."""
  template = jax.eval_shape(lambda: train_state.init_state(config, layout))  # shapes alone: nothing is compiled
  state, described = checkpoint_files.best_of_run(workdir, template, heads.of(config), owner=True)
  return devices.replicate(state), described
