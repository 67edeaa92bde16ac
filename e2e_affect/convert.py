"""Traces -> files of other programs.

    python -m e2e_affect.convert TRACE.csv… --format=eaf,vtt

TRACE.csv is that of a clip (`NAME.csv` of e2e_affect.predict, best with NAME.json beside it) or of a run
(`predictions/<partition>.csv`). Files that are there already are left alone.
"""

import pathlib
import sys

from absl import flags

from data_prep.core import cli
from data_prep.core.errors import UserError
from e2e_affect.clips import formats


def _define_flags():
  flags.DEFINE_list('format', [], f'What to write, some of {", ".join(formats.FORMATS)}.')
  cli.define_path('out', None, 'Folder in which each format gets a folder; default: that of the table.')


def main(*arguments) -> None:
  """Converts the tables, as the flags say."""
  if not arguments:
    raise UserError('no table given; expected `python -m e2e_affect.convert TRACE.csv --format=eaf`')
  if not flags.FLAGS.format:
    raise UserError(f'--format is missing; expected some of {", ".join(formats.FORMATS)}')
  from e2e_affect.clips import convert

  for argument in arguments:
    path = cli.argument(argument)
    convert.convert(path, flags.FLAGS.format, pathlib.Path(flags.FLAGS.out or path.parent))


if __name__ == '__main__':
  cli.run(main, _define_flags, max_arguments=sys.maxsize)
