"""Reads label files strictly, whatever their delimiter and header, and places labels on the grid by time.

Nothing is guessed and nothing is skipped: a value that cannot be meant raises with file, line and reason.
"""

import dataclasses
import pathlib
import re

import numpy as np

from data_prep.errors import DataError
from data_prep.records import STEP_SECONDS

MAX_GAP_SECONDS = 1.0  # labels farther apart have a hole between them
_TOLERANCE = 0.02 * STEP_SECONDS  # times are written with two to six decimals
_MISSING = ('?', '', 'nan', 'na', 'null', 'none')
TIME_NAMES = ('time', 'timestamp', 'frametime')  # lower case
ID_NAMES = ('instance_name', 'name')  # columns of text that say whose label this is


@dataclasses.dataclass(frozen=True)
class Table:
  """Numbers over time.

  Attributes:
    path: where it was read.
    columns: names of the C value columns; '' where the file has no header.
    times: [N] seconds, strictly increasing.
    values: [N, C] float64.
  """

  path: pathlib.Path
  columns: tuple[str, ...]
  times: np.ndarray
  values: np.ndarray


def read_table(path, *, low: float, high: float) -> Table:
  """Reads a delimited text or ARFF file of a time column and value columns.

  The delimiter (`;`, `,` or tab), a header, decimal commas, quotes, a byte-order mark and CRLF are recognised. With a
  header, columns go by name (time, timestamp or frameTime; a name column is dropped); without one, the first column
  is the time.

  Args:
    path: the file.
    low, high: bounds of the values, inclusive.

  Raises:
    DataError: unreadable, NaN or `?`, unsorted or duplicate times, a value out of range, a row of another length.
  """
  path = pathlib.Path(path)
  lines = _lines(path)
  header, rows, delimiter = _header(path, lines)
  if not rows:
    raise DataError(f'{path}: no rows of numbers; expected a header and a row per step')
  names = [name.lower() for name in header] if header else None
  width = len(header) if header else len(_cells(rows[0][1], delimiter))
  time_column = 0
  if names:
    found = [i for i, name in enumerate(names) if name in TIME_NAMES]
    if len(found) != 1:
      what = f'{len(found)} time columns' if found else 'no time column'
      hint = '; is the delimiter one of `;`, `,` or tab?' if width == 1 else ''
      raise DataError(f'{path}, line {lines[0][0]}: {what} among {", ".join(header)}; expected one `time`{hint}')
    time_column = found[0]
  dropped = [i for i, name in enumerate(names or ()) if name in ID_NAMES]
  kept = [i for i in range(width) if i != time_column and i not in dropped]
  if not kept:
    raise DataError(f'{path}: no value column beside the time; is the delimiter one of `;`, `,` or tab?')
  table = np.empty((len(rows), 1 + len(kept)))
  for row, (number, text) in enumerate(rows):
    cells = _cells(text, delimiter)
    if len(cells) != width:
      raise DataError(f'{path}, line {number}: {len(cells)} columns, expected {width}')
    for column, i in enumerate([time_column, *kept]):
      table[row, column] = _number(path, number, cells[i], delimiter)
  numbers = np.array([number for number, _ in rows])
  times, values = table[:, 0], table[:, 1:]
  for row in np.flatnonzero(np.diff(times) <= 0)[:1] + 1:
    what = 'is a duplicate' if times[row] == times[row - 1] else f'comes after {times[row - 1]:g}'
    raise DataError(f'{path}, line {numbers[row]}: time {times[row]:g} {what}; expected increasing times')
  for row, column in np.argwhere((values < low) | (values > high))[:1]:
    raise DataError(f'{path}, line {numbers[row]}: {values[row, column]:g} is out of range; '
                    f'expected values from {low:g} to {high:g}')
  columns = tuple(header[i] for i in kept) if header else ('',) * len(kept)
  return Table(path=path, columns=columns, times=times, values=values)


def read_header(path) -> list[str] | None:
  """Names of the columns, or None where the file has no header."""
  return _header(pathlib.Path(path), _lines(pathlib.Path(path)))[0]


def interval(times) -> float:
  """Seconds between two rows."""
  return float(np.median(np.diff(times))) if len(times) > 1 else STEP_SECONDS


def longest_gap(times) -> float:
  """Seconds between two rows above which there is no label between them."""
  return min(1.5 * interval(times), MAX_GAP_SECONDS) + _TOLERANCE


