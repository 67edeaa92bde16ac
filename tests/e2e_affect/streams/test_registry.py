"""A stream that is added from outside of the package is stored, trained on, evaluated and reported."""

import numpy as np
import pytest

from data_prep import streams as prepared
from data_prep.schema import records
from data_prep.schema.fields import Field
from data_prep.schema.grid import Grid
from data_prep.shards import write
from e2e_affect import streams
from e2e_affect.streams.base import Stream
from e2e_affect.train import loop

GRID = Grid(step_seconds=0.5, sample_rate=16_000, steps_per_record=2)


class Stored:
  """Rate and height of the pulse in a step."""

  name = 'pulse'

  def fields(self, grid, options):
    return (Field('pulse', (2,)),)


class Pulse(Stream):
  """[B, T, 2] are features already."""

  name = 'pulse'
  part = False
  evidence = 'pulse'
  lack = 'pulse'

  def inputs(self, batch, model, augment, keys):
    return {'pulse': batch['pulse']}

  def features(self, inputs, model, *, core, norm, dtype, train, keys):
    return inputs['pulse'].astype(dtype)


@pytest.fixture
def registered(monkeypatch):
  monkeypatch.setattr(prepared, 'STREAMS', dict(prepared.STREAMS))
  monkeypatch.setattr(streams, 'STREAMS', streams.STREAMS)
  prepared.register(Stored())
  streams.register(Pulse())
  yield
  del streams.STREAMS['pulse']


@pytest.mark.slow
@pytest.mark.usefixtures('registered')
def test_a_stream_from_outside_is_learnt_from_with_a_label_every_half_second(small_config, tmp_path):
  rng = np.random.default_rng(0)
  layout = prepared.layout(['arousal', 'valence'], GRID, ['pulse'])
  shards = []
  for name, partition in (('A', 'train'), ('B', 'train'), ('C', 'validation'), ('D', 'test')):
    label = rng.uniform(-1, 1, (40, 2)).astype(np.float32)
    ones = np.ones(2, np.float32)
    rows = [
      records.Record(name, 'S' + name, k, label[2 * k : 2 * k + 2], ones, ones, {'pulse': label[2 * k : 2 * k + 2]})
      for k in range(20)
    ]
    shards += write.write_recording(tmp_path / 'data', rows, layout, partition=partition)
  scale = {target: [1.0, 0.0] for target in layout.targets}
  write.finish(tmp_path / 'data', shards, layout, label_scale=scale, preparation={})

  small_config.data.dir, small_config.data.sequence_steps = str(tmp_path / 'data'), 10
  small_config.model.modalities = ('pulse',)
  small_config.epochs, small_config.learning_rate, small_config.evaluate_every_epochs = 60, 0.03, 60.0
  found = loop.train_and_evaluate(small_config, str(tmp_path / 'run'))
  assert found['test']['raw']['ccc']['arousal'] > 0.5 and found['test']['scored_steps'] == 40
  assert (tmp_path / 'run' / 'report.html').exists()
  with pytest.raises(ValueError, match='pulse. is registered already'):
    streams.register(Pulse())
