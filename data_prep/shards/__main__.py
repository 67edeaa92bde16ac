"""Checks that a data folder is whole.

    python -m data_prep.shards --verify=DIR

Exit code 65 and a line per fault if the folder is not what its manifest says.
"""

from absl import flags

from data_prep.core import cli
from data_prep.core.errors import DataError, UserError


def _define_flags():
  cli.define_path('verify', None, 'Data folder to read back whole.')


def main() -> None:
  """Does what the flags say."""
  folder = flags.FLAGS.verify
  if not folder:
    raise UserError('--verify=DIR is missing: the data folder to read back')
  from data_prep.shards import verify

  faults = verify.verify(folder)
  for fault in faults:
    cli.say(fault)
  if faults:
    raise DataError(f'{folder}: {len(faults)} faults; make the data again with `python -m data_prep.prepare`')
  cli.say(f'{folder}: all shards are what the manifest says')


if __name__ == '__main__':
  cli.run(main, _define_flags)
