"""Several hosts that train together: where one is lost, the others end soon, each with one line."""

from collections.abc import Callable, Iterator
import contextlib
import ctypes
import faulthandler
import itertools
import os
import signal
import socket
import sys
import threading
import time
from typing import Any, cast, TypeVar

from absl import logging
import jax
from jax._src import distributed  # the client has no public name
from jax.experimental import multihost_utils
import numpy as np

from data_prep.core.errors import HostLostError, UserError

T = TypeVar('T')

HEARTBEAT_SECONDS = 30  # a host that gave no sign of life for so long is lost
# JAX's own limit comes later.
_JAX_HEARTBEAT_SECONDS = 60
_BEAT_SECONDS = HEARTBEAT_SECONDS / 10  # between two signs of life
_FOLDER = 'e2e_affect/alive/'
_BARRIERS = itertools.count()  # a name serves once
_LONGEST_SECONDS = 7 * 24 * 3600  # of one host's work; whether it is alive is watched meanwhile
# What collectives and JAX's coordination say when a host is lost; their exceptions have no type of their own.
_WORDS = ('Gloo', 'NCCL', 'UNAVAILABLE', 'DEADLINE_EXCEEDED', 'ABORTED', 'heartbeat', 'Connection closed')


def initialize(coordinator: str | None = None, processes: int | None = None, process: int | None = None) -> None:
  """`jax.distributed.initialize()`, a watch over the other hosts, and a first meeting of the devices.

  Args:
    coordinator: HOST:PORT of the first process; None: Cloud TPU, SLURM or Open MPI 4 say it and the rest.
    processes: how many there are.
    process: which this is, from 0.

  Raises:
    UserError: nothing says where the others are.
  """
  try:
    jax.distributed.initialize(coordinator, processes, process, heartbeat_timeout_seconds=_JAX_HEARTBEAT_SECONDS)
  except ValueError as e:
    raise UserError(
      f'--distributed: {e}; expected a start by Cloud TPU, SLURM or Open MPI 4, or '
      '--coordinator=HOST:PORT, --num_processes and --process_id'
    ) from None
  ctypes.CDLL(None).signal(signal.SIGABRT, _ON_ABORT)
  threading.Thread(target=_watch, args=(distributed.global_state,), daemon=True).start()
  with together():
    _connect()


def _connect():
  """Devices connect at their first collective, for which Gloo gives the last host 30 s; later ones wait for minutes."""
  jax.block_until_ready(
    jax.pmap(lambda one: jax.lax.psum(one, 'devices'), 'devices')(np.ones(jax.local_device_count()))
  )
  multihost_utils.process_allgather(np.zeros(()))


def _aborted(_):
  """JAX aborts where the first host has ended, through which all signs of life go. Other faults abort, too."""
  host, _, port = distributed.global_state.coordinator_address.rpartition(':')
  try:
    socket.create_connection((host.strip('[]'), int(port)), timeout=HEARTBEAT_SECONDS / 2).close()
  except OSError as e:
    _lost(f'the first one does not answer: {e}')
  faulthandler.dump_traceback()  # then abort() goes on


# A handler of Python's own would only run once abort() had returned, which it never does.
_ON_ABORT = ctypes.CFUNCTYPE(None, ctypes.c_int)(_aborted)


@contextlib.contextmanager
def together() -> Iterator[None]:
  """An error ends this process at once: at its regular end JAX waits minutes for hosts that will never come."""
  try:
    yield
  except UserError as e:
    _end(f'error: {e}', e.exit_code)
  except Exception as e:
    if not any(word in str(e) for word in _WORDS):
      logging.exception('this host fails')
      _end('error: this host fails, and the others with it', 1)
    reason = str(e).strip().split('\n')[0][:200]
    silent = _silent(distributed.global_state.client)
    _lost(f'{silent}: {reason}' if silent else reason)


def first_host_first(make: Callable[[], T], others: Callable[[], T] | None = None) -> T:
  """What `make` returns on the first host; then, on each other host, what `others` returns.

  What `make` puts on the disk is there for the others. All hosts call this equally often, in the same order.

  Args:
    make: runs on the first host alone.
    others: runs on the others once that has ended; None: `make`, too.
  """
  if jax.process_count() == 1:
    return make()
  made = make() if jax.process_index() == 0 else None
  barrier = f'e2e_affect/first_host_first/{next(_BARRIERS)}'
  cast(Any, distributed.global_state.client).wait_at_barrier(barrier, timeout_in_ms=1000 * _LONGEST_SECONDS)
  return cast(T, made) if jax.process_index() == 0 else (others or make)()


def _silent(client) -> str:
  """Who gives no sign of life any more, in words; '': all do. The others may fail before the watch misses anybody."""
  try:
    before = client.key_value_dir_get(_FOLDER)
    time.sleep(3 * _BEAT_SECONDS)
    after = dict(client.key_value_dir_get(_FOLDER))
  except Exception:
    return 'the first one does not answer'
  silent = [host.removeprefix(_FOLDER) for host, sign in before if after.get(host) == sign]
  return f'no sign of life of host {", ".join(silent)}' if silent else ''


def _watch(state):
  client, seen, alarm = state.client, {}, None
  while True:
    if alarm is None:
      reason = f'the first one has not answered for {HEARTBEAT_SECONDS} s'
      alarm = threading.Timer(HEARTBEAT_SECONDS, _lost, [reason])
      alarm.daemon = True
      alarm.start()
    with contextlib.suppress(Exception):  # the first host does not answer
      client.key_value_set(f'{_FOLDER}{state.process_id}', str(time.time()), allow_overwrite=True)
      signs = client.key_value_dir_get(_FOLDER)
      alarm = alarm.cancel()
      now = time.monotonic()
      for host, sign in signs:
        if seen.get(host, ('', 0))[0] != sign:
          seen[host] = sign, now
        elif now - seen[host][1] > HEARTBEAT_SECONDS:
          _lost(f'no sign of life of host {host.removeprefix(_FOLDER)} for {HEARTBEAT_SECONDS} s')
    time.sleep(_BEAT_SECONDS)


def _lost(reason):
  _end(
    f'error: another host is lost ({reason}); its own log says why: start the same command on all hosts again, '
    'which goes on from the newest checkpoint',
    HostLostError.exit_code,
  )


def _end(line, code):
  sys.stdout.flush()
  os.write(2, f'{line}\n'.encode(errors='backslashreplace'))
  os._exit(code)
