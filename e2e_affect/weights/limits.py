"""What a weight file may ask for before it has shown any numbers: how many names, how long, how much to read for them.

A file of a few hundred bytes can claim or describe anything. ResNet-50 with an optimiser has about a thousand arrays;
the limits leave ten times as much, and what lies above them is refused before work is done for it.
"""

import json

from data_prep.core.errors import DataError

MOST_ARRAYS = 10_000
LONGEST_NAME = 512
MOST_DIMENSIONS = 8
MOST_HEADER = 4 << 20  # bytes of an index or a header that is read before the numbers
MOST_JSON = 1 << 20
MOST_UNITS, MOST_TARGETS = 1024, 1024  # of recurrent layers and heads, whose sizes only the file says


class Exceeded(ValueError):
  """The file asks for more than weights need."""


def check_arrays(shapes: dict[str, tuple[int, ...]]) -> None:
  """Refuses names and shapes that no weights have; messages about the others fit on a line.

  Raises:
    Exceeded: there are too many, or one is too long.
  """
  if len(shapes) > MOST_ARRAYS:
    raise Exceeded(f'{len(shapes):,} arrays, expected at most {MOST_ARRAYS:,}')
  for name, shape in shapes.items():
    if len(name) > LONGEST_NAME or not name.isprintable():
      raise Exceeded(f'an array named {short(name)}, expected at most {LONGEST_NAME} printable characters')
    if len(shape) > MOST_DIMENSIONS:
      raise Exceeded(f'{short(name)} has {len(shape)} dimensions, expected at most {MOST_DIMENSIONS}')


def check_recurrent(units: int, targets: int = 1) -> None:
  """Refuses sizes that only the file says, before arrays of these sizes are made.

  Raises:
    Exceeded: they are above those of any network of this kind.
  """
  if units > MOST_UNITS or targets > MOST_TARGETS:
    raise Exceeded(
      f'{units:,} recurrent units and {targets:,} targets, expected at most {MOST_UNITS:,} and {MOST_TARGETS:,}'
    )


def read_json(text: str | bytes):
  """A small JSON document.

  Raises:
    ValueError: it is none, too long or too deep.
  """
  if len(text) > MOST_JSON:
    raise Exceeded(f'{len(text):,} bytes of JSON, expected at most {MOST_JSON:,}')
  try:
    return json.loads(text)
  except RecursionError:
    raise Exceeded('JSON that is nested too deep') from None


def read_json_file(path):
  """See `read_json`; no more than the limit is read.

  Raises:
    ValueError, OSError: it cannot be read.
  """
  with open(path, 'rb') as f:
    return read_json(f.read(MOST_JSON + 1))


def short(text: str, most: int = 60) -> str:
  """A name out of a file as it can stand in a message: one line, not long."""
  text = text if len(text) <= most else text[: most - 1] + '…'
  return text if text.isprintable() else ascii(text)


def exceeded(path, error: Exceeded) -> DataError:
  """What is said of a file that asks for more than weights need."""
  return DataError(f'{path}: {error}; nothing was imported: get the file again, or another one')


def damaged(path, error: Exception | str) -> DataError:
  """What is said of a damaged file: the first line of what its library says."""
  reason = (getattr(error, 'message', None) or str(error) or type(error).__name__).partition('\n')[0]
  return DataError(f'{path}: damaged ({short(reason, 120)}); nothing was imported: copy the file again')
