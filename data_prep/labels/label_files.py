"""Reads label files strictly, whatever their delimiter and header, and places labels on the grid by time.

Nothing is guessed and nothing is skipped: a value that cannot be meant raises with file, line and reason.
"""

from collections.abc import Sequence
import dataclasses
import math
import pathlib
import re

import numpy as np

from data_prep.core.errors import DataError

METHODS = ('linear', 'hold')  # between two labels: a line, or the former's value until the latter
_MISSING = ('?', '', 'nan', 'na', 'null', 'none')
_UNITS = {
  1: ('s', 'sec', 'secs', 'second', 'seconds'),
  1e3: ('ms', 'msec', 'msecs', 'millisecond', 'milliseconds'),
  1e6: ('us', 'µs', 'microsecond', 'microseconds'),
}  # how many are a second
_PER_SECOND = {name: number for number, names in _UNITS.items() for name in names}
_OTHER_UNITS = ('min', 'mins', 'minute', 'minutes', 'h', 'hour', 'hours', 'frame', 'frames', 'sample', 'samples', 'ns')
# `Time (s)`, `time_ms`, `frameTime`, `Time in seconds`; or the unit alone, as CARMA writes `Second`.
_TIME = re.compile(r'(?:(?:frame|video)[ _]?)?time(?:[ _]?stamps?)?|t')
_WITH_UNIT = re.compile(r'(.*?)(?:\s*[\[(]\s*([^\])]*?)\s*[\])]|[ _]+(?:in[ _]+)?([^ _]+))')
# Columns that say whose label it is, or count the rows (as does a first one without a name, which pandas writes); the
# last seven are CARMA's.
_NO_VALUES = (
  'name',
  'instance_name',
  'index',
  'frame',
  'unnamed: 0',
  'filename',
  'lower label',
  'upper label',
  'minimum value',
  'midpoint value',
  'maximum value',
  'number of steps',
)
# What label files of other programs begin with, what they are, and what makes text of them.
_OTHERS = (
  (b'PK\3\4', 'a workbook of a spreadsheet, or another zip file', 'save it as CSV'),
  (b'\xd0\xcf\x11\xe0', 'a workbook of Excel', 'save it as CSV'),
  (b'\x93NUMPY', 'an array of NumPy', 'write it with `numpy.savetxt`, the times in front of the values'),
  (b'MATLAB', 'a file of MATLAB', 'write it with `writematrix`, the times in front of the values'),
  (b'\x1f\x8b', 'packed by gzip', 'unpack it with `gunzip`'),
  (b'\x80', 'a pickle of Python', 'write it with `DataFrame.to_csv`, a column `time` among the others'),
  (b'File type = "ooTextFile', 'a file of Praat', 'extract its tier as a table, and save that as a tab-separated file'),
  (
    b'<',
    'XML, as ELAN, ANVIL and NOVA write it',
    'export it as delimited text, a column `time` in front of the values; documents of ELAN are read where their name '
    'ends in .eaf, those of NOVA in .annotation',
  ),
  (b'{', 'JSON', 'write it as CSV, for instance with `pandas.read_json` and `to_csv`'),
  (b'[', 'JSON', 'write it as CSV, for instance with `pandas.read_json` and `to_csv`'),
)
_UTF_16 = (b'\xff\xfe', b'\xfe\xff')  # as Excel's "Unicode text"
_NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?')
_CLOCK = re.compile(r'(?:(\d+):)?(\d+):(\d+(?:\.\d*)?)')
_DELIMITERS = '`;`, `,`, tab or space'


@dataclasses.dataclass(frozen=True)
class Table:
  """Numbers over time.

  Attributes:
    path: where it was read.
    columns: names of the C value columns; '' where the file has no header.
    times: [N] seconds, strictly increasing.
    values: [N, C] float64.
    unread: names of value columns that nobody asked for.
  """

  path: pathlib.Path
  columns: tuple[str, ...]
  times: np.ndarray
  values: np.ndarray
  unread: tuple[str, ...] = ()


