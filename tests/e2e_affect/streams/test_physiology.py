"""The stream of physiology: masks, chunks, and a training on people some of whom wore no sensor."""

import csv
import logging

import jax
import ml_collections
import numpy as np
import pytest

from data_prep import streams as prepared
from data_prep.core.errors import DataError, UserError
from data_prep.schema import records
from data_prep.schema.grid import Grid, PAPER
from data_prep.shards import write
from e2e_affect import streams
from e2e_affect.evaluate import chunks
from e2e_affect.input import recordings
from e2e_affect.layers import recurrent
from e2e_affect.models import affect
from e2e_affect.streams import absence
from e2e_affect.train import loop
from tests.networks import layout, random_network, random_variables, small_config


@pytest.fixture
def config():
  c = small_config('physiology')
  with c.unlocked():
    c.model.physiology.update(filters=3, taps=9, long_taps=21, features=5)
  return c


def batch_of(steps=150, size=2):
  rng = np.random.default_rng(0)
  found = np.ones((size, steps, 2), np.float32)
  found[0, 40:60, 0] = found[1, 70:90, 1] = found[1, 100:] = 0
  return {
    'ecg': rng.normal(size=(size, steps, 10)).astype(np.float32),
    'eda': rng.normal(size=(size, steps, 1)).astype(np.float32),
    'physiology_found': found,
    'valid': np.ones((size, steps), np.float32),
  }


def test_what_is_not_found_or_not_valid_is_zero(config):
  batch = batch_of()
  batch['valid'][0, 140:] = 0
  inputs = affect.inputs_of(batch, config.model, config.augment, None)
  there = batch['physiology_found'] * batch['valid'][:, :, None]
  np.testing.assert_array_equal(inputs['ecg'], batch['ecg'] * there[:, :, :1])
  np.testing.assert_array_equal(inputs['eda'], batch['eda'] * there[:, :, 1:])
  np.testing.assert_array_equal(inputs['physiology_found'], there)
  gone = affect.inputs_of(absence.without(batch, ['physiology']), config.model, config.augment, None)
  assert not any(np.any(gone[name]) for name in ('ecg', 'eda', 'physiology_found'))


def test_how_far_it_sees(config):
  stream = streams.STREAMS['physiology']
  assert stream.reach(config.model, PAPER) == 10 + 1  # 4 samples of the next step
  assert stream.reach(small_config('physiology').model, PAPER) == 20 + 2  # 12 samples of 10 a step
  assert stream.reach(config.model, Grid(0.001, 16_000, 2)) == 10 + 4  # a sample a step
  assert chunks.context_steps(config.model, PAPER) == 25
  with config.unlocked():
    config.model.physiology.long_taps = 51
  assert chunks.context_steps(config.model, PAPER) == 50


@pytest.mark.slow
def test_chunks_give_what_the_whole_recording_gives(config):
  of_data = layout(config)
  variables, batch = random_variables(config, of_data), batch_of()
  model = affect.make_model(config, of_data, None)
  inputs = affect.inputs_of(batch, model.config, config.augment, None)
  whole, _ = model.apply(variables, inputs, train=False)
  context, size = chunks.context_steps(config.model, PAPER), 50
  around = {name: np.pad(of, ((0, 0), (context,) * 2, *((0, 0),) * (of.ndim - 2))) for name, of in batch.items()}
  carry = recurrent.initial_carry(2, 2, config.model.recurrent.units)
  frozen = ml_collections.FrozenConfigDict(config)
  pieces = []
  for first in range(0, 150, size):
    piece = {name: of[:, first : first + size + 2 * context] for name, of in around.items()}
    piece |= {'label': np.zeros((2, size + 2 * context, 2)), 'mask': piece['valid']}
    of_chunk, _ = chunks.split(piece, context, config.model, of_data)
    said, carry = chunks.eval_step(variables, of_chunk, carry, model=model, config=frozen, context=context)
    pieces.append(said)
  np.testing.assert_allclose(np.concatenate(pieces, axis=1), whole, atol=2e-6)
  assert np.ptp(whole[0], axis=0).min() > 1e-3  # it says something


