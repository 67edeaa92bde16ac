"""Runs that differ in their fold alone: each, their mean and deviation, and all people of their tests together."""

from collections.abc import Mapping
import pathlib

import numpy as np

from data_prep.core.errors import DataError
from data_prep.schema.manifest import Manifest
from e2e_affect import heads
from e2e_affect.evaluate.results import PREDICTIONS_FOLDER, read_results
from e2e_affect.report import run_report
from e2e_affect.run import workdir as workdirs
from e2e_affect.traces import table
from e2e_affect.traces.traces import Trace

_HEAD = ('', 'validation', 'test', 'people')


def rows(runs: Mapping[str, pathlib.Path]) -> list[tuple[str, ...]]:
  """A table: a row a fold, then the mean, then the people of all tests together.

  The mean and the deviation (of a sample: ddof 1) are over the folds. Where no person is tested twice, one score of all
  of them with its interval over people says more: it is no mean of scores of a few people each. All numbers are raw;
  of several targets they are means.

  Args:
    runs: name of a fold -> workdir that was evaluated.

  Raises:
    DataError: the results or the traces of a run are absent or damaged, or validation or test has no labels.
  """
  scores = {name: [_score(folder, partition) for partition in _HEAD[1:3]] for name, folder in runs.items()}
  tested = {name: _traces(folder) for name, folder in runs.items()}
  people = {name: sorted({t.subject for t in of if t.scored.any()}) for name, of in tested.items()}
  found: list[tuple[str, ...]] = [_HEAD]
  for name, of in scores.items():
    found.append((name, *map(run_report.number, of), ' '.join(people[name])))
  if len(runs) > 1:
    values = np.array(list(scores.values()))
    means, deviations = values.mean(0), values.std(0, ddof=1)
    cells = [f'{run_report.number(m)} ± {run_report.number(d)}' for m, d in zip(means, deviations, strict=True)]
    found.append(('mean ± deviation', *cells, ''))
    everybody = [name for of in people.values() for name in of]
    if len(set(everybody)) == len(everybody):
      folder = next(iter(runs.values()))
      config = workdirs.read_config(folder)
      head, targets = heads.of(config), _targets(folder)
      r = head.score([t for of in tested.values() for t in of], targets, config.seed)
      cells = [
        f'{run_report.number(first.value)}'
        + (f' ({"…".join(map(run_report.number, first.interval))})' if first.interval else '')
        for first, *_ in head.table(r).values()
      ]
      found.append(('all tests together', '', ', '.join(cells), f'{len(everybody)} people'))
  return found


def _score(folder, partition):
  raw = (read_results(folder).get(partition) or {}).get('raw')
  if not raw:
    raise DataError(f'{folder}: {partition} has no scores; expected labels in validation and test of every fold')
  return float(np.mean(list(run_report.measure(raw).values())))


def _targets(folder):
  config, dataset = workdirs.read_config(folder), workdirs.read_dataset(folder)
  return heads.Targets.of(workdirs.layout_of(dataset, config, dataset['targets']))


def _traces(folder) -> list[Trace]:
  """The raw traces of the test partition."""
  config, targets = workdirs.read_config(folder), _targets(folder)
  manifest = Manifest.read(config.data.dir)
  return table.read_traces(
    folder / PREDICTIONS_FOLDER / 'test.csv',
    heads.of(config).outputs(targets),
    targets,
    partition='test',
    subjects={shard.recording: shard.subject for shard in manifest.shards},
    grid=manifest.grid,
  )