def read_table(path, *, low: float, high: float, only: tuple[str, ...] | None = None) -> Table:
  """Reads a delimited text or ARFF file of a time column and value columns.

  The delimiter (`;`, `,`, tab or space), a header, decimal commas, quotes, a byte-order mark, CRLF, comments (`#`)
  above the header and the preamble of CARMA's exports are recognised. With a header, columns go by name: the time
  (`time`, `timestamp` or `frameTime`, or their like with a unit, `Time (s)` or `time_ms`), the values, and names and
  counters, which are dropped; without one, the first column is the time, in seconds.

  Args:
    path: the file.
    low, high: bounds of the values, inclusive.
    only: names of the value columns to read, in this order and in any case; the others are left unread. None: all.

  Raises:
    DataError: unreadable, NaN or `?`, unsorted or duplicate times, a value out of range, a row of another length, or
      one of `only` is missing.
  """
  path = pathlib.Path(path)
  lines = _lines(path)
  header, rows, delimiter = header_of(path, lines)
  if not rows:
    raise DataError(f'{path}: no rows of numbers; expected a header and a row per step')
  width = len(header) if header else len(_cells(rows[0][1], delimiter))
  hint = f'; is the delimiter one of {_DELIMITERS}?' if width == 1 else ''
  if header:
    try:
      time_column, per_second, kept = layout_of(header)
    except ValueError as e:
      raise DataError(f'{path}, line {lines[0][0]}: {e}{hint}') from None
  else:
    time_column, per_second, kept = 0, 1, list(range(1, width))
  if not kept:
    raise DataError(f'{path}: no value column beside the time; is the delimiter one of {_DELIMITERS}?')
  unread = ()
  if only is not None:
    wanted = f'time,{",".join(only)}'
    if not header:
      raise DataError(f'{path}: no header; expected names in the first line, {wanted}')
    places = {header[i].casefold(): i for i in kept}
    if not all(name.casefold() in places for name in only):
      raise DataError(
        f'{path}: columns {_listed([header[i] for i in kept])}; expected {wanted} as in most of the recordings'
      )
    chosen = [places[name.casefold()] for name in only]
    unread, kept = tuple(header[i] for i in kept if i not in chosen), chosen
  table = np.empty((len(rows), 1 + len(kept)))
  for row, (number, text) in enumerate(rows):
    cells = _cells(text, delimiter)
    if len(cells) != width:
      raise DataError(f'{path}, line {number}: {len(cells)} columns, expected {width}')
    for column, i in enumerate([time_column, *kept]):
      table[row, column] = _number(path, number, cells[i], delimiter)
  numbers = np.array([number for number, _ in rows])
  times, values = table[:, 0] / per_second, table[:, 1:]
  for row in np.flatnonzero(np.diff(times) <= 0)[:1] + 1:
    what = 'is a duplicate' if times[row] == times[row - 1] else f'comes after {times[row - 1]:g}'
    raise DataError(f'{path}, line {numbers[row]}: time {times[row]:g} {what}; expected increasing times')
  for row, column in np.argwhere((values < low) | (values > high))[:1]:
    raise DataError(
      f'{path}, line {numbers[row]}: {values[row, column]:g} is out of range; expected values from {low:g} to {high:g} '
      '(another scale of your own labels is given by --label_range)'
    )
  columns = tuple(header[i] for i in kept) if header else ('',) * len(kept)
  return Table(path=path, columns=columns, times=times, values=values, unread=unread)


def value_columns(path) -> tuple[str, ...]:
  """Names of the value columns of a file; () where it has no header.

  Raises:
    DataError: it cannot be read, or its header names no time.
  """
  path = pathlib.Path(path)
  header = header_of(path, _lines(path))[0]
  if header is None:
    return ()
  try:
    return tuple(header[i] for i in layout_of(header)[2])
  except ValueError as e:
    raise DataError(f'{path}: {e}') from None


