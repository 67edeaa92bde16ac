"""How every command starts and ends: flags, signals, one line for an error, an exit code."""

import argparse
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
import contextlib
import difflib
import os
import pathlib
import re
import shutil
import sys
import textwrap

from absl import app, flags

from data_prep.core import remote, signals
from data_prep.core.errors import BucketError, DiskFullError, of_import, of_path, UserError, write_error

flags.disclaim_key_flags()  # a flag that is defined here is that of the caller, in whose --help it stands


def run(
  main,
  define_flags,
  max_arguments: int = 0,
  parse=flags.FLAGS,
  doc: str | None = None,
  hidden: Collection[str] = (),
) -> None:
  """Parses the flags and calls `main(*arguments)`; exits with the code of design.md, section 8.

  SIGINT and SIGTERM raise `signals.Stopped`, a KeyboardInterrupt, in `main`; the exit code is then 130 or 143.
  --help prints `doc` and the command's flags. What takes long to import is imported by
  `main`: --help and a mistyped flag do not wait for it.

  Args:
    main: called once the flags are parsed, with the arguments that are no flags.
    define_flags: defines the command's flags. They are not defined on import, because other programs import these
      modules for their functions and have flags of their own.
    max_arguments: how many arguments that are no flags the command takes.
    parse: takes the arguments, gives those that are no flags; may raise UserError.
    doc: what the command does; None: the docstring of `main`'s module.
    hidden: flags that --help leaves out.
  """
  doc = doc or sys.modules[main.__module__].__doc__ or ''

  try:
    signals.install()
    _open_streams()
    others = set(flags.FLAGS)
    define_flags()
    own = [name for name in flags.FLAGS if name not in others]
    app.run(
      lambda argv: _guarded(main, argv),
      flags_parser=lambda argv: _parse(argv, max_arguments, parse, doc, own, hidden),
    )
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
    with one_line(), _sent():
      code = main()
  finally:
    _flush()
  sys.exit(code)


def called_as(names: Mapping[str, str]) -> None:
  """What --help and errors call the commands: for instance 'python -m data_prep.prepare' -> 'e2e-affect prepare'."""
  _CALLED.update(names)


_CALLED: dict[str, str] = {}


def _as_called(text):
  for line in sorted(_CALLED, key=len, reverse=True):  # one may be the beginning of another
    text = text.replace(line, _CALLED[line])
  return text


def _flush():
  try:
    sys.stdout.flush()
  except OSError:
    drop_output()


def _parse(argv, max_arguments, parse, doc, own, hidden):
  try:
    if asks_for_help(argv):
      say(help_text(doc, [_in_help(name) for name in own if name not in hidden]))
      sys.exit(0)
    refuse_unknown(argv, flags.FLAGS, own)
    rest = parse(argv)
    if len(rest) > 1 + max_arguments:
      raise UserError(f'{rest[1 + max_arguments]!r} is no flag; expected --name=value')
    return rest
  except (flags.Error, UserError) as e:
    complain(f'error: {e}')
    sys.exit(getattr(e, 'exit_code', UserError.exit_code))
  except (SystemExit, BrokenPipeError):
    sys.exit(0)  # help was printed; absl would exit with 1
  except OSError as e:
    drop_output()
    error = write_error('standard output', e)
    complain(f'error: {error}')
    sys.exit(error.exit_code)


def asks_for_help(argv: Sequence[str]) -> bool:
  """Whether --help or -h is among the arguments of a command."""
  return bool({'--help', '-help', '-h'} & set(argv[1:]))


def help_text(doc: str, rows: Iterable[tuple[str, str]], title: str = 'flags') -> str:
  """What --help prints, in the style of all commands.

  Args:
    doc: of the command's module.
    rows: flag and what it means; or command and what it does.
    title: of the rows.
  """
  rows = list(rows)
  if not rows:
    return _as_called(doc.strip())
  lines = [doc.strip(), '', f'{title}:']
  column = 2 + min(max(len(name) for name, _ in rows), _NAME_WIDTH) + 2
  width = min(shutil.get_terminal_size((_HELP_WIDTH, 0)).columns, _HELP_WIDTH)
  for name, meaning in rows:
    first, *others = textwrap.wrap(meaning, max(width - column, 20))
    begin = f'  {name}'
    lines += [f'{begin:<{column}}{first}'] if len(begin) + 2 <= column else [begin, ' ' * column + first]
    lines += [' ' * column + line for line in others]
  return _as_called('\n'.join(lines))


_HELP_WIDTH = 120  # columns, or those of the terminal where it has fewer
_NAME_WIDTH = 24  # of a flag; what a longer one means stands below it


def _in_help(name):
  """A flag as it is written, and its meaning."""
  flag = flags.FLAGS[name]
  if flag.boolean:
    return f'--{name}', flag.help
  value, meaning, default = _VALUES.get(flag.flag_type(), 'TEXT'), flag.help, flag.default
  if isinstance(flag.parser, flags.EnumParser):
    value = 'NAME'
    meaning = re.sub('^<.*?>: ', '', meaning)  # absl's list of the same
    meaning += f' One of {", ".join(flag.parser.enum_values)}.'
  default = ','.join(default) if isinstance(default, list) else default
  return f'--{name}={value}', meaning + (f' (default: {default})' if default not in (None, '') else '')


