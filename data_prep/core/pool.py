"""Work for several processes that end with this one, however it ends."""

import collections
from collections.abc import Callable, Generator, Iterable
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
import traceback

from data_prep.core import signals
from data_prep.core.errors import UserError

_PATIENCE_SECONDS = 2.0  # for a process that is told to end and unwinds


class Crashed(Exception):
  """A process died over an item, and died again when it was tried alone."""


def cores() -> int:
  """Cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def run(work: Callable, items: Iterable, *, jobs: int) -> Generator[tuple, None, None]:
  """Yields (item, work(item)) as they are done, by `jobs` processes.

  The processes are ended when the iterator is closed, by an exception, too: use `contextlib.closing`. They are not
  forked: threads of TensorFlow, OpenCV and JAX do not survive a fork.

  Args:
    work: called in a process; it and the items are pickled.
    items: what to work on, in this order.
    jobs: number of processes.

  Yields:
    (item, result). The result is a `Crashed` where the process died over this item, by itself or killed for memory,
    and died again when it was tried alone at the end.

  Raises:
    Whatever `work` raised; nothing more is done then.
  """
  crashed: list = []
  yield from _run(work, items, jobs, crashed.append)
  for item in crashed:  # another process may have taken the memory: alone, each shows whether it was the one
    again: list = []
    yield from _run(work, [item], 1, again.append)
    if again:
      yield item, Crashed()


def _run(work, items, jobs, on_crash):
  waiting, busy = collections.deque(items), {}
  processes = []

  def give(connection):
    item = waiting.popleft()
    busy[connection] = item
    with contextlib.suppress(OSError):  # it has died: seen when its answer is read
      connection.send(item)

  try:
    for _ in range(min(jobs, len(waiting))):
      give(_start(work, processes))
    while busy:
      for connection in multiprocessing.connection.wait(list(busy)):
        item = busy.pop(connection)
        try:
          result, error = connection.recv()
        except (EOFError, OSError):
          connection.close()
          on_crash(item)
          if waiting:
            give(_start(work, processes))
          continue
        if error is not None:
          raise error
        if waiting:
          give(connection)
        yield item, result
  finally:
    _end(processes)


def _start(work, processes):
  """Starts a process; returns this side's connection."""
  context = multiprocessing.get_context('spawn')
  ours, theirs = context.Pipe()
  process = context.Process(target=_serve, args=(theirs, work), daemon=True)
  # Ctrl-C goes to all processes of the terminal; it is this one that decides. A mask is inherited, from the first
  # instruction on.
  old = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
  try:
    with signals.held():  # a process that does not get all that it is told ends in a traceback
      process.start()
      processes.append(process)
  finally:
    signal.pthread_sigmask(signal.SIG_SETMASK, old)
  theirs.close()  # so that the end of the process is the end of the pipe
  return ours


def _end(processes):
  for process in processes:
    process.terminate()
  deadline = time.monotonic() + _PATIENCE_SECONDS
  for process in processes:
    process.join(max(deadline - time.monotonic(), 0))
    if process.is_alive():
      process.kill()
      process.join()


def _serve(connection, work):
  """What a process does."""
  try:
    signals.in_worker()
    while True:
      item = connection.recv()
      try:
        answer = work(item), None
      except UserError as e:
        answer = None, e
      except Exception as e:
        answer = None, RuntimeError(f'{item}: {e!r}\n{traceback.format_exc()}')
      connection.send(answer)
  except (signals.Stopped, EOFError, OSError):
    pass
  sys.stdout.flush()
  os._exit(0)  # nothing is left to do, and threads of libraries need not be waited for
