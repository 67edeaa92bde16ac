"""Contact sheets of a data folder: what the network will see of each recording.

    python -m data_prep.preview DATA_FOLDER --out=SHEETS [--recordings=P16,P21]

A picture for each recording: faces (a red frame where the face is lost), waveform, sensors and labels in time.
"""

from absl import flags

from data_prep.core import cli
from data_prep.core.errors import UserError


def _define_flags():
  cli.define_path('out', None, 'Folder for the contact sheets.', required=True)
  flags.DEFINE_list('recordings', [], 'Only these recordings.')


def main(folder: str | None = None) -> None:
  """Draws the contact sheets of a data folder, as the flags say."""
  if folder is None:
    raise UserError('the data folder is missing; expected `python -m data_prep.preview DIR --out=SHEETS`')
  from data_prep.shards import contact_sheets

  for path in contact_sheets.write_sheets(cli.argument(folder), flags.FLAGS.out, flags.FLAGS.recordings or None):
    cli.say(path)


if __name__ == '__main__':
  cli.run(main, _define_flags, max_arguments=1)
