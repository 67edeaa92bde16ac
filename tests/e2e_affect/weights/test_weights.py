"""Published ResNet-50 weights against their own frameworks, at every unit; each switch set wrong must show."""

import functools
import json

import numpy as np
import pytest

from e2e_affect.clips.import_weights import visual_network
from e2e_affect.layers.resnet import Bottleneck
from e2e_affect.weights import detect
from tests import reference_networks as reference

SIZES = [(2, 96, 96), (1, 75, 83)]  # frames, height, width
EXACT = 1e-5  # relative error of float32 through fifty layers, seen: 6e-7
WRONG = 1e-2


@functools.cache
def weights():
  return reference.random_resnet50()


def pixels(size, seed=5):
  """RGB in [0, 1]."""
  return np.random.default_rng(seed).uniform(0, 1, (*size, 3)).astype(np.float32)


def ours(imported, images, **changes):
  """Outputs of every unit and the pooled features, of RGB in [0, 1]; `changes` sets switches otherwise."""
  settings = imported.switches | {name.replace('__', '.'): value for name, value in changes.items()}
  network, normalise = visual_network(settings)
  features, captured = network.apply(
    {'params': imported.params['visual'], 'batch_stats': imported.batch_stats['visual']},
    normalise(images),
    np.ones(len(images)),
    False,
    capture_intermediates=lambda module, _: isinstance(module, Bottleneck),
  )
  units = captured['intermediates']
  return [np.asarray(units[name]['__call__'][0]) for name in sorted(units) if name.startswith('stage')] + [
    np.asarray(features)
  ]


def error(a, b):
  return np.linalg.norm(a - b) / np.linalg.norm(b)


def assert_equal(imported, images, expected):
  """Every unit and the features; a unit that its framework strides one layer later is compared where ours is."""
  for place, (a, b) in enumerate(zip(ours(imported, images), expected, strict=True)):
    if a.shape != b.shape:
      a = a[:, ::2, ::2]
    assert a.shape == b.shape
    assert error(a, b) < EXACT, (place, error(a, b))


def assert_switches_matter(imported, images, expected, **wrong):
  for name, value in wrong.items():
    assert imported.switches[name.replace('__', '.')] != value
    found = ours(imported, images, **{name: value})[-1]
    assert error(found, expected) > WRONG, (name, error(found, expected))


def save(torch, path, arrays, **options):
  torch.save({name: torch.from_numpy(np.asarray(value)) for name, value in arrays.items()}, path, **options)
  return path


IMAGENET = lambda images: (images - np.float32((0.485, 0.456, 0.406))) / np.float32((0.229, 0.224, 0.225))


@pytest.mark.slow
@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('kind', ['zip', 'legacy', 'safetensors'])
def test_torchvision_and_timm(tmp_path, torch, kind, size):
  path = tmp_path / 'weights.bin'  # the name says nothing
  if kind == 'safetensors':
    from safetensors.numpy import save_file

    save_file(weights(), path)
  else:
    save(torch, path, weights(), _use_new_zipfile_serialization=kind == 'zip')
  imported = detect.import_file(path)
  assert 'torchvision or timm' in imported.format
  images = pixels(size)
  expected = reference.torch_resnet50(weights(), IMAGENET(images))[1:]
  assert_equal(imported, images, expected)
  if kind == 'zip' and size == SIZES[0]:
    assert_switches_matter(
      imported,
      images,
      expected[-1],
      visual__stride_on='1x1',
      visual__stem_pool_padding='SAME',
      visual__mean=(0.0, 0.0, 0.0),
      visual__std=(1.0, 1.0, 1.0),
    )


def huggingface_names(arrays):
  """torchvision's names -> those of transformers' ResNetForImageClassification."""
  renamed = {}
  for name, value in arrays.items():
    *place, leaf = name.split('.')
    kind = 'normalization' if place[-1].startswith('bn') or place[-2:] == ['downsample', '1'] else 'convolution'
    if place == ['fc']:
      renamed[f'classifier.1.{leaf}'] = value
    elif len(place) == 1:
      renamed[f'resnet.embedder.embedder.{kind}.{leaf}'] = value
    else:
      stage, unit = int(place[0][-1]) - 1, place[1]
      inner = 'shortcut' if 'downsample' in place else f'layer.{int(place[-1][-1]) - 1}'
      renamed[f'resnet.encoder.stages.{stage}.layers.{unit}.{inner}.{kind}.{leaf}'] = value
  return renamed


@pytest.mark.slow
@pytest.mark.parametrize('in_bottleneck, stride_on', [(None, '3x3'), (False, '3x3'), (True, '1x1')])
def test_hugging_face(tmp_path, torch, in_bottleneck, stride_on):
  del torch  # the reference needs it
  from safetensors.numpy import save_file

  path = tmp_path / 'model.safetensors'
  save_file(huggingface_names(weights()), path)
  if in_bottleneck is not None:
    said = {'model_type': 'resnet', 'downsample_in_bottleneck': in_bottleneck}
    (tmp_path / 'config.json').write_text(json.dumps(said))
  imported = detect.import_file(path)
  assert 'Hugging Face' in imported.format and imported.switches['visual.stride_on'] == stride_on
  images = pixels(SIZES[1])
  expected = reference.torch_resnet50(weights(), IMAGENET(images), stride_on)[1:]
  assert_equal(imported, images, expected)
  assert_switches_matter(imported, images, expected[-1], visual__stride_on={'1x1': '3x3', '3x3': '1x1'}[stride_on])


