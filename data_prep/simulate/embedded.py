"""The embedded corpus, simulated and prepared on first use, so that every command runs on a fresh checkout."""

import pathlib
import sys

from data_prep.core import lock, pool
from data_prep.schema.grid import PAPER
from data_prep.schema.manifest import MANIFEST
from data_prep.shards import prepare, write
from data_prep.simulate import corpus
from data_prep.simulate.layouts import SECONDS, SEED, SUBJECTS

DEFAULT_DIR = 'data/simulated'  # the `data.dir` of e2e_affect/config/defaults.py


def is_absent(folder: str) -> bool:
  """Whether `folder` is the default one and holds no shards yet."""
  return folder == DEFAULT_DIR and not (pathlib.Path(folder) / MANIFEST).exists()


def num_sequences(partitions: tuple[str, ...], sequence_steps: int) -> int:
  """How many sequences of so many steps the corpus has in these partitions, known before it is made."""
  people = corpus.subject_ids(SUBJECTS)
  return sum(len(people[partition]) for partition in partitions) * -(-PAPER.steps(SECONDS) // sequence_steps)


def make_if_absent(folder: str) -> None:
  """Makes the embedded corpus where `folder` is the default one and holds no shards yet; says so.

  Args:
    folder: `config.data.dir`. Any other folder than the default is the user's own and is left alone.
  """
  if is_absent(folder):
    path = pathlib.Path(folder) / write.PARTS / 'embedded.lock'
    waiting = f'{folder}: another process is making the embedded simulated corpus there; waiting'
    # One process at a time makes the corpus; another waits, and goes on where the first was killed.
    with lock.held(path, path, str, waiting=lambda: print(waiting, file=sys.stderr)):
      if is_absent(folder):
        print(f'{folder}: not found; making the embedded simulated corpus there (a few minutes, once)', file=sys.stderr)
        make(folder)


def make(folder: str) -> None:
  """Simulates the recordings in `<folder>_recordings` and prepares them to shards in `folder`."""
  source = f'{folder}_recordings'
  jobs = pool.cores()
  corpus.simulate(source, SUBJECTS, SECONDS, SEED, jobs)
  prepare.prepare(corpus='recola', source=source, out=folder, jobs=jobs)
