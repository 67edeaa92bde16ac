"""What reaches the log: this program's lines, and only the warnings of the libraries below it."""

import logging as python_logging
import pathlib
import sys

from absl import logging

from data_prep.core import cli, remote

_ROOT = pathlib.Path(__file__).parents[2]
_OURS = (f'{_ROOT / "e2e_affect"}/', f'{_ROOT / "data_prep"}/')


def ours_or_warning(record: python_logging.LogRecord) -> bool:
  """A filter for logging handlers: Orbax alone would write thirty lines a checkpoint.

  Orbax's warnings go, too ("given directory is read only"). So do the exceptions that it logs: it also raises them,
  and they are told where they are caught.
  """
  if '/orbax/' in record.pathname:
    return record.levelno >= python_logging.ERROR and not record.exc_info
  return record.levelno >= python_logging.WARNING or record.pathname.startswith(_OURS)


class RedWarnings(logging.PythonFormatter):
  """What absl writes, with addresses in place of their mirrors; warnings in red where standard error is a terminal."""

  def format(self, record: python_logging.LogRecord) -> str:
    """See `logging.Formatter`."""
    line = remote.in_words(super().format(record))
    return cli.red(line, sys.stderr) if record.levelno >= python_logging.WARNING else line
