"""What an abort means; `train/test_multihost.py` loses real hosts."""

import socket
import subprocess
import sys

import pytest

_ABORT = """
import ctypes, os, signal, sys, threading
from e2e_affect.run import hosts
hosts.distributed.global_state.coordinator_address = sys.argv[1]
ctypes.CDLL(None).signal(signal.SIGABRT, hosts._ON_ABORT)
threading.Thread(target=os.abort).start()
"""


@pytest.mark.parametrize('answers', [True, False])
def test_an_abort_is_the_loss_of_the_first_host_only_where_that_does_not_answer(answers):
  with socket.socket() as first:
    first.bind(('127.0.0.1', 0))
    if answers:
      first.listen()
    address = f'127.0.0.1:{first.getsockname()[1]}'
    done = subprocess.run([sys.executable, '-c', _ABORT, address], capture_output=True, text=True, check=False)
  lost = done.stderr.splitlines()[-1].startswith('error: another host is lost (the first one does not answer')
  assert (done.returncode, lost) == ((-6, False) if answers else (69, True)), done.stderr
  assert ('most recent call first' in done.stderr) == answers
