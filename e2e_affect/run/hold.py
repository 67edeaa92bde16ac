"""The folder of a run: checked before anything is done, then made, locked and logged into."""

from collections.abc import Iterator
import contextlib
import errno
import logging as python_logging
import os
import pathlib

from absl import logging

from data_prep.core import atomic, lock
from data_prep.core.errors import UserError, WorkdirError
from e2e_affect.run.log import ours_or_warning

_LOCK_FILE = 'lock'
_FOLDERS = ('checkpoints', 'predictions', 'figures')
_FILES = (
  _LOCK_FILE,
  'train.log',
  'config.json',
  'dataset.json',
  'metrics.jsonl',
  'results.json',
  'search.json',
  'report.html',
)
_PATTERNS = '*?[]\\'  # the libraries below the checkpoints expand them, or take them for separators


def check(workdir) -> None:
  """Looks whether a run could be written there; makes nothing. What takes minutes comes after this.

  Raises:
    UserError: checkpoints in a folder of this name could not be read.
    WorkdirError: it cannot be written, or something else stands where a file or folder of a run belongs.
  """
  folder = pathlib.Path(workdir).absolute()
  found = [c for c in _PATTERNS if c in str(folder)]
  found += ['gs:'] if any(part.endswith('gs:') for part in folder.parts) else []  # taken for a bucket
  if found:
    raise UserError(
      f'{folder}: checkpoints could not be read from a path with {" ".join(found)} in it; choose another --workdir'
    )
  try:
    str(folder).encode()
  except UnicodeEncodeError:
    raise UserError(
      f'{ascii(str(folder))}: is no UTF-8, and checkpoints could not be read from there; choose another --workdir'
    ) from None
  try:
    existing = next(path for path in (folder, *folder.parents) if path.exists() or path.is_symlink())
    if not existing.is_dir():
      raise WorkdirError(f'{folder}: cannot be written ({existing} is no folder); choose another --workdir')
    for names, is_right, kind in ((_FOLDERS, pathlib.Path.is_dir, 'folder'), (_FILES, pathlib.Path.is_file, 'file')):
      for path in (folder / name for name in names):
        if path.exists() and not is_right(path):
          raise WorkdirError(f'{path}: is no {kind}; move it away, or choose another --workdir')
        if path.exists() and not os.access(path, os.W_OK):
          raise WorkdirError(f'{path}: cannot be written ({_refusal(path)}); choose another --workdir, or mend that')
  except OSError as e:
    raise WorkdirError(f'{folder}: cannot be written ({e.strerror}); choose another --workdir') from None
  if not os.access(existing, os.W_OK | os.X_OK):
    raise WorkdirError(f'{folder}: cannot be written ({_refusal(existing)}); choose another --workdir')


def _refusal(path):
  is_read_only = os.statvfs(path).f_flag & os.ST_RDONLY
  return os.strerror(errno.EROFS) if is_read_only else f'no permission for {path}'


@contextlib.contextmanager
def held(workdir: str, writes: bool) -> Iterator[pathlib.Path]:
  """Makes the folder and holds it for this run alone; logs into `train.log` meanwhile.

  Two trainers in one folder would overwrite each other's checkpoints without a word.

  Args:
    workdir: the folder.
    writes: whether this process writes it. Of several hosts that train together only the first does.

  Raises:
    UserError, WorkdirError: as `check`.
    DiskFullError: no space is left for the first byte.
    LockedError: another process holds it: named with its host.
  """
  folder = pathlib.Path(workdir)
  check(folder)
  if not writes:
    yield folder
    return

  def in_use(holder):
    return f'{folder}: in use by {holder or "another process"}; wait for it, or choose another --workdir'

  with lock.held(folder / _LOCK_FILE, folder, in_use):
    with atomic.writing(folder):
      handler = _LogFile(folder / 'train.log', encoding='utf-8')
    handler.addFilter(ours_or_warning)
    handler.setFormatter(logging.PythonFormatter())
    logging.get_absl_logger().addHandler(handler)
    try:
      yield folder
    finally:
      logging.get_absl_logger().removeHandler(handler)
      with contextlib.suppress(OSError):  # what could not be written is on the terminal
        handler.close()


class _LogFile(python_logging.FileHandler):
  """A full disk ends the log without a traceback for every line of it; the error is told elsewhere."""

  def handleError(self, record):
    self.addFilter(lambda _: False)
