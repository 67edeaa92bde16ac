"""The cells of the paper's tables, from the runs that there are: the content of `paper.json`, and of the pages.

A cell of a target and a partition has the mean over seeds, the deviation between them, a 95 % interval over subjects,
what the paper says, and the difference. A row is 'ran', 'published' (it exists as published numbers alone) or 'not
run'.
"""

from collections.abc import Mapping, Sequence
import dataclasses
import os
import pathlib
import statistics
from typing import Any

import numpy as np

from data_prep.core import json_text
from data_prep.core.errors import DataError
from data_prep.schema.manifest import Manifest, PARTITIONS
from e2e_affect.paper import experiments, times
from e2e_affect.paper import runs as of_runs
from e2e_affect.paper.experiments import ABSENT, EXPERIMENTS, NETWORK, RIVAL
from e2e_affect.paper.plan import FIGURES_FOLDER, Options, Run
from e2e_affect.paper.published import Row, Table, TABLES, TARGETS
from e2e_affect.report import run_report
from e2e_affect.traces import bootstrap
from e2e_affect.traces.traces import Trace

SHOWN = ('test', 'validation')
_SEED = 0  # of the bootstrap


def contents(options: Options, runs: Sequence[Run]) -> dict[str, Any]:
  """All that the pages say.

  Args:
    options: what `e2e-affect reproduce` was asked for.
    runs: all that fill any table, whether they are there or not.

  Raises:
    DataError: data or a run is damaged.
  """
  split_beyond = options.split('VI')
  return {
    'corpus': corpus(options.data),
    'corpus_avec': corpus(options.data_avec) if options.data_avec else None,
    'demo': options.demo,
    'seeds': options.seeds,
    'tables': [table_of(table, _Place(options, options.split(table.number), runs)) for table in TABLES.values()],
    'beyond': beyond_of(_Place(options, split_beyond, runs)),
    'stages': stages_of(options, runs),
    'searches': searches(options, runs),
    'figures': figures(options),
    'seconds': {name: of['seconds'] for name, of in times.read(options.out).items() if of['ended']},
  }


@dataclasses.dataclass(frozen=True)
class _Place:
  """Where a table's numbers are: the runs of one split."""

  options: Options
  split: str
  runs: Sequence[Run]

  @property
  def data(self) -> pathlib.Path:
    return self.options.data_avec if self.split == 'avec' and self.options.data_avec else self.options.data

  def planned(self, experiment: str) -> list[Run]:
    """The runs of an experiment, by seed, as many as were asked for."""
    alike = [run for run in self.runs if (run.experiment, run.split) == (experiment, self.split)]
    return [run for run in alike if run.seed < self.options.seeds]

  def there(self, experiment: str) -> list[Run]:
    """Those of them that are done."""
    return [run for run in self.planned(experiment) if run.done.is_file()]


def corpus(data: pathlib.Path) -> dict[str, Any]:
  """What a data folder holds.

  Raises:
    DataError: its manifest is absent or damaged.
  """
  manifest = Manifest.read(data)
  simulated = bool(manifest.preparation.get('simulated'))
  name = str(manifest.preparation.get('corpus', 'unknown'))
  people = {
    partition: len({shard.subject for shard in manifest.shards if shard.partition == partition})
    for partition in PARTITIONS
  }
  return {
    'name': 'simulated people' if simulated else {'recola': 'RECOLA', 'avec2016': 'AVEC 2016'}.get(name, name),
    'simulated': simulated,
    'subjects': people,
    'hours': round(manifest.grid.step_seconds * sum(shard.steps for shard in manifest.shards) / 3600, 2),
  }


def table_of(table: Table, place: _Place) -> dict[str, Any]:
  """A table of the paper: its rows, and who is better than whom."""
  rows = [_row_of(row, place) for row in table.rows]
  partitions = ['validation'] if table.number == 'II' else list(SHOWN)
  # Table II holds two networks, each with a choice of its own.
  for part in {row['part'] for row in rows} if table.number == 'II' else [None]:
    _mark_best([row for row in rows if part in (None, row['part'])], partitions[0])
  return {
    'number': table.number,
    'caption': table.caption,
    'people': table.people,
    'columns': list(table.columns),
    'note': table.note,
    'split': place.split,
    'partitions': partitions,
    'rows': rows,
    'comparisons': _comparisons(table, rows, place),
  }