def layout_of(header: Sequence[str]) -> tuple[int, float, list[int]]:
  """(place of the time, how many of its unit are a second, places of the values) in a header.

  Raises:
    ValueError: there is no time, or more than one, or it is in a unit that is not read.
  """
  found = {i: unit for i, name in enumerate(header) for unit in [_time_unit(name.casefold())] if unit is not None}
  if len(found) != 1:
    what = f'{len(found)} time columns' if found else 'no time column'
    advice = 'leave the others out' if found else 'of a fixed rate, it is the number of the row over the rate'
    advice = '' if len(header) == 1 else f': {advice}'
    raise ValueError(f'{what} among {_listed(header)}; expected one `time`{advice}')
  ((place, unit),) = found.items()
  if unit not in _PER_SECOND:
    raise ValueError(
      f'{header[place][:40]!r} is a time in {unit[:20]!r}; expected seconds (`time`) or milliseconds (`time_ms`): '
      'multiply minutes by 60, divide frames or samples by their rate, and rename the column'
    )
  return (
    place,
    _PER_SECOND[unit],
    [i for i, name in enumerate(header) if i != place and name.casefold() not in _NO_VALUES and (name or i > 0)],
  )


def _time_unit(name):
  """The unit of a time column, 's' where it does not say; None: it is no time."""
  if _TIME.fullmatch(name):
    return 's'
  if name != 's' and name in _PER_SECOND:
    return name
  match = _WITH_UNIT.fullmatch(name)
  if not match or not (_TIME.fullmatch(match[1]) or match[1] in _PER_SECOND):
    return None
  unit = match[3] if match[2] is None else match[2]
  return unit if match[2] is not None or unit in (*_PER_SECOND, *_OTHER_UNITS) else None


def _lines(path):
  try:
    data = path.read_bytes()
  except OSError as e:
    raise DataError(f'{path}: cannot be read ({e.strerror})') from None
  return lines_of(path, data)


def encoding_of(data: bytes) -> str:
  """The encoding of a text file that begins with these bytes."""
  return 'utf-16' if data.startswith(_UTF_16) else 'utf-8-sig'


def lines_of(path: pathlib.Path, data: bytes) -> list[tuple[int, str]]:
  """(line number, text) of every line that is not blank, without the comments above the header.

  Args:
    path: for messages.
    data: of the file, or of its beginning up to the end of a line.

  Raises:
    DataError: no text, or nothing in it.
  """
  for beginning, what, advice in _OTHERS:
    if data[:1000].lstrip().startswith(beginning):
      raise DataError(f'{path}: {what}; expected text, a header and a row per step: {advice}')
  try:
    text = data.decode(encoding_of(data))
  except UnicodeDecodeError:
    raise DataError(f'{path}: not text in UTF-8; save it as UTF-8, or convert it: iconv -f LATIN1 -t UTF-8') from None
  lines = [(i, line.strip()) for i, line in enumerate(text.splitlines(), 1)]
  lines = [(i, line) for i, line in lines if line]
  while lines and lines[0][1].startswith(('#', '%')):
    number, line = lines.pop(0)
    names = line.lstrip('#% ')  # NumPy writes its header as a comment
    if names and any(_time_unit(cell.casefold()) for cell in _cells(names, _delimiter(names))):
      lines.insert(0, (number, names))
      break
  if not lines:
    raise DataError(f'{path}: empty; expected a header and a row per step')
  return lines