def on_grid(times, values, num_steps: int):
  """Takes a trace to the label grid: step k (from 0) gets the value at its end, (k + 1)·40 ms.

  So RECOLA's row at t = 0 belongs to no step, and 7501 rows give 7500 steps, as in the authors' code. Between two
  rows the trace is interpolated; before the first, after the last and in holes there is no label.

  Args:
    times: [N] seconds, increasing.
    values: [N, ...] the trace.
    num_steps: T.

  Returns:
    [T, ...] float64 (0 where there is no label), and [T] float32 mask.
  """
  times, values = np.asarray(times, np.float64), np.asarray(values, np.float64)
  wanted = np.arange(1, num_steps + 1) * STEP_SECONDS
  after = np.clip(np.searchsorted(times, wanted - _TOLERANCE), 0, len(times) - 1)
  before = np.clip(after - 1, 0, None)
  exact = np.abs(times[after] - wanted) <= _TOLERANCE
  span = times[after] - times[before]
  inside = (times[before] <= wanted) & (wanted <= times[after]) & (span <= longest_gap(times))
  share = np.where(exact | (span <= 0), 1.0, (wanted - times[before]) / np.where(span > 0, span, 1))
  mask = exact | inside
  share = np.where(mask, share, 1.0).reshape((-1,) + (1,) * (values.ndim - 1))
  placed = values[before] * (1 - share) + values[after] * share
  placed[~mask] = 0
  return placed, mask.astype(np.float32)


def _lines(path):
  """(line number, text) of every line that is not blank."""
  try:
    data = path.read_bytes()
  except OSError as e:
    raise DataError(f'{path}: cannot be read ({e.strerror})') from None
  try:
    text = data.decode('utf-8-sig')
  except UnicodeDecodeError:
    raise DataError(f'{path}: not text in UTF-8; save it as UTF-8') from None
  lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1)]
  lines = [(i, line) for i, line in lines if line]
  if not lines:
    raise DataError(f'{path}: empty; expected a header and a row per step')
  return lines


def _header(path, lines):
  """(names or None, rows, delimiter)."""
  if lines[0][1].lower().startswith('@relation'):
    return _arff(path, lines), _after_data(lines), ','
  first = lines[0][1]
  delimiter = next((d for d in (';', '\t', ',') if d in first), ',')
  cells = _cells(first, delimiter)
  # Text is a header; a missing value (`?`, NaN) in the first row of a file without one is a fault of that row.
  if any(re.search('[A-Za-z]', cell) and not _is_number(cell) and cell.lower() not in _MISSING for cell in cells):
    doubled = {cell for cell in cells if cells.count(cell) > 1}
    if doubled:
      raise DataError(f'{path}, line {lines[0][0]}: column {sorted(doubled)[0]!r} twice; expected distinct names')
    return cells, lines[1:], delimiter
  return None, lines, delimiter


def _arff(path, lines):
  names = []
  for _, line in lines:
    match = re.match(r"@attribute\s+('[^']*'|\"[^\"]*\"|\S+)\s+\S", line, re.IGNORECASE)
    if match:
      names.append(match.group(1).strip('\'"'))
  if not names:
    raise DataError(f'{path}: an ARFF file without @attribute lines; expected frameTime and a value')
  return names


def _after_data(lines):
  starts = [i for i, (_, line) in enumerate(lines) if line.lower().startswith('@data')]
  return [row for row in lines[starts[0] + 1:] if not row[1].startswith('%')] if starts else []


def _cells(text, delimiter):
  return [cell.strip().strip('\'"').strip() for cell in text.split(delimiter)]


def _is_number(cell) -> bool:
  try:
    float(cell)
    return True
  except ValueError:
    return False


def _number(path, line, cell, delimiter) -> float:
  text = cell.replace(',', '.') if delimiter != ',' else cell
  if cell.lower() in _MISSING:
    raise DataError(f'{path}, line {line}: {cell!r} is a missing value; expected a number: leave the row out')
  # float() also takes '1_0' and 'infinity', which no label file means.
  if not re.fullmatch(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?', text):
    raise DataError(f'{path}, line {line}: {cell!r} is no number')
  value = float(text)
  if not np.isfinite(value):
    raise DataError(f'{path}, line {line}: {cell!r} is no finite number')
  return value
