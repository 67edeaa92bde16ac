"""Traces as CSV files.

Columns: `recording,time,<target>,<target>_gold,…,face_found`, then `<target>_post,…` where the traces
have been post-processed. One row per step; `time` is the start of the step in seconds.
"""

from collections.abc import Sequence
import csv
import dataclasses
import io
import pathlib

import numpy as np

from data_prep.core import atomic
from data_prep.core.errors import DataError
from data_prep.schema.grid import Grid, PAPER
from e2e_affect.traces.traces import Trace


def write_csv(
  path, traces: Sequence[Trace], targets: Sequence[str], postprocessed: Sequence[Trace] | None = None
) -> None:
  """Writes traces, one row per step and recording, whole or not at all.

  Args:
    path: the file; its folder is made.
    traces: raw predictions.
    targets: K names, in the order of the traces' last axis.
    postprocessed: the same recordings in the same order after post-processing, or None.

  Raises:
    ValueError: recordings of `postprocessed` that differ from those of `traces`, or another number of targets.
    WorkdirError, DiskFullError: the file cannot be written.
  """
  if postprocessed is not None and [t.recording for t in traces] != [t.recording for t in postprocessed]:
    raise ValueError('raw and post-processed traces are of different recordings')
  header = ['recording', 'time']
  for target in targets:
    header += [target, f'{target}_gold']
  header.append('face_found')
  if postprocessed is not None:
    header += [f'{target}_post' for target in targets]

  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(header)
  for i, trace in enumerate(traces):
    steps, num_targets = trace.prediction.shape
    if num_targets != len(targets):
      raise ValueError(f'{trace.recording}: {num_targets} predictions per step for the targets {list(targets)}')
    columns = [[trace.recording] * steps, [trace.grid.time(k) for k in range(steps)]]
    for k in range(num_targets):
      columns.append(_shortest(trace.prediction[:, k]))
      columns.append(np.where(trace.scored, _shortest(trace.gold[:, k]), ''))
    columns.append(_shortest(trace.face_found))
    if postprocessed is not None:
      columns += [_shortest(postprocessed[i].prediction[:, k]) for k in range(num_targets)]
    writer.writerows(zip(*columns, strict=True))
  atomic.write(path, text.getvalue())


def read_csv(path, grid: Grid = PAPER) -> tuple[list[Trace], list[str], list[Trace] | None]:
  """Reads what `write_csv` wrote.

  The file does not say whose recordings these are, nor of which partition: `subject` becomes the recording's
  id and `partition` the file's name without its ending (`predictions/test.csv`: test).

  Args:
    path: the file.
    grid: of its steps.

  Returns:
    The raw traces, the targets, and the post-processed traces (None where the file has no such columns).

  Raises:
    DataError: the file is absent or not of this format.
  """
  path = pathlib.Path(path)
  try:
    with path.open(encoding='utf-8', newline='') as f:
      rows = list(csv.reader(f))
  except FileNotFoundError:
    raise DataError(f'{path}: not found; make it with `--mode=evaluate`') from None
  except (UnicodeDecodeError, csv.Error) as e:
    raise DataError(f'{path}: damaged ({e}); make it again with `--mode=evaluate`') from None
  header, rows = (rows[0], rows[1:]) if rows else ([], [])
  targets = [name.removesuffix('_gold') for name in header if name.endswith('_gold')]
  expected = ['recording', 'time', *(name for t in targets for name in (t, f'{t}_gold')), 'face_found']
  post = [f'{t}_post' for t in targets]
  if not targets or header not in (expected, expected + post):
    raise DataError(
      f'{path}: header {",".join(header)!r}, expected '
      "'recording,time,<target>,<target>_gold,…,face_found[,<target>_post,…]'"
    )
  by_recording = {}
  for number, row in enumerate(rows, start=2):
    if len(row) != len(header):
      raise DataError(f'{path}: line {number} has {len(row)} columns, expected {len(header)}')
    of_recording = by_recording.setdefault(row[0], [])
    if row[1] != grid.time(len(of_recording)):
      raise DataError(f'{path}: line {number} has time {row[1]!r}, expected {grid.time(len(of_recording))}')
    of_recording.append(row[2:])

  raw, processed = [], []
  num_targets = len(targets)
  for recording, cells in by_recording.items():
    try:
      values = np.asarray([[cell or 'nan' for cell in row] for row in cells], dtype=np.float32)
    except ValueError as e:
      raise DataError(f'{path}: recording {recording}: {e}') from None
    gold = values[:, 1 : 2 * num_targets : 2]
    mask = np.isfinite(gold).all(axis=1)
    trace = Trace(
      recording=recording,
      subject=recording,
      partition=path.stem,
      prediction=values[:, 0 : 2 * num_targets : 2],
      gold=np.where(mask[:, None], gold, 0),
      mask=mask.astype(np.float32),
      face_found=values[:, 2 * num_targets],
      grid=grid,
    )
    raw.append(trace)
    if len(header) > len(expected):
      processed.append(dataclasses.replace(trace, prediction=values[:, -num_targets:]))
  return raw, targets, processed if len(header) > len(expected) else None


def _shortest(values):
  """[T] float32 -> [T] strings, the shortest that read back to the same float32."""
  return np.asarray(values, dtype=np.float32).astype(str)
