"""See `tests.fuzz.run`, which the processes import."""

from data_prep.core import cli
from tests.fuzz import run

if __name__ == '__main__':
  cli.script(run.main)
