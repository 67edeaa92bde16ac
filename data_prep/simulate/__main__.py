"""The simulated corpus, of drawn faces and synthetic voices.

    python -m data_prep.simulate --out=DIR

The same seed gives the same corpus. It says nothing about people.
"""

from absl import flags

from data_prep.core import cli, pool
from data_prep.simulate import layouts


def _define_flags():
  cli.define_path('out', None, 'Folder to write the corpus to.', required=True)
  flags.DEFINE_enum('layout', 'recola', tuple(layouts.LAYOUTS), 'Whose folders and names the corpus has.')
  flags.DEFINE_integer('subjects', layouts.SUBJECTS, 'How many subjects, 3 to 46; of avec2016 3 to 27.')
  flags.DEFINE_integer('seconds', layouts.SECONDS, 'Length of every recording, in seconds.')
  flags.DEFINE_integer('seed', layouts.SEED, 'Of all randomness: the same seed gives the same corpus.')
  flags.DEFINE_integer('jobs', pool.cores(), 'How many processes.')


def main() -> None:
  """Does what the flags say."""
  from data_prep.simulate import corpus

  args = flags.FLAGS
  corpus.simulate(args.out, args.subjects, args.seconds, args.seed, args.jobs, args.layout)


if __name__ == '__main__':
  cli.run(main, _define_flags)
