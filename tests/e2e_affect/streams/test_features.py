"""Networks of feature sets: sizes, the whole way from training to results, and what they refuse."""

import csv
import logging

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import fused
from data_prep.core.errors import UserError
from data_prep.schema.fields import Field, Layout
from data_prep.schema.grid import PAPER
from e2e_affect import export, streams
from e2e_affect.config import ranges
from e2e_affect.models import affect
from e2e_affect.train import loop, train_state
from tests.feature_sets import labels_as_features


def network(sets, **model):
  """Config and layout of a network of sets of these numbers of columns."""
  c = fused.get_config()
  with c.unlocked():
    c.model.modalities = tuple(sets)
    c.model.recurrent.update(units=7, bidirectional=True)
    c.model.features.update(model)
  return c, Layout(['arousal', 'valence'], PAPER, {name: (Field(name, (size,)),) for name, size in sets.items()})


def shapes(config, layout):
  state = jax.eval_shape(lambda: train_state.init_state(config, layout))
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.params)
  }


def test_parameter_counts_of_bidirectional_networks():
  """A layer of H cells over D inputs has 4H·(D + H + 1) in either direction; the next layer and the head see 2H."""
  layer = lambda d: 2 * 4 * 7 * (d + 7 + 1)
  count = lambda *args, **kw: sum(np.prod(s, dtype=int) for s in shapes(*network(*args, **kw)).values())
  assert count({'egemaps': 88}) == layer(88) + layer(14) + 2 * 15
  assert count({'egemaps': 88}, project_to=88) == count({'egemaps': 88})
  assert count({'egemaps': 88}, project_to=5) == 88 * 5 + layer(5) + layer(14) + 2 * 15
  # Only what is wider is projected, each set by itself.
  assert count({'egemaps': 9, 'compare': 40}, project_to=11) == 40 * 11 + layer(9 + 11) + layer(14) + 2 * 15
  assert shapes(*network({'egemaps': 9, 'compare': 40}, project_to=11))['compare/kernel'] == (40, 11)


def test_sets_stand_behind_the_streams_of_the_records():
  """The order of registration is that of concatenation, and so a contract of checkpoints."""
  assert list(streams.STREAMS)[:4] == ['speech', 'visual', 'geometric', 'egemaps']
  assert list(streams.STREAMS)[-2:] == ['first_runs', 'physiology']


@pytest.mark.slow
def test_features_are_concatenated_and_zeros_stay_zeros():
  config, layout = network({'egemaps': 3, 'compare': 6}, project_to=4)
  batch = affect.example_batch(config, layout, 2, 5)
  rng = np.random.default_rng(0)
  batch['egemaps'], batch['compare'] = (
    rng.normal(size=(2, 5, 3)),
    rng.normal(size=(2, 5, 6)) * np.array([1, 0])[:, None, None],
  )
  seen = {}
  model = affect.make_model(config, layout, None)
  variables = affect.init_variables(config, layout)
  inputs = affect.inputs_of(jax.tree.map(jnp.asarray, batch), model.config, config.augment, None)
  with nn.intercept_methods(
    lambda run, args, kwargs, context: seen.setdefault(context.module.name, args[0]) is None or run(*args, **kwargs)
  ):
    model.apply({'params': variables['params']}, inputs, train=False)
  expected = np.concatenate(
    [batch['egemaps'], batch['compare'] @ np.asarray(variables['params']['compare']['kernel'])], 2
  )
  np.testing.assert_allclose(seen['recurrent'], expected, atol=1e-6)
  assert not seen['recurrent'][1, :, 3:].any()


@pytest.mark.parametrize(
  'modalities, field, value, said',
  [
    (('speech', 'egemaps'), 'bidirectional', True, 'False in a network of speech: reading backwards'),
    (('egemaps',), 'warm_up', 3, '0 in a bidirectional network'),
    (('egemaps',), 'restart_steps', 150, '0 in a bidirectional network'),
  ],
)
def test_what_cannot_be_read_backwards_is_refused(modalities, field, value, said):
  config, _ = network({'egemaps': 3})
  ranges.check(config)
  with config.unlocked():
    config.model.modalities, config.model.recurrent[field] = modalities, value
  with pytest.raises(UserError, match=f'config.model.recurrent.{field} = {value}, expected {said}'):
    ranges.check(config)


@pytest.fixture
def blstm(small_config, monkeypatch):
  """A network of noisy labels as features, which reads both ways."""
  labels_as_features(small_config, monkeypatch, noise=0.05)
  c = small_config
  c.model.modalities = ('egemaps',)
  c.model.recurrent.bidirectional, c.model.recurrent.input_scale = True, 1.0
  c.data.cache, c.learning_rate, c.epochs, c.evaluate_every_epochs = 'host', 0.02, 30, 30.0
  return c


def traces(workdir, partition):
  with open(workdir / 'predictions' / f'{partition}.csv', newline='') as file:
    return [[float(row['arousal']), float(row['valence'])] for row in csv.DictReader(file)]


@pytest.mark.slow
def test_a_bidirectional_network_trains_evaluates_and_goes_on(blstm, tmp_path, caplog):
  whole = tmp_path / 'whole'
  found = loop.train_and_evaluate(blstm, str(whole))
  assert found['test']['raw']['ccc']['arousal'] > 0.5 and found['test']['raw']['ccc']['valence'] > 0.5
  assert (whole / 'report.html').exists()

  # Killed after some updates and started again, it ends as if it had not been.
  blstm.total_steps = 20
  loop.train_and_evaluate(blstm, str(tmp_path / 'parts'))
  blstm.total_steps = 0
  caplog.set_level(logging.INFO)
  assert loop.train_and_evaluate(blstm, str(tmp_path / 'parts'))['test'] == found['test']
  assert 'resuming from update 20' in caplog.text

  # How much is evaluated at once changes nothing: it is always the whole recording.
  before = {partition: traces(whole, partition) for partition in ('validation', 'test')}
  config = loop.workdirs.read_config(whole)
  config.evaluate_chunk_seconds = 1
  loop.workdirs.write_config(whole, config)
  loop.evaluate_only(str(whole), 'test')
  assert {partition: traces(whole, partition) for partition in before} == before

  # A network alone with one recording, not filled up, says the same.
  state, manifest = (
    loop.finish.replicated_best(whole, config, loop.corpus.read(config, None))[0],
    loop.corpus.read(config, None),
  )
  model = affect.make_model(config, manifest, None)
  for partition, name, steps in (('validation', 'D', 110), ('test', 'E', 70)):
    x = manifest.features['egemaps'].standardised(name)
    inputs = {'egemaps': x[None], 'valid': np.ones((1, steps), np.float32)}
    variables = jax.tree.map(lambda leaf: leaf[0], state.evaluated())
    alone, _ = model.apply(variables, inputs, train=False)
    np.testing.assert_allclose(before[partition], alone[0], atol=2e-6)

  with pytest.raises(UserError, match='the network reads egemaps, which corpora alone have'):
    export.export(str(whole), str(tmp_path / 'out'))
