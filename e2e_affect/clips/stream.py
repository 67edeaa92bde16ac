"""`predict --stream`: traces while sound and picture are still coming in, one line per step out.

Two things differ from `predict` on files and cannot be otherwise: the loudness is of the sound heard so far, and
post-processing, which looks both ways in time, is left out.
"""

import collections
from collections.abc import Callable, Iterator
import contextlib
import sys
import time
from typing import Any, BinaryIO, TextIO

import numpy as np

from data_prep.core import cli
from data_prep.core.errors import DataError, UserError
from data_prep.recordings import live, who
from e2e_affect.clips import incoming, live_page, one_clip
from e2e_affect.clips.everybody import Everybody
from e2e_affect.clips.network import Network
from e2e_affect.clips.online import OnlineNetwork
from e2e_affect.run.origin import SIMULATED
from e2e_affect.traces.table import SIMULATED_COLUMN


def predictions(
  network: OnlineNetwork | Everybody,
  source: BinaryIO,
  costs: list[float],
  watch: Callable[[live.Step], object] = lambda step: None,
) -> Iterator[Any]:
  """Yields [K] for every step that sound or picture begins; of everybody it is number of a person -> [K].

  Args:
    network: fresh.
    source: see `incoming.steps`.
    costs: the seconds of work of each step are appended, without the time in which nothing came.
    watch: called with every step that comes in.

  Raises:
    DataError: see `incoming.steps`.
  """
  bytes_in = live.Source(source)
  began, waited = time.perf_counter(), 0.0

  def advance(*step):
    nonlocal began, waited
    prediction = network(*step)
    now = time.perf_counter()
    costs.append(now - began - (bytes_in.waited - waited))
    began, waited = now, bytes_in.waited
    return () if prediction is None else (prediction,)

  fault = None
  try:
    for step in incoming.steps(network, bytes_in):
      watch(step)
      seen = (step.people,) if isinstance(network, Everybody) else (step.face, step.found)
      for prediction in advance(step.samples, *seen):
        yield prediction
        began = time.perf_counter()  # what the caller did is no work of the step
  except DataError as e:
    if not costs:
      raise
    fault = e  # what is known comes before the error
  for _ in range(network.ahead if costs else 0):
    yield from advance(None)
  if fault:
    raise fault


def _face_found(step, person):
  """The cell of a step, and of a person where everybody is wanted; empty without a picture."""
  if person is not None:
    _, found = step.people.get(person, (None, 0.0))
  elif step.face is None:
    return ''
  else:
    found = step.found
  return f'{found:.3f}'


def run(
  network: Network, source: BinaryIO, sink: TextIO, port: int | None = None, faces: str | int | who.Box = who.LARGEST
) -> None:
  """The command: writes CSV lines to `sink`, and the cost to standard error.

  Columns: `time`, with all faces `person`, each target, and as a clip's CSV has them `trained_on` and `face_found`.

  Args:
    network: trained.
    source: see `incoming.steps`.
    sink: of the lines.
    port: of the loopback on which a page shows them as they come; 0: any; None: no page.
    faces: whose lines: 'largest', or 'all' for a line per step and person.

  Raises:
    UserError: the network cannot do this, or the page would have to show everybody.
    DataError: see `incoming.steps`.
  """
  if faces not in (who.LARGEST, who.ALL) or port is not None and faces == who.ALL:
    also = '' if port is None else f' --serve={port}'
    raise UserError(
      f'--faces={faces}{also}: --stream follows the largest face, or with --faces=all and without --serve everybody'
    )
  one_clip.check_sees(network, who.Wanted(faces))
  one = OnlineNetwork(network)
  online = Everybody(one) if faces == who.ALL else one
  grid = online.grid
  ahead = 1000 * grid.step_seconds * online.ahead
  cli.complain(
    f"a step's line comes {ahead:.0f} ms after its end{': the filters look ahead' if online.ahead else ''}; raw traces"
    + (', by the loudness heard so far' if online.hears else '')
  )
  if network.simulated:
    cli.warn(SIMULATED, sys.stderr)
  with contextlib.ExitStack() as stack:
    page = None
    if port is not None:
      page = stack.enter_context(live_page.serve(port, network.targets, grid.step_seconds, network.simulated))
      cli.complain(f'the page is at {page.address}')
    trained_on = SIMULATED_COLUMN[: network.simulated]
    columns = ['time', *['person'] * (faces == who.ALL), *network.targets, *trained_on, 'face_found']
    print(','.join(columns), file=sink, flush=True)
    costs: list[float] = []
    waiting: collections.deque[live.Step] = collections.deque()
    count = 0
    for count, prediction in enumerate(predictions(online, source, costs, waiting.append), 1):
      step = waiting.popleft()
      for person, values in (prediction if faces == who.ALL else {None: prediction}).items():
        said = [] if person is None else [str(person)]
        said += [*values.astype(str), *[SIMULATED_COLUMN[1]] * network.simulated, _face_found(step, person)]
        print(','.join([grid.time(count - 1), *said]), file=sink, flush=True)
      if page is not None:
        page.add(prediction, step.face if step.found else None)
  if not count:
    raise DataError(f'standard input is empty; expected a container, or 16-bit PCM: {incoming.pcm_format(online.grid)}')
  seconds, middle = count * grid.step_seconds, 1000 * np.median(costs)
  cli.complain(
    f'{count} steps ({seconds:.2f} s); real-time factor {sum(costs) / seconds:.3f}; a step takes '
    f'{middle:.1f} ms, at most {1000 * max(costs):.1f} ms; latency {ahead + middle:.0f} ms'
  )