def _row_of(row: Row, place: _Place) -> dict[str, Any]:
  published = {partition: dict(scores) for partition in SHOWN if (scores := getattr(row, partition))}
  content: dict[str, Any] = {
    'predictor': row.predictor,
    'features': list(row.features),
    'part': row.part,
    'published': published,
    'published_bold': list(row.bold),
    'status': 'published',
    'cells': {},
  }
  if row.experiment:
    content |= _ran(experiments.same(row.experiment, place.options.demo), place)
    for target, cell in content['cells'].items():
      for partition, scores in cell.items():
        scores['published'] = published.get(partition, {}).get(target)
        if scores['published'] is not None:
          scores['difference'] = scores['mean'] - scores['published']
  return content


def _ran(experiment, place):
  """What a row has of the runs of an experiment."""
  planned, there = place.planned(experiment), place.there(experiment)
  content: dict[str, Any] = {
    'experiment': experiment,
    'status': 'ran' if there else 'not run',
    'config': planned[0].config,
    'fields': planned[0].fields,
    'runs': [_link(run, place.options) for run in there],
    'cells': {},
  }
  sources = {'test': there, 'validation': place.there(EXPERIMENTS[experiment].validation_of or experiment)}
  for target in TARGETS:
    cell = {partition: _scores(sources[partition], partition, target, place) for partition in SHOWN}
    if there:
      content['cells'][target] = {partition: scores for partition, scores in cell.items() if scores}
  return content


def _link(run, options):
  return {
    'name': run.name,
    'seed': run.seed,
    'link': pathlib.Path(os.path.relpath(run.folder / run_report.REPORT_FILE, options.out)).as_posix(),
  }


def _stage_that_counts(results: Mapping[str, Any] | None, partition: str) -> str:
  """Post-processed where there is that, as in the paper."""
  return 'postprocessed' if ((results or {}).get(partition) or {}).get('postprocessed') else 'raw'


def _scores(there, partition, target, place, stage=None):
  """Mean, deviation and interval of a target over the runs of an experiment; None where there is no number."""
  used = []
  for run in there:
    results = of_runs.results(run)
    of_stage = stage or _stage_that_counts(results, partition)
    scored = ((results or {}).get(partition) or {}).get(of_stage)
    if scored and scored['ccc'].get(target) is not None:
      used.append((run, of_stage, scored))
  if not used:
    return None
  values = [scored['ccc'][target] for _, _, scored in used]
  interval = used[0][2]['ccc_interval'][target]
  if len(used) > 1:
    of_seeds = [of_runs.traces_of(run, partition, of_stage, place.data) for run, of_stage, _ in used]
    k = Manifest.read(place.data).targets.index(target)
    interval = _ends(bootstrap.interval(of_seeds, seed=_SEED)[k])
  return {
    'stage': used[0][1],
    'values': values,
    'mean': statistics.mean(values),
    'deviation': statistics.stdev(values) if len(values) > 1 else None,
    'interval': interval,
    'published': None,
    'difference': None,
    'best': False,
  }


def _mark_best(rows, partition):
  """Marks the best number of a target among what ran, as the paper prints it in bold."""
  for target in TARGETS:
    cells = [row['cells'][target][partition] for row in rows if partition in row['cells'].get(target, {})]
    for cell in cells:
      cell['best'] = len(cells) > 1 and cell['mean'] == max(other['mean'] for other in cells)


def _comparisons(table, rows, place):
  """Whether each of ours is better than each other row, on test."""
  ran = [row for row in rows if row['status'] == 'ran']
  found = []
  for ours in (row for row in ran if row['experiment'] in table.ours):
    for other in (row for row in ran if row['experiment'] not in table.ours):
      of_seeds = [_test_traces(row['experiment'], place) for row in (ours, other)]
      for k, target in enumerate(Manifest.read(place.data).targets):
        if target in TARGETS and all(of_seeds):
          compared = bootstrap.better(*of_seeds, seed=_SEED)
          found.append(
            {
              'ours': _named(ours),
              'other': _named(other),
              'target': target,
              'difference': _known(compared.difference[k]),
              'interval': _ends(compared.interval[k]),
              'p': _known(compared.p[k]),
            }
          )
  return found