def random_keras(variance=(0.5, 1.0)):
  import keras

  keras.utils.set_random_seed(3)
  model = keras.applications.ResNet50(weights=None, include_top=False, input_shape=(None, None, 3))
  rng = np.random.default_rng(3)
  for variable in model.weights:
    if variable.name == 'moving_variance':
      variable.assign(rng.uniform(*variance, variable.shape))
    elif variable.name == 'gamma':
      variable.assign((np.mean(variance) + 1e-5) ** 0.5 * rng.uniform(0.5, 1.0, variable.shape))
    elif variable.name != 'kernel':
      variable.assign(rng.uniform(-0.3, 0.3, variable.shape))
  outputs = [
    f'conv{stage + 1}_block{unit}_out' for stage, n in enumerate(reference.UNITS, 1) for unit in range(1, n + 1)
  ]
  stages = keras.Model(model.input, [model.get_layer(name).output for name in outputs])

  def run(images):
    units = [np.asarray(x) for x in stages(keras.applications.resnet50.preprocess_input(images * 255))]
    return units + [units[-1].mean(axis=(1, 2))]

  return model, run


def as_older_keras(path, group, step):
  """Takes off the names that Keras stores beside its weights now, and numbers the layers with gaps, as 2.12 did."""
  import h5py

  with h5py.File(path, 'r+') as f:
    for name in list(f['layers']):
      kind, _, number = name.rpartition('_')
      f['layers'][name]['vars'].attrs.pop('name', None)
      if number.isdigit():
        f.move(f'layers/{name}', f'numbered/{kind}_{step * int(number)}')
      else:
        f.move(f'layers/{name}', f'numbered/{name}')
    del f['layers']
    f.move('numbered', group)


@pytest.mark.slow
@pytest.mark.parametrize(
  'kind', ['resnet50.weights.h5', 'whole.h5', 'whole.keras', '2.12.weights.h5', '2.13.weights.h5']
)
def test_keras(tmp_path, kind):
  model, run = random_keras()
  path = tmp_path / kind
  (model.save_weights if kind.endswith('.weights.h5') else model.save)(path)
  if kind.startswith('2.'):
    group, step = {'2.12.weights.h5': ('_layer_checkpoint_dependencies', 2), '2.13.weights.h5': ('layers', 1)}[kind]
    as_older_keras(path, group, step)
  imported = detect.import_file(path.rename(tmp_path / 'no_suffix'))
  assert 'Keras' in imported.format
  for size in SIZES:
    images = pixels(size)
    expected = run(images)
    assert_equal(imported, images, expected)
  assert_switches_matter(
    imported,
    images,
    expected[-1],
    visual__stride_on='3x3',
    visual__stem_pool_padding='SAME',
    visual__mean=imported.switches['visual.mean'][::-1],
    visual__std=(1.0, 1.0, 1.0),
  )


@pytest.mark.slow
def test_the_epsilon_of_keras(tmp_path):
  """1.001e-5, not 1e-5, shows where variances are 0: half a thousandth a layer, whatever the rest is."""
  model, run = random_keras(variance=(0.0, 0.0))
  model.save_weights(tmp_path / 'small.weights.h5')
  imported = detect.import_file(tmp_path / 'small.weights.h5')
  images = pixels(SIZES[1])
  expected = run(images)[-1]
  assert error(ours(imported, images)[-1], expected) < EXACT
  assert error(ours(imported, images, visual__batch_norm_epsilon=1e-5)[-1], expected) > 100 * EXACT
  assert error(ours(imported, images, visual__batch_norm_epsilon=2e-5)[-1], expected) > WRONG


@pytest.mark.slow
@pytest.mark.parametrize('version', [1, 2])
def test_slim(tmp_path, version):
  path = tmp_path / 'resnet_v1_50.ckpt'
  variables = reference.slim_names(weights())
  extra = {
    'resnet_v1_50/logits/weights': np.zeros((1, 1, 2048, 1000), np.float32),
    'global_step': np.array(5),
    'resnet_v1_50/conv1/weights/Momentum': np.zeros(3, np.float32),
  }
  reference.write_tf_checkpoint(path, variables | extra, version)
  imported = detect.import_file(path if version == 1 else tmp_path / 'resnet_v1_50.ckpt.data-00000-of-00001')
  assert 'TF-slim' in imported.format
  for size in SIZES:
    images = pixels(size)
    expected = reference.slim_resnet50(variables, images * 255 - np.float32((123.68, 116.78, 103.94)))[1:]
    assert_equal(imported, images, expected)
  assert_switches_matter(
    imported,
    images,
    expected[-1],
    visual__stride_on='3x3',
    visual__stem_pool_padding='SYMMETRIC',
    visual__std=(1.0, 1.0, 1.0),
  )
