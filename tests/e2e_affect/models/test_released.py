"""The authors' network, as configs/released.py runs it, against the same in plain TensorFlow operations."""

import functools

import jax
import ml_collections
import numpy as np
import pytest

from configs import released
from data_prep.core.errors import DataError, UserError
from e2e_affect.config import defaults, ranges
from e2e_affect.heads import losses
from e2e_affect.models import affect
from e2e_affect.train import init_from, train_state
from e2e_affect.weights import detect, store
from tests import reference_networks as reference
from tests.networks import layout

STEPS = 150
CLOSE = 1e-4  # predictions are of the order of 1


def shapes(config):
  """A state without numbers: all of them must come from the weights."""
  return jax.eval_shape(lambda: train_state.init_state(config, layout(config)))


def predictions(config, audio, face):
  """[T, 2] of int16 sound [T, 640] and uint8 frames [T, 96, 96, 3], as evaluation makes them."""
  config = init_from.settle(config)
  state = init_from.start(shapes(config), config)
  batch = {
    'valid': np.ones((1, len(audio)), np.float32),
    'audio': audio[None],
    'audio_mean': np.full(1, 50.0, np.float32),
    'audio_std': np.full(1, 900.0, np.float32),
    'audio_gain': np.ones(1, np.float32),
    'face': face[None],
    'face_found': np.ones((1, len(audio)), np.float32),
  }
  used = {'speech': ('audio', 'audio_mean', 'audio_std', 'audio_gain'), 'visual': ('face', 'face_found')}
  names = ('valid', *(name for modality in config.model.modalities for name in used[modality]))
  model = affect.make_model(config, layout(config), None)
  inputs = affect.inputs_of(
    {name: batch[name] for name in names}, model.config, ml_collections.FrozenConfigDict(config.augment), None
  )
  return np.asarray(model.apply(state.evaluated(), inputs, train=False)[0][0])


def imported_config(tmp_path, variables, argument='', version=2):
  reference.write_tf_checkpoint(tmp_path / 'model.ckpt-7', variables, version)
  store.write(tmp_path / 'imported', detect.import_file(tmp_path / 'model.ckpt-7'), 'model.ckpt-7')
  config = released.get_config(argument)
  config.pretrained = str(tmp_path / 'imported')
  return config


def sound_and_frames(count):
  rng = np.random.default_rng(2)
  return (
    rng.integers(-9000, 9000, (count, 640)).astype(np.int16),
    rng.integers(0, 256, (count, 96, 96, 3)).astype(np.uint8),
  )


@pytest.mark.slow
def test_speech_under_the_new_names(tmp_path):
  variables = reference.random_authors_network(('speech',))
  slots = {
    'global_step': np.array(9),
    'beta1_power': np.array(0.9, np.float32),
    'audio_model/Conv/weights/Adam': np.zeros((1, 20, 1, 40), np.float32),
  }
  config = imported_config(tmp_path, variables | slots, 'speech')
  audio, face = sound_and_frames(STEPS)
  expected = reference.authors_network(variables, audio.astype(np.float32) / 32768, None)
  assert expected.std(axis=0).min() > 0.01  # it says something
  np.testing.assert_allclose(predictions(config, audio, face), expected, atol=CLOSE)


@pytest.mark.slow
def test_fused_under_the_old_names(tmp_path):
  variables = reference.random_authors_network(('speech', 'visual'))
  assert len(variables) == 287  # as their own code makes them
  old = reference.old_names(variables)
  assert {'RNN/MultiRNNCell/Cell0/LSTMCell/W_0', 'RNN/MultiRNNCell/Cell1/LSTMCell/W_F_diag'} <= set(old)
  config = imported_config(tmp_path, old, version=1)
  audio, face = sound_and_frames(STEPS)
  expected = reference.authors_network(variables, audio.astype(np.float32) / 32768, face.astype(np.float32) / 255)
  np.testing.assert_allclose(predictions(config, audio, face), expected, atol=CLOSE)


