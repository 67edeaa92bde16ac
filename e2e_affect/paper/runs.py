"""What a finished run says: its scores from `results.json`, and its traces from `predictions/<partition>.csv`."""

import functools
import pathlib

from data_prep.core import json_text
from data_prep.core.errors import DataError
from data_prep.schema.manifest import Manifest
from e2e_affect.paper.plan import Run
from e2e_affect.traces.table import read_traces
from e2e_affect.traces.traces import Trace

STAGES = ('raw', 'postprocessed')


def results(run: Run) -> dict | None:
  """The content of a run's results; None where they are not there yet.

  Raises:
    DataError: the file is damaged.
  """
  try:
    return json_text.parse(run.done.read_text(encoding='utf-8'))
  except (FileNotFoundError, NotADirectoryError):
    return None
  except ValueError as e:
    raise DataError(f'{run.done}: damaged ({e}); delete it, and `e2e-affect reproduce` makes it again') from None


@functools.lru_cache(maxsize=64)  # a run is held against several
def traces(path: pathlib.Path, partition: str, stage: str, data: pathlib.Path) -> list[Trace]:
  """The traces of a file `predictions/<partition>.csv`, in its order.

  Args:
    path: the file.
    partition: whose it is.
    stage: 'raw' or 'postprocessed'.
    data: folder whose manifest knows the recordings' subjects, targets and grid.

  Raises:
    DataError: the file is absent, damaged, or of other recordings than the data.
  """
  manifest = Manifest.read(data)
  return read_traces(
    path,
    manifest.targets,
    manifest.targets,
    partition=partition,
    subjects={shard.recording: shard.subject for shard in manifest.shards},
    grid=manifest.grid,
    postprocessed=stage == 'postprocessed',
  )


def traces_of(run: Run, partition: str, stage: str, data: pathlib.Path) -> list[Trace]:
  """The traces of a run; of a network without a stream those beside it."""
  folder = 'predictions' + run.done.stem.removeprefix('results')
  return traces(run.folder / folder / f'{partition}.csv', partition, stage, data)
