"""Predictions as files that other programs open: one file a format, a folder for each below the folder of results.

A format is registered by the name that `--format` takes; see `base.Format`.
"""

from collections.abc import Sequence
import importlib
import pathlib

from data_prep.core import registry
from data_prep.core.errors import UserError
from e2e_affect.clips.formats import audformat_table, challenges, csv_table, eaf, parquet_table, textgrid, vtt
from e2e_affect.clips.formats.base import Format, Prediction

__all__ = ['FORMATS', 'Format', 'Prediction', 'check', 'register', 'write']
FORMATS: dict[str, Format] = {}


def register(format: Format) -> None:
  """Adds a format to those that `--format` may name.

  Raises:
    ValueError: there is one of that name.
  """
  registry.add(FORMATS, 'format', format.name, format)


for _format in (
  csv_table.FORMAT,
  eaf.FORMAT,
  textgrid.FORMAT,
  vtt.FORMAT,
  parquet_table.FORMAT,
  audformat_table.FORMAT,
  *challenges.FORMATS,
):
  register(_format)


def check(names: Sequence[str], outputs: Sequence[str], shows: str) -> None:
  """Whether all that is asked for can be written; to be called before the work starts.

  Args:
    names: of formats.
    outputs, shows: of the network; see `Prediction`.

  Raises:
    UserError: there is no such format, or it cannot hold these values.
    ModuleNotFoundError: its library is not installed.
  """
  words = {'numbers': 'numbers', 'probabilities': 'probabilities of classes', 'recording': 'classes of a recording'}
  for name in names:
    if name not in FORMATS:
      raise UserError(f'--format={name}; expected some of {", ".join(FORMATS)}')
    format = FORMATS[name]
    if shows not in format.holds:
      raise UserError(
        f'--format={name} holds {" and ".join(words[kind] for kind in format.holds)}, and here are {words[shows]}; '
        f'expected some of {", ".join(other.name for other in FORMATS.values() if shows in other.holds)}'
      )
    lacking = [output for output in format.needs if output not in outputs]
    if lacking:
      raise UserError(
        f'--format={name} needs {" and ".join(lacking)}, and here are {", ".join(outputs)}; leave this format out'
      )
    for library in format.libraries:
      importlib.import_module(library)


def write(names: Sequence[str], folder: pathlib.Path, prediction: Prediction) -> None:
  """Writes a prediction in each format, into a folder of the format's name.

  Args:
    names: of formats; `check` has passed them.
    folder: in which these folders are made.
    prediction: of one recording.

  Raises:
    DataError: the recording lacks what the format needs, for instance the times of its frames.
    WorkdirError, DiskFullError: a file cannot be written.
  """
  for name in names:
    FORMATS[name].write(folder / name, prediction)
