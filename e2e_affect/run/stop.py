"""SIGTERM and SIGINT in the training loop: a flag that is looked at between two steps, so that the state is saved."""

import os
import signal
import threading
import time

import jax
from jax.experimental import multihost_utils

from data_prep.core import signals

_AGAIN_SECONDS = 0.5  # `timeout` sends a signal to a process and to its group: it arrives twice


class Asked(Exception):
  """This process was asked to stop."""


class Request:
  """While it is entered, signals do not interrupt; a second Ctrl-C ends the program at once.

  With several hosts SIGTERM stays with JAX, which tells the other hosts, so that all stop at the same step; SIGINT is
  passed on as SIGTERM.
  """

  def __enter__(self):
    self._number = None
    self._alone = jax.process_count() == 1
    # The descriptor is written to by the C handler, also while the main thread compiles or waits for a device.
    read, self._write = os.pipe()
    os.set_blocking(self._write, False)
    self._old_descriptor = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
    numbers = (signal.SIGINT, signal.SIGTERM) if self._alone else (signal.SIGINT,)
    self._old = {
      number: signal.signal(number, lambda *_: None)
      for number in numbers
      if signal.getsignal(number) is not signal.SIG_IGN
    }
    threading.Thread(target=self._watch, args=(read,), daemon=True).start()
    return self

  def __exit__(self, kind, *_):
    signal.set_wakeup_fd(self._old_descriptor)
    for number, handler in self._old.items():
      signal.signal(number, handler)
    os.close(self._write)
    if self._number is not None and kind is None:
      signal.raise_signal(self._number)  # it came after the last look at the flag

  def on_all_hosts(self, step: int) -> bool:
    """Whether any host was asked to stop; all hosts learn it at the same step."""
    return self._number is not None if self._alone else multihost_utils.reached_preemption_sync_point(step)

  def look(self) -> None:
    """Raises `Asked` where this process was asked to stop; not of several hosts, which go on together."""
    if self._alone and self._number is not None:
      raise Asked

  @property
  def exit_code(self) -> int:
    """128 + the signal, as a shell gives it; that of SIGTERM where another host got it."""
    return 128 + (self._number or signal.SIGTERM)

  def _watch(self, read):
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    first = 0.0
    while data := os.read(read, 1):
      number = data[0]
      if number not in self._old:
        continue
      if self._number is None:
        self._number, first = number, time.monotonic()
        if number == signal.SIGINT:
          os.write(2, b'stopping after this update, which is saved; Ctrl-C again stops at once and saves nothing\n')
        if not self._alone:
          os.kill(os.getpid(), signal.SIGTERM)
      elif number == signal.SIGINT and time.monotonic() - first > _AGAIN_SECONDS:
        os.write(2, f'{signals.words(number)}\n'.encode())
        os._exit(128 + number)
    os.close(read)
