"""How every command of `data_prep` starts and ends: flags, one line for an error, an exit code."""

import sys

from absl import app
from absl import flags

from data_prep.errors import UserError


def run(main, define_flags) -> None:
  """Parses the flags and calls `main()`; exits with the code of design.md, section 8.

  Args:
    main: called without arguments once the flags are parsed.
    define_flags: defines the command's flags. They are not defined on import, because other programs import these
      modules for their functions and have flags of their own.
  """
  define_flags()

  def parse(argv):
    try:
      rest = flags.FLAGS(argv, known_only=False)
      if len(rest) > 1:
        raise UserError(f'{rest[1]!r} is no flag; expected --name=value')
      return rest
    except (flags.Error, UserError) as e:
      print(f'error: {e}', file=sys.stderr)
      sys.exit(UserError.exit_code)

  def guarded(argv):
    del argv
    try:
      main()
    except UserError as e:
      print(f'error: {e}', file=sys.stderr)
      sys.exit(e.exit_code)

  app.run(guarded, flags_parser=parse)
