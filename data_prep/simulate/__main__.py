"""`python -m data_prep.simulate --out=DIR --subjects=28 --seconds=48 --seed=0 --jobs=2`: makes the simulated corpus."""

import os
import sys

from absl import app
from absl import flags

from data_prep.errors import UserError
from data_prep.simulate import corpus

_OUT = flags.DEFINE_string('out', None, 'Folder to write the corpus to.', required=True)
_SUBJECTS = flags.DEFINE_integer('subjects', 28, 'How many subjects, 3 to 46.')
_SECONDS = flags.DEFINE_integer('seconds', 48, 'Length of every recording, in seconds.')
_SEED = flags.DEFINE_integer('seed', 0, 'Seed of all randomness.')
_JOBS = flags.DEFINE_integer('jobs', os.cpu_count(), 'How many processes.')


def main(argv):
  del argv
  try:
    corpus.simulate(_OUT.value, _SUBJECTS.value, _SECONDS.value, _SEED.value, _JOBS.value)
  except UserError as e:
    print(f'error: {e}', file=sys.stderr)
    sys.exit(e.exit_code)


if __name__ == '__main__':
  app.run(main)
