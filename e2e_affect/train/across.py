"""A trained network on another corpus: the targets that both have, by name, each corpus on its own scale.

A network's numbers lie in −1 … 1, the ends of the scale that it learnt. The manifest of the other corpus maps its own
scale to the same ends, so that predictions and labels meet there; scores in the other corpus's units follow from it.
Nothing is fitted on the other corpus: the post-processing is that of the run.
"""

import os
import pathlib
import re

from absl import logging
import jax
import ml_collections

from data_prep.core.errors import DataError, UserError
from data_prep.schema.fields import Layout
from data_prep.schema.manifest import Manifest, PARTITIONS
from e2e_affect import heads, streams
from e2e_affect.evaluate import chunks, predictor, results
from e2e_affect.heads import Head
from e2e_affect.input import corpus
from e2e_affect.report import comparison
from e2e_affect.run import hold, memory
from e2e_affect.run import workdir as workdirs
from e2e_affect.traces import own_clock
from e2e_affect.traces.traces import Trace
from e2e_affect.train import finish


def evaluate_on(workdir: str, data_dir: str, partition: str) -> dict:
  """Evaluates the best checkpoint of a run on another data folder; writes `results_on_NAME.json` and predictions.

  Args:
    workdir: of the run.
    data_dir: the other data folder; NAME is its name.
    partition: to evaluate, beside those that the file already has.

  Returns:
    The content of `results_on_NAME.json`.

  Raises:
    UserError: the run has a head whose outputs are no targets.
    DataError: the two share no target or no grid, or the other lacks a stream of the network, or has no such partition.
  """
  config, dataset = workdirs.read_config(workdir), workdirs.read_dataset(workdir)
  head, learnt = heads.of(config), list(dataset['targets'])
  with config.unlocked():
    config.data.dir, config.data.fold = data_dir, ''
  less_memory = f'lower evaluate_chunk_seconds in {workdir}/{workdirs.CONFIG_FILE}'
  with hold.held(workdir, writes=jax.process_index() == 0) as folder, memory.told(less_memory):
    manifest = corpus.read(config)
    begun = workdirs.layout_of(dataset, config, learnt)
    targets = _shared_targets(folder, data_dir, head, heads.Targets.of(begun), manifest)
    layout = _layout(folder, data_dir, config, begun, manifest)
    suffix = f'_on_{re.sub("[^A-Za-z0-9_.-]", "_", os.path.basename(os.path.realpath(data_dir)))}'
    before = results.read_results(folder, suffix=suffix) if (folder / f'results{suffix}.json').exists() else {}
    eval_step = chunks.over_devices(config, layout)
    state, checkpoint = finish.replicated_best(folder, config, layout)
    network = predictor.NetworkPredictor(state.evaluated(), eval_step, config, manifest)
    traces = {}
    for name in PARTITIONS:
      if name == partition or name in before:
        logging.info('predicting the %s partition of %s', name, data_dir)
        traces[name] = [_of_targets(trace, targets, learnt, manifest.targets) for trace in network.predict(name)]
        if not traces[name] and name == partition:
          raise DataError(f'{data_dir}: the {name} partition is empty; name another with --partition')
    if dataset['preparation'].get('simulated'):
      logging.warning('%s learnt from the simulated corpus: what it says of others is about nobody', workdir)
    own = own_clock.read(data_dir, manifest, targets)
    fitted = _postprocessing(folder, head, targets)
    content = results.evaluate_traces(traces, head, targets, config.seed, checkpoint, fitted=fitted, own=own)
    content['checkpoint'] |= {'evaluated_on': _corpus(manifest), 'trained_on': dataset['preparation'].get('corpus', '')}
    if jax.process_index() == 0:
      results.write_results(folder, content, traces, head, targets, own=own, suffix=suffix)
      (header, raw), (_, post) = (comparison.table_vi([('', content)], stage) for stage in ('raw', 'postprocessed'))
      for target, *cells in zip(header[1:], raw[1:], post[1:], strict=True):
        logging.info('%s: %s on test (validation) %s raw, %s post-processed', target, head.measure, *cells)
      logging.info('results: %s', folder / f'results{suffix}.json')
  return content


def _corpus(manifest: Manifest) -> str:
  return str(manifest.preparation.get('corpus', ''))


def _shared_targets(
  folder: pathlib.Path, data_dir: str, head: Head, learnt: heads.Targets, manifest: Manifest
) -> tuple[str, ...]:
  """What the network predicts and the other corpus has labels of, in the order of the network."""
  if head.outputs(learnt) != tuple(learnt):
    raise UserError(
      f'{folder}: the head {head.name} predicts {", ".join(head.outputs(learnt)[:8])}, no numbers of targets; the '
      'classes of two corpora are mapped by no table here, so that it is evaluated on its own corpus alone'
    )
  found = tuple(target for target in learnt if target in manifest.targets and target not in manifest.classes)
  if not found:
    raise DataError(
      f'{folder} predicts {", ".join(learnt)}, and {data_dir} has labels of {", ".join(manifest.targets)}; expected '
      'data with one of the same targets'
    )
  for what, names, other in (
    ('no label of', learnt, data_dir),
    ('no prediction of', manifest.targets, str(folder)),
  ):
    left_out = [name for name in names if name not in found]
    if left_out:
      logging.warning('%s has %s %s: left out', other, what, ', '.join(left_out))
  return found


def _layout(
  folder: pathlib.Path, data_dir: str, config: ml_collections.ConfigDict, begun: Layout, manifest: Manifest
) -> Layout:
  """What the network's records hold in the other corpus; its outputs stay those that it learnt."""
  if begun.grid != manifest.grid:
    raise DataError(
      f'{folder}: was trained on steps of {begun.grid.step_seconds:g} s of {begun.grid.sample_rate} Hz, {data_dir} has '
      f'{manifest.grid.step_seconds:g} s of {manifest.grid.sample_rate} Hz; prepare it on the same grid'
    )
  for stream in streams.of(config.model):
    now = manifest.streams.get(stream.name)
    stream.check(now, config)
    before = begun.streams.get(stream.name, now)  # feature sets are in no dataset.json
    if before != now:
      raise DataError(f'{data_dir}: its {stream.name} has other fields than {folder} was trained on: prepare it alike')
  return Layout(begun.targets, manifest.grid, manifest.streams)


def _of_targets(trace: Trace, targets, learnt, others) -> Trace:
  columns = lambda values, names: values[:, [list(names).index(target) for target in targets]]
  return Trace(
    recording=trace.recording,
    subject=trace.subject,
    partition=trace.partition,
    prediction=columns(trace.prediction, learnt),
    gold=columns(trace.gold, others),
    mask=trace.mask,
    face_found=trace.face_found,
    grid=trace.grid,
  )


def _postprocessing(folder: pathlib.Path, head: Head, targets) -> dict | None:
  """That of the run, for the targets that both corpora have; None where the head has none."""
  if head.fitted_on is None:
    return None
  if not (folder / results.RESULTS_FILE).exists():
    return {'fitted_on': None, 'reason': 'the run was not evaluated on its own data'}
  fitted = results.read_results(folder)['postprocessing']
  return {**fitted, 'targets': {t: fitted['targets'][t] for t in targets}} if fitted['fitted_on'] else fitted
