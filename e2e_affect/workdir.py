"""The folder of a run: made, locked, and described by `config.json`."""

from collections.abc import Iterator
import contextlib
import fcntl
import json
import logging as python_logging
import os
import pathlib
import socket

from absl import logging
import ml_collections

from data_prep.errors import LockedError, UserError, WorkdirError
from e2e_affect.log import ours_or_warning
from e2e_affect.traces import write_atomically

CONFIG_FILE = 'config.json'
_LOCK_FILE = 'lock'


@contextlib.contextmanager
def held(workdir: str, writes: bool) -> Iterator[pathlib.Path]:
  """Makes the folder and holds it for this run alone; logs into `train.log` meanwhile.

  Two trainers in one folder would overwrite each other's checkpoints without a word.

  Args:
    workdir: the folder.
    writes: whether this process writes it. Of several hosts that train together only the first does.

  Raises:
    WorkdirError: it cannot be written.
    LockedError: another process holds it: named with its host.
  """
  folder = pathlib.Path(workdir)
  if not writes:
    yield folder
    return
  try:
    folder.mkdir(parents=True, exist_ok=True)
    lock = (folder / _LOCK_FILE).open('a+', encoding='utf-8')
  except OSError as e:
    raise WorkdirError(f'{folder}: cannot be written ({e.strerror}); choose another --workdir') from None
  with lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      lock.seek(0)
      raise LockedError(f'{folder}: in use by {lock.read().strip() or "another process"}; '
                        'wait for it, or choose another --workdir') from None
    lock.seek(0)
    lock.truncate()
    lock.write(f'process {os.getpid()} on {socket.gethostname()}\n')
    lock.flush()
    handler = python_logging.FileHandler(folder / 'train.log', encoding='utf-8')
    handler.addFilter(ours_or_warning)
    handler.setFormatter(logging.PythonFormatter())
    logging.get_absl_logger().addHandler(handler)
    try:
      yield folder
    finally:
      logging.get_absl_logger().removeHandler(handler)
      handler.close()


def write_config(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
  """Writes `config.json`."""
  write_atomically(workdir / CONFIG_FILE, json.dumps(json.loads(config.to_json()), indent=2) + '\n')


def read_config(workdir: str) -> ml_collections.ConfigDict:
  """The config that a run was trained with.

  Raises:
    UserError: the folder holds no run.
  """
  path = pathlib.Path(workdir) / CONFIG_FILE
  try:
    content = json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    raise UserError(f'{path}: not found; expected the workdir of a training run') from None
  except json.JSONDecodeError as e:
    raise UserError(f'{path}: damaged ({e}); copy it from another run of the same config') from None
  return ml_collections.ConfigDict(content).lock()
