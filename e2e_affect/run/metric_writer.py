"""The record of a run: `metrics.jsonl`, TensorBoard events and a log line.

`metrics.jsonl` is the record (the figures and the report read it); the others are for watching. One JSON object per
line: `{"step": 1200, "kind": "train", "loss": …}`. Strict JSON: what is not finite is written as null.
"""

import json
import math
import pathlib
import time

from absl import logging
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from data_prep.core import atomic, json_text
from data_prep.core.errors import DataError, write_error

METRICS_FILE = 'metrics.jsonl'


class MetricWriter:
  """Appends to the record of the run in `workdir`; one writer per run (process 0).

  A run that starts or resumes calls `truncate_after(step)` first, with the step of the state that it goes on from
  (0: from the start): steps that will be done again must not stand in the record twice.
  """

  def __init__(self, workdir):
    """Opens the record; makes the folder.

    Raises:
      WorkdirError, DiskFullError: the folder cannot be written.
    """
    self._workdir = pathlib.Path(workdir)
    self._path = self._workdir / METRICS_FILE
    self._events = None  # made with the first row: only then is it known which steps to hide
    self._first_step = 0
    try:
      self._workdir.mkdir(parents=True, exist_ok=True)
      self._file = self._path.open('a', encoding='utf-8')
    except OSError as e:
      raise write_error(self._path, e) from None

  def truncate_after(self, step: int) -> None:
    """Drops the rows of later steps, and a line that a kill cut short; the file changes whole or not at all.

    TensorBoard is told to hide the same steps.

    Raises:
      DataError: a line in the middle of the record is damaged.
      WorkdirError, DiskFullError: it cannot be written.
    """
    rows = read_metrics(self._workdir)
    self._file.close()
    atomic.write(self._path, ''.join(_line(row) for row in rows if row['step'] <= step))
    self._file = self._path.open('a', encoding='utf-8')
    self._close_events()
    self._first_step = step + 1

  def write(self, step: int, kind: str, values: dict, seconds_left: float | None = None) -> None:
    """Adds one row.

    Args:
      step: updates done.
      kind: 'train' or 'validation'.
      values: name -> number (Python, NumPy or a JAX scalar).
      seconds_left: until the end of training, for the log line.

    Raises:
      WorkdirError, DiskFullError: it cannot be written.
    """
    row: dict = {'step': int(step), 'kind': kind}
    row.update((name, value if isinstance(value, int) else float(value)) for name, value in values.items())
    try:
      self._file.write(_line(row))
      self._file.flush()  # what a kill leaves behind is then at most one cut line
      if self._events is None:
        # Not tensorboardX.SummaryWriter: its thread dies of a full disk, and then the queue to it fills up and waits.
        self._events = event_file_writer.EventsWriter(str(self._workdir / 'events'))
        self._add_event(self._first_step, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START))
      for name, value in row.items():
        if name not in ('step', 'kind') and math.isfinite(value):
          self._add_event(row['step'], summary=summary.scalar(f'{kind}/{name}', value))
      self._events.flush()
    except OSError as e:
      raise write_error(self._path, e) from None
    logging.info('%s', _log_line(row, seconds_left))

  def _add_event(self, step, **content):
    self._events.write_event(event_pb2.Event(wall_time=time.time(), step=step, **content))

  def close(self) -> None:
    """Closes both files."""
    self._file.close()
    self._close_events()

  def _close_events(self):
    if self._events is not None:
      self._events.close()
      self._events = None


def read_metrics(workdir) -> list[dict]:
  """Reads `metrics.jsonl`: its rows in order, null as NaN; [] where there is none.

  A last line without its end is what a kill leaves in the middle of a write; it is left out.

  Raises:
    DataError: another line is not a row.
  """
  path = pathlib.Path(workdir) / METRICS_FILE
  try:
    lines = path.read_bytes().split(b'\n')[:-1]
  except FileNotFoundError:
    return []
  rows = []
  for number, line in enumerate(lines, start=1):
    try:
      row = json_text.parse(line)
      rows.append(
        {
          **{name: math.nan if value is None else value for name, value in row.items()},
          'step': int(row['step']),
          'kind': str(row['kind']),
        }
      )
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as e:
      raise DataError(
        f'{path}: line {number} is damaged ({e!r}), expected one JSON object with step and kind; remove the line'
      ) from None
  return rows


def elapsed_seconds(workdir, step: int) -> float:
  """Seconds that a run took up to this update, over all its starts; 0 where its record does not say."""
  values = [row.get('elapsed_seconds') for row in read_metrics(workdir) if row['step'] <= step]
  return max((value for value in values if isinstance(value, float) and math.isfinite(value)), default=0.0)


def _line(row):
  row = {name: None if isinstance(value, float) and not math.isfinite(value) else value for name, value in row.items()}
  return json.dumps(row, allow_nan=False) + '\n'


def _log_line(row, seconds_left):
  parts = [f'update {row["step"]}', row['kind']]
  for name, value in row.items():
    if name not in ('step', 'kind', 'steps_per_second', 'elapsed_seconds'):
      parts.append(f'{name} {value}' if isinstance(value, int) else f'{name} {value:.4g}')
  if 'steps_per_second' in row:
    parts.append(f'{row["steps_per_second"]:.3g} updates/s')
  if 'elapsed_seconds' in row:
    parts.append(f'{_hours(row["elapsed_seconds"])} elapsed')
  if seconds_left is not None:
    parts.append(f'{_hours(seconds_left)} left')
  return '  '.join(parts)


def _hours(seconds):
  minutes = math.ceil(seconds / 60)
  return f'{minutes // 60} h {minutes % 60:02d} min'
