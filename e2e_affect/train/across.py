"""A trained network on another corpus: the targets or classes that both have, by name, each corpus on its own scale.

A network's numbers lie in −1 … 1, the ends of the scale that it learnt. The manifest of the other corpus maps its own
scale to the same ends, so that predictions and labels meet there; scores in the other corpus's units follow from it.
Nothing is fitted on the other corpus: the post-processing is that of the run.
"""

import functools
import os
import pathlib
import re

from absl import logging
import jax
import ml_collections

from data_prep.core import remote
from data_prep.core.errors import DataError
from data_prep.schema.fields import Layout
from data_prep.schema.manifest import MANIFEST, Manifest, PARTITIONS
from e2e_affect import heads, streams
from e2e_affect.evaluate import chunks, predictor, results
from e2e_affect.heads.base import Head, Shared
from e2e_affect.input import corpus
from e2e_affect.report import comparison
from e2e_affect.run import hold, hosts, memory, origin
from e2e_affect.run import workdir as workdirs
from e2e_affect.traces import own_clock
from e2e_affect.train import finish

_NAMED = 5  # people, in a warning


def evaluate_on(workdir: str, data_dir: str, partition: str) -> dict:
  """Evaluates the best checkpoint of a run on another data folder; writes `results_on_NAME.json` and predictions.

  Args:
    workdir: of the run.
    data_dir: the other data folder; NAME is its name.
    partition: to evaluate, beside those that the file already has.

  Returns:
    The content of `results_on_NAME.json`.

  Raises:
    DataError: the two share no target, fewer than two classes, or no grid; or the other lacks a stream of the network,
      or has no such partition.
    UserError: the run's folder or checkpoint cannot be used, or memory is exhausted; see data_prep/core/errors.py.
  """
  config, dataset = workdirs.read_config(workdir), workdirs.read_dataset(workdir)
  head, learnt = heads.of(config), list(dataset['targets'])
  trained = config.data.copy_and_resolve_references()
  with config.unlocked():
    config.data.dir, config.data.fold = data_dir, ''
  less_memory = f'lower evaluate_chunk_seconds in {workdir}/{workdirs.CONFIG_FILE}'
  with hold.held(workdir, writes=jax.process_index() == 0) as folder, memory.told(less_memory):
    manifest = hosts.first_host_first(functools.partial(corpus.read, config, folder))
    if partition not in {shard.partition for shard in manifest.shards}:
      raise DataError(f'{data_dir}: the {partition} partition is empty; name another with --partition')
    begun = workdirs.layout_of(dataset, config, learnt)
    shared = _shared(folder, data_dir, head, heads.Targets.of(begun), heads.Targets.of(manifest))
    targets = shared.targets
    _warn_of_the_same_people(folder, trained, data_dir, manifest, partition)
    layout = _layout(folder, data_dir, config, begun, manifest)
    suffix = f'_on_{re.sub("[^A-Za-z0-9_.-]", "_", os.path.basename(os.path.realpath(data_dir)))}'
    before = (
      results.read_results(folder, suffix=suffix) if (folder / results.results_file(suffix=suffix)).exists() else {}
    )
    eval_step = chunks.over_devices(config, layout)
    state, checkpoint = finish.replicated_best(folder, config, layout)
    network = predictor.NetworkPredictor(state.evaluated(), eval_step, config, manifest)
    traces = {}
    for name in PARTITIONS:
      if name == partition or name in before:
        logging.info('predicting the %s partition of %s', name, data_dir)
        traces[name] = [shared.trace(trace) for trace in network.predict(name)]

    def score_and_write():
      learnt_from = origin.of(dataset, train_on=trained.train_on)
      if learnt_from.simulated:
        logging.warning('%s: %s', workdir, origin.SIMULATED)
      own = own_clock.read(data_dir, manifest, targets)
      fitted = _postprocessing(folder, head, shared)
      content = results.evaluate_traces(traces, head, targets, config.seed, checkpoint, fitted, own, manifest.about)
      content['checkpoint'] |= {'evaluated_on': _corpus(manifest), 'trained_on': learnt_from.line}
      results.write_results(
        folder, content, traces, head, targets, own=own, suffix=suffix, simulated=learnt_from.simulated
      )
      for line in comparison.in_words(content, head.measure):
        logging.info('%s', line)
      logging.info('results: %s', folder / results.results_file(suffix=suffix))
      return content

    return hosts.first_host_first(score_and_write, functools.partial(results.read_results, folder, suffix=suffix))


def _corpus(manifest: Manifest) -> str:
  return str(manifest.preparation.get('corpus', ''))


def _warn_of_the_same_people(folder, trained, data_dir, manifest, partition) -> None:
  """Says which people of the partition the network has seen; names of people are those of a corpus."""
  remote.fetch(trained.dir)
  if not (pathlib.Path(trained.dir) / MANIFEST).exists():
    logging.warning(
      '%s is not there: whether %s has people whom %s learnt from is not known', trained.dir, data_dir, folder
    )
    return
  own = Manifest.read(trained.dir).of_fold(trained.fold)
  if _corpus(own) != _corpus(manifest):
    return
  subjects = lambda of, partitions: {shard.subject for shard in of.shards if shard.partition in partitions}
  both = sorted(subjects(own, trained.train_on) & subjects(manifest, [partition]))
  if both:
    names = ', '.join(both[:_NAMED]) + ', …' * (len(both) > _NAMED)
    logging.warning(
      '%s learnt from %d of the people that %s has in its %s partition, if names mean the same there: %s. Their scores '
      'say nothing of new people',
      folder,
      len(both),
      data_dir,
      partition,
      names,
    )


def _shared(folder: pathlib.Path, data_dir: str, head: Head, learnt: heads.Targets, others: heads.Targets) -> Shared:
  """See `Head.shared`; what is left out is said."""
  shared = head.shared(learnt, others)
  if shared is None:
    raise DataError(
      f'{folder} predicts {_in_words(learnt)}, and {data_dir} has labels of {_in_words(others)}; expected data '
      'with one of the same targets and, where it is one of classes, two at least of the same classes'
    )
  for what in shared.left_out:
    logging.warning('%s on %s: %s: left out', folder, data_dir, what)
  return shared


def _in_words(targets: heads.Targets) -> str:
  of = lambda name: f' ({", ".join(targets.classes[name])})' if name in targets.classes else ''
  return ', '.join(name + of(name) for name in targets)


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
  return Layout(begun.targets, manifest.grid, manifest.streams, classes=begun.classes)


def _postprocessing(folder: pathlib.Path, head: Head, shared: Shared) -> dict | None:
  """That of the run, for what both corpora have; None where the head has none."""
  if head.fitted_on is None:
    return None
  if not (folder / results.RESULTS_FILE).exists():
    return {'fitted_on': None, 'reason': 'the run was not evaluated on its own data'}
  fitted = results.read_results(folder)['postprocessing']
  return shared.fitted(fitted) if fitted['fitted_on'] else fitted
