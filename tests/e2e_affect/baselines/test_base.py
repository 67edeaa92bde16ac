"""The corpus as arrays, and the search on validation."""

import types

import numpy as np
import pytest

from data_prep.core.errors import DataError
from data_prep.shards import read
from e2e_affect import heads
from e2e_affect.baselines import base
from e2e_affect.traces import metrics
from tests import conftest
from tests.e2e_affect.baselines import made


def test_the_corpus_holds_every_valid_step_of_the_records(data_dir):
  corpus = base.Corpus.read(data_dir)
  steps = {p: {r.name: len(r.mask) for r in of} for p, of in corpus.recordings.items()}
  assert steps == {'train': {'A': 100, 'B': 60, 'C': 49}, 'validation': {'D': 110}, 'test': {'E': 70}}
  (found,) = corpus.recordings['test']
  assert (found.subject, found.partition) == ('SE', 'test')
  (shard,) = (shard for shard in corpus.manifest.shards if shard.recording == 'E')
  records = list(read.read_shard(f'{data_dir}/{shard.file}', corpus.manifest))
  np.testing.assert_array_equal(found.gold, np.concatenate([r.label for r in records])[:70])
  np.testing.assert_array_equal(found.mask, np.arange(70) % 7 != 0)  # as conftest writes it
  np.testing.assert_array_equal(found.face_found, np.ones(70))
  assert corpus.steps(0.5) == 12  # 12.5 steps of 40 ms; Python rounds to even


def test_a_corpus_without_validation_is_refused(tmp_path):
  conftest.make_data(tmp_path, [('A', 'train', 50), ('E', 'test', 30)])
  with pytest.raises(DataError, match='the validation partition has no labels, and a rival needs them to choose on'):
    base.Corpus.read(str(tmp_path))


def test_features_go_with_labels_that_come_later():
  gold = np.arange(26, dtype=np.float32).reshape(13, 2)
  mask = np.ones(13, np.float32)
  mask[8] = 0
  recording = base.Recording('a', 's', 'train', gold, mask, mask)
  steps, labels = base.learnt_rows(recording, delay=4, every=2)
  # Steps 0, 2, … 8 have a label 4 steps later (the last is 12); that of step 4 is masked.
  np.testing.assert_array_equal(steps, [0, 2, 6, 8])
  np.testing.assert_array_equal(labels, gold[[4, 6, 10, 12]])
  assert base.learnt_rows(recording, delay=13, every=1)[0].size == 0


def test_the_search_scores_by_pooled_ccc_of_scored_steps():
  corpus = made.corpus()
  (recording,) = corpus.recordings['validation']
  rng = np.random.default_rng(3)
  said = [recording.gold + rng.normal(size=recording.gold.shape) * noise for noise in ([1, 0.1], [0.1, 1], [0.3, 0.3])]
  found = base.search(corpus, heads.HEADS['regression'], [({'n': n}, [one]) for n, one in enumerate(said)])
  scored = recording.mask > 0
  ccc = np.array([[metrics.ccc(one[scored, k], recording.gold[scored, k]) for k in range(2)] for one in said])
  assert (found.best('arousal'), found.best('valence')) == ({'n': 1}, {'n': 0})
  assert found.best() == {'n': int(np.argmax(ccc.mean(axis=1)))}
  record = found.record('noise', {'arousal': found.best('arousal')})
  assert record['chosen'] == {'arousal': {'n': 1}} and record['what'] == 'noise'
  for n, tried in enumerate(record['tried']):
    assert tried == {'n': n, 'ccc': {'arousal': pytest.approx(ccc[n, 0]), 'valence': pytest.approx(ccc[n, 1])}}
  with pytest.raises(ValueError, match='nothing to try'):
    base.search(corpus, heads.HEADS['regression'], [])


def test_options_go_to_the_sets_that_know_them(monkeypatch):
  asked = []
  monkeypatch.setattr(
    base.store,
    'FEATURES',
    {'told': types.SimpleNamespace(defaults={'window_seconds': 4.0}), 'shape': types.SimpleNamespace(defaults={})},
  )

  class Corpus:
    def features(self, name, options):
      asked.append((name, options))

  base.Sets.load(Corpus(), {'told': {'hop_seconds': 0.2}, 'shape': {}}, window_seconds=2.0)
  assert asked == [('told', {'hop_seconds': 0.2, 'window_seconds': 2.0}), ('shape', {})]
