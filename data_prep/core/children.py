"""Another program as a child that ends with this one, however it ends: SIGKILL, too, leaves no orphan."""

import ctypes
import os
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1
_prctl = getattr(ctypes.CDLL(None), 'prctl', None) if sys.platform == 'linux' else None  # now: not after a fork


def start(command: list[str], **kwargs) -> subprocess.Popen:
  """Starts a command that gets SIGTERM when this process ends; on Linux, elsewhere it lives on.

  Args:
    command: program and arguments.
    **kwargs: of `subprocess.Popen`.
  """
  parent = os.getpid()
  return subprocess.Popen(command, preexec_fn=lambda: follow(parent, signal.SIGTERM), **kwargs)


def follow(parent: int, number: int) -> None:
  """Has this process get a signal when its parent ends; on Linux, elsewhere nothing happens then.

  Args:
    parent: its number, to notice that it has just ended.
    number: of the signal.
  """
  if _prctl is not None:
    _prctl(_PR_SET_PDEATHSIG, number)
  if os.getppid() != parent:
    os._exit(128 + number)


def run(command: list[str], **kwargs) -> subprocess.CompletedProcess:
  """`start`, and waits for its end; an exception meanwhile, as of Ctrl-C, ends it.

  Returns:
    Its exit code, and what it printed if `stdout` is a pipe.
  """
  with start(command, **kwargs) as process:
    try:
      out, _ = process.communicate()
    except BaseException:
      process.terminate()
      raise
  return subprocess.CompletedProcess(command, process.returncode, out)