def header_of(
  path: pathlib.Path, lines: list[tuple[int, str]]
) -> tuple[list[str] | None, list[tuple[int, str]], str | None]:
  """(names or None, rows, delimiter) of lines; None as a delimiter is any white space.

  Raises:
    DataError: a name twice, or a preamble without its end.
  """
  if lines[0][1].lower().startswith('@relation'):
    return _arff(path, lines), _after_data(lines), ','
  if lines[0][1].lstrip('\'"').lower().startswith('time of rating'):
    lines[:] = _carma(path, lines)
  first = lines[0][1]
  delimiter = _delimiter(first)
  if delimiter is None:
    first = re.sub(r'\s+([\[(])', r'\1', first)  # the unit belongs to its column
  cells = _cells(first, delimiter)
  # Text is a header; a missing value (`?`, NaN) in the first row of a file without one is a fault of that row.
  if any(re.search('[A-Za-z]', cell) and not _is_number(cell) and cell.lower() not in _MISSING for cell in cells):
    folded = [cell.casefold() for cell in cells if cell]
    doubled = [name for name in folded if folded.count(name) > 1 and _time_unit(name) is None]
    if doubled:
      raise DataError(f'{path}, line {lines[0][0]}: column {doubled[0][:40]!r} twice; expected distinct names')
    return cells, lines[1:], delimiter
  return None, lines, delimiter


def _delimiter(line):
  """A line's delimiter; None: white space. A comma between digits is decimal where white space separates numbers."""
  words = line.split()
  if len(words) > 1 and all(re.fullmatch(r'[+-]?\d+,\d+', word) for word in words):
    return '\t' if '\t' in line else None
  found = next((d for d in ';\t,' if d in line), None)
  return found or (None if len(words) > 1 else ',')


def _carma(path, lines):
  """The header and the rows of an export of CARMA or DARMA: below a preamble, with a row of % between them.

  Rows are seconds, at which a bin ends, and its means. One without a sample, NaN, has no label and is left out; so is
  the button of DARMA's joystick, the last column.
  """
  ends = [i for i, (_, line) in enumerate(lines) if line.lstrip('\'"').startswith('%%%')]
  if not ends:
    raise DataError(
      f'{path}: the preamble of an export of CARMA without its row of %; expected {_DELIMITERS} between '
      'a time and values, below a header'
    )
  header, delimiter = lines[ends[0] - 1], _delimiter(lines[ends[0] - 1][1])
  sampled = lambda line: 'nan' not in map(str.lower, _cells(line, delimiter)[1:])
  rows = [(number, line) for number, line in lines[ends[0] + 1 :] if sampled(line)]
  button = delimiter and _cells(header[1], delimiter)[-1].lower() in ('b', 'button')
  if button and any(line.lstrip('\'"').startswith('Magnitude') for _, line in lines[: ends[0]]):
    return [(number, line.rpartition(delimiter)[0]) for number, line in [header, *rows]]
  return [header, *rows]


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
  return [row for row in lines[starts[0] + 1 :] if not row[1].startswith('%')] if starts else []


def _listed(names) -> str:
  """Names for a message of one line."""
  return ', '.join(name[:40] for name in names[:8]) + (', …' if len(names) > 8 else '')


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
  # float() also takes '1_0' and 'infinity', which no label file means.
  if _NUMBER.fullmatch(text):
    value = float(text)
    if math.isfinite(value):
      return value
    raise DataError(f'{path}, line {line}: {cell[:40]!r} is no finite number')
  if cell.lower() in _MISSING:
    raise DataError(f'{path}, line {line}: {cell[:40]!r} is a missing value; expected a number: leave the row out')
  clock = _CLOCK.fullmatch(text)
  if clock:
    seconds = 3600 * int(clock[1] or 0) + 60 * int(clock[2]) + float(clock[3])
    raise DataError(f'{path}, line {line}: {cell[:40]!r} is hours, minutes and seconds; expected seconds: {seconds:g}')
  if text.endswith('%'):
    raise DataError(
      f'{path}, line {line}: {cell[:40]!r} is a percentage; expected a number: remove the sign, and give the scale '
      'with --label_range=0,100'
    )
  raise DataError(f'{path}, line {line}: {cell[:40]!r} is no number')
