"""What runs said of a corpus, as something to learn from: the strength of a first model (see baselines/strength.py)."""

from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np

from data_prep.core import remote
from data_prep.core.errors import DataError
from data_prep.schema.manifest import Manifest, PARTITIONS
from e2e_affect.input import recordings
from e2e_affect.traces import table


@dataclasses.dataclass(frozen=True)
class FirstRuns:
  """The raw traces of runs beside one another, standardised on train.

  Attributes:
    columns: D names.
    arrays: recording -> [T, D] float32.
  """

  columns: tuple[str, ...]
  arrays: dict[str, np.ndarray]

  def standardised(self, recording: str, steps: slice = slice(None)) -> np.ndarray:
    """[t, D] float32, mean 0 and deviation 1 on train; a column that is constant there is 0."""
    return self.arrays[recording][steps]


def read(runs: Sequence[str], manifest: Manifest, folder: str) -> FirstRuns:
  """Reads the raw traces of runs, of all recordings of a data folder.

  Args:
    runs: workdirs, with predictions of all partitions that the data have.
    manifest: of the data.
    folder: of the data.

  Raises:
    DataError: a run has not predicted a partition, or not these targets, or not every step.
  """
  parts = [_of_run(pathlib.Path(run), manifest, folder) for run in runs]
  whole = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
  train = [whole[recording.name] for recording in recordings.recordings(manifest, folder, 'train')]
  on_train = np.concatenate(train).astype(np.float64)
  mean, deviation = on_train.mean(axis=0), on_train.std(axis=0)
  scale = np.where(deviation > 0, deviation, np.inf)
  names = tuple(f'{pathlib.Path(run).name} {target}' for run in runs for target in manifest.targets)
  return FirstRuns(names, {name: ((of - mean) / scale).astype(np.float32) for name, of in whole.items()})


def _of_run(run: pathlib.Path, manifest: Manifest, folder: str) -> dict[str, np.ndarray]:
  traces = {}
  remote.fetch(run)
  for partition in PARTITIONS:
    wanted = recordings.recordings(manifest, folder, partition)
    path = run / table.FOLDER / f'{partition}.csv'
    if wanted and not path.exists():
      raise DataError(
        f'{path}: not found; if the run is a network, write it with `python -m e2e_affect.main --mode=evaluate '
        f'--partition={partition} --workdir={run}`'
      )
    said = table.read_csv(path, manifest.targets) if wanted else {}
    for recording in wanted:
      found = len(said.get(recording.name, ()))
      if found != recording.steps:
        raise DataError(
          f'{path}: {found} steps of recording {recording.name}, {folder} has {recording.steps}; name a run on these '
          'data'
        )
      traces[recording.name] = said[recording.name]
  return traces
