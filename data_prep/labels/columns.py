"""Label files as text in columns, for readers of corpora whose files are not a time and values alone."""

from collections.abc import Collection, Sequence
import csv
import io
import pathlib

import numpy as np

from data_prep.core.errors import DataError
from data_prep.labels import label_files

_MISSING = ('', '?', 'nan', 'na', 'none', 'null')


def read(path, names: Sequence[str] | None = None, required: Sequence[str] = ()) -> dict[str, list[str]]:
  """Reads a file with a header, or without one.

  Delimiter (`;`, `,` or tab), byte-order mark, quotes of both kinds and white space around cells are taken care of;
  names are in lower case.

  Args:
    path: of the file.
    names: of the columns where the file has no header, in its order; a header goes before them.
    required: names that must be among the columns.

  Returns:
    name -> a text for each row; blank lines are left out.

  Raises:
    DataError: unreadable, empty, a row of another length, or a name of `required` is missing.
  """
  path = pathlib.Path(path)
  try:
    text = path.read_text(encoding='utf-8-sig')
  except (OSError, UnicodeDecodeError) as e:
    raise DataError(f'{path}: cannot be read as UTF-8 text ({getattr(e, "strerror", None) or e})') from None
  lines = [line for line in text.splitlines() if line.strip()]
  if not lines:
    raise DataError(f'{path}: empty; expected {", ".join(required or names or ())}')
  delimiter = next((d for d in ';\t' if d in lines[0]), ',')
  cells = [[cell.strip().strip('\'"').strip() for cell in row] for row in _rows(path, lines, delimiter)]
  first = [cell.casefold() for cell in cells[0]]
  if names is None or set(names) <= set(first):
    header, rows, begin = first, cells[1:], 2
  else:
    header, rows, begin = [name.casefold() for name in names], cells, 1
  lacking = [name for name in required if name not in header]
  if lacking:
    raise DataError(f'{path}: no column {" and no ".join(lacking)} among {", ".join(header)[:200]}')
  for number, row in enumerate(rows, begin):
    if len(row) != len(header):
      raise DataError(f'{path}, row {number}: {len(row)} columns, expected {len(header)}: {", ".join(header)[:200]}')
  return {name: [row[i] for row in rows] for i, name in enumerate(header)}


def _rows(path, lines, delimiter):
  try:
    return list(csv.reader(io.StringIO('\n'.join(lines)), delimiter=delimiter))
  except csv.Error as e:
    raise DataError(f'{path}: no CSV ({e})') from None


def numbers(path, name: str, cells: Sequence[str], missing: Collection[float] = ()) -> np.ndarray:
  """[N] float64; NaN where a cell is empty, says so, or holds one of the numbers that mean that there is none.

  Raises:
    DataError: a cell is no number.
  """
  found = np.empty(len(cells))
  for row, cell in enumerate(cells):
    try:
      found[row] = np.nan if cell.casefold() in _MISSING else float(cell)
    except ValueError:
      raise DataError(f'{path}, row {row + 1} of the numbers: {name} is {cell[:40]!r}, expected a number') from None
  found[np.isin(found, list(missing)) | np.isinf(found)] = np.nan
  return found


def table(path, columns: dict[str, np.ndarray], times) -> label_files.Table:
  """A `Table` of columns at their times.

  Raises:
    DataError: no row, or the times do not increase.
  """
  times = np.asarray(times, np.float64)
  if not len(times) or not np.isfinite(times).all():
    raise DataError(f'{path}: {"a time is missing" if len(times) else "no rows"}; expected a time and a label a row')
  for row in np.flatnonzero(np.diff(times) <= 0)[:1] + 1:
    raise DataError(f'{path}: time {times[row]:g} follows {times[row - 1]:g}; expected increasing times')
  values = np.stack(list(columns.values()), axis=1)
  return label_files.Table(path=pathlib.Path(path), columns=tuple(columns), times=times, values=values)
