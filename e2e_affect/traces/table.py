"""Traces as CSV files.

Columns: `recording,time,<output>,<target>_gold,…,face_found`, then `<output>_post,…` where the traces have been
post-processed. One row per step; `time` is the start of the step in seconds. The gold standard of a target stands
beside the output of that name, as in regression, and else behind all outputs.
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
  path,
  traces: Sequence[Trace],
  outputs: Sequence[str],
  targets: Sequence[str],
  postprocessed: Sequence[Trace] | None = None,
) -> None:
  """Writes traces, one row per step and recording, whole or not at all.

  Args:
    path: the file; its folder is made.
    traces: raw predictions.
    outputs: O names, in the order of the predictions' last axis.
    targets: K names, in the order of the gold standard's last axis.
    postprocessed: the same recordings in the same order after post-processing, or None.

  Raises:
    ValueError: recordings of `postprocessed` that differ from those of `traces`, or another number of outputs
      or targets.
    WorkdirError, DiskFullError: the file cannot be written.
  """
  if postprocessed is not None and [t.recording for t in traces] != [t.recording for t in postprocessed]:
    raise ValueError('raw and post-processed traces are of different recordings')
  paired: list[tuple[str | None, str | None]] = [(output, output if output in targets else None) for output in outputs]
  paired += [(None, target) for target in targets if target not in outputs]
  header = ['recording', 'time']
  for output, target in paired:
    header += ([output] if output else []) + ([f'{target}_gold'] if target else [])
  header.append('face_found')
  if postprocessed is not None:
    header += [f'{output}_post' for output in outputs]

  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(header)
  for i, trace in enumerate(traces):
    steps = len(trace.prediction)
    for values, names in ((trace.prediction, outputs), (trace.gold, targets)):
      if values.shape[1] != len(names):
        raise ValueError(f'{trace.recording}: {values.shape[1]} numbers per step for {", ".join(names)}')
    columns: list[Sequence[str] | np.ndarray] = [[trace.recording] * steps, [trace.grid.time(k) for k in range(steps)]]
    for output, target in paired:
      if output:
        columns.append(_shortest(trace.prediction[:, outputs.index(output)]))
      if target:
        columns.append(np.where(trace.scored, _shortest(trace.gold[:, targets.index(target)]), ''))
    columns.append(_shortest(trace.face_found))
    if postprocessed is not None:
      columns += [_shortest(values) for values in postprocessed[i].prediction.T]
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
  by_recording: dict[str, list[list[str]]] = {}
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
    mask = np.all(np.isfinite(gold), axis=1)
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
