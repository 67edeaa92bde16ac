"""MuSe's files: `<dimension>/<id>.csv` with `timestamp,value,segment_id`, milliseconds, as its labels are.

A recording whose times are not known, for want of a label file, gets a row every 500 ms and an empty segment.
"""

import pathlib

import numpy as np

from data_prep.core import atomic

_INTERVAL = 0.5  # seconds
_SEGMENT = 'segment_id'


def write(folder: pathlib.Path, recordings, targets) -> None:
  """See `Format`."""
  for of in recordings:
    times, values = of.labels.times, of.prediction
    if not len(times):
      times = np.arange(1, int(of.seconds / _INTERVAL + 1e-6) + 1) * _INTERVAL
      values = of.at(times)
    segments = of.labels.beside.get(_SEGMENT, [''] * len(times))
    for k, target in enumerate(targets):
      rows = [f'{1000 * time:.0f},{row[k]:.6f},{segment}' for time, row, segment in zip(times, values, segments)]
      text = '\n'.join([f'timestamp,value,{_SEGMENT}', *rows]) + '\n'
      atomic.write(folder / target / f'{of.recording}.csv', text)
