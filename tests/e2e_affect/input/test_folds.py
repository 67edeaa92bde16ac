"""A fold of the data, wherever the partitions are read."""

import dataclasses
import shutil

import pytest

from data_prep.core.errors import UserError
from data_prep.schema.manifest import Manifest
from e2e_affect.baselines import base
from e2e_affect.input import corpus, pipeline, recordings
from e2e_affect.run import workdir

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
  assert names(corpus.read(config), config) == {'train': ['A', 'B', 'C'], 'validation': ['D']}
  config.data.fold = '2'
  manifest = corpus.read(config)
  assert names(manifest, config) == {'train': ['C', 'D', 'E'], 'validation': ['B']}
  read = pipeline.read_corpus(config, manifest)
  assert len(read['label']) == 1 + 1 + 3 + 2  # of C, D, E, in sequences of 50 steps, and the blank one
  workdir.write_dataset(workdir.pathlib.Path(config.data.dir), manifest)
  assert workdir.read_dataset(config.data.dir)['partitions']['train']['subjects'] == 3
  config.data.fold = '7'
  with pytest.raises(UserError, match="config.data.fold = '7'; the folds of these data are 2"):
    corpus.read(config)


def test_rivals_read_it_too(config):
  found = base.Corpus.read(config.data.dir, '2')
  assert {p: [r.name for r in of] for p, of in found.recordings.items()} == {
    'train': ['C', 'D', 'E'],
    'validation': ['B'],
    'test': ['A'],
  }
