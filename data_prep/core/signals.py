"""SIGINT and SIGTERM: an exception that unwinds the program, so that every `finally` runs; then its exit code.

The second signal is ignored, so that it cannot break into the cleaning up of the first. Cleaning up has a deadline:
a program that is still there after it is ended by a thread, whatever the main thread does.
"""

from collections.abc import Iterator
import contextlib
import multiprocessing
import os
import select
import signal
import sys
import threading
import time

DEADLINE_SECONDS = 10.0
_WORKER_DEADLINE_SECONDS = 2.0
_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_asked: list[int] = []  # the signal that ends this process
_held: list[bool] = []  # not empty: a signal has to wait
_unhurried: list[bool] = []  # not empty: there is no deadline
_AGAIN_SECONDS = 0.5  # `timeout` sends a signal to a process and to its group: it arrives twice


class Stopped(KeyboardInterrupt):
  """A signal ends this program; no `except Exception` catches it.

  Attributes:
    number: of the signal.
  """

  def __init__(self, number: int):
    super().__init__(words(number))
    self.number = number


def words(number: int) -> str:
  """The line that a stopped program ends with."""
  return f'stopped by {signal.Signals(number).name}: what is done is kept, the same command goes on'


def asked() -> int | None:
  """The signal that ends this process, or None; it stands although a library may have swallowed the exception."""
  return _asked[0] if _asked else None


def end_at_once() -> None:
  """Before `install`: a signal ends the program at once, which so far only imports its libraries."""

  def end(number, _):
    os.write(2, f'{words(number)}\n'.encode())
    os._exit(128 + number)

  _handle(end)


def install() -> None:
  """From now on SIGINT and SIGTERM raise `Stopped` in the main thread; a signal that is ignored stays so."""

  def end(number):
    os.write(2, f'{words(number)}\n'.encode())
    os._exit(128 + number)

  _install(DEADLINE_SECONDS, end)


def in_worker() -> None:
  """In a process of `pool`: as `install`; the parent's end, also by SIGKILL, is as SIGTERM."""

  def watch_parent():
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGTERM)

  _install(_WORKER_DEADLINE_SECONDS, lambda number: os._exit(128 + number))
  _thread(watch_parent)


def _install(deadline, end):
  _asked.clear()
  _ask_again_where_ignored()
  _handle(_stop)
  # The descriptor is written to by the C handler, also while the main thread is deep in a library.
  read, write = os.pipe()
  os.set_blocking(write, False)
  signal.set_wakeup_fd(write, warn_on_full_buffer=False)

  def watch():
    number = None
    while number not in _NUMBERS:
      number = os.read(read, 1)[0]
    # The system may have interrupted another thread than the main one, which then would go on waiting.
    begun, again = time.monotonic(), False
    while not again and (_unhurried or time.monotonic() < begun + deadline):
      if not _asked:
        signal.pthread_kill(threading.main_thread().ident, number)
      time.sleep(0.05)
      while select.select([read], [], [], 0)[0]:
        by_hand = os.read(read, 1)[0] == signal.SIGINT and time.monotonic() > begun + _AGAIN_SECONDS
        again = again or bool(by_hand and _asked and _unhurried)
    end(number)

  _thread(watch)


def _ask_again_where_ignored():
  """Python drops what is raised in a destructor or a callback of the garbage collector, where a signal may arrive."""
  before = sys.unraisablehook

  def hook(unraisable):
    if isinstance(unraisable.exc_value, Stopped):
      _asked.clear()  # the thread below sends it again
    else:
      before(unraisable)

  sys.unraisablehook = hook


def _thread(target):
  def run():
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    target()

  threading.Thread(target=run, daemon=True).start()


def _handle(handler):
  for number in _NUMBERS:
    # `nohup` and shells that start a job in the background ignore SIGINT on its behalf.
    if signal.getsignal(number) is not signal.SIG_IGN:
      signal.signal(number, handler)


def _stop(number, _):
  if not _asked and not _held:
    _asked.append(number)
    raise Stopped(number)


@contextlib.contextmanager
def held() -> Iterator[None]:
  """What is done inside must not be left half done: a signal is answered right after it."""
  _held.append(True)
  try:
    yield
  finally:
    _held.pop()  # the thread that `install` starts sends the signal again


@contextlib.contextmanager
def unhurried() -> Iterator[None]:
  """What is done inside after a signal has no deadline; a second Ctrl-C ends the program at once."""
  _unhurried.append(True)
  try:
    yield
  finally:
    _unhurried.pop()


def ignore() -> None:
  """The program has unwound: what comes now would only change its exit code."""
  _handle(signal.SIG_IGN)


if sys.argv[:1] == ['-m']:  # `python -m data_prep.…` has just begun to import
  end_at_once()
