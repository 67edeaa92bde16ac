"""Feature sets are joined to the records of the same recording and step, whatever reads them."""

import numpy as np
import pytest

from data_prep.core.errors import DataError, UserError
from e2e_affect.input import checks, corpus, feed, pipeline, recordings
from e2e_affect.traces import table
from e2e_affect.traces.traces import Trace
from tests.feature_sets import labels_as_features

SEQUENCES = 5  # of 50 steps: A (100 steps) gives 2, B (60) 2, C (49) 1


@pytest.fixture
def features(small_config, monkeypatch):
  """What each recording has of the set of a network that hears, too."""
  small_config.model.modalities = ('speech', 'egemaps')
  return labels_as_features(small_config, monkeypatch)


def check_rows(batch, rows=slice(None)):
  """Features are the labels of their own step and count its place, as the sound does; past the end they are 0."""
  label, valid, found = batch['label'][rows], batch['valid'][rows], batch['egemaps'][rows]
  assert found.shape == (*label.shape[:2], 3) and found.dtype == np.float32
  np.testing.assert_array_equal(found[..., :2], label * valid[..., None])
  np.testing.assert_allclose(found[..., 2] * 100, batch['audio'][rows][..., 7] * valid, rtol=1e-6)


@pytest.mark.usefixtures('features')
def test_the_layout_has_the_set_and_the_records_do_not(small_config):
  manifest = corpus.read(small_config, None)
  assert [(field.name, field.shape, field.dtype) for field in manifest.streams['egemaps']] == [
    ('egemaps', (3,), 'float32')
  ]
  assert corpus.of_records(manifest) == recordings.read_manifest(small_config.data.dir)
  small_config.model.modalities = ('speech',)
  assert corpus.read(small_config, None) == recordings.read_manifest(small_config.data.dir)


@pytest.mark.usefixtures('features')
def test_training_sequences_have_the_features_of_their_steps(small_config):
  manifest = corpus.read(small_config, None)
  whole = list(pipeline.train_batches(small_config, manifest, pipeline.Updates(0, 5, batch_size=4)))
  for batch in whole:
    check_rows(batch)
    assert batch['valid'][:3, 0].all() and not batch['egemaps'][3].any()  # the fourth row fills the devices up
    assert 'window' not in batch
  assert len({batch['egemaps'][row, 0].tobytes() for batch in whole for row in range(3)}) == SEQUENCES
  resumed = list(pipeline.train_batches(small_config, manifest, pipeline.Updates(3, 5, batch_size=4)))
  hosts = [
    list(pipeline.train_batches(small_config, manifest, pipeline.Updates(0, 5, 4, process_index=i, process_count=2)))
    for i in range(2)
  ]
  for step, batch in enumerate(whole):
    for host in range(2):
      np.testing.assert_array_equal(hosts[host][step]['egemaps'], batch['egemaps'][host::2])
    if step >= 3:
      np.testing.assert_array_equal(resumed[step - 3]['egemaps'], batch['egemaps'])


@pytest.mark.usefixtures('features')
@pytest.mark.parametrize('cache', ['host', 'device'])
def test_a_cached_corpus_gives_the_same_batches(small_config, cache):
  manifest = corpus.read(small_config, None)
  expected = list(pipeline.train_batches(small_config, manifest, pipeline.Updates(1, 4, batch_size=8)))
  small_config.data.cache = cache
  for ours, theirs in zip(feed.device_batches(small_config, manifest, 1, 4, batch_size=8), expected, strict=True):
    assert ours.keys() == theirs.keys()
    np.testing.assert_array_equal(ours['egemaps'], theirs['egemaps'][:, None])


@pytest.mark.usefixtures('features')
def test_evaluation_has_features_in_chunks_with_context(small_config):
  manifest = corpus.read(small_config, None)
  group = recordings.recordings(manifest, small_config.data.dir, 'train')[:2]  # A: 100 steps, B: 60
  chunks = list(pipeline.evaluation_batches(small_config, manifest, group, 3, context=25))
  assert [chunk['egemaps'].shape for chunk in chunks] == [(3, 100, 3)] * 2  # (1 + 2 + 1) · 25 steps
  for chunk in chunks:
    check_rows(chunk)
    assert not chunk['egemaps'][2].any()  # no third recording


