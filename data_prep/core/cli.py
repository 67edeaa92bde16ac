"""How every command starts and ends: flags, signals, one line for an error, an exit code."""

from collections.abc import Iterator
import contextlib
import os
import sys

from absl import app, flags

from data_prep.core import signals
from data_prep.core.errors import of_import, of_path, UserError, write_error

flags.disclaim_key_flags()  # a flag that is defined here is that of the caller, in whose --help it stands


def run(main, define_flags, max_arguments: int = 0, parse=flags.FLAGS) -> None:
  """Parses the flags and calls `main(*arguments)`; exits with the code of design.md, section 8.

  SIGINT and SIGTERM raise `signals.Stopped`, a KeyboardInterrupt, in `main`; the exit code is then 130 or 143.

  Args:
    main: called once the flags are parsed, with the arguments that are no flags.
    define_flags: defines the command's flags. They are not defined on import, because other programs import these
      modules for their functions and have flags of their own.
    max_arguments: how many arguments that are no flags the command takes.
    parse: takes the arguments, gives those that are no flags; may raise UserError.
  """

  def program():
    define_flags()
    app.run(lambda argv: _guarded(main, argv), flags_parser=lambda argv: _parse(argv, max_arguments, parse))

  start(program)


def start(program) -> None:
  """Calls `program()`, which reads its own flags; signals and standard streams are as in `run`."""
  try:
    signals.install()
    _open_streams()
    program()
  except BaseException:
    # Whatever came of a signal on its way through the libraries.
    number = signals.asked()
    if number is None:
      raise
    signals.ignore()
    complain(signals.words(number))
    sys.exit(128 + number)
  finally:
    _flush()


def script(main) -> None:
  """Calls `main()` of a program with flags and signals of its own; exits with what it returns, or an error's code."""
  _open_streams()
  try:
    with one_line():
      code = main()
  finally:
    _flush()
  sys.exit(code)


def _flush():
  try:
    sys.stdout.flush()
  except OSError:
    drop_output()


def _parse(argv, max_arguments, parse):
  try:
    rest = parse(argv)
    if len(rest) > 1 + max_arguments:
      raise UserError(f'{rest[1 + max_arguments]!r} is no flag; expected --name=value')
    return rest
  except (flags.Error, UserError) as e:
    complain(f'error: {e}')
    sys.exit(UserError.exit_code)
  except (SystemExit, BrokenPipeError):
    sys.exit(0)  # --help was printed; absl would exit with 1
  except OSError as e:
    drop_output()
    error = write_error('standard output', e)
    complain(f'error: {error}')
    sys.exit(error.exit_code)


def _guarded(main, argv):
  with one_line():
    main(*argv[1:])


@contextlib.contextmanager
def one_line() -> Iterator[None]:
  """A user's error, a library that is absent, and an error of the system that names a path: a line, and its code."""
  try:
    try:
      yield
    except OSError as e:
      raise of_path(e) from None
    except ModuleNotFoundError as e:
      raise of_import(e) from None
  except UserError as e:
    complain(f'error: {e}')
    sys.exit(e.exit_code)


def _open_streams():
  """Standard streams that are there and that take every text, whatever the terminal's encoding."""
  for descriptor in range(3):
    try:
      os.fstat(descriptor)
    except OSError:
      os.open(os.devnull, os.O_RDWR)  # or the next file that is opened would be standard output
  if sys.stdin is None:
    sys.stdin = open(os.devnull, encoding='utf-8')
  for name in ('stdout', 'stderr'):
    if getattr(sys, name) is None:
      setattr(sys, name, open(os.devnull, 'w', encoding='utf-8'))
    with contextlib.suppress(AttributeError):  # a test's stand-in
      getattr(sys, name).reconfigure(errors='backslashreplace')


def say(line) -> None:
  """Prints a line to standard output; the work goes on where nobody reads it any more.

  Raises:
    WorkdirError, DiskFullError: standard output is a file that cannot be written.
  """
  try:
    print(line, flush=True)
  except BrokenPipeError:
    drop_output()
  except OSError as e:
    drop_output()
    raise write_error('standard output', e) from None


def warn(text, stream=None) -> None:
  """Says what nobody must miss, in red where the stream, standard output or this one, is a terminal."""
  stream = stream or sys.stdout
  (say if stream is sys.stdout else complain)(red(f'warning: {text}', stream))


def red(line: str, stream) -> str:
  """The line in red where the stream is a terminal that shows colours (https://no-color.org)."""
  colour = stream.isatty() and not os.environ.get('NO_COLOR') and os.environ.get('TERM') not in (None, 'dumb')
  return f'\x1b[31m{line}\x1b[0m' if colour else line


def complain(line) -> None:
  """Prints a line to standard error, if that takes it."""
  try:
    print(line, file=sys.stderr, flush=True)
  except OSError:
    drop_output(sys.stderr)


def drop_output(stream=None) -> None:
  """Whoever read standard output (or `stream`) has gone, as `head` does; what is buffered must not fail at exit."""
  os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())


class _PathParser(flags.ArgumentParser):
  """`~` and `~name` are expanded: a shell leaves them as they are in `--name=~/x`."""

  def parse(self, argument):
    path = os.path.expanduser(argument)
    if path.startswith('~'):
      raise ValueError('no such user; write ./~… for a name that begins with ~')
    return path


def define_path(name: str, default, help: str, **kwargs) -> None:
  """A flag that is a path; see `flags.DEFINE_string`."""
  flags.DEFINE(_PathParser(), name, default, help, serializer=flags.ArgumentSerializer(), **kwargs)


def path(argument: str) -> str:
  """The path of an argument that is no flag, `~` expanded.

  Raises:
    UserError: `~name` of an unknown name.
  """
  try:
    return _PathParser().parse(argument)
  except ValueError as e:
    raise UserError(f'{argument}: {e}') from None
