"""Children that end with their parent."""

import os
import signal
import subprocess
import sys
import time

import pytest

REPO = __file__.rsplit('/tests/', 1)[0]
# A command that waits for a child, which waits for one of its own: as benchmarks.all does.
NESTED = """
import sys
from data_prep.core import children
grandchild = 'import os, time; print(os.getpid(), flush=True); time.sleep(60)'
child = f'import sys; from data_prep.core import children; children.run([sys.executable, "-c", {grandchild!r}])'
children.run([sys.executable, '-c', child])
"""


def is_alive(process):
  try:
    with open(f'/proc/{process}/stat', encoding='utf-8') as stat:
      return stat.read().rsplit(')', 1)[1].split()[0] != 'Z'
  except FileNotFoundError:
    return False


@pytest.mark.skipif(sys.platform != 'linux', reason='no other system tells a child of the end of its parent')
@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGTERM])
def test_children_and_theirs_end_with_a_parent_that_is_killed(number):
  parent = subprocess.Popen([sys.executable, '-c', NESTED], cwd=REPO, stdout=subprocess.PIPE, text=True)
  grandchild = int(parent.stdout.readline())
  assert is_alive(grandchild)
  os.kill(parent.pid, number)
  deadline = time.monotonic() + 10
  while is_alive(grandchild) and time.monotonic() < deadline:
    time.sleep(0.05)
  assert not is_alive(grandchild)
  parent.communicate(timeout=10)


def test_a_run_gives_exit_code_and_output():
  code = 'import subprocess, sys; from data_prep.core import children;'
  code += 'd = children.run([sys.executable, "-c", "print(7); exit(3)"], stdout=subprocess.PIPE, text=True);'
  code += 'print(d.returncode, d.stdout)'
  done = subprocess.run([sys.executable, '-c', code], cwd=REPO, capture_output=True, text=True, check=True)
  assert done.stdout.split() == ['3', '7']


def test_a_worker_whose_parent_ends_while_it_begins_ends_without_a_word():
  code = (
    'from data_prep.core import pool, signals\n'
    'def begin(): raise signals.Stopped(15)\n'
    'signals.in_worker = begin\n'
    'pool._serve(None, None, 0)'
  )
  done = subprocess.run([sys.executable, '-c', code], cwd=REPO, capture_output=True, text=True, check=False)
  assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