def test_a_bidirectional_network_takes_recordings_whole(small_config, features):
  small_config.model.modalities = ('egemaps',)
  small_config.model.recurrent.bidirectional = True
  small_config.evaluate_chunk_seconds = 1
  manifest = corpus.read(small_config, None)
  for partition, length in (('train', 100), ('validation', 110)):
    group = recordings.recordings(manifest, small_config.data.dir, partition)[:2]
    (batch,) = pipeline.evaluation_batches(small_config, manifest, group, 2, context=0)
    assert batch['egemaps'].shape == (2, 125, 3)  # the longest of all, D, has 110 steps in five records
    np.testing.assert_array_equal(batch['egemaps'][0, :length], features[group[0].name])


def test_single_records_have_their_features(small_config, features):
  manifest = corpus.read(small_config, None)
  group = recordings.recordings(manifest, small_config.data.dir, 'train')
  rows = list(pipeline.read_records(small_config, manifest, group, ['egemaps'], 2))
  found = np.concatenate([row['egemaps'] for row in rows])
  at = 0
  for recording in group:
    expected = np.zeros((25 * recording.records, 3), np.float32)
    expected[: recording.steps] = features[recording.name]
    np.testing.assert_array_equal(found[at : at + len(expected)], expected)
    at += len(expected)
  assert at == len(found) and 'audio' not in rows[0]
  assert 'egemaps' not in next(pipeline.read_records(small_config, manifest, group, ['audio'], 2))


def test_train_partitions_without_the_features_are_refused(small_config, features):
  checks.check_streams(small_config, corpus.read(small_config, None))
  for name in 'ABC':
    features[name][:] = 0
  with pytest.raises(DataError, match=r'train, to train on, has no egemaps features in any of 9 records'):
    checks.check_streams(small_config, corpus.read(small_config, None))


@pytest.mark.usefixtures('features')
def test_options_that_no_set_takes_are_refused(small_config, monkeypatch):
  asked = []
  load = corpus.store.load
  monkeypatch.setattr(corpus.store, 'load', lambda *args: asked.append(args[3]) or load(*args))
  monkeypatch.setattr(corpus.FEATURES['egemaps'], 'defaults', {'window_seconds': 4.0})
  corpus.read(small_config, None)
  small_config.features.window_seconds = 2.5
  corpus.read(small_config, None)
  assert asked == [{}, {'window_seconds': 2.5}]
  small_config.features.hop_seconds = 0.5
  with pytest.raises(UserError, match=r'config.features.hop_seconds = 0.5, and egemaps have no such option'):
    corpus.read(small_config, None)


def test_what_runs_said_is_a_set_of_the_network(small_config, tmp_path):
  plain = recordings.read_manifest(small_config.data.dir)
  said, rng = {}, np.random.default_rng(0)
  for partition in ('train', 'validation', 'test'):
    traces = []
    for one in recordings.recordings(plain, small_config.data.dir, partition):
      said[one.name] = rng.normal(1, 3, (one.steps, 2)).astype(np.float32)
      ones = np.ones(one.steps, np.float32)
      traces.append(Trace(one.name, one.subject, partition, said[one.name], said[one.name], ones, ones))
    table.write_csv(tmp_path / 'svr' / table.FOLDER / f'{partition}.csv', traces, plain.targets, plain.targets)
  small_config.model.modalities = ('first_runs',)
  small_config.features.first_runs = (str(tmp_path / 'svr'),)
  manifest = corpus.read(small_config, None)
  train = np.concatenate([said[name] for name in 'ABC']).astype(np.float64)
  group = recordings.recordings(manifest, small_config.data.dir, 'test')
  rows = list(pipeline.read_records(small_config, manifest, group, ['first_runs'], 1))
  found = np.concatenate([row['first_runs'] for row in rows])[:70]
  np.testing.assert_allclose(found, (said['E'] - train.mean(axis=0)) / train.std(axis=0), atol=1e-6)
  (field,) = manifest.streams['first_runs']
  assert field.shape == (2,) and manifest.features['first_runs'].columns == ('svr arousal', 'svr valence')
  checks.check_streams(small_config, manifest)

  small_config.model.modalities = ('speech',)
  with pytest.raises(UserError, match='first_runs names 1 runs, and the modalities are speech; expected runs with'):
    corpus.read(small_config, None)
  small_config.model.modalities = ('first_runs',)
  small_config.features.first_runs = ()
  with pytest.raises(UserError, match='names 0 runs, and the modalities are first_runs'):
    corpus.read(small_config, None)
