"""SEWA's files of AVEC 2017 and 2019: one a recording, `'Train_01';0.0;arousal;valence;liking`, a row every 0.1 s.

2019 has the header `name;timestamp;arousal;valence;liking`, 2017 none. A recording without labels, as those of test,
gets a row every 0.1 s from 0 to its end.
"""

import pathlib

import numpy as np

from data_prep.core import atomic

_INTERVAL = 0.1  # seconds


def write_2017(folder: pathlib.Path, recordings, targets) -> None:
  """See `Format`."""
  _write(folder, recordings, [])


def write_2019(folder: pathlib.Path, recordings, targets) -> None:
  """See `Format`."""
  _write(folder, recordings, [';'.join(['name', 'timestamp', *targets])])


def _write(folder, recordings, header):
  for of in recordings:
    times, values = of.labels.times, of.prediction
    if not len(times):
      times = np.arange(int(of.seconds / _INTERVAL + 1e-6) + 1) * _INTERVAL
      values = of.at(times)
    rows = [f"'{of.recording}';{time:.6g};" + ';'.join(f'{v:.6f}' for v in row) for time, row in zip(times, values)]
    atomic.write(folder / f'{of.recording}.csv', '\n'.join([*header, *rows]) + '\n')
