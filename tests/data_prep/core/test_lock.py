"""A folder is held by one process; what is left of a dead one does not hold it."""

import contextlib
import errno
import fcntl
import os
import subprocess
import sys

import pytest

from data_prep.core import lock
from data_prep.core.errors import DiskFullError, LockedError, WorkdirError

HOLD = """
import pathlib, sys, time
from data_prep.core import lock
with lock.held(pathlib.Path(sys.argv[1]), 'folder', str):
  print('held', flush=True)
  time.sleep(60)
"""


@contextlib.contextmanager
def other_process(path):
  with subprocess.Popen([sys.executable, '-c', HOLD, path], stdout=subprocess.PIPE, text=True) as process:
    assert process.stdout.readline() == 'held\n'
    try:
      yield process
    finally:
      process.kill()


def test_another_process_is_named_and_a_killed_one_does_not_lock(tmp_path):
  path = tmp_path / 'folder' / 'lock'
  with other_process(path) as process:
    with pytest.raises(LockedError, match=f'^in use by process {process.pid} on .+$'):
      with lock.held(path, path, lambda holder: f'in use by {holder}'):
        pass
    assert path.read_text().startswith(f'process {process.pid} ')  # the attempt leaves the holder's name
    process.kill()
    process.wait()
    assert path.exists()
    with lock.held(path, path, str):
      assert path.read_text().startswith(f'process {os.getpid()} ')
  assert not path.exists()


def test_who_waits_gets_it(tmp_path):
  path, said = tmp_path / 'lock', []
  with other_process(path) as process:
    with lock.held(path, path, str, waiting=lambda: (said.append('waiting'), process.kill())):
      assert said == ['waiting'] and path.read_text().startswith(f'process {os.getpid()} ')


def test_a_forked_child_that_ends_does_not_let_go(tmp_path):
  path = tmp_path / 'lock'
  with lock.held(path, path, str):
    child = os.fork()
    if not child:
      os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(LockedError):
      with lock.held(path, path, str):
        pass


@pytest.mark.parametrize('number, error', [(errno.ENOSYS, WorkdirError), (errno.ENOSPC, DiskFullError)])
def test_no_locks_and_no_space_are_the_folders_errors(tmp_path, monkeypatch, number, error):
  def fail(*_):
    raise OSError(number, os.strerror(number))

  monkeypatch.setattr(fcntl, 'flock', fail)
  with pytest.raises(error, match='^folder: '):
    with lock.held(tmp_path / 'lock', 'folder', str):
      pass
