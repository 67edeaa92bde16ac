"""Strength modelling against scikit-learn called plainly on features and a run's traces."""

import dataclasses
import re
import types

import numpy as np
import pytest
from sklearn.svm import LinearSVR

from data_prep.core.errors import DataError, UserError
from e2e_affect.baselines import base, strength
from e2e_affect.input import first_runs
from e2e_affect.traces.table import write_csv
from e2e_affect.traces.traces import Trace
from tests.e2e_affect.baselines import made

DELAY = made.DELAY_STEPS


@pytest.fixture(autouse=True)
def sets(monkeypatch):
  monkeypatch.setattr(base.store, 'FEATURES', {'shape': types.SimpleNamespace(defaults={})})


def _run(folder, corpus, seed):
  """A first run, whose traces are the gold standard with noise, on another scale; -> recording -> [T, K]."""
  rng = np.random.default_rng(seed)
  said = {}
  for partition, of in corpus.recordings.items():
    traces = []
    for r in of:
      said[r.name] = (3 + 2 * r.gold + rng.normal(size=r.gold.shape) * 0.2).astype(np.float32)
      traces.append(Trace(r.name, r.subject, partition, said[r.name], r.gold, r.mask, r.face_found))
    write_csv(folder / 'predictions' / f'{partition}.csv', traces, made.TARGETS, made.TARGETS)
  return said


def _config(features, *runs):
  c = strength.Strength.get_config()
  c.features = {name: {} for name in features}
  c.train_every = 3
  c.svr.complexity = (0.01,)
  c.svr.delay_seconds = (0.04 * DELAY,)
  c.strength.first = tuple(map(str, runs))
  return c.lock()


@pytest.mark.parametrize('features', [('shape',), ()], ids=['feature-level', 'decision-level'])
def test_the_second_model_sees_what_the_first_say_of_the_label(tmp_path, features):
  corpus = made.corpus()
  said = [_run(tmp_path / name, corpus, seed) for seed, name in enumerate(('one', 'two'))]
  predictor, record = strength.Strength(_config(features, tmp_path / 'one', tmp_path / 'two')).fit(corpus)
  assert record['searches'][0]['what'] == f'SVR on {", ".join([*features, "one", "two"])}'

  train = [np.concatenate([of[r.name] for r in corpus.recordings['train']]).astype(float) for of in said]

  def columns(name):
    steps = len(said[0][name])
    parts = [corpus.arrays['shape', None][name]] if features else []
    for of, trained in zip(said, train, strict=True):
      later = of[name][[min(t + DELAY, steps - 1) for t in range(steps)]]
      parts.append((later - trained.mean(axis=0)) / trained.std(axis=0))
    return np.concatenate(parts, axis=1)

  rows, labels = [], []
  for r in corpus.recordings['train']:
    for t in range(0, len(r.mask) - DELAY, 3):
      if r.mask[t + DELAY]:
        rows.append(columns(r.name)[t])
        labels.append(r.gold[t + DELAY])
  (trace,) = predictor.predict('test')
  for k in range(2):
    reference = LinearSVR(C=0.01, epsilon=0.1, loss='squared_epsilon_insensitive', dual=False, random_state=0)
    reference.fit(np.array(rows), np.array(labels)[:, k])
    expected = reference.predict(columns('e'))
    # The standardised traces are float32 there and float64 here.
    np.testing.assert_allclose(trace.prediction[DELAY:, k], expected[:-DELAY], atol=2e-6)


def test_labels_of_test_change_neither_choice_nor_parameter(tmp_path):
  corpus = made.corpus()
  _run(tmp_path / 'one', corpus, 0)
  config = _config(('shape',), tmp_path / 'one')
  predictor, record = strength.Strength(config).fit(corpus)
  other, record_of_other = strength.Strength(config).fit(made.with_shuffled_test(corpus))
  assert record == record_of_other
  np.testing.assert_array_equal(predictor.predict('test')[0].prediction, other.predict('test')[0].prediction)


def test_first_runs_that_do_not_fit_are_told(tmp_path):
  corpus = made.corpus()
  _run(tmp_path / 'one', corpus, 0)
  with pytest.raises(UserError, match='strength.first is empty'):
    strength.Strength(_config(('shape',))).fit(corpus)

  def read(manifest):
    return first_runs.read([str(tmp_path / 'one')], manifest, 'made')

  manifest = corpus.manifest
  longer = [dataclasses.replace(shard, steps=91) if shard.recording == 'e' else shard for shard in manifest.shards]
  with pytest.raises(DataError, match='90 steps of recording e, made has 91'):
    read(dataclasses.replace(manifest, shards=longer))
  with pytest.raises(DataError, match='has no column liking'):
    read(dataclasses.replace(manifest, targets=['arousal', 'liking']))

  path = tmp_path / 'one' / 'predictions' / 'train.csv'
  path.rename(path.with_name('kept.csv'))
  with pytest.raises(DataError, match=re.escape(f'--partition=train --workdir={tmp_path / "one"}')):
    read(manifest)
  path.write_text('recording,time,valence\na,0,0.5\n')
  with pytest.raises(DataError, match='has no column arousal'):
    read(manifest)
  path.write_text('recording,time,arousal,valence\na,0,high,0.5\n')
  with pytest.raises(DataError, match='damaged'):
    read(manifest)
