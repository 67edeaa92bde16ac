"""Another program as a child that ends with this one, however it ends: SIGKILL, too, leaves no orphan."""

import ctypes
import os
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1


def start(command: list[str], **kwargs) -> subprocess.Popen:
  """Starts a command that gets SIGTERM when this process ends; on Linux, elsewhere it lives on.

  Args:
    command: program and arguments.
    **kwargs: of `subprocess.Popen`.
  """
  parent = os.getpid()
  prctl = getattr(ctypes.CDLL(None), 'prctl', None) if sys.platform == 'linux' else None

  def follow():
    if prctl is not None:
      prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # it has just ended
      os._exit(128 + signal.SIGTERM)

  return subprocess.Popen(command, preexec_fn=follow, **kwargs)


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
