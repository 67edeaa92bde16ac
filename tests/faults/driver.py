"""Starts a program, waits for a moment, strikes, and looks at what is left; no test of its own.

A program runs in a session of its own, and its output goes to a file: nothing here can hold it up, and whatever it
started can be found again by the session, whoever its parent is by then.
"""

from collections.abc import Callable
import dataclasses
import os
import pathlib
import signal
import subprocess
import time

from tests import trainings

PATIENCE_SECONDS = 300  # until a moment comes, or a program ends, on a busy machine
_LOOKS_SECONDS = 0.002  # between two looks


@dataclasses.dataclass(frozen=True)
class End:
  """How a program ended.

  Attributes:
    code: its exit code, −9 after SIGKILL.
    log: what it said.
    struck: whether the moment came before its end.
    seconds: from the strike, or from the start, to the end.
  """

  code: int
  log: str
  struck: bool
  seconds: float

  @property
  def last_line(self) -> str:
    """Of the log."""
    return (self.log.strip().splitlines() or [''])[-1]


def says(text: str, count: int = 1) -> Callable[[str], bool]:
  """The moment at which the log holds a text so many times."""
  return lambda log: log.count(text) >= count


def late(moment: Callable[[str], bool], seconds: float) -> Callable[[str], bool]:
  """The moment, so many seconds later."""
  come: list[float] = []

  def is_now(log):
    if not come and moment(log):
      come.append(time.monotonic())
    return bool(come) and time.monotonic() - come[0] >= seconds

  return is_now


def strike(
  command: list, moment: Callable[[str], bool], blow: Callable[[subprocess.Popen], object] | int, folder, **environment
) -> End:
  """Runs a program and strikes it once.

  Args:
    command: program and arguments.
    moment: gets the log so far; the blow falls as soon as it is true, and not at all if the program ends before.
    blow: a signal, or what is done to the world of the process.
    folder: in which the log is written.
    **environment: put into the program's environment.

  Returns:
    Its end. It has left no process.
  """
  path = pathlib.Path(folder) / f'log_{time.monotonic_ns()}'
  with path.open('wb') as log:
    child = subprocess.Popen(
      command,
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=log,
      cwd=trainings.ROOT,
      env=trainings.environment(**environment),
      start_new_session=True,
      # A shell in the background ignores SIGINT for its children.
      preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
  text = lambda: path.read_text(encoding='utf-8', errors='replace')
  begun, struck = time.monotonic(), False
  try:
    while child.poll() is None and not struck:
      assert time.monotonic() - begun < PATIENCE_SECONDS, f'the moment did not come:\n{text()[-2000:]}'
      if moment(text()):
        struck, begun = True, time.monotonic()
        child.send_signal(blow) if isinstance(blow, int) else blow(child)
      time.sleep(_LOOKS_SECONDS)
    code = child.wait(timeout=PATIENCE_SECONDS)
    seconds = time.monotonic() - begun
    deadline = time.monotonic() + 10  # those that it started are told of its end, and unwind
    while (left := of_session(child.pid)) and time.monotonic() < deadline:
      time.sleep(0.05)
    assert not left, f'processes are left: {left}'
  finally:
    for process in of_session(child.pid):
      os.kill(process, signal.SIGKILL)
    child.wait()
  return End(code, text(), struck, seconds)


def of_session(session: int) -> list[int]:
  """The living processes of a session; this system has a /proc."""
  found = []
  for path in pathlib.Path('/proc').glob('[0-9]*/stat'):
    try:
      state, _, _, of = path.read_text().rpartition(')')[2].split()[:4]
    except (OSError, ValueError):
      continue  # it has just ended
    if int(of) == session and state != 'Z':
      found.append(int(path.parent.name))
  return sorted(found)


def flip_bit(path: pathlib.Path, place: float = 0.5) -> None:
  """Flips a bit at so much of a file, as a bad disk does."""
  data = bytearray(path.read_bytes())
  data[int(len(data) * place)] ^= 4
  path.write_bytes(data)


def empty(path: pathlib.Path) -> None:
  """Leaves a name without content, as a power cut does."""
  path.write_bytes(b'')


def cut(path: pathlib.Path) -> None:
  """Leaves the first half of a file."""
  path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
