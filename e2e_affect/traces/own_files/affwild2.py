"""Aff-Wild2's files: `<video>.txt` with `valence,arousal` and a line for every video frame, in order.

Later challenges take one file of all videos instead, `predictions.txt`: `image_location,valence,arousal`, a line
`<video>/00001.jpg,…` for every frame. Both are written. Frames without annotation have a line, too.
"""

from collections.abc import Sequence
import pathlib

from data_prep.core import atomic
from data_prep.core.errors import DataError
from e2e_affect.traces.own_clock import Rows

_COLUMNS = ('valence', 'arousal')  # valence comes first


def write(folder: pathlib.Path, recordings, targets) -> None:
  """See `Format`."""
  together = [f'image_location,{",".join(_present(targets))}']
  for of in recordings:
    lines = write_video(folder, of, targets)
    together += [f'{of.recording}/{frame:05d}.jpg,{line}' for frame, line in enumerate(lines, 1)]
  atomic.write(folder / 'predictions.txt', '\n'.join(together) + '\n')


def write_video(folder: pathlib.Path, of: Rows, targets: Sequence[str]) -> list[str]:
  """Writes the file of one video; returns its lines without the header.

  Raises:
    DataError: the times of its frames are not known.
  """
  if not len(of.labels.times):
    raise DataError(f'{of.recording}: the times of its frames are not in the data; prepare the recordings again')
  order = [targets.index(name) for name in _present(targets)]
  lines = [','.join(f'{row[k]:.6f}' for k in order) for row in of.prediction]
  atomic.write(folder / f'{of.recording}.txt', '\n'.join([','.join(_present(targets)), *lines]) + '\n')
  return lines


def _present(targets):
  return [name for name in _COLUMNS if name in targets]
