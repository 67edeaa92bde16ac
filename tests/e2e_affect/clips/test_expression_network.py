"""EMO-AffectNet as a network for clips: from its files to probabilities, and what its outputs say of its origin."""

import csv
import dataclasses
import json
import pathlib

import jax
import numpy as np
import pytest

from configs import visual
from data_prep.core.errors import UserError
from e2e_affect import streams
from e2e_affect.clips import analyse, exported, expression_network, import_weights, model_card
from e2e_affect.models import affect
from e2e_affect.train import init_from, train_state
from e2e_affect.weights import emo_affectnet, emo_affectnet_origin
from e2e_affect.weights.tensors import Imported
from tests import clips
from tests import reference_emo_affectnet as reference

CLASSES = list(emo_affectnet.CLASSES)


@pytest.fixture(scope='module')
def torch():
  return pytest.importorskip('torch', reason='compares with PyTorch, which `make install EXTRAS=test,dev` installs')


def save(torch, path, arrays):
  torch.save({name: torch.from_numpy(np.asarray(value)) for name, value in arrays.items()}, path)
  return str(path)


def small(temporal='FER_dinamic_LSTM_CREMA-D.pt'):
  """A network of a sixteenth of the width that sees 32 pixels, with random parameters."""
  of = lambda switches: Imported('', params={}, batch_stats={}, switches=switches, mapping=[], ignored=[])
  origin = emo_affectnet_origin.of('FER_static_ResNet50_AffectNet.pt', temporal)
  empty = expression_network.make(of(emo_affectnet.SWITCHES), of({}) if temporal else None, origin)
  config = empty.config
  with config.unlocked():
    config.model.visual.width, config.model.visual.image_size = 4, 32
  rng = np.random.default_rng(0)
  shapes = expression_network.ExpressionClips.shapes(config, empty.about)

  def draw(path, leaf):
    kind = path[-1].key
    fan_in = max(1, np.prod(leaf.shape[:-1]))
    return np.ones(leaf.shape, 'f') if kind in ('scale', 'var') else rng.normal(0, fan_in**-0.5, leaf.shape).astype('f')

  return expression_network.ExpressionClips(config, jax.tree_util.tree_map_with_path(draw, shapes), empty.about)


@pytest.mark.slow
@pytest.mark.parametrize('temporal', [True, False])
def test_two_files_become_a_network_that_predicts(tmp_path, torch, temporal):
  """Faces of 4.6 s, the third without a face: as PyTorch's ResNet-50 and LSTM see them."""
  static, windows = reference.random_static(), reference.random_temporal()
  files = [save(torch, tmp_path / 'static.pt', static)]
  files += [save(torch, tmp_path / 'FER_dinamic_LSTM_Aff-Wild2.pt', windows)] if temporal else []
  import_weights.import_weights(files[0], str(tmp_path / 'out'), *files[1:])
  network = exported.load(tmp_path / 'out')
  faces = np.random.default_rng(1).integers(0, 256, (23, 14, 14, 3), np.uint8).repeat(16, axis=1).repeat(16, axis=2)
  found = np.ones(23, np.float32)
  found[2] = 0
  traces = network(faces=faces, face_found=found)
  np.testing.assert_allclose(traces['time'][:3], [0, 0.2, 0.4])
  *_, features, probabilities = reference.torch_static(static, faces)
  if temporal:
    features[2] = features[1]
    expected = reference.torch_temporal(windows, features)
  else:
    expected = probabilities
    expected[2] = 1 / 7
  np.testing.assert_allclose(np.stack([traces[name] for name in CLASSES], axis=1), expected, atol=1e-5)


@pytest.mark.slow
def test_a_visual_network_starts_from_it(tmp_path, torch):
  """The fields on 'auto' follow the file, the ResNet is its own, and the classes are left out."""
  static = reference.random_static()
  import_weights.import_weights(save(torch, tmp_path / 'static.pt', static), str(tmp_path / 'out'))
  config = visual.get_config()
  config.pretrained = str(tmp_path / 'out')
  config = init_from.settle(config)
  of = config.model.visual
  assert (of.stride_on, of.stem_padding, of.stem_pool_padding, of.batch_norm_epsilon) == ('1x1', 'SAME', 'VALID', 1e-3)
  assert of.image_size == 96 and of.batch_norm == 'frozen'
  np.testing.assert_allclose(255 * np.array(of.mean), (131.0912, 103.8827, 91.4953))  # of R, G, B
  layout = streams.layout_of_paper(config.model, ['arousal', 'valence'])
  zeros = jax.tree.map(
    lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(lambda: affect.init_variables(config, layout))
  )
  state = init_from.start(train_state.first_state(**zeros, config=config), config)
  kernel = state.params['visual']['stage4_unit3']['conv3']['kernel']
  np.testing.assert_array_equal(kernel[0, 0].T, static['layer4.2.conv3.weight'][:, :, 0, 0])
  assert set(state.params) == {'visual', 'recurrent'} and not np.any(state.params['recurrent']['head']['kernel'])