def _known(value) -> float | None:
  return None if np.isnan(value) else float(value)


def _ends(interval) -> list[float] | None:
  """[low, high]; None where too few people have labels."""
  return None if np.isnan(interval).any() else [float(end) for end in interval]


def _named(row):
  part = f'{row["part"].split(".")[0]}: ' if row['part'] else ''
  return part + ', '.join([row['predictor'], *row['features']])


def _test_traces(experiment, place) -> list[list[Trace]]:
  """The traces of test, of each seed."""
  return [
    of_runs.traces_of(run, 'test', _stage_that_counts(of_runs.results(run), 'test'), place.data)
    for run in place.there(experiment)
  ]


def beyond_of(place: _Place) -> list[dict[str, Any]]:
  """The rows beyond the paper; where one is chosen of several, by the mean CCC on validation."""
  rows = []
  for row in experiments.beyond(place.options.demo):
    of_each = {name: _ran(name, place) for name in row.experiments}
    scores = {
      name: statistics.mean(cell['validation']['mean'] for cell in of['cells'].values())
      for name, of in of_each.items()
      if of['cells'] and all('validation' in cell for cell in of['cells'].values())
    }
    complete = len(scores) == len(of_each)
    chosen = max(scores, key=scores.__getitem__) if complete else row.experiments[-1]
    content = of_each[chosen] if complete else {**of_each[chosen], 'status': 'not run', 'cells': {}, 'runs': []}
    rows.append(
      {
        'predictor': row.predictor,
        'features': [row.features],
        'part': '',
        'meaning': row.meaning,
        'searched': {name: scores[name] for name in scores} if len(of_each) > 1 else {},
        'published': {},
        'published_bold': [],
        **content,
      }
    )
  return rows


def stages_of(options: Options, runs: Sequence[Run]) -> list[dict[str, Any]]:
  """Raw against post-processed: the mean CCC of every experiment that ran."""
  rows = []
  for experiment, split in dict.fromkeys((run.experiment, run.split) for run in runs):
    place = _Place(options, split, runs)
    there = place.there(experiment)
    if not there or EXPERIMENTS[experiment].kind not in (NETWORK, RIVAL, ABSENT):
      continue
    rows.append(
      {
        'name': experiment + ('_avec' if split == 'avec' else ''),
        'what': EXPERIMENTS[experiment].what,
        'link': _link(there[0], options)['link'],
        'cells': {
          target: {
            stage: {
              partition: scores['mean'] if (scores := _scores(there, partition, target, place, stage)) else None
              for partition in SHOWN
            }
            for stage in of_runs.STAGES
          }
          for target in TARGETS
        },
      }
    )
  return rows


def searches(options: Options, runs: Sequence[Run]) -> list[dict[str, Any]]:
  """What each rival that ran was tuned on: its `search.json`.

  Raises:
    DataError: a rival has none: it would be a rival that was not tuned.
  """
  found = []
  for run in runs:
    if EXPERIMENTS[run.experiment].kind == RIVAL and run.done.is_file():
      path = run.folder / run_report.SEARCH_FILE
      try:
        search = json_text.parse(path.read_text(encoding='utf-8'))
      except (OSError, ValueError) as e:
        raise DataError(f'{path}: cannot be read ({e}); delete {run.folder}, and it is made again') from None
      found.append({**_link(run, options), 'what': EXPERIMENTS[run.experiment].what, 'search': search})
  return found


def figures(options: Options) -> list[dict[str, Any]]:
  """The figures that there are: what is said of them, and the file, relative to the page.

  Raises:
    DataError: what is said of one is damaged.
  """
  found = []
  for name in (name for names in experiments.FIGURES.values() for name in names):
    path = options.out / FIGURES_FOLDER / f'{name}.json'
    if path.is_file():
      try:
        about = json_text.parse(path.read_text(encoding='utf-8'))
        found.append({'name': name, 'file': f'{FIGURES_FOLDER}/{name}.png', 'caption': str(about['caption']), **about})
      except (ValueError, KeyError, TypeError) as e:
        raise DataError(f'{path}: damaged ({e!r}); delete it, and `e2e-affect reproduce` draws it again') from None
  return found
