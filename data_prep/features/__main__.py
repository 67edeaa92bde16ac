"""Hand-crafted features of a data folder.

    python -m data_prep.features --data=data/recola --sets=egemaps,compare

Extracts the features of every recording and keeps them beside the shards, in `features/`. Whatever needs features makes
those that are missing; this command makes them beforehand. Acoustic sets need openSMILE, whose licence allows
research only.
"""

from absl import flags

from data_prep.core import cli
from data_prep.features import FEATURES


def _define_flags():
  cli.define_path('data', None, 'Data folder, as data_prep.prepare wrote it.', required=True)
  flags.DEFINE_list('sets', ['egemaps'], f'Some of {", ".join(FEATURES)}.')
  flags.DEFINE_integer('jobs', 0, 'Processes; 0: one a core.', lower_bound=0)


def main() -> None:
  """Does what the flags say."""
  from data_prep.features import store
  from data_prep.schema.manifest import Manifest

  asked = flags.FLAGS
  manifest = Manifest.read(asked.data)
  for name in asked.sets:
    features = store.load(asked.data, manifest, name, jobs=asked.jobs)
    told = int((features.deviation > 0).sum())
    cli.say(f'{name}: {len(features.columns)} features of {len(features.arrays)} recordings; {told} vary on train')


if __name__ == '__main__':
  cli.run(main, _define_flags)
