"""Files that are there whole or not at all."""

import contextlib
import os
import pathlib
import re

from data_prep.core.errors import write_error

_TEMPORARY = re.compile(r'\..*\.\d+\.tmp', re.DOTALL)


@contextlib.contextmanager
def writing(path):
  """Turns an OSError in the body into the user's error for a file that cannot be written."""
  try:
    yield
  except OSError as e:
    raise write_error(path, e) from None


@contextlib.contextmanager
def whole(path):
  """Gives a temporary path beside `path`, whose folder is made; it becomes `path` if all goes well, else it is removed.

  Raises:
    WorkdirError, DiskFullError: an OSError in the body.
  """
  path = pathlib.Path(path)
  temporary = path.with_name(f'.{path.name}.{os.getpid()}.tmp')
  with writing(path):
    try:
      path.parent.mkdir(parents=True, exist_ok=True)
      yield temporary
      temporary.replace(path)
    finally:
      with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)


def write(path, content: str | bytes) -> None:
  """Writes a file whole or not at all; makes its folder. Text is UTF-8, with `\\udcXX` for what is none in a name.

  Raises:
    WorkdirError, DiskFullError: it cannot be written.
  """
  with whole(path) as temporary:
    temporary.write_bytes(content.encode(errors='backslashreplace') if isinstance(content, str) else content)


def is_temporary(path) -> bool:
  """Whether `whole` left this file, in a process that was killed."""
  return bool(_TEMPORARY.fullmatch(path.name))


def sweep(folder) -> None:
  """Removes what `whole` left in a folder; the caller holds the lock under which all writers of it work."""
  for path in pathlib.Path(folder).iterdir():
    if is_temporary(path) and path.is_file():
      path.unlink(missing_ok=True)
