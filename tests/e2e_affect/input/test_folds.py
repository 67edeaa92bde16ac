"""A fold of the data, wherever the partitions are read."""

import dataclasses
import shutil

import numpy as np
import pytest

from data_prep.core.errors import UserError
from data_prep.schema.manifest import Manifest
from e2e_affect.baselines import base
from e2e_affect.input import corpus, pipeline, recordings
from e2e_affect.run import workdir
from tests.conftest import make_data

# As prepared, A, B and C are train, D is validation and E test; see conftest.
FOLDS = {'2': {'SA': 'test', 'SB': 'validation', 'SC': 'train', 'SD': 'train', 'SE': 'train'}}


@pytest.fixture
def config(small_config, tmp_path):
  shutil.copytree(small_config.data.dir, tmp_path / 'data')
  small_config.data.dir = str(tmp_path / 'data')
  dataclasses.replace(Manifest.read(tmp_path / 'data'), folds=FOLDS).write(tmp_path / 'data')
  return small_config


def names(manifest, config):
  return {p: [r.name for r in recordings.recordings(manifest, config.data.dir, p)] for p in ('train', 'validation')}


def test_the_trainer_reads_the_fold_of_the_config(config):
  assert names(corpus.read(config, None), config) == {'train': ['A', 'B', 'C'], 'validation': ['D']}
  config.data.fold = '2'
  manifest = corpus.read(config, None)
  assert names(manifest, config) == {'train': ['C', 'D', 'E'], 'validation': ['B']}
  read = pipeline.read_corpus(config, manifest)
  assert len(read['label']) == 1 + 1 + 3 + 2  # of C, D, E, in sequences of 50 steps, and the blank one
  workdir.write_dataset(workdir.pathlib.Path(config.data.dir), manifest)
  assert workdir.read_dataset(config.data.dir)['partitions']['train']['subjects'] == 3
  config.data.fold = '7'
  with pytest.raises(UserError, match="config.data.fold = '7'; the folds of these data are 2"):
    corpus.read(config, None)


def test_rivals_read_it_too(config):
  found = base.Corpus.read(config.data.dir, '2')
  assert {p: [r.name for r in of] for p, of in found.recordings.items()} == {
    'train': ['C', 'D', 'E'],
    'validation': ['B'],
    'test': ['A'],
  }


def test_clips_shorter_than_a_record_share_a_batch_with_longer_ones(small_config, tmp_path):
  """Of 7, 25 and 61 steps in sequences of 75: padded, masked, and nothing of one in another."""
  steps = {'a': 7, 'b': 25, 'c': 61}
  small_config.data.dir = make_data(tmp_path / 'clips', [(name, 'train', of) for name, of in steps.items()])
  small_config.data.sequence_steps = 75
  manifest = corpus.read(small_config, None)
  (batch,) = pipeline.train_batches(small_config, manifest, pipeline.Updates(0, 1, batch_size=3))
  assert sorted(batch['valid'].sum(axis=1)) == sorted(steps.values())
  for row in range(3):
    of = int(batch['valid'][row].sum())
    assert batch['valid'][row, :of].all() and not batch['valid'][row, of:].any()
    np.testing.assert_array_equal(batch['mask'][row, :of], np.arange(of) % 7 != 0)  # as conftest writes it
    assert not batch['mask'][row, of:].any() and not batch['audio'][row, of:].any()
    np.testing.assert_array_equal(batch['audio'][row, :of, 3], np.arange(1, of + 1))
