"""Label files of other programs that are no table of text: one file a program.

A format is registered by the ending of its files. Text in columns, which CARMA and DARMA write, too, is read by
`label_files`.
"""

import pathlib

from data_prep.core import registry
from data_prep.labels.formats import elan, label_studio, nova
from data_prep.labels.formats.base import Format, Rating

__all__ = ['FORMATS', 'Format', 'Rating', 'of', 'register']
FORMATS: dict[str, Format] = {}


def register(format: Format) -> None:
  """Adds a format.

  Raises:
    ValueError: there is one of that ending.
  """
  registry.add(FORMATS, 'format of label files', format.ending, format)


for _format in (elan.FORMAT, nova.FORMAT, label_studio.FORMAT):
  register(_format)


def of(path: pathlib.Path) -> Format | None:
  """The format of a file by its ending; None: text."""
  return FORMATS.get(path.suffix.lower())
