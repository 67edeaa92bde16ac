"""Files of sensors on the body: numbers of any rate over time, in columns that have names.

time;EDA;ECG                  seconds or milliseconds, a row for each sample, as RECOLA and AVEC 2016 have them
# Sampling Rate (Hz):= 1000.00
# Labels:= ECG                no time, its rate and its names in comments, as BioSPPy has them
"""

from collections.abc import Sequence
import dataclasses
import pathlib
import re

import numpy as np

from data_prep.core.errors import DataError
from data_prep.labels import label_files

# What is read, and how its column may begin: units and the like may follow, `GSR (uS)`.
SIGNALS = {'ecg': re.compile('(ecg|ekg)(?![a-z])'), 'eda': re.compile('(eda|gsr)(?![a-z])')}
_HEAD = 1 << 16  # bytes in which the header is
_RATE = re.compile(r'^#\s*sampling[ _]rate[^:=\n]*[:=]+\s*([0-9.]+)', re.IGNORECASE | re.MULTILINE)
_LABELS = re.compile(r'^#\s*labels?\s*[:=]+(.*)$', re.IGNORECASE | re.MULTILINE)
_MISSING = ('', '?', 'nan', 'na', 'null', 'none')


@dataclasses.dataclass(frozen=True)
class Signal:
  """What a sensor measured.

  Attributes:
    times: [N] seconds, increasing.
    values: [N] float64, in whatever unit; NaN where the file has no number.
  """

  times: np.ndarray
  values: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Header:
  """How a file is written: its names, None where there are none; the line of its first numbers; the rate it states."""

  names: list[str] | None
  first_line: int
  delimiter: str | None
  encoding: str
  rate: float | None


def read(path: pathlib.Path) -> dict[str, Signal]:
  """The signals of a file, by the names in `SIGNALS`.

  Raises:
    DataError: unreadable, neither ECG nor EDA among its columns, no time and no rate, or times that do not increase.
  """
  header = _header(path)
  if header.names is None:
    raise DataError(
      f'{path}: no names above the numbers; expected a header `time,ecg,eda`, or a comment `# Labels:= ECG`'
    )
  places = {name: found for name in SIGNALS if (found := _places(header.names, SIGNALS[name]))}
  for name, found in places.items():
    if len(found) > 1:
      raise DataError(f'{path}: {len(found)} columns of {name}; expected one, as it is not said which of them counts')
  if not places:
    listed = ', '.join(name[:40] for name in header.names[:8])
    raise DataError(f'{path}: columns {listed}; expected one that is called {" or ".join(SIGNALS)}')
  of_signals = [found[0] for found in places.values()]
  if header.rate is None:
    try:
      time, per_second, _ = label_files.layout_of(header.names)
    except ValueError as e:
      raise DataError(f'{path}: {e}, or a comment `# Sampling Rate (Hz):= 1000`') from None
    rows = _numbers(path, header, [time, *of_signals])
    times, values = rows[:, 0] / per_second, rows[:, 1:]
  else:
    values = _numbers(path, header, of_signals)
    times = np.arange(len(values)) / header.rate
  check_times(path, times)
  return {name: Signal(times, values[:, k]) for k, name in enumerate(places)}


def columns(path: pathlib.Path, names: Sequence[str]) -> np.ndarray:
  """[N, C] float64 of columns with these names in any case, NaN where there is no number; for layouts of a corpus.

  Raises:
    DataError: unreadable, or one of the columns is missing.
  """
  header = _header(path)
  there = [name.casefold() for name in header.names or ()]
  lacking = [name for name in names if name not in there]
  if lacking:
    raise DataError(f'{path}: no column {" and no ".join(lacking)}; expected {",".join(names)}')
  return _numbers(path, header, [there.index(name) for name in names])


def check_times(path: pathlib.Path, times: np.ndarray) -> None:
  """Raises DataError where times are missing, are fewer than two, or do not increase."""
  if len(times) < 2 or not np.isfinite(times).all():
    raise DataError(f'{path}: {"a time is missing" if len(times) > 1 else "fewer than two rows"}; expected samples')
  for row in np.flatnonzero(np.diff(times) <= 0)[:1] + 1:
    raise DataError(f'{path}: time {times[row]:g} follows {times[row - 1]:g}; expected increasing times')


def _header(path) -> _Header:
  try:
    with open(path, 'rb') as file:
      data = file.read(_HEAD)
  except OSError as e:
    raise DataError(f'{path}: cannot be read ({e.strerror})') from None
  encoding = label_files.encoding_of(data)
  if len(data) == _HEAD:  # up to the end of a line; of UTF-16 with the smaller byte first, another byte belongs to it
    data = data[: data.rfind(b'\n') + (2 if data.startswith(b'\xff\xfe') else 1)]
  lines = label_files.lines_of(path, data)
  names, rows, delimiter = label_files.header_of(path, lines)
  if not rows:
    raise DataError(f'{path}: no rows of numbers; expected a header and a row for each sample')
  comments = data.decode(encoding)
  rate, labels = _RATE.search(comments), _LABELS.search(comments)
  if names is None and labels:
    names = re.split(r'[,;\t]\s*', labels[1].strip())
  return _Header(names, rows[0][0], delimiter, encoding, float(rate[1]) if rate else None)


def _places(names, pattern) -> list[int]:
  return [i for i, name in enumerate(names) if pattern.match(name.strip().casefold())]


def _numbers(path, header, places) -> np.ndarray:
  """[N, C] float64 of the columns at these places; NaN where a cell says that there is no number."""
  layout = {
    'delimiter': header.delimiter,
    'skiprows': header.first_line - 1,
    'usecols': places,
    'ndmin': 2,
    'comments': None,
    'encoding': header.encoding,
    'quotechar': '"',
  }
  try:
    try:
      return np.loadtxt(path, **layout)
    except ValueError:  # cells without a number, or decimal commas: three times as slow
      return np.loadtxt(path, converters=_number, **layout)
  except ValueError as e:
    raise DataError(f'{path}: {" ".join(str(e).split())[:120]}; expected numbers in rows of the same length') from None


def _number(cell: str) -> float:
  cell = cell.strip()
  return np.nan if cell.casefold() in _MISSING else float(cell.replace(',', '.'))
