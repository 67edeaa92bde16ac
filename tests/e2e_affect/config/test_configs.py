"""Every config is built, locked, checked and traced, and has a name by which every command finds it."""

import dataclasses
import importlib
import pathlib

import jax
import ml_collections
import pytest

from configs import classes, fused
from configs.baselines import blstm
from data_prep.core.errors import UserError
from data_prep.simulate import embedded
from e2e_affect.config import defaults, experiments, ranges
from e2e_affect.models import affect
from e2e_affect.train import train_state, update
from tests.networks import layout

ROOT = pathlib.Path(__file__).resolve().parents[3]
FILES = sorted(p.stem for p in (ROOT / 'configs').glob('*.py') if p.stem not in ('__init__', 'classes'))


@pytest.mark.parametrize(
  'name, argument',
  [
    pytest.param(name, argument, marks=[pytest.mark.slow] * (name in ('fused', 'released', 'visual') and not argument))
    for name in FILES
    for argument in ('', 'demo')
  ],
)
def test_every_config_builds_and_traces(name, argument):
  module = importlib.import_module(f'configs.{name}')
  assert f'python -m e2e_affect.main --config=configs/{name}.py' in module.__doc__
  config = module.get_config(argument)
  assert config.name == name
  if not config.epochs:
    config.pretrained = 'weights'
  state = after_one_update(config)
  assert state.params['recurrent']['lstm_0']['recurrent_kernel'].shape == (256, 1024)


@pytest.mark.parametrize('loss', blstm.LOSSES)
@pytest.mark.parametrize('features', blstm.FEATURES)
def test_every_blstm_builds_and_traces(features, loss):
  assert 'python -m e2e_affect.main --config=configs/baselines/blstm.py:egemaps_ccc' in blstm.__doc__
  demo = blstm.get_config(f'{features}_{loss}_demo')
  assert demo.loss == loss and demo.epochs < 60
  config = blstm.get_config(f'{features}_{loss}')
  assert config.model.modalities == demo.model.modalities == blstm.FEATURES[features]
  if (features, loss) == ('egemaps', 'ccc'):
    assert config == blstm.get_config()
  for one in (config, demo):
    state = after_one_update(one)
    assert state.params['recurrent']['lstm_1_backward']['kernel'].shape == (128, 256)
  projected = {name for name in state.params if name != 'recurrent'}
  assert projected == set(blstm.FEATURES[features])  # all have more columns here than their layers outputs
  with pytest.raises(ValueError, match='unknown config argument .egemaps.; known: '):
    blstm.get_config('egemaps')


@pytest.mark.parametrize('argument', ['', *(pytest.param(of, marks=pytest.mark.slow) for of in ('visual', 'fused'))])
def test_the_config_of_classes_builds_and_traces(argument):
  assert 'python -m e2e_affect.main --config=configs/classes.py' in classes.__doc__
  config = classes.get_config(argument)
  assert config.name == '_'.join(['classes', argument][: 1 + bool(argument)])
  of_data = dataclasses.replace(layout(config, 1), targets=['emotion'], classes={'emotion': ('calm', 'happy', 'angry')})
  state = after_one_update(config, of_data, {'counts': (3, 3)})
  assert state.params['recurrent']['head']['kernel'].shape == (256 if argument else 192, 3)


def after_one_update(config, of_data=None, sums=None):
  """Shapes of the state after one update of a config that is locked and may be trained."""
  assert config.is_locked
  ranges.check(config)
  with pytest.raises((KeyError, AttributeError)):
    config.model.speech.dropuot = 0.1

  of_data = of_data or layout(config)

  def one_update():
    state = train_state.init_state(config, of_data)
    batch = affect.example_batch(config, of_data, config.batch_size, config.data.sequence_steps)
    model = affect.make_model(config, of_data, None)
    return update.train_step(state, batch, 0, model=model, config=ml_collections.FrozenConfigDict(config))

  state, logged = jax.eval_shape(one_update)
  assert logged['loss'].shape == () and all(
    logged['sums'][name].shape == shape for name, shape in (sums or {'mean_p': (2,)}).items()
  )
  return state


def test_every_field_is_explained():
  lines = (ROOT / 'e2e_affect' / 'config' / 'defaults.py').read_text().splitlines()
  unexplained = [
    line for line in lines if line.startswith('  c.') and 'ConfigDict()' not in line and '  # ' not in line
  ]
  assert not unexplained


def test_the_default_data_is_the_embedded_corpus():
  assert defaults.get_config().data.dir == embedded.DEFAULT_DIR


def test_every_config_is_a_built_in_experiment_of_its_own_name():
  paths = [*(ROOT / 'configs').glob('*.py'), *(ROOT / 'configs' / 'baselines').glob('*.py')]
  names = [path.stem for path in paths if path.stem != '__init__']
  assert sorted(names) == sorted(experiments.files())
  assert experiments.config('fused:demo') == fused.get_config('demo') != fused.get_config()
  for file in ('mine.py', 'mine.py:demo', 'folder/mine', './mine:x', '/a/b.py'):
    assert experiments.located(file) == file
  with pytest.raises(UserError, match="no built-in experiment 'fuzed'; did you mean fused. expected one of .*, speech"):
    experiments.located('fuzed:demo')
  with pytest.raises(UserError, match='there/fused.py: not found; --config=fused names the built-in one'):
    experiments.located('there/fused.py:demo')
