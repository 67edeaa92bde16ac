"""A rival from start to results; its folder is that of a training but for checkpoints and learning curves."""

import json
import pathlib
from typing import Any

from absl import logging
import ml_collections

from data_prep.core import atomic, json_text
from data_prep.core.errors import DataError, UserError
from data_prep.schema.manifest import PARTITIONS
from data_prep.simulate import embedded
from e2e_affect import heads
from e2e_affect.baselines import registry
from e2e_affect.baselines.base import Corpus
from e2e_affect.config import stored
from e2e_affect.evaluate import results
from e2e_affect.report import comparison, plots, run_report
from e2e_affect.run import hold, origin, version
from e2e_affect.run import workdir as workdirs
from e2e_affect.traces import own_clock


def train_and_evaluate(config: ml_collections.ConfigDict, workdir: str) -> dict:
  """Fits a rival and evaluates it on all partitions that there are; a run that is there already is kept.

  Args:
    config: as made by a file in configs/baselines/; where its data folder is the default one and absent, the embedded
      corpus is made there.
    workdir: folder of the run.

  Returns:
    The content of `results.json`.

  Raises:
    UserError: for everything that a user can mend; see data_prep/core/errors.py.
  """
  rival = registry.of(config)
  learnt_from = rival.learnt_from
  with hold.held(workdir, writes=True) as folder:
    _refuse_other_config(folder, config)
    embedded.make_if_absent(config.data.dir)
    corpus = Corpus.read(config.data.dir, config.data.fold)
    if (folder / results.RESULTS_FILE).exists():
      _refuse_other_data(folder, corpus)
      logging.info('%s: is there already; remove the folder to make it again', folder)
      run_report.write_report(folder)
      return results.read_results(folder)
    if corpus.manifest.preparation.get('simulated'):
      logging.warning('this is the simulated corpus: nothing here is about people; --config.data.dir=… names yours')
    head, targets = heads.of(config), corpus.targets
    head.outputs(targets)  # refuses labels of another kind
    labels_of = lambda partition: [(recording.gold, recording.mask) for recording in corpus.recordings[partition]]
    head.check_labels(targets, labels_of, config.data.dir, ('train',))
    workdirs.write_config(folder, config)
    workdirs.write_dataset(folder, corpus.manifest)

    predictor, record = rival.fit(corpus)
    atomic.write(folder / run_report.SEARCH_FILE, json.dumps(record, indent=1, allow_nan=False) + '\n')
    # Train is predicted too: a second model may learn from its traces.
    told = [p for p in PARTITIONS if corpus.recordings[p] and (p == 'train' or p not in learnt_from)]
    traces = {partition: predictor.predict(partition) for partition in told}
    from_whom = origin.of(workdirs.describe(corpus.manifest), train_on=learnt_from)
    checkpoint: dict[str, Any] = {
      'rival': config.rival,
      'code': version.commit(),
      'trained_on': from_whom.line,
    }
    for search in record['searches']:
      checkpoint[search['what']] = search['chosen']
    own = own_clock.read(config.data.dir, corpus.manifest, targets)
    content = results.evaluate_traces(
      traces, head, targets, config.seed, checkpoint, own=own, about=corpus.manifest.about
    )
    plots.write_figures(folder, content, traces, head, targets)
    # Last but for the page: a run that has it is done.
    results.write_results(folder, content, traces, head, targets, own=own, simulated=from_whom.simulated)
    run_report.write_report(folder)
    for line in comparison.in_words(content, head.measure):
      logging.info('%s', line)
    return content


def _refuse_other_config(folder: pathlib.Path, config: ml_collections.ConfigDict) -> None:
  path = folder / workdirs.CONFIG_FILE
  if not path.exists():
    return
  try:
    begun = json_text.parse(path.read_text(encoding='utf-8'))
  except ValueError as e:
    raise UserError(f'{path}: damaged ({e}); choose another --workdir') from None
  if isinstance(begun, dict) and isinstance(begun.get('data'), dict):
    begun['data'].setdefault('fold', '')  # runs of before there were folds, and rivals of classes
    begun.setdefault('head', 'regression')
  now = stored.written(config)
  if begun != now:
    differing = _first_difference(begun, now) if isinstance(begun, dict) else 'all of it'
    raise UserError(f'{path}: the run there has another config ({differing}); choose another --workdir')


def _first_difference(begun, now, prefix=''):
  for name in dict.fromkeys([*begun, *now]):
    before, after = begun.get(name, 'absent'), now.get(name, 'absent')
    if isinstance(before, dict) and isinstance(after, dict):
      inner = _first_difference(before, after, f'{prefix}{name}.')
      if inner:
        return inner
    elif before != after:
      return f'{prefix}{name} was {str(before)[:80]}, is {str(after)[:80]}'
  return None


def _refuse_other_data(folder: pathlib.Path, corpus: Corpus) -> None:
  if workdirs.read_dataset(folder) != json.loads(json.dumps(workdirs.describe(corpus.manifest))):
    raise DataError(f'{folder}: the run there is of other data than {corpus.folder} now; choose another --workdir')
