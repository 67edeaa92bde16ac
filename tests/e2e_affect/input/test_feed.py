"""Batches on the devices are those of the input pipeline, from wherever they come."""

import jax
import jax.monitoring
import numpy as np
import pytest

from data_prep.core.errors import UserError
from e2e_affect.input import feed, pipeline, recordings
from e2e_affect.models import devices
from e2e_affect.train import update
from tests.networks import layout, random_state


@pytest.mark.parametrize('cache', ['', 'host', 'device'])
def test_batches_are_those_of_the_input_pipeline(small_config, cache):
  manifest = recordings.read_manifest(small_config.data.dir)
  expected = list(pipeline.train_batches(small_config, manifest, pipeline.Updates(1, 5, batch_size=8)))
  small_config.data.cache = cache
  found = list(feed.device_batches(small_config, manifest, 1, 5, batch_size=8))
  assert len(found) == len(expected) == 4
  for ours, theirs in zip(found, expected):
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
      assert ours[name].dtype == value.dtype and len(ours[name].addressable_shards) == 8
      np.testing.assert_array_equal(ours[name], value[:, None], err_msg=name)


@pytest.mark.parametrize('cache, iterators', [('', 1), ('host', 2)])
def test_tensorflow_tunes_nothing(small_config, monkeypatch, cache, iterators):
  """An iterator at its end may wait for the tuner: once for 49 seconds after the last batch of a training."""
  dataset = pipeline.tf.data.Dataset
  tuned, iterate = [], dataset.as_numpy_iterator
  monkeypatch.setattr(
    dataset, 'as_numpy_iterator', lambda self: tuned.append(self.options().autotune.enabled) or iterate(self)
  )
  small_config.data.cache = cache
  list(feed.device_batches(small_config, recordings.read_manifest(small_config.data.dir), 0, 1, batch_size=8))
  assert tuned == iterators * [False]


def test_a_cache_reads_only_what_the_network_uses(small_config):
  small_config.model.modalities = ('speech',)
  corpus = pipeline.read_corpus(small_config, recordings.read_manifest(small_config.data.dir))
  assert 'face' not in corpus
  assert corpus['audio'].shape == (6, 50, 640)  # 5 sequences and a blank one
  assert not corpus['valid'][5].any() and corpus['valid'][:5].any(axis=1).all()


def test_a_cache_allocates_the_corpus_once(small_config, monkeypatch):
  """Not once a sequence, which takes the square of the corpus where the allocator keeps no zero pages."""
  manifest = recordings.read_manifest(small_config.data.dir)
  allocated, zeros = [], np.zeros
  monkeypatch.setattr(np, 'zeros', lambda shape, *rest, **kw: allocated.append(shape) or zeros(shape, *rest, **kw))
  corpus = pipeline.read_corpus(small_config, manifest)
  assert len(corpus) == 9  # audio, its mean, deviation and gain, face, face_found, label, valid, mask
  of_the_corpus = [shape for shape in allocated if np.ndim(shape) == 1 and shape[0] == 6]  # 5 sequences and a blank one
  assert sorted(of_the_corpus) == sorted(values.shape for values in corpus.values())


def test_hosts_share_a_cached_corpus(small_config):
  manifest = recordings.read_manifest(small_config.data.dir)
  small_config.model.modalities = ('speech',)
  corpus = pipeline.read_corpus(small_config, manifest)
  for host in range(2):
    updates = pipeline.Updates(0, 3, batch_size=4, process_index=host, process_count=2)
    streamed = list(pipeline.train_batches(small_config, manifest, updates))
    cached = list(pipeline.cached_train_batches(small_config, manifest, corpus, updates))
    jax.tree.map(np.testing.assert_array_equal, cached, streamed)


def test_a_corpus_too_large_for_the_device_is_refused(small_config, monkeypatch):
  class Device:
    device_kind = 'tiny'
    memory_stats = staticmethod(lambda: {'bytes_limit': 1_000_000})

  small_config.data.cache = 'device'
  monkeypatch.setattr(feed.jax, 'local_devices', lambda: [Device])
  with pytest.raises(UserError, match=r'takes 0\.\d+ GB, more than half of the 0\.001 GB of tiny; .*cache=host'):
    feed.device_batches(small_config, recordings.read_manifest(small_config.data.dir), 0, 1, batch_size=8)


@pytest.mark.slow
def test_nothing_is_compiled_after_the_first_step(small_config):
  small_config.model.modalities = ('speech',)
  small_config.data.cache = 'device'
  train_step = update.over_devices(small_config, layout(small_config))
  state = devices.replicate(random_state(small_config))
  compiled = []
  listener = lambda event, seconds, **_: compiled.append(event) if 'backend_compile' in event else None
  manifest = recordings.read_manifest(small_config.data.dir)
  jax.monitoring.register_event_duration_secs_listener(listener)
  try:
    for step, batch in enumerate(feed.device_batches(small_config, manifest, 0, 6, batch_size=8)):
      state, logged = train_step(state, batch, small_config.seed)
      jax.block_until_ready(logged)
      assert compiled, 'the first step is compiled: is the event still called backend_compile?'
      if step == 0:
        compiled_first = len(compiled)
  finally:
    jax.monitoring.unregister_event_duration_listener(listener)
  assert step == 5 and len(compiled) == compiled_first
