"""Runs that differ in their fold alone: each, their mean and deviation, and all people of their tests together.

All numbers are raw; of several targets they are means. The mean and the deviation (of a sample: ddof 1) are over the
folds. Where no person is tested twice, one score of all of them with its interval over people says more: it is no mean
of scores of a few people each. Runs are of any kind, networks and rivals.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import pathlib
from typing import Any

import numpy as np

from data_prep.core import cli, remote
from data_prep.core.errors import DataError
from data_prep.schema.manifest import Manifest
from e2e_affect import heads
from e2e_affect.evaluate.results import PREDICTIONS_FOLDER, read_results, RESULTS_FILE
from e2e_affect.report import run_report
from e2e_affect.run import workdir as workdirs
from e2e_affect.traces import table
from e2e_affect.traces.traces import Trace

_FIELD = 'data.fold='
_MEAN, _TOGETHER = 'mean ± deviation', 'all tests together'


def of_sweep(folder: pathlib.Path) -> dict[str, dict[str, pathlib.Path]]:
  """The runs of a sweep over folds, as launch/sweep.py lays them out; none where the folder is none of a sweep.

  Returns:
    The other fields of the sweep, 'seed=1' for instance -> 'fold 1' -> a workdir with results.
  """
  found: dict[str, dict[str, pathlib.Path]] = {}
  workdirs_of = [path.parent for path in folder.glob(f'*/{RESULTS_FILE}')]
  for workdir in sorted(workdirs_of, key=lambda path: (len(path.name), path.name)):  # 2 before 10
    settings = workdir.name.split(',')
    fold = next((of.removeprefix(_FIELD) for of in settings if of.startswith(_FIELD)), '')
    if fold:
      others = ' '.join(of for of in settings if not of.startswith(_FIELD))
      found.setdefault(others, {})[f'fold {fold}'] = workdir
  return found


def rows(runs: Mapping[str, pathlib.Path]) -> list[tuple[str, ...]]:
  """A table of one predictor: a row a fold, then the mean, then the people of all tests together.

  Args:
    runs: name of a fold -> workdir that was evaluated.

  Raises:
    DataError: the results or the traces of a run are absent or damaged, or test has no labels.
  """
  folds = {name: _Fold.read(folder) for name, folder in runs.items()}
  found: list[tuple[str, ...]] = [('', 'validation', 'test', 'people')]
  for name, fold in folds.items():
    found.append((name, run_report.number(fold.validation), run_report.number(fold.test), ' '.join(fold.people)))
  if len(folds) > 1:
    of = list(folds.values())
    found.append((_MEAN, _mean([fold.validation for fold in of]), _mean([fold.test for fold in of]), ''))
    together = _together(of)
    if together:
      found.append((_TOGETHER, '', together, f'{sum(len(fold.people) for fold in of)} people'))
  return found


def compared(predictors: Mapping[str, Mapping[str, pathlib.Path]]) -> list[list[str]]:
  """A table of several predictors: a row each, with 'test (validation)' of every fold, the mean of test, all together.

  A predictor that lacks a fold of the others has no mean: it would be over other people.

  Args:
    predictors: name -> as in `rows`.

  Raises:
    DataError: as `rows`, and where a fold has not the same people in all of them.
  """
  read = {name: {fold: _Fold.read(folder) for fold, folder in runs.items()} for name, runs in predictors.items()}
  first: dict[str, tuple[str, _Fold]] = {}
  for name, folds in read.items():
    for at, fold in folds.items():
      other, there = first.setdefault(at, (name, fold))
      if there.people != fold.people:
        raise DataError(
          f'{at}: {name} was tested on {" ".join(fold.people)}, {other} on {" ".join(there.people)}; compare runs on '
          'the same folds of the same data'
        )
  found = [['', *first, _MEAN, _TOGETHER]]
  for name, folds in read.items():
    cells = [
      f'{run_report.number(folds[at].test)} ({run_report.number(folds[at].validation)})' if at in folds else '–'
      for at in first
    ]
    of = list(folds.values())
    whole = [_mean([fold.test for fold in of]), _together(of) or '–'] if len(of) == len(first) else ['–', '–']
    found.append([name, *cells, *whole])
  return found


@dataclasses.dataclass(frozen=True)
class _Fold:
  """A run that was evaluated.

  Attributes:
    validation, test: its score; None for a validation partition that was trained on, or has no labels.
    traces: of the test partition, raw.
    people: those with labels in it, sorted.
    head, targets, seed: of the run.
  """

  validation: float | None
  test: float
  traces: Sequence[Trace]
  people: Sequence[str]
  head: heads.Head
  targets: heads.Targets
  seed: int

  @classmethod
  def read(cls, folder: pathlib.Path) -> '_Fold':
    """Reads it; errors as `rows`."""
    try:
      config: Any = run_report.read_config(folder)
      data, seed = config['data']['dir'], config['seed']
    except (KeyError, TypeError):
      raise DataError(f'{folder / workdirs.CONFIG_FILE}: absent or damaged; expected that of a run') from None
    data = cli.path(data)
    remote.fetch(data)
    head, manifest = run_report.head_of(folder), Manifest.read(data)
    targets = heads.Targets.of(manifest)
    traces = table.read_traces(
      folder / PREDICTIONS_FOLDER / 'test.csv',
      head.outputs(targets),
      targets,
      partition='test',
      subjects={shard.recording: shard.subject for shard in manifest.shards},
      grid=manifest.grid,
    )
    test = _score(folder, 'test')
    if test is None:
      raise DataError(f'{folder}: test has no scores; expected labels in the test partition of every fold')
    return cls(
      validation=_score(folder, 'validation'),
      test=test,
      traces=traces,
      people=sorted({trace.subject for trace in traces if trace.scored.any()}),
      head=head,
      targets=targets,
      seed=seed,
    )


def _score(folder, partition):
  raw = (read_results(folder).get(partition) or {}).get('raw')
  return float(np.mean(list(run_report.measure(raw).values()))) if raw else None


def _mean(values):
  if None in values:
    return '–'
  mean = run_report.number(float(np.mean(values)))
  return f'{mean} ± {run_report.number(float(np.std(values, ddof=1)))}' if len(values) > 1 else mean


def _together(folds):
  """The score of the people of all tests, with its interval; None where one is tested twice."""
  people = [person for fold in folds for person in fold.people]
  if len(set(people)) < len(people):
    return None
  of = folds[0]
  r = of.head.score([trace for fold in folds for trace in fold.traces], of.targets, of.seed)
  return ', '.join(
    run_report.number(first.value)
    + (f' ({"…".join(map(run_report.number, first.interval))})' if first.interval else '')
    for first, *_ in of.head.table(r).values()
  )
