"""Traces: what a network says of whole recordings, step by step, and the CSV files they lie in.

Columns: `recording,time,<target>,<target>_gold,…,face_found`, then `<target>_post,…` where the traces
have been post-processed. One row per step; `time` is the start of the step in seconds.
"""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Sequence

import numpy as np

from data_prep import atomic, records
from data_prep.errors import DataError

_STEP_HUNDREDTHS = round(records.STEP_SECONDS * 100)  # integers: 0.04 · 3 is not 0.12 in floating point


@dataclasses.dataclass(frozen=True)
class Trace:
  """One recording, whole, in order, without padding: every row is a valid step.

  Attributes:
    recording: id of the recording.
    subject: id of the person.
    partition: 'train', 'validation' or 'test'; another word where there is none (prediction on a new clip).
    prediction: [T, K] float32.
    gold: [T, K] float32, the gold standard; anything where `mask` is 0.
    mask: [T] float32, 1 where gold exists and the step is valid.
    face_found: [T] float32 in [0, 1].

  Raises:
    ValueError: no step, or shapes that do not fit each other.
    DataError: a prediction that is not finite, or a gold standard that is not finite where `mask` is 1.
  """

  recording: str
  subject: str
  partition: str
  prediction: np.ndarray
  gold: np.ndarray
  mask: np.ndarray
  face_found: np.ndarray

  def __post_init__(self):
    if self.prediction.ndim != 2 or not self.prediction.size or self.gold.shape != self.prediction.shape:
      raise ValueError(f'{self.recording}: prediction {self.prediction.shape} and gold {self.gold.shape}, '
                       'expected [T, K] twice')
    steps = self.prediction.shape[0]
    if self.mask.shape != (steps,) or self.face_found.shape != (steps,):
      raise ValueError(f'{self.recording}: mask {self.mask.shape} and face_found {self.face_found.shape}, '
                       f'expected [{steps}] twice')
    # One NaN here would turn every pooled number into NaN, far from its cause.
    for name, values in (('prediction', self.prediction), ('gold standard', self.gold[self.scored])):
      bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
      if bad.size:
        raise DataError(f'recording {self.recording}: {name} is not finite in {bad.size} of {len(values)} steps; '
                        'use an earlier checkpoint (diverged network) or prepare the recording again (labels)')

  @property
  def scored(self) -> np.ndarray:
    """[T] bool: the steps that metrics count."""
    return self.mask > 0


def write_csv(path, traces: Sequence[Trace], targets: Sequence[str],
              postprocessed: Sequence[Trace] | None = None) -> None:
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
    columns = [[trace.recording] * steps, [format_time(k) for k in range(steps)]]
    for k in range(num_targets):
      columns.append(_shortest(trace.prediction[:, k]))
      columns.append(np.where(trace.scored, _shortest(trace.gold[:, k]), ''))
    columns.append(_shortest(trace.face_found))
    if postprocessed is not None:
      columns += [_shortest(postprocessed[i].prediction[:, k]) for k in range(num_targets)]
    writer.writerows(zip(*columns, strict=True))
  write_atomically(path, text.getvalue())


def read_csv(path) -> tuple[list[Trace], list[str], list[Trace] | None]:
  """Reads what `write_csv` wrote.

  The file does not say whose recordings these are, nor of which partition: `subject` becomes the recording's
  id and `partition` the file's name without its ending (`predictions/test.csv`: test).

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
    raise DataError(f'{path}: header {",".join(header)!r}, expected '
                    "'recording,time,<target>,<target>_gold,…,face_found[,<target>_post,…]'")
  by_recording = {}
  for number, row in enumerate(rows, start=2):
    if len(row) != len(header):
      raise DataError(f'{path}: line {number} has {len(row)} columns, expected {len(header)}')
    of_recording = by_recording.setdefault(row[0], [])
    if row[1] != format_time(len(of_recording)):
      raise DataError(f'{path}: line {number} has time {row[1]!r}, expected {format_time(len(of_recording))}')
    of_recording.append(row[2:])

  raw, processed = [], []
  num_targets = len(targets)
  for recording, cells in by_recording.items():
    try:
      values = np.asarray([[cell or 'nan' for cell in row] for row in cells], dtype=np.float32)
    except ValueError as e:
      raise DataError(f'{path}: recording {recording}: {e}') from None
    gold = values[:, 1:2 * num_targets:2]
    mask = np.isfinite(gold).all(axis=1)
    trace = Trace(recording=recording, subject=recording, partition=path.stem,
                  prediction=values[:, 0:2 * num_targets:2], gold=np.where(mask[:, None], gold, 0),
                  mask=mask.astype(np.float32), face_found=values[:, 2 * num_targets])
    raw.append(trace)
    if len(header) > len(expected):
      processed.append(dataclasses.replace(trace, prediction=values[:, -num_targets:]))
  return raw, targets, processed if len(header) > len(expected) else None


def format_time(step: int) -> str:
  """Start of a step in seconds, exactly: 3 -> '0.12'."""
  hundredths = step * _STEP_HUNDREDTHS
  return f'{hundredths // 100}.{hundredths % 100:02d}'


def _shortest(values):
  """[T] float32 -> [T] strings, the shortest that read back to the same float32."""
  return np.asarray(values, dtype=np.float32).astype(str)


def write_atomically(path, content: str | bytes) -> None:
  """Writes a file whole or not at all; makes its folder. Text is UTF-8, with `\\udcXX` for what is none in a name.

  Raises:
    WorkdirError, DiskFullError: it cannot be written.
  """
  with atomic.whole(path) as temporary:
    temporary.write_bytes(content.encode(errors='backslashreplace') if isinstance(content, str) else content)