# What flags are called by their parsers -> what stands for a value in --help.
_VALUES = {'int': 'N', 'float': 'X', 'comma separated list of strings': 'A,B', 'config object': 'NAME', 'path': 'PATH'}


def refuse_unknown(argv: Sequence[str], known: Collection[str], own: Collection[str]) -> None:
  """Refuses a flag that there is not, before anything that other flags name is loaded.

  Args:
    argv: of the command.
    known: names of flags. Fields, `config.…`, are not looked at.
    own: those to choose from where one is mistyped.

  Raises:
    UserError: names the nearest flag.
  """
  for argument in argv[1:]:
    if argument == '--':
      return
    found = re.match(r'--?([A-Za-z]\w*)(?:=|$)', argument)
    if found and found[1] not in known and found[1].removeprefix('no') not in known:
      raise UserError(f'--{found[1]}: no such flag; {nearest(found[1], own, "--")}--help lists all')


class Parser(argparse.ArgumentParser):
  """Parses the flags of a program that `script` starts; --help and errors are as in `run`."""

  def __init__(self, doc: str):
    super().__init__(description=doc, allow_abbrev=False)

  def format_help(self) -> str:
    rows = []
    for action in self._actions[1:]:  # the first is --help
      value = '' if action.nargs == 0 else f'={action.metavar or "NAME"}'
      choices = f' One of {", ".join(action.choices)}.' if action.choices else ''
      rows.append((action.option_strings[0] + value, f'{action.help}{choices}'))
    return help_text(self.description or '', rows) + '\n'

  def parse_args(self, args=None, namespace=None):
    names = [name.lstrip('-') for action in self._actions for name in action.option_strings]
    try:
      refuse_unknown(sys.argv if args is None else ['', *args], names, names)
    except UserError as e:
      self.error(str(e))
    return super().parse_args(args, namespace)

  def error(self, message):
    self.exit(UserError.exit_code, f'error: {message}\n')


def nearest(name: str, known: Iterable[str], prefix: str = '') -> str:
  """'did you mean …? ' of the known name that is most like this one, '' where none is."""
  near = difflib.get_close_matches(name, known, 1)
  return f'did you mean {prefix}{near[0]}? ' if near else ''


def _guarded(main, argv):
  with one_line(), _sent():
    for name in flags.FLAGS:
      if isinstance(flags.FLAGS[name].parser, _PathParser) and flags.FLAGS[name].value:
        remote.open_(flags.FLAGS[name].value)
    main(*argv[1:])


@contextlib.contextmanager
def _sent():
  """What a command changed at addresses is sent at its end, whatever ends it; the first error gives the exit code."""
  try:
    yield
  except BucketError:
    raise  # nothing could be sent
  except BaseException as e:
    try:
      if isinstance(e, signals.Stopped) and remote.opened():
        complain('sending what was changed; Ctrl-C again stops at once and leaves it on this machine')
      with signals.unhurried():
        remote.send_opened(delete=not isinstance(e, Exception))  # a fault may have removed what shall stay
    except UserError as lost:
      complain(f'error: {lost}')
    raise
  remote.send_opened()


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
    # That of a bucket says where its copy is on this machine, and a full disk is one of this machine.
    complain(f'error: {e if isinstance(e, (BucketError, DiskFullError)) else remote.in_words(str(e))}')
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
    print(remote.in_words(str(line)), flush=True)
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
    print(_as_called(line), file=sys.stderr, flush=True)
  except OSError:
    drop_output(sys.stderr)


def drop_output(stream=None) -> None:
  """Whoever read standard output (or `stream`) has gone, as `head` does; what is buffered must not fail at exit."""
  os.dup2(os.open(os.devnull, os.O_WRONLY), (stream or sys.stdout).fileno())


class _PathParser(flags.ArgumentParser):
  """`~` and `~name` are expanded: a shell leaves them as they are in `--name=~/x`. An address becomes the path that
  mirrors it; see `remote`."""

  def parse(self, argument):
    if remote.is_address(argument):
      return remote.local(argument)
    path = os.path.expanduser(argument)
    if path.startswith('~'):
      raise ValueError('no such user; write ./~… for a name that begins with ~')
    return path

  def flag_type(self):
    return 'path'


def define_path(name: str, default, help: str, **kwargs) -> None:
  """A flag that is a path, or an address, which is fetched before the command and sent after it."""
  flags.DEFINE(_PathParser(), name, default, help, serializer=flags.ArgumentSerializer(), **kwargs)


def path(argument: str) -> str:
  """The path of a text, `~` expanded; of an address the one that mirrors it, which is not fetched.

  Raises:
    UserError: `~name` of an unknown name, or no address of a bucket.
  """
  try:
    return _PathParser().parse(argument)
  except ValueError as e:
    raise UserError(f'{argument}: {e}') from None


def argument(text: str) -> pathlib.Path:
  """The path of an argument that is no flag of `run`: as that of a flag that `define_path` defines.

  Raises:
    UserError: as `path` and `remote.fetch`.
  """
  found = path(text)
  remote.open_(found)
  return pathlib.Path(found)
