"""Made feature sets in the place of extracted ones, for tests of what is done with them; no test of its own."""

import types

import numpy as np

from data_prep.core.errors import DataError
from e2e_affect.input import corpus, pipeline, recordings


def labels_as_features(config, monkeypatch, name='egemaps', noise=0.0):
  """Lets a set of the network be the labels of every recording, and a third column that counts steps from 1.

  So a reader's order shows, and there is something to learn.

  Args:
    config: `data.dir` is read.
    monkeypatch: of the test.
    name: of the set.
    noise: deviation of what is added to the labels.

  Returns:
    What each recording has, [T, 3], by its name.
  """
  manifest = recordings.read_manifest(config.data.dir)
  values = {}
  for partition in ('train', 'validation', 'test'):
    for recording in recordings.recordings(manifest, config.data.dir, partition):
      rows = list(pipeline.read_records(config, manifest, [recording], [], 1))
      label = np.concatenate([row['label'] for row in rows])[: recording.steps]
      label += np.random.default_rng(len(values)).normal(0, noise, label.shape).astype(np.float32)
      steps = np.arange(1, recording.steps + 1, dtype=np.float32)[:, None]
      values[recording.name] = np.concatenate([label, steps / 100], axis=1)

  def load(folder, found, asked, options=None, *, partitions=None):
    if folder != config.data.dir or found != manifest or asked != name:
      raise DataError(f'{folder}: {asked} was not to be read')
    return types.SimpleNamespace(
      name=name, columns=('arousal', 'valence', 'step'), standardised=lambda r, steps=slice(None): values[r][steps]
    )

  monkeypatch.setattr(corpus.store, 'load', load)
  return values
