"""Files that are there whole or not at all."""

import contextlib
import os
import pathlib
import re

from data_prep.errors import write_error

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


def write(path, text: str) -> None:
  """Writes a text file whole or not at all, as UTF-8; what is no UTF-8 in a file's name is written as \\udcXX."""
  with whole(path) as temporary:
    temporary.write_bytes(text.encode(errors='backslashreplace'))


def is_temporary(path) -> bool:
  """Whether `whole` left this file, in a process that was killed."""
  return bool(_TEMPORARY.fullmatch(path.name))


def sweep(folder) -> None:
  """Removes what `whole` left in a folder; the caller holds the lock under which all writers of it work."""
  for path in pathlib.Path(folder).iterdir():
    if is_temporary(path) and path.is_file():
      path.unlink(missing_ok=True)
