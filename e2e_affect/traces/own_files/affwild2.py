"""Aff-Wild2's files: `<video>.txt` with `valence,arousal` and a line for every video frame, in order.

Later challenges take one file of all videos instead, `predictions.txt`: `image_location,valence,arousal`, a line
`<video>/00001.jpg,…` for every frame. Both are written. Frames without annotation have a line, too.
"""

import pathlib

from data_prep.core import atomic
from data_prep.core.errors import DataError

_COLUMNS = ('valence', 'arousal')  # valence comes first


def write(folder: pathlib.Path, recordings, targets) -> None:
  """See `Format`."""
  order = [targets.index(name) for name in _COLUMNS if name in targets]
  header = ','.join(targets[k] for k in order)
  together = [f'image_location,{header}']
  for of in recordings:
    if not len(of.labels.times):
      raise DataError(f'{of.recording}: the times of its frames are not in the data; prepare the recordings again')
    lines = [','.join(f'{row[k]:.6f}' for k in order) for row in of.prediction]
    atomic.write(folder / f'{of.recording}.txt', '\n'.join([header, *lines]) + '\n')
    together += [f'{of.recording}/{frame:05d}.jpg,{line}' for frame, line in enumerate(lines, 1)]
  atomic.write(folder / 'predictions.txt', '\n'.join(together) + '\n')