@pytest.mark.slow
def test_visual_has_its_place(tmp_path):
  config = imported_config(tmp_path, reference.random_authors_network(('visual',)), 'visual')
  config = init_from.settle(config)
  state = init_from.start(shapes(config), config)
  assert set(state.params) == {'visual', 'recurrent'}
  assert config.model.visual.batch_norm == 'frozen' and config.model.visual.std == (1.0, 1.0, 1.0)


@pytest.mark.parametrize(
  'field, value',
  [
    ('recurrent.peepholes', False),
    ('recurrent.cell_clip', 0.0),
    ('speech.normalise', 'recording'),
    ('speech.variant', 'paper'),
  ],
)
def test_a_config_that_contradicts_the_weights_is_refused(tmp_path, field, value):
  config = imported_config(tmp_path, reference.random_authors_network(('speech',)), 'speech')
  config.update_from_flattened_dict({f'model.{field}': value})
  with pytest.raises(UserError, match=rf'config\.model\.{field} = .* needs .*; set --config\.model\.{field}='):
    init_from.settle(config)


@pytest.mark.parametrize(
  'lacking, said',
  [
    ('rnn/multi_rnn_cell/cell_1/lstm_cell/w_f_diag', 'cell_1/lstm_cell/peephole_f'),
    ('audio_model/Conv_1/BatchNorm/gamma', 'audio_model/Conv_1/BatchNorm/gamma'),
    ('fully_connected/weights', 'fully_connected/weights'),
  ],
)
def test_what_is_missing_or_left_over_is_named(tmp_path, lacking, said):
  variables = reference.random_authors_network(('speech',))
  del variables[lacking]
  variables['audio_model/Conv_2/weights'] = np.zeros(3, np.float32)
  reference.write_tf_checkpoint(tmp_path / 'model.ckpt', variables)
  with pytest.raises(DataError) as e:
    detect.import_file(tmp_path / 'model.ckpt')
  assert said in str(e.value) and 'left over: audio_model/Conv_2/weights' in str(e.value) and '\n' not in str(e.value)


def test_weights_of_another_network_are_refused(tmp_path):
  config = imported_config(tmp_path, reference.random_authors_network(('speech',)), 'visual')
  with pytest.raises(UserError, match='is for recurrent, speech, the network has recurrent, visual; choose'):
    init_from.settle(config)


def test_nothing_to_evaluate_is_refused():
  with pytest.raises(UserError, match='epochs = 0'):
    ranges.check(released.get_config())


def test_the_training_of_the_authors_is_that_of_the_config():
  """Their emotion_train.py, data_provider.py and resnet_arg_scope; the defaults are the paper's."""
  ours, theirs = (module.get_config() for module in (defaults, released))
  fields = (
    'weight_decay',
    'model.recurrent.restart_steps',
    'model.visual.batch_norm_momentum',
    'augment.tf1_resize',
    'augment.whole_face',
    'augment.per_frame',
    'augment.saturation_first',
  )
  value = lambda config, field: functools.reduce(lambda c, name: c[name], field.split('.'), config)
  assert [value(theirs, field) for field in fields] == [1e-4, 150, 0.997, True, True, True, True]
  assert [value(ours, field) for field in fields] == [0.0, 0, 0.9, False, False, False, False]


@pytest.mark.slow
def test_the_weight_penalty_is_slims_over_the_authors_variables(tmp_path):
  tf = pytest.importorskip('tensorflow')
  variables = reference.random_authors_network(('speech', 'visual'))
  config = init_from.settle(imported_config(tmp_path, variables))
  params = init_from.start(shapes(config), config).params
  decayed = [value for name, value in variables.items() if name.endswith('/weights') and '_model/' in name]
  assert len(decayed) == 2 + 53
  expected = sum(float(tf.nn.l2_loss(value.astype(np.float64))) for value in decayed)
  np.testing.assert_allclose(losses.weight_penalty(params), expected, rtol=1e-5)
