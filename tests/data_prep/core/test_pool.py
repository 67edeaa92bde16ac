"""Work that crashes, hangs, or takes too much costs its item, and nothing else."""

import os
import signal
import subprocess
import sys
import time

import pytest

from data_prep.core import pool


def work(name):
  """What the name says."""
  if name == 'crash':
    os.kill(os.getpid(), signal.SIGSEGV)
  elif name == 'exit':
    os._exit(3)
  elif name == 'hang':
    time.sleep(600)
  elif name == 'spin':
    while True:
      pass
  elif name == 'swell':
    held = []
    while True:
      held.append(b'x' * (1 << 24))
      time.sleep(0.01)
  return f'{name} done'


@pytest.mark.slow
def test_what_is_beyond_its_limits_is_named_and_the_rest_is_done():
  names = ['a', 'crash', 'hang', 'b', 'swell', 'exit', 'c']
  found = {}
  for some, limits in ((names, pool.Limits(memory=400e6, seconds=12)), (['spin'], pool.Limits(processor_seconds=1.2))):
    found |= {name: str(result) for name, result in pool.run(work, some, jobs=2, limits=limits)}
  assert found == {
    'a': 'a done',
    'b': 'b done',
    'c': 'c done',
    'crash': 'the decoder crashed (SIGSEGV)',
    'exit': 'its process ended by itself, with exit code 3',
    'hang': 'it took more than 0.2 minutes',
    'spin': "it took more than 0.02 minutes of the processor's time",
    'swell': 'it took more than 0.8 GB of memory',  # alone, with the memory of both
  }


def test_the_memory_of_the_machine_is_that_of_the_container_where_that_is_less():
  assert 1e8 < pool.memory() <= os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def test_a_process_that_is_told_to_end_twice_ends_without_a_word(tmp_path):
  """By the end of its pipe, and by SIGTERM while it unwinds from that."""
  (tmp_path / 'twice.py').write_text("""
import multiprocessing, os, signal, sys, time
from data_prep.core import pool

class Out:
  def flush(self):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(5)

def child(connection, parent):
  sys.stdout = Out()
  pool._serve(connection, print, parent)

if __name__ == '__main__':
  context = multiprocessing.get_context('spawn')
  ours, theirs = context.Pipe()
  process = context.Process(target=child, args=(theirs, os.getpid()))
  process.start()
  ours.close()
  theirs.close()
  process.join()
  sys.exit(process.exitcode)
""")
  done = subprocess.run([sys.executable, tmp_path / 'twice.py'], capture_output=True, text=True)
  assert (done.returncode, done.stderr) == (0, '')
