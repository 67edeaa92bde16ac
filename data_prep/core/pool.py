"""Work for several processes that end with this one, however it ends."""

import collections
from collections.abc import Callable, Generator, Iterable
import contextlib
import dataclasses
import math
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
import traceback

from data_prep.core import children, signals
from data_prep.core.errors import UserError

_PATIENCE_SECONDS = 2.0  # for a process that is told to end and unwinds
_LOOK_SECONDS = 0.2  # between two looks at what the processes use


class Crashed(Exception):
  """A process died over an item, or was ended over it; says why in words."""


@dataclasses.dataclass(frozen=True)
class Limits:
  """What an item may take. Memory and the processor's time are looked at where there is a /proc, as on Linux.

  Attributes:
    memory: bytes of the process that works on it.
    processor_seconds: on all cores together.
    seconds: by the clock.
  """

  memory: float = math.inf
  processor_seconds: float = math.inf
  seconds: float = math.inf


@dataclasses.dataclass(frozen=True)
class _Task:
  """What a process works on."""

  item: object
  process: multiprocessing.process.BaseProcess
  begun: float
  processor_begun: float


def cores() -> int:
  """Cores that this process may use."""
  return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1


def memory() -> int:
  """Bytes of this machine's memory, or of its part that this container may use."""
  there = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
  with contextlib.suppress(OSError, ValueError), open('/sys/fs/cgroup/memory.max', encoding='ascii') as limit:
    there = min(there, int(limit.read()))  # ValueError: 'max'
  return there


def run(work: Callable, items: Iterable, *, jobs: int, limits: Limits = Limits()) -> Generator[tuple, None, None]:
  """Yields (item, work(item)) as they are done, by `jobs` processes.

  The processes are ended when the iterator is closed, by an exception, too: use `contextlib.closing`. They are not
  forked: threads of TensorFlow, OpenCV and JAX do not survive a fork.

  Args:
    work: called in a process; it and the items are pickled.
    items: what to work on, in this order.
    jobs: number of processes.
    limits: of each item; its process is ended beyond them.

  Yields:
    (item, result). The result is a `Crashed` where the item took too long. It is one, too, where the process died over
    this item or took too much memory, and did so again when it was tried alone at the end, with the memory of all.

  Raises:
    Whatever `work` raised; nothing more is done then.
  """
  again: list = []
  yield from _run(work, items, jobs, limits, lambda item, _: again.append(item))
  alone = dataclasses.replace(limits, memory=limits.memory * jobs)
  for item in again:  # another process may have taken the memory: alone, each shows whether it was the one
    crashed: list[tuple] = []
    yield from _run(work, [item], 1, alone, lambda *of: crashed.append(of))
    for of, reason in crashed:
      yield of, Crashed(reason)


def _run(work, items, jobs, limits, on_crash):
  waiting, busy = collections.deque(items), {}
  processes = []

  def give(connection, process):
    item = waiting.popleft()
    busy[connection] = _Task(item, process, time.monotonic(), _processor_seconds(process))
    with contextlib.suppress(OSError):  # it has died: seen when its answer is read
      connection.send(item)

  def replace_dead(connection):
    connection.close()
    if waiting:
      give(*_start(work, processes))

  looks = None if limits == Limits() else _LOOK_SECONDS
  try:
    for _ in range(min(jobs, len(waiting))):
      give(*_start(work, processes))
    while busy:
      for connection in multiprocessing.connection.wait(list(busy), looks):
        task = busy.pop(connection)
        try:
          result, error = connection.recv()
        except (EOFError, OSError):
          task.process.join(_PATIENCE_SECONDS)
          on_crash(task.item, _words_of_death(task.process.exitcode))
          replace_dead(connection)
          continue
        if error is not None:
          raise error
        if waiting:
          give(connection, task.process)
        yield task.item, result
      for connection, task in list(busy.items()) if looks else ():
        reason, may_pass = _exceeded(task, limits)
        if reason:
          del busy[connection]
          task.process.kill()
          task.process.join()
          if may_pass:
            on_crash(task.item, reason)
          else:
            yield task.item, Crashed(reason)
          replace_dead(connection)
  finally:
    _end(processes)


def _exceeded(task, limits) -> tuple[str, bool]:
  """Which limit a process is beyond, in words, and whether it may keep it when it is alone; ('', False): none."""
  if time.monotonic() - task.begun > limits.seconds:
    return f'it took more than {limits.seconds / 60:.3g} minutes', False
  if _processor_seconds(task.process) - task.processor_begun > limits.processor_seconds:
    return f"it took more than {limits.processor_seconds / 60:.3g} minutes of the processor's time", False
  if _resident_bytes(task.process) > limits.memory:
    return f'it took more than {limits.memory / 1e9:.3g} GB of memory', True
  return '', False


def _words_of_death(code):
  if code is None or code >= 0:
    return f'its process ended by itself, with exit code {code}'
  if code == -signal.SIGKILL:
    return 'its process was killed, as the system does where memory runs out'
  try:
    return f'the decoder crashed ({signal.Signals(-code).name})'
  except ValueError:
    return f'the decoder crashed (signal {-code})'


def _resident_bytes(process):
  with contextlib.suppress(OSError, ValueError, IndexError), open(f'/proc/{process.pid}/statm', encoding='ascii') as f:
    return int(f.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')
  return 0


def _processor_seconds(process):
  with contextlib.suppress(OSError, ValueError, IndexError), open(f'/proc/{process.pid}/stat', encoding='ascii') as f:
    of_user, of_system = f.read().rpartition(')')[2].split()[11:13]
    return (int(of_user) + int(of_system)) / os.sysconf('SC_CLK_TCK')
  return 0.0


def _start(work, processes):
  """Starts a process; returns this side's connection, and the process."""
  context = multiprocessing.get_context('spawn')
  ours, theirs = context.Pipe()
  process = context.Process(target=_serve, args=(theirs, work, os.getpid()), daemon=True)
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
  return ours, process


def _end(processes):
  for process in processes:
    process.terminate()
  deadline = time.monotonic() + _PATIENCE_SECONDS
  for process in processes:
    process.join(max(deadline - time.monotonic(), 0))
    if process.is_alive():
      process.kill()
      process.join()


def _serve(connection, work, parent):
  """What a process does."""
  try:
    with contextlib.suppress(signals.Stopped, EOFError, OSError):
      signals.in_worker()
      # However the parent ends, and also where a decoder holds this process so fast that no handler of a signal runs.
      children.follow(parent, signal.SIGKILL)
      while True:
        item = connection.recv()
        try:
          answer = work(item), None
        except UserError as e:
          answer = None, e
        except Exception as e:
          answer = None, RuntimeError(f'{item}: {e!r}\n{traceback.format_exc()}')
        connection.send(answer)
    sys.stdout.flush()
  except signals.Stopped:  # SIGTERM on the heels of the pipe's end
    pass
  os._exit(0)  # nothing is left to do, and threads of libraries need not be waited for
