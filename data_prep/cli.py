"""How every command of `data_prep` starts and ends: flags, one line for an error, an exit code."""

import sys

from absl import app
from absl import flags

from data_prep.errors import UserError


def run(main, define_flags, max_arguments: int = 0) -> None:
  """Parses the flags and calls `main(*arguments)`; exits with the code of design.md, section 8.

  Args:
    main: called once the flags are parsed, with the arguments that are no flags.
    define_flags: defines the command's flags. They are not defined on import, because other programs import these
      modules for their functions and have flags of their own.
    max_arguments: how many arguments that are no flags the command takes.
  """
  define_flags()

  def parse(argv):
    try:
      rest = flags.FLAGS(argv)
      if len(rest) > 1 + max_arguments:
        raise UserError(f'{rest[1 + max_arguments]!r} is no flag; expected --name=value')
      return rest
    except (flags.Error, UserError) as e:
      print(f'error: {e}', file=sys.stderr)
      sys.exit(UserError.exit_code)
    except SystemExit:
      sys.exit(0)  # --help was printed; absl would exit with 1

  def guarded(argv):
    try:
      main(*argv[1:])
    except UserError as e:
      print(f'error: {e}', file=sys.stderr)
      sys.exit(e.exit_code)

  app.run(guarded, flags_parser=parse)
