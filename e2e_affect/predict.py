"""Clips -> traces and pages.

    python -m e2e_affect.predict --workdir=RUN --out=DIR FILE_OR_FOLDER…

For each clip DIR holds NAME.csv (a row per step), NAME.json (summary) and NAME.html (a page to watch); index.html
lists all that lies there, of earlier runs too; rejects.jsonl names what could not be analysed, and why.
With --faces=all each person has a table: NAME.person1.csv, ….
Files there that no analysis wrote are left alone, and so are results of another source of the same name: the second
gets a name of its own, the same each time. One analysis at a time writes to a folder.
"""

import pathlib
import sys

from absl import flags, logging

from data_prep.core import cli
from data_prep.core.errors import UserError, write_error
from data_prep.face import detectors
from e2e_affect.clips import formats
from e2e_affect.run.log import ours_or_warning


def _network():
  """The network that the flags name."""
  if bool(flags.FLAGS.workdir) == bool(flags.FLAGS.checkpoint):
    raise UserError('name the network: either --workdir=RUN or --checkpoint=EXPORTED_FOLDER')
  from e2e_affect.clips import exported
  from e2e_affect.run import compiled

  compiled.keep()
  if flags.FLAGS.checkpoint:
    return exported.load(flags.FLAGS.checkpoint)
  from e2e_affect.clips import of_run  # imports Orbax: seconds that an exported network need not wait for

  return of_run.network(flags.FLAGS.workdir)


def _define_flags():
  cli.define_path('workdir', None, 'Folder of the run whose best checkpoint predicts.')
  cli.define_path('checkpoint', None, 'Folder of an exported network, in place of --workdir.')
  cli.define_path('out', None, 'Folder to write to.')
  flags.DEFINE_bool('embed', False, 'Put the clips into their pages, which then can be passed on alone.')
  flags.DEFINE_integer(
    'channel',
    None,
    'Channel of the sound, from 1, for instance of two people with a microphone each; default: the mean of all, or '
    'the loudest.',
    lower_bound=1,
  )
  flags.DEFINE_string(
    'faces',
    'largest',
    'Whose traces: largest, one face; all, every person; the number of a person, from 1 as they appear; or '
    'x,y,width,height in pixels, near where a face appears first.',
  )
  flags.DEFINE_enum(
    'detector',
    None,
    tuple(detectors.DETECTORS),
    'Of faces: a cascade, or MTCNN, which finds turned and covered ones, too; default: as in the training.',
  )
  cli.define_path('speakers', None, 'RTTM file that says who speaks when, by the numbers of --faces=all.')
  cli.define_path(
    'baseline', None, 'A neutral clip of the person in all others: values less its means are written, too.'
  )
  flags.DEFINE_list(
    'format', [], f'Further files for other programs, a folder for each format; some of {", ".join(formats.FORMATS)}.'
  )
  flags.DEFINE_bool(
    'stream',
    False,
    'Read a container (Matroska, MPEG-TS, …), or mono signed 16-bit little-endian PCM, 16 kHz for most networks, from '
    'standard input; write a line per step, with --faces=all per step and person, to standard output.',
  )
  flags.DEFINE_integer(
    'serve', None, 'With --stream: port of this machine where a page grows with the traces; 0: any.', 0, 65535
  )


def main(*arguments) -> None:
  """Analyses the clips, or the stream of standard input, as the flags say."""
  logging.get_absl_handler().addFilter(ours_or_warning)
  if flags.FLAGS.stream:
    of_files = ('out', 'embed', 'channel', 'format', 'speakers', 'baseline', 'detector')
    if arguments or any(getattr(flags.FLAGS, name) for name in of_files):
      raise UserError(
        '--stream reads standard input and writes standard output; leave out --out, --embed, --channel, --format, '
        '--speakers, --baseline, --detector and files'
      )
    from data_prep.recordings import who
    from e2e_affect.clips import stream

    faces = who.wanted(flags.FLAGS.faces, None).faces
    try:
      stream.run(_network(), sys.stdin.buffer, sys.stdout, flags.FLAGS.serve, faces)
    except BrokenPipeError:
      cli.drop_output()
    except OSError as e:
      cli.drop_output()
      raise write_error('standard output', e) from None
    return
  if flags.FLAGS.serve is not None:
    raise UserError('--serve shows what --stream reads; give both')
  if not arguments:
    raise UserError('no clip given; expected `python -m e2e_affect.predict --workdir=RUN --out=DIR FILE_OR_FOLDER…`')
  if not flags.FLAGS.out:
    raise UserError('--out is missing: the folder to write to')
  from data_prep.recordings import who
  from e2e_affect.clips import analyse

  wanted = who.wanted(flags.FLAGS.faces, flags.FLAGS.speakers, flags.FLAGS.detector)
  if flags.FLAGS.baseline and wanted.faces == who.ALL:
    raise UserError('--baseline is a clip of one person, and --faces=all gives several; name one of them, as --faces=2')
  analyse.analyse(
    _network(),
    [str(cli.argument(argument)) for argument in arguments],
    flags.FLAGS.out,
    flags.FLAGS.embed,
    flags.FLAGS.channel,
    flags.FLAGS.format,
    wanted,
    pathlib.Path(flags.FLAGS.baseline) if flags.FLAGS.baseline else None,
  )


if __name__ == '__main__':
  cli.run(main, _define_flags, max_arguments=sys.maxsize)
