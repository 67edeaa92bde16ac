"""EMO-AffectNet against the same network in plain PyTorch and plain Keras; each switch set wrong must show."""

import functools

import jax
import ml_collections
import numpy as np
import pytest

from data_prep.core.errors import DataError
from e2e_affect.config import defaults, switches
from e2e_affect.layers.resnet import Bottleneck
from e2e_affect.models import expression
from e2e_affect.weights import detect, emo_affectnet
from tests import reference_emo_affectnet as reference
from tests import reference_networks

EXACT = 1e-5  # relative error of float32 through fifty layers
WRONG = 1e-2


@functools.cache
def static():
  return reference.random_static()


@functools.cache
def zeros():
  """The static file's names and shapes."""
  return {name: np.zeros(value.shape, np.float32) for name, value in static().items() if value.ndim}


def save(torch, path, arrays, **options):
  torch.save({name: torch.from_numpy(np.asarray(value)) for name, value in arrays.items()}, path, **options)
  return path


def faces(size, count=1):
  """RGB uint8, coarse squares: noise of single pixels averages out behind the first layers."""
  rng = np.random.default_rng(6)
  return rng.integers(0, 256, (count, size // 8, size // 8, 3), np.uint8).repeat(8, axis=1).repeat(8, axis=2)


def ours(imported, images, **changes):
  """Output of every unit, features and probabilities of RGB in [0, 255]; `changes` sets switches otherwise."""
  model = ml_collections.ConfigDict(defaults.get_config().model)
  visual = switches.follow(model, {'file': imported.switches}).visual
  with visual.unlocked():
    visual.update(changes)
  network = expression.ExpressionNetwork(visual, temporal=False)
  normalised = (images / np.float32(255) - np.float32(visual.mean)) / np.float32(visual.std)
  variables = {'params': imported.params | imported.beside, 'batch_stats': imported.batch_stats}
  features, captured = network.apply(
    variables,
    normalised.astype(np.float32),
    method='features',
    capture_intermediates=lambda module, _: isinstance(module, Bottleneck),
  )
  units = captured['intermediates']['visual']
  outputs = [np.asarray(units[name]['__call__'][0]) for name in sorted(units) if name.startswith('stage')]
  return [*outputs, np.asarray(features), np.asarray(network.apply(variables, features, method='classes'))]


def error(a, b):
  assert a.shape == b.shape
  return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.fixture(scope='module')
def imported(tmp_path_factory, torch):
  return detect.import_file(save(torch, tmp_path_factory.mktemp('static') / 'x.bin', static()))


@pytest.mark.slow
@pytest.mark.parametrize('kind', ['torch', 'keras'])
def test_every_unit_and_the_probabilities_at_224_pixels(tmp_path, torch, kind):
  images = faces(224)
  if kind == 'torch':
    path = save(torch, tmp_path / 'FER_static_ResNet50_AffectNet.pt', static())
    expected = reference.torch_static(static(), images)
  else:
    model, run = reference.keras_static(static(), 224)
    path = tmp_path / 'weights_66_37.h5'
    model.save(path)
    expected = run(images)
  imported = detect.import_file(path)
  assert imported.format == emo_affectnet.FORMAT and list(imported.params) == ['visual']
  found = ours(imported, images)
  assert len(found) == 16 + 2 and expected[0].shape == (1, 55, 55, 256)  # 224 -> 112 -> 55, without padding
  assert expected[-1].max() - expected[-1].min() > 0.05  # probabilities that tell classes apart
  for place, (a, b) in enumerate(zip(found, expected, strict=True)):
    assert error(a, b) < EXACT, (place, error(a, b))
  assert np.abs(found[-1] - expected[-1]).max() < EXACT


@pytest.mark.slow
def test_the_two_references_are_one_network(torch):
  """Written apart from each other: what both have wrong would have to be wrong twice."""
  del torch
  images = faces(96)
  for a, b in zip(reference.torch_static(static(), images), reference.keras_static(static(), 96)[1](images)):
    assert error(a, b) < EXACT


@pytest.mark.slow
@pytest.mark.parametrize(
  'switch, wrong',
  [
    ('stride_on', '3x3'),
    ('stem_padding', 'SYMMETRIC'),
    ('stem_pool_padding', 'SAME'),
    ('stem_pool_padding', 'SYMMETRIC'),
    ('batch_norm_epsilon', 1e-5),
    ('mean', (0.485, 0.456, 0.406)),
    ('std', (0.229, 0.224, 0.225)),
    ('channels', 'BGR'),
  ],
)
def test_a_wrong_switch_shows(imported, switch, wrong):
  images = faces(72)  # small, so that the border, where pools differ, is a large share of it
  expected = reference.torch_static(static(), images)[-2]
  right = ours(imported, images)[-2]
  assert error(right, expected) < EXACT
  if switch == 'channels':
    found = ours(imported, images[..., ::-1])[-2]
  else:
    assert imported.switches[f'visual.{switch}'] != wrong
    found = ours(imported, images, **{switch: wrong})[-2]
  assert error(found, expected) > WRONG, error(found, expected)


def temporal_network(torch, path):
  imported = detect.import_file(save(torch, path, reference.random_temporal()))
  model = ml_collections.ConfigDict(defaults.get_config().model)
  network = expression.ExpressionNetwork(switches.settled(model).visual, temporal=True)
  return jax.jit(lambda x: network.apply({'params': imported.beside}, x, method='classes'))


@pytest.mark.parametrize('steps', [pytest.param(300, marks=pytest.mark.slow), 47, 12, 10, 5, 1])
def test_the_temporal_network_over_sixty_seconds(tmp_path, torch, steps):
  rng = np.random.default_rng(4)
  features = np.maximum(rng.normal(0, 1, (steps, 512)), 0).astype(np.float32)
  expected = reference.torch_temporal(reference.random_temporal(), features)
  found = expression.of_windows(temporal_network(torch, tmp_path / 'x.pt'), features, np.ones(steps))
  np.testing.assert_allclose(found, expected, atol=1e-5)
  np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
  assert steps < 47 or np.abs(np.diff(expected, axis=0)).max() > 0.05  # the traces move


def test_steps_without_a_face(tmp_path, torch):
  """Steps 0-2 show the face of step 3, steps 14 and later that of step 13; from 20 on no window sees one."""
  rng = np.random.default_rng(4)
  features = np.maximum(rng.normal(0, 1, (34, 512)), 0).astype(np.float32)
  found = np.zeros(34)
  found[3:14] = 0.9
  shown = features.copy()
  shown[:3], shown[14:] = features[3], features[13]
  run = temporal_network(torch, tmp_path / 'x.pt')
  traces = expression.of_windows(run, features, found)
  expected = expression.of_windows(run, shown, np.ones(34))
  np.testing.assert_allclose(traces[:15], expected[:15], atol=1e-6)
  # The window of step 15 on sees no face: steps 15-19 have the one before alone.
  np.testing.assert_allclose(traces[15:20], np.repeat(traces[15:16], 5, axis=0), atol=1e-6)
  np.testing.assert_allclose(traces[20:], 1 / 7)
  np.testing.assert_allclose(expression.of_windows(run, features, np.zeros(34)), 1 / 7)


def test_torchvision_is_another_format(tmp_path, torch):
  weights = reference_networks.random_resnet50()
  assert 'torchvision' in detect.import_file(save(torch, tmp_path / 'a.pth', weights)).format
  assert detect.import_file(save(torch, tmp_path / 'b.pth', zeros())).format == emo_affectnet.FORMAT


def test_a_copy_under_the_names_of_torchvision_is_refused(tmp_path, torch):
  """Public programs rename the keys and load with `strict=False`: the features are then wrong."""
  rename = lambda name: (
    name.replace('conv_layer_s2_same', 'conv1').replace('batch_norm', 'bn').replace('i_downsample', 'downsample')
  )
  path = save(torch, tmp_path / 'x.pth', {rename(name): value for name, value in zeros().items()})
  with pytest.raises(DataError, match='left over: fc1.bias, fc1.weight, fc2.bias and 1 more'):
    detect.import_file(path)


def test_what_is_not_whole_is_one_line(tmp_path, torch):
  whole = zeros()
  less = {name: value for name, value in whole.items() if name != 'fc1.bias' and 'layer4.2.conv3' not in name}
  with pytest.raises(DataError, match=r'missing: layer4\.2\.conv3\.weight, fc1\.bias; nothing was imported') as e:
    detect.import_file(save(torch, tmp_path / 'less.pt', less))
  assert '\n' not in str(e.value)
  other = whole | {'fc2.weight': np.zeros((8, 512), np.float32), 'fc2.bias': np.zeros(8, np.float32)}
  with pytest.raises(DataError, match=r'fc2\.weight is \[8, 512\], expected \[7, 512\]'):
    detect.import_file(save(torch, tmp_path / 'eight.pt', other))
  temporal = reference.random_temporal()
  del temporal['lstm2.bias_hh_l0']
  with pytest.raises(DataError, match=r'missing: lstm2\.bias_hh_l0'):
    detect.import_file(save(torch, tmp_path / 'temporal.pt', temporal))
  path = save(torch, tmp_path / 'cut.pt', whole)
  path.write_bytes(path.read_bytes()[: 40 << 20])
  with pytest.raises(DataError) as e:
    detect.import_file(path)
  assert '\n' not in str(e.value) and str(path) in str(e.value)


def test_a_keras_file_without_its_dense_layers_is_refused(tmp_path):
  import h5py

  path = tmp_path / 'vggface2.h5'
  with h5py.File(path, 'w') as f:
    f['conv1_7x7_s2/conv1_7x7_s2/kernel:0'] = np.zeros((7, 7, 3, 64), np.float32)
  with pytest.raises(DataError, match=r'missing: conv1_7x7_s2_bn/gamma'):
    detect.import_file(path)


def test_torchscript_is_refused_with_the_way_out(tmp_path, torch):
  """A program with its weights: nothing of it is run, not to get at the weights either."""

  class Static(torch.nn.Module):
    def __init__(self):
      super().__init__()
      self.conv_layer_s2_same = torch.nn.Conv2d(3, 64, 7, bias=False)

    def forward(self, x):
      return self.conv_layer_s2_same(x)

  path = tmp_path / 'torchscript_model_0_66_37_wo_gl.pth'
  torch.jit.save(torch.jit.script(Static()), str(path))
  with pytest.raises(DataError, match=r'TorchScript, .* torch\.save\(torch\.jit\.load\(FILE\)\.state_dict\(\), …\)'):
    detect.import_file(path)