@pytest.mark.slow
def test_features_of_who_wears_no_sensor_are_zero(config):
  of_data = layout(config)
  variables, batch = random_variables(config, of_data), batch_of(50)
  model = affect.make_model(config, of_data, None)

  def said(batch):
    return model.apply(variables, affect.inputs_of(batch, model.config, config.augment, None), train=False)[0]

  nothing = said(absence.without(batch, ['physiology']))
  zeros = said({name: of * 0 if name != 'valid' else of for name, of in batch.items()})
  np.testing.assert_array_equal(nothing, zeros)
  np.testing.assert_array_equal(nothing[0], nothing[1])
  assert np.abs(said(batch) - nothing).max() > 1e-3


def test_clips_have_no_sensors(config):
  with pytest.raises(UserError, match='the network reads physiology, which corpora alone have; analyse clips by'):
    random_network(config)


def data(folder):
  """People whose skin is their arousal; B, to train on, and D, to test on, wear no sensor, and E no electrodes."""
  rng = np.random.default_rng(3)
  of_data = prepared.layout(['arousal', 'valence'], PAPER, ['physiology'])
  shards = []
  for name, partition in (*[(name, 'train') for name in 'ABFG'], ('C', 'validation'), ('D', 'test'), ('E', 'test')):
    label = np.cumsum(rng.normal(0, 0.1, (200, 2)), axis=0).clip(-1, 1).astype(np.float32)
    found = np.ones((200, 2), np.float32) * {'B': (0, 0), 'D': (0, 0), 'E': (0, 1)}.get(name, (1, 1))
    ecg = rng.normal(size=(200, 10)) * found[:, :1]
    eda = 3 * label[:, :1] * found[:, 1:]
    ones, rows = np.ones(25, np.float32), []
    for k in range(8):
      steps = slice(25 * k, 25 * k + 25)
      values = {
        'ecg': ecg[steps].astype(np.float32),
        'eda': eda[steps].astype(np.float32),
        'physiology_found': found[steps].astype(np.float32),
      }
      rows.append(records.Record(name, 'S' + name, k, label[steps], ones, ones, values))
    shards += write.write_recording(folder, rows, of_data, partition=partition)
  write.finish(folder, shards, of_data, label_scale={t: [1.0, 0.0] for t in of_data.targets}, preparation={})
  return str(folder)


@pytest.mark.slow
def test_people_without_sensors_are_trained_on_and_predicted(config, tmp_path, caplog):
  with config.unlocked():
    config.data.dir, config.data.sequence_steps, config.data.cache = data(tmp_path / 'data'), 50, 'host'
    config.batch_size, config.epochs, config.learning_rate, config.evaluate_every_epochs = 4, 40, 0.01, 40.0
    config.model.physiology.dropout = 0.0
  caplog.set_level(logging.WARNING)
  found = loop.train_and_evaluate(config, str(tmp_path / 'run'))
  assert found['test']['scored_steps'] == 400 and 'no ECG or EDA' not in caplog.text
  with open(tmp_path / 'run' / 'predictions' / 'test.csv', newline='') as file:
    rows = list(csv.DictReader(file))
  of = {
    name: np.array(
      [[float(row[column]) for column in ('arousal', 'arousal_gold')] for row in rows if row['recording'] == name]
    )
    for name in 'DE'
  }
  assert len(of['D']) == 200 and np.isfinite(of['D']).all() and np.ptp(of['D'][25:, 0]) < 0.05
  assert np.corrcoef(of['E'].T)[0, 1] > 0.8


def test_data_without_the_stream_are_refused(config, data_dir):
  with config.unlocked():
    config.data.dir = data_dir
  with pytest.raises(DataError, match='its records have no physiology stream, and config.model.modalities'):
    recordings.check_fields(config, recordings.read_manifest(data_dir))


@pytest.mark.slow
def test_every_parameter_is_learnt(config):
  """A gradient reaches all of them."""
  of_data = layout(config)
  variables, batch = random_variables(config, of_data), batch_of(50)
  model = affect.make_model(config, of_data, None)
  inputs = affect.inputs_of(batch, model.config, config.augment, None)
  grads = jax.grad(lambda params: (model.apply({'params': params}, inputs, train=False)[0] ** 2).sum())(
    variables['params']
  )
  assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(grads['physiology']))
