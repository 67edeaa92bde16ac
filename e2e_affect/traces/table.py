"""Traces as CSV files.

Columns: `recording,time,<output>,<target>_gold,…,face_found`, then `<output>_post,…` where the traces have been
post-processed, and `trained_on` where what predicts learnt from simulated people. One row per step; `time` is the start
of the step in seconds. The gold standard of a target stands beside the output of that name, as in regression, and else
behind all outputs.
"""

from collections.abc import Mapping, Sequence
import csv
import pathlib

import numpy as np

from data_prep.core import atomic
from data_prep.core.errors import DataError
from data_prep.schema.grid import Grid
from e2e_affect.traces.traces import Trace

# The column of what learnt from simulated people, and what stands in it: most readers of CSV fail on a comment.
SIMULATED_COLUMN = ('trained_on', 'simulated people')
FOLDER = 'predictions'  # of a run: a file a partition


def write_csv(
  path,
  traces: Sequence[Trace],
  outputs: Sequence[str],
  targets: Sequence[str],
  postprocessed: Sequence[Trace] | None = None,
  simulated: bool = False,
) -> None:
  """Writes traces, one row per step and recording, whole or not at all.

  Args:
    path: the file; its folder is made.
    traces: raw predictions.
    outputs: O names, in the order of the predictions' last axis.
    targets: K names, in the order of the gold standard's last axis.
    postprocessed: the same recordings in the same order after post-processing, or None.
    simulated: whether what predicts learnt from simulated people.

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
  header += SIMULATED_COLUMN[:simulated]

  with (
    atomic.whole(path) as temporary,
    temporary.open('w', encoding='utf-8', errors='backslashreplace', newline='') as file,
  ):
    writer = csv.writer(file, lineterminator='\n')
    writer.writerow(header)
    for i, trace in enumerate(traces):
      steps = len(trace.prediction)
      for values, names in ((trace.prediction, outputs), (trace.gold, targets)):
        if values.shape[1] != len(names):
          raise ValueError(f'{trace.recording}: {values.shape[1]} numbers per step for {", ".join(names)}')
      columns: list[Sequence[str] | np.ndarray] = [
        [trace.recording] * steps,
        [trace.grid.time(k) for k in range(steps)],
      ]
      for output, target in paired:
        if output:
          columns.append(_shortest(trace.prediction[:, outputs.index(output)]))
        if target:
          columns.append(np.where(trace.scored, _shortest(trace.gold[:, targets.index(target)]), ''))
      columns.append(_shortest(trace.face_found))
      if postprocessed is not None:
        columns += [_shortest(values) for values in postprocessed[i].prediction.T]
      if simulated:
        columns.append([SIMULATED_COLUMN[1]] * steps)
      writer.writerows(zip(*columns, strict=True))


def _shortest(values):
  """[T] float32 -> [T] strings, the shortest that read back to the same float32."""
  return np.asarray(values, dtype=np.float32).astype(str)


def read_csv(path: str | pathlib.Path, outputs: Sequence[str]) -> dict[str, np.ndarray]:
  """The raw predictions of a file that `write_csv` wrote.

  Args:
    path: of the file.
    outputs: O names.

  Returns:
    recording -> [T, O] float32, in the order of the file.

  Raises:
    DataError: the file is absent or damaged, or lacks an output.
  """
  found = _columns(path, outputs)
  for recording, values in found.items():
    if np.isnan(values).any():
      raise DataError(f'{path}: damaged ({recording} has steps without a prediction); evaluate the run again')
  return found


def read_traces(
  path: str | pathlib.Path,
  outputs: Sequence[str],
  targets: Sequence[str],
  *,
  partition: str,
  subjects: Mapping[str, str],
  grid: Grid,
  postprocessed: bool = False,
) -> list[Trace]:
  """The traces that `write_csv` wrote, in their order; the gold standard is 0 where there is none.

  Args:
    path: the file.
    outputs: O names, in the order that the predictions shall have.
    targets: K names, in the order that the gold standard shall have.
    partition: whose recordings these are.
    subjects: recording -> person.
    grid: of the steps.
    postprocessed: whether the predictions are those after post-processing.

  Raises:
    DataError: the file is absent or damaged, lacks an output or a target, or is of recordings without a subject.
  """
  predicted = [f'{output}_post' if postprocessed else output for output in outputs]
  traces = []
  for recording, values in _columns(
    path, [*predicted, *(f'{target}_gold' for target in targets), 'face_found']
  ).items():
    if recording not in subjects:
      raise DataError(f'{path}: recording {recording} is not in the data of the run; evaluate it again')
    gold = values[:, len(outputs) : -1]
    scored = np.asarray(np.isfinite(gold).all(axis=1))
    traces.append(
      Trace(
        recording,
        subjects[recording],
        partition,
        values[:, : len(outputs)],
        np.where(scored[:, None], gold, np.float32(0)),
        scored.astype(np.float32),
        values[:, -1],
        grid,
      )
    )
  return traces


def _columns(path, names):
  """recording -> [T, N] float32 of the columns of these names, NaN where a cell is empty; errors as `read_csv`."""
  path = pathlib.Path(path)
  rows: dict[str, list[list[str]]] = {}
  try:
    with path.open(encoding='utf-8', newline='') as file:
      reader = csv.DictReader(file)
      lacking = [name for name in names if name not in (reader.fieldnames or ())]
      if lacking:
        raise DataError(f'{path}: has no column {" and no ".join(lacking)}; expected the traces of a run')
      for row in reader:
        if None in row.values():  # NumPy would read it as NaN
          raise ValueError(f'line {reader.line_num} ends early')
        rows.setdefault(row['recording'], []).append(['nan' if row[name] == '' else row[name] for name in names])
    return {recording: np.array(of, np.float32) for recording, of in rows.items()}
  except FileNotFoundError:
    raise DataError(f'{path}: not found; expected the traces of a run') from None
  except (ValueError, KeyError, TypeError, csv.Error) as e:
    raise DataError(f'{path}: damaged ({e}); evaluate the run again') from None
