"""Where recordings are prepared: in processes of this machine, or as a pipeline of Apache Beam; `--runner` names it.

A runner spreads `workers.run`, and nothing else: what is found, skipped, refused, named and listed is the same code for
all of them, in `prepare.py`.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
import contextlib
import logging

from data_prep.core import pool
from data_prep.core.errors import UserError

# (recordings, *, jobs) -> (recording, result) of each as they are done: `workers.run` of a corpus and a data folder.
Work = Callable[..., Generator[tuple, None, None]]
# (work, recordings, out, jobs) -> what `work` gives of all recordings; `jobs` is None where nobody chose.
Run = Callable[[Work, Sequence, object, int | None], Generator[tuple, None, None]]


@contextlib.contextmanager
def unlogged() -> Iterator[None]:
  """Logs are hidden: Beam writes its own, as of Google's libraries that are absent, to the root's log, too."""
  logging.disable()
  try:
    yield
  finally:
    logging.disable(logging.NOTSET)


def _local(options: Sequence[str]) -> Run:
  if options:
    raise UserError(f'--runner_options={",".join(options)}: the local runner has none; they are for --runner=beam')
  return lambda work, recordings, out, jobs: work(recordings, jobs=pool.cores() if jobs is None else jobs)


def _beam(options: Sequence[str]) -> Run:
  with unlogged():
    from data_prep.shards import beam  # an extra, which takes seconds to import
  return beam.runner(options)


LOCAL = 'local'
# Name -> makes a runner of its own options; raises UserError where one has no meaning, before any work is done.
RUNNERS: dict[str, Callable[[Sequence[str]], Run]] = {LOCAL: _local, 'beam': _beam}
