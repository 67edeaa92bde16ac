"""A trained network over whole recordings: traces, results and everything that is made of them."""

from collections.abc import Callable
import pathlib

from absl import logging
import jax
import ml_collections
import numpy as np

from data_prep.errors import DataError
from data_prep.records import Manifest, PARTITIONS
from e2e_affect import checkpoints, chunks, input_pipeline, plots, postprocess, report, results, steps
from e2e_affect.models import recurrent
from e2e_affect.steps import TrainState
from e2e_affect.traces import Trace


def predict_partition(state: TrainState, eval_step: Callable, config: ml_collections.ConfigDict, manifest: Manifest,
                      partition: str) -> list[Trace]:
  """Predicts every step of every recording of a partition, whole and in order.

  Each device takes one recording at a time, in chunks; the recurrent state goes on from chunk to chunk, so that
  the chunks' length changes nothing. Every host predicts the whole partition: there is nothing to gather.

  Args:
    state: replicated over the local devices.
    eval_step: pmapped, of `steps.pmap_steps` with a context of `chunks.context_steps`.
    config: the whole config.
    manifest: of `config.data.dir`.
    partition: 'train', 'validation' or 'test'.

  Returns:
    A trace per recording, sorted by name; none where the partition is empty.
  """
  variables = state.evaluated()
  devices = jax.local_device_count()
  group_of = input_pipeline.recordings(manifest, config.data.dir, partition)
  options = config.model.recurrent
  traces = []
  for first in range(0, len(group_of), devices):
    group = group_of[first:first + devices]
    carry = steps.replicate(recurrent.initial_carry(1, options.layers, options.units))
    rows = []

    def inputs():
      seconds = chunks.context_seconds(config.model)
      for batch in input_pipeline.evaluation_batches(config, manifest, group, devices, seconds):
        network_inputs, core = chunks.split(batch, chunks.context_steps(config.model))
        rows.append({name: core[name] for name in ('label', 'mask', 'face_found')})
        yield {name: value[:, None] for name, value in network_inputs.items()}  # one recording a device

    prediction = np.concatenate(list(chunks.predict(eval_step, variables, inputs(), carry)), axis=2)[:, 0]
    whole = {'prediction': prediction,
             **{name: np.concatenate([row[name] for row in rows], axis=1) for name in rows[0]}}
    for place, recording in enumerate(group):
      of = {name: value[place, :recording.steps] for name, value in whole.items()}
      traces.append(Trace(recording=recording.name, subject=recording.subject, partition=partition,
                          prediction=of['prediction'], gold=of['label'], mask=of['mask'],
                          face_found=of['face_found']))
  return traces


def evaluate(config: ml_collections.ConfigDict, workdir: pathlib.Path, state: TrainState, checkpoint: dict,
             eval_step: Callable, manifest: Manifest, partitions: tuple[str, ...]) -> dict:
  """Evaluates partitions and writes predictions, `results.json`, figures and the report into the workdir.

  Args:
    state: replicated.
    checkpoint: what is said of the checkpoint in `results.json`.
    partitions: which to evaluate; 'validation' is read for the post-processing, too, unless the network was trained on
      it or the config names another run's.
    config, workdir, eval_step, manifest: as in `predict_partition`.

  Returns:
    The content of `results.json`.

  Raises:
    DataError: a partition that was asked for has no recording.
  """
  traces = {}
  fitted = None
  if config.postprocessing_from:
    fitted = results.read_postprocessing(config.postprocessing_from, manifest.targets)
  to_fit_on = postprocess.FITTED_ON if fitted is None and postprocess.FITTED_ON not in config.data.train_on else None
  for partition in PARTITIONS:
    if partition in partitions or partition == to_fit_on:
      logging.info('predicting the %s partition', partition)
      traces[partition] = predict_partition(state, eval_step, config, manifest, partition)
      if not traces[partition]:
        if partition in partitions:
          raise DataError(f'{config.data.dir}: the {partition} partition is empty; name another with --partition')
        del traces[partition]
  content = results.evaluate_traces(traces, manifest.targets, config.seed, checkpoint, fitted=fitted)
  if jax.process_index() == 0:
    results.write_results(workdir, content, traces, manifest.targets)
    plots.write_figures(workdir, content, traces, manifest.targets)
    report.write_report(workdir)
    (header, raw), (_, processed) = (report.table_vi([('', content)], stage) for stage in ('raw', 'postprocessed'))
    for target, *cells in zip(header[1:], raw[1:], processed[1:], strict=True):
      logging.info('%s: CCC on test (validation) %s raw, %s post-processed', target, *cells)
  return content


def replicated_best(workdir: pathlib.Path, config: ml_collections.ConfigDict,
                    num_targets: int) -> tuple[TrainState, dict]:
  """The best checkpoint of a run whose lock is held, replicated, and what `results.json` says of it."""
  template = jax.eval_shape(lambda: steps.init_state(config, num_targets))  # shapes alone: nothing is compiled
  state, described = checkpoints.best_of_run(workdir, template, owner=True)
  return steps.replicate(state), described
