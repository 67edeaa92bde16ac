"""What a finished run says: its scores from `results.json`, and its traces from `predictions/<partition>.csv`."""

import csv
import functools
import pathlib

import numpy as np

from data_prep.core import json_text
from data_prep.core.errors import DataError
from data_prep.schema.manifest import Manifest
from e2e_affect.paper.plan import Run
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
    raise DataError(f'{run.done}: damaged ({e}); delete it, and launch/reproduce.py makes it again') from None


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
  subjects = {shard.recording: shard.subject for shard in manifest.shards}
  columns = [target + ('_post' if stage == 'postprocessed' else '') for target in manifest.targets]
  gold = [f'{target}_gold' for target in manifest.targets]
  found: dict[str, list] = {}
  try:
    with open(path, encoding='utf-8', newline='') as file:
      reader = csv.reader(file)
      places = {name: place for place, name in enumerate(next(reader))}
      wanted = [places[name] for name in (*columns, *gold, 'face_found')]
      for row in reader:
        found.setdefault(row[0], []).append([float(row[place]) if row[place] else np.nan for place in wanted])
    made = []
    for recording, rows in found.items():
      values, k = np.asarray(rows, np.float32), len(columns)
      scored = ~np.isnan(values[:, k : 2 * k]).any(axis=1)
      made.append(
        Trace(
          recording=recording,
          subject=subjects[recording],
          partition=partition,
          prediction=values[:, :k],
          gold=np.nan_to_num(values[:, k : 2 * k]),
          mask=np.asarray(scored, np.float32),
          face_found=values[:, 2 * k],
          grid=manifest.grid,
        )
      )
    return made
  except (OSError, StopIteration, KeyError, IndexError, ValueError) as e:
    raise DataError(f'{path}: not the traces of {data} ({e!r}); delete the run, and it is made again') from None


def traces_of(run: Run, partition: str, stage: str, data: pathlib.Path) -> list[Trace]:
  """The traces of a run; of a network without a stream those beside it."""
  folder = 'predictions' + run.done.stem.removeprefix('results')
  return traces(run.folder / folder / f'{partition}.csv', partition, stage, data)
