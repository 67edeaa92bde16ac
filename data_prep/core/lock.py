"""One process at a time in a folder."""

from collections.abc import Callable, Iterator
import contextlib
import os
import pathlib
import socket

import filelock

from data_prep.core import atomic
from data_prep.core.errors import LockedError


@contextlib.contextmanager
def held(
  path: pathlib.Path, folder, in_use: Callable[[str], str], waiting: Callable[[], None] | None = None
) -> Iterator[None]:
  """Holds a lock file, made with its folder, which names the holder and goes at the end.

  The system lets go of it when the process ends, however it ends: a file that is left behind does not lock.

  Args:
    path: the lock file.
    folder: what an error of writing names.
    in_use: makes the message of the LockedError of the holder: 'process 7 on host', or '' where that cannot be read.
    waiting: called where another process holds it; its end is then waited for. None: a lock that is held is refused.

  Raises:
    LockedError: another process holds it.
    WorkdirError, DiskFullError: it cannot be written.
  """
  # A file system without locks is an error: a mere file would go on locking after its process was killed.
  lock = filelock.FileLock(path, timeout=0, fallback_to_soft=False, thread_local=False, preserve_lock_file=True)
  with contextlib.ExitStack() as stack:
    with atomic.writing(folder):
      path.parent.mkdir(parents=True, exist_ok=True)
      try:
        stack.enter_context(lock)
      except filelock.Timeout:
        if waiting is None:
          raise LockedError(in_use(_holder(path))) from None
        waiting()
        lock.acquire(timeout=-1)
        stack.callback(lock.release)
      stack.callback(_remove, path)
      path.write_text(f'process {os.getpid()} on {socket.gethostname()}\n', encoding='utf-8')
    yield


def _holder(path):
  try:
    return path.read_text(encoding='utf-8', errors='replace').strip()
  except OSError:
    return ''


def _remove(path):
  with contextlib.suppress(OSError):
    path.unlink()
