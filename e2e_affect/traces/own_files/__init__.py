"""Predictions in the files of the corpora that they are of, ready for the corpora's own scorers.

A format is a function `write(folder, recordings, targets)`, registered by the name that `Corpus.prediction_format` has.
"""

from collections.abc import Sequence
import pathlib
from typing import Protocol

from data_prep.core import registry
from data_prep.core.errors import DataError
from e2e_affect.traces.own_clock import Rows
from e2e_affect.traces.own_files import affwild2, avec, muse


class Format(Protocol):
  """Writes the files of one partition."""

  def __call__(self, folder: pathlib.Path, recordings: Sequence[Rows], targets: Sequence[str]) -> None:
    """Writes each file whole or not at all.

    Args:
      folder: to write to; made where it is absent.
      recordings: of the partition, predictions in the corpus's own units.
      targets: K names, in the order of the predictions' last axis.

    Raises:
      DataError: the corpus's times are not known.
      WorkdirError, DiskFullError: a file cannot be written.
    """


FORMATS: dict[str, Format] = {}


def write(name: str, folder: pathlib.Path, recordings: Sequence[Rows], targets: Sequence[str]) -> None:
  """Writes the files of one partition in a format; see `Format`.

  Raises:
    DataError: the data name a format that is not known here, too.
  """
  if name not in FORMATS:
    raise DataError(
      f'the data name the prediction format {name!r}, expected one of {", ".join(FORMATS)}; register it with '
      'e2e_affect.traces.own_files.register'
    )
  FORMATS[name](folder, recordings, targets)


def register(name: str, write: Format) -> None:
  """Adds a format.

  Raises:
    ValueError: there is one of that name.
  """
  registry.add(FORMATS, 'prediction format', name, write)


for _format in (
  ('avec2017', avec.write_2017),
  ('avec2019', avec.write_2019),
  ('affwild2', affwild2.write),
  ('muse', muse.write),
):
  register(*_format)