def test_files_that_do_not_belong_together_are_refused(tmp_path, torch):
  temporal = save(torch, tmp_path / 'FER_dinamic_LSTM_SAVEE.pt', reference.random_temporal())
  with pytest.raises(UserError, match='needs the static one; name both files, the static one first'):
    import_weights.import_weights(temporal, str(tmp_path / 'out'))
  zeros = {name: np.zeros(value.shape, 'f') for name, value in reference.random_static().items()}
  static = save(torch, tmp_path / 'static.pt', zeros)
  with pytest.raises(UserError, match='of two files the first must be'):
    import_weights.import_weights(static, str(tmp_path / 'out'), static)
  assert not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_an_export_travels(tmp_path):
  network = small()
  exported.save(network, tmp_path / 'net')
  again = exported.load(tmp_path / 'net')
  faces = np.random.default_rng(2).integers(0, 256, (7, 224, 224, 3), np.uint8)
  traces = again(faces=faces)
  np.testing.assert_array_equal(traces['fear'], network(faces=faces)['fear'])
  np.testing.assert_allclose(sum(traces[name] for name in CLASSES), 1, atol=1e-5)
  assert again.crop.size == 224 and again.origin == network.origin and not again.simulated
  content = json.loads((tmp_path / 'net' / 'network.json').read_text())
  (tmp_path / 'net' / 'network.json').write_text(json.dumps(content | {'published': 'other'}))
  with pytest.raises(UserError, match="published network 'other', this program knows emo_affectnet_static"):
    exported.load(tmp_path / 'net')


@pytest.mark.slow
def test_a_clip_without_a_face(tmp_path):
  """Grey pictures: 1/7 each, and every output says on whom the network was trained."""
  path = tmp_path / 'grey.mkv'
  clips.write_clip(path, [np.full((120, 160, 3), 90, np.uint8)] * 30)  # 1.2 s: six steps
  (content,) = analyse.analyse(small(), [str(path)], tmp_path / 'out')
  with (tmp_path / 'out' / 'grey.csv').open() as f:
    rows = list(csv.DictReader(f))
  assert [row['time'] for row in rows] == ['0.00', '0.20', '0.40', '0.60', '0.80', '1.00']
  assert all(abs(float(row[name]) - 1 / 7) < 1e-6 for row in rows for name in CLASSES)
  trained_on = json.loads((tmp_path / 'out' / 'grey.json').read_text())['model']['trained_on']
  assert content['model']['trained_on'] == trained_on
  assert 'CREMA-D' not in ''.join(trained_on['people']) and '10 actors, Russian' in ''.join(trained_on['people'])
  assert 'MIT' in trained_on['licence'] and 'for scientific usage only' in trained_on['licence']
  assert '60.6 % unweighted average recall on CREMA-D' in trained_on['published_scores'][1]


@pytest.mark.parametrize(
  'name, recall',
  [
    ('FER_dinamic_LSTM_Aff-Wild2.pt', '51.6 % unweighted average recall on Aff-Wild2'),
    ('fer_dynamic_lstm_aff_wild2 (1).pt', '51.6 % unweighted average recall on Aff-Wild2'),
    ('FER_dinamic_LSTM_RAVDESS.pt', '65.8 % unweighted average recall on RAVDESS'),
    ('FER_dinamic_LSTM_RAMAS.pt', '44.3 % unweighted average recall on RAMAS'),
    ('FER_dinamic_LSTM_IEMOCAP.pt', '25.1 % unweighted average recall on IEMOCAP'),
    ('FER_dinamic_LSTM_SAVEE.pt', '76.1 % unweighted average recall on SAVEE'),
    ('temporal.pt', '25.1 to 76.1 % unweighted average recall'),
    ('RAVDESS_or_SAVEE.pt', '25.1 to 76.1 % unweighted average recall'),
  ],
)
def test_the_published_recall_of_a_file(name, recall):
  assert recall in emo_affectnet_origin.of('static.pt', name)['scores'][1]


def test_the_model_card():
  card = model_card.card(small())
  for said in (
    '# EMO-AffectNet: neutral, happiness, sadness, surprise, fear, disgust, anger from the face',
    'The page of the model says: MIT. The README of its repository says: for scientific usage only.',
    '60.6 % unweighted average recall on CREMA-D',
    'A face crop of 224×224 pixels RGB, five times a second',
    'windows of ten faces, 2 s, that overlap by half',
    '* AffectNet (faces): some 400,000 photographs from the web',
    '* RAVDESS (videos): 24 actors, English, acted',
    'It must not decide about people',
  ):
    assert said in card, said
  assert 'CREMA-D (videos)' not in card and 'simulated' not in card
  alone = model_card.card(small(temporal=None))
  assert 'Every face is judged by itself' in alone and 'windows of ten' not in alone and 'RAVDESS' not in alone


def test_the_crop_is_as_large_as_stated():
  assert dataclasses.asdict(small().crop) == {'size': 224, 'width': 0.78, 'height': 1.11}


@pytest.mark.slow
def test_a_real_face(tmp_path):
  path = pathlib.Path(__file__).parents[4] / 'shared' / 'data' / 'faces' / 'glasses.mp4'
  if not path.exists():
    pytest.skip(f'{path} is not there')
  (content,) = analyse.analyse(small(), [str(path)], tmp_path)
  assert content['face']['share_of_steps'] > 0.9 and content['step_seconds'] == 0.2
