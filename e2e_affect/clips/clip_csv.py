"""The CSV of a clip: a row per step."""

from collections.abc import Mapping, Sequence
import csv
import io
import pathlib

import numpy as np

from data_prep.core import atomic
from data_prep.recordings.clip import Clip
from e2e_affect.clips.baseline import Baseline
from e2e_affect.traces.table import SIMULATED_COLUMN

_FACE_COLUMNS = ('face_found', 'face_x', 'face_y', 'face_size')


def write(
  path: pathlib.Path,
  clip: Clip,
  targets: Sequence[str],
  raw: np.ndarray,
  post: np.ndarray | None,
  ends: Mapping[str, np.ndarray],
  simulated: bool,
  baseline: Baseline | None = None,
) -> None:
  """One row per step.

  Columns: `time` (start of the step, seconds), each target raw, `<target>_post` where post-processing was fitted,
  `<target>_low` and `<target>_high` where the run has a band, `<target>_relative` where there is a baseline,
  `trained_on` where the network learnt from simulated people, `face_found` (0 … 1), `face_x`, `face_y`, `face_size`
  (pixels of the upright frame; empty where the face is lost). The face's columns are empty where no picture was
  analysed.

  Args:
    path: the file.
    clip: what the network was given.
    targets: K names.
    raw, post: [T, K]; post may be None.
    ends: of the band, see `traces.band.ends`.
    simulated: whether the network learnt from a simulated corpus.
    baseline: a neutral clip of the person, or None.
  """
  relative = {} if baseline is None else baseline.columns(raw if post is None else post)
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(
    [
      'time',
      *targets,
      *(f'{target}_post' for target in targets if post is not None),
      *ends,
      *relative,
      *SIMULATED_COLUMN[:simulated],
      *_FACE_COLUMNS,
    ]
  )
  columns: list[Sequence[str] | np.ndarray] = [[clip.grid.time(step) for step in range(clip.steps)]]
  for traces in (raw, post):
    if traces is not None:
      columns += [traces[:, k].astype(str) for k in range(len(targets))]
  columns += [values.astype(str) for values in (*ends.values(), *relative.values())]
  if simulated:
    columns.append([SIMULATED_COLUMN[1]] * clip.steps)
  found = np.char.mod('%.3f', clip.face_found) if clip.crops is not None else np.full(clip.steps, '')
  boxes = [np.where(np.isnan(column), '', np.char.mod('%.1f', column)) for column in clip.boxes.T]
  writer.writerows(zip(*columns, found, *boxes, strict=True))
  atomic.write(path, text.getvalue())


def is_ours(data: bytes) -> bool:
  """Whether the content of a file is a table that `write` wrote."""
  header = data.partition(b'\n')[0]
  return header.startswith(b'time,') and header.endswith(','.join(_FACE_COLUMNS).encode())
