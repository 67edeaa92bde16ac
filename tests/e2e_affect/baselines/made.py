"""A corpus of arrays, made in memory, whose features tell of labels that come later."""

import dataclasses
import types

import numpy as np

from data_prep.schema.grid import Grid
from data_prep.schema.manifest import Manifest, Shard
from e2e_affect.baselines import base

DELAY_STEPS = 3
TARGETS = ['arousal', 'valence']


@dataclasses.dataclass(frozen=True)
class MadeCorpus(base.Corpus):
  """Feature sets are arrays here: (set, window) -> recording -> [T, D]."""

  arrays: dict

  def features(self, name, options=None):
    return types.SimpleNamespace(standardised=self.arrays[name, (options or {}).get('window_seconds')].__getitem__)


def corpus(seed: int = 0) -> MadeCorpus:
  """Five recordings of 90 to 130 steps of 40 ms.

  'told' (D 4, windows 1.0 and 2.0) and 'shape' (D 3, no window) hold the labels of DELAY_STEPS later with noise; the
  window of 1 s has the less noise. 'shape' tells of valence alone.
  """
  rng = np.random.default_rng(seed)
  recordings = {'train': [], 'validation': [], 'test': []}
  shards = []
  arrays: dict = {('told', 1.0): {}, ('told', 2.0): {}, ('shape', None): {}}
  mixing, shape = rng.normal(size=(2, 4)), np.array([[0.0] * 3, [1.0, -2.0, 0.5]])
  for name, partition, steps in (
    ('a', 'train', 130),
    ('b', 'train', 110),
    ('c', 'train', 95),
    ('d', 'validation', 120),
    ('e', 'test', 90),
  ):
    gold = np.cumsum(rng.normal(size=(steps + DELAY_STEPS, 2)), 0).astype(np.float32) * 0.05
    told = gold[DELAY_STEPS:]  # at step t: the label of t + DELAY_STEPS
    for window, noise in ((1.0, 0.1), (2.0, 0.6)):
      arrays['told', window][name] = (told @ mixing + rng.normal(size=(steps, 4)) * noise).astype(np.float32)
    arrays['shape', None][name] = (told @ shape + rng.normal(size=(steps, 3)) * 0.2).astype(np.float32)
    mask = (np.arange(steps) % 11 != 0).astype(np.float32)
    recordings[partition].append(
      base.Recording(name, f's{name}', partition, gold[:steps], mask, np.ones(steps, np.float32))
    )
    shards.append(Shard(f'{name}.tfrecord', 1, 6, '', name, f's{name}', partition, 0, steps))
  manifest = Manifest(TARGETS, Grid(), {}, label_scale={}, preparation={}, shards=shards)
  return MadeCorpus(manifest, 'made', recordings, arrays)


def with_shuffled_test(of: MadeCorpus) -> MadeCorpus:
  """The same corpus, the labels of its test partition in another order."""
  rng = np.random.default_rng(1)
  test = [dataclasses.replace(r, gold=rng.permutation(r.gold)) for r in of.recordings['test']]
  return dataclasses.replace(of, recordings={**of.recordings, 'test': test})
