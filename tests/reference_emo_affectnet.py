"""EMO-AffectNet in plain PyTorch and plain Keras, from its description, to compare imported weights with."""

import numpy as np

UNITS = (3, 4, 6, 3)
EPSILON = 1e-3
MEAN = (91.4953, 103.8827, 131.0912)  # of B, G, R in [0, 255]


def random_static(seed: int = 2) -> dict[str, np.ndarray]:
  """Weights and statistics under the names of the PyTorch file; variances are so small that epsilon counts."""
  rng = np.random.default_rng(seed)
  weights = {}

  def layer(conv, norm, outputs, inputs, size):
    scale = (2 / (inputs * size * size)) ** 0.5 * (0.01 if conv == 'conv_layer_s2_same' else 1)  # pixels reach 255
    weights[f'{conv}.weight'] = scale * rng.standard_normal((outputs, inputs, size, size), np.float32)
    var = rng.uniform(0.005, 0.05, outputs)
    weights[f'{norm}.weight'] = np.sqrt(var + EPSILON) * rng.uniform(0.5, 1.0, outputs)
    weights[f'{norm}.running_var'] = var
    for name in ('bias', 'running_mean'):
      weights[f'{norm}.{name}'] = rng.uniform(-0.3, 0.3, outputs)
    weights[f'{norm}.num_batches_tracked'] = np.array(7)

  layer('conv_layer_s2_same', 'batch_norm1', 64, 3, 7)
  inputs = 64
  for stage, count in enumerate(UNITS, 1):
    width = 64 * 2 ** (stage - 1)
    for unit in range(count):
      place = f'layer{stage}.{unit}'
      layer(f'{place}.conv1', f'{place}.batch_norm1', width, inputs, 1)
      layer(f'{place}.conv2', f'{place}.batch_norm2', width, width, 3)
      layer(f'{place}.conv3', f'{place}.batch_norm3', 4 * width, width, 1)
      if unit == 0:
        layer(f'{place}.i_downsample.0', f'{place}.i_downsample.1', 4 * width, inputs, 1)
      inputs = 4 * width
  for name, outputs, inputs in (('fc1', 512, 2048), ('fc2', 7, 512)):
    weights[f'{name}.weight'] = rng.normal(0, inputs**-0.5, (outputs, inputs))
    weights[f'{name}.bias'] = rng.uniform(-0.3, 0.3, outputs)
  return {name: value if value.dtype.kind == 'i' else value.astype(np.float32) for name, value in weights.items()}


def random_temporal(seed: int = 3) -> dict[str, np.ndarray]:
  """The state dict of a temporal network."""
  rng = np.random.default_rng(seed)
  weights, inputs = {}, 512
  for name, units in (('lstm1', 512), ('lstm2', 256)):
    for kind, columns in (('ih', inputs), ('hh', units)):
      weights[f'{name}.weight_{kind}_l0'] = rng.normal(0, columns**-0.5, (4 * units, columns))
      weights[f'{name}.bias_{kind}_l0'] = rng.uniform(-0.5, 0.5, 4 * units)
    inputs = units
  weights |= {'fc.weight': rng.normal(0, 0.3, (7, 256)), 'fc.bias': rng.uniform(-0.3, 0.3, 7)}
  return {name: value.astype(np.float32) for name, value in weights.items()}


def prepared(images: np.ndarray) -> np.ndarray:
  """RGB in [0, 255], [N, H, W, 3] -> what the network takes: B, G, R minus their mean."""
  return images[..., ::-1].astype(np.float32) - np.float32(MEAN)


def torch_static(weights: dict, images: np.ndarray) -> list[np.ndarray]:
  """RGB in [0, 255] -> output of every unit [N, h, w, C], the features [N, 512] and the probabilities [N, 7]."""
  import torch
  from torch.nn import functional

  w = {name: torch.from_numpy(value) for name, value in weights.items()}

  def layer(x, conv, norm, stride=1, padding=0):
    x = functional.conv2d(x, w[f'{conv}.weight'], stride=stride, padding=padding)
    statistics = (w[f'{norm}.{name}'] for name in ('running_mean', 'running_var', 'weight', 'bias'))
    return functional.batch_norm(x, *statistics, training=False, eps=EPSILON)

  x = torch.from_numpy(np.ascontiguousarray(prepared(images).transpose(0, 3, 1, 2)))
  x = functional.pad(x, (2, 3, 2, 3))  # TensorFlow's SAME of 224 pixels, or of any even number
  x = torch.relu(layer(x, 'conv_layer_s2_same', 'batch_norm1', 2))
  x = functional.max_pool2d(x, 3, 2)
  outputs = []
  for stage, count in enumerate(UNITS, 1):
    for unit in range(count):
      place, stride = f'layer{stage}.{unit}', 2 if stage > 1 and unit == 0 else 1
      y = torch.relu(layer(x, f'{place}.conv1', f'{place}.batch_norm1', stride))
      y = torch.relu(layer(y, f'{place}.conv2', f'{place}.batch_norm2', padding=1))
      y = layer(y, f'{place}.conv3', f'{place}.batch_norm3')
      if unit == 0:
        x = layer(x, f'{place}.i_downsample.0', f'{place}.i_downsample.1', stride)
      x = torch.relu(x + y)
      outputs.append(x.numpy().transpose(0, 2, 3, 1))
  features = torch.relu(functional.linear(x.mean(dim=(2, 3)), w['fc1.weight'], w['fc1.bias']))
  probabilities = torch.softmax(functional.linear(features, w['fc2.weight'], w['fc2.bias']), dim=1)
  return [*outputs, features.numpy(), probabilities.numpy()]


def keras_static(weights: dict, size: int):
  """The same network in Keras, under the names of its file; its outputs are those of `torch_static`."""
  import keras
  from keras import layers

  def conv_norm(x, name, features, size, strides=1):
    x = layers.Conv2D(features, size, strides, padding='same', use_bias=False, name=name)(x)
    return layers.BatchNormalization(epsilon=EPSILON, name=f'{name}_bn')(x)

  image = keras.Input((size, size, 3))
  x = layers.ReLU()(conv_norm(image, 'conv1_7x7_s2', 64, 7, 2))
  x = layers.MaxPooling2D(3, 2)(x)
  outputs = []
  for stage, count in enumerate(UNITS, 2):
    width = 64 * 2 ** (stage - 2)
    for unit in range(1, count + 1):
      name, strides = f'conv{stage}_{unit}', 2 if stage > 2 and unit == 1 else 1
      y = layers.ReLU()(conv_norm(x, f'{name}_1x1_reduce', width, 1, strides))
      y = layers.ReLU()(conv_norm(y, f'{name}_3x3', width, 3))
      y = conv_norm(y, f'{name}_1x1_increase', 4 * width, 1)
      if unit == 1:
        x = conv_norm(x, f'{name}_1x1_proj', 4 * width, 1, strides)
      x = layers.ReLU()(layers.Add()([x, y]))
      outputs.append(x)
  features = layers.Dense(512, activation='relu')(layers.GlobalAveragePooling2D()(x))
  probabilities = layers.Dense(7, activation='softmax')(features)
  model = keras.Model(image, probabilities)
  dense = iter(('fc1', 'fc2'))
  for layer in model.layers:
    if isinstance(layer, layers.Conv2D):
      layer.set_weights([weights[f'{_torch_name(layer.name)}.weight'].transpose(2, 3, 1, 0)])
    elif isinstance(layer, layers.BatchNormalization):
      norm = _torch_norm(layer.name.removesuffix('_bn'))
      layer.set_weights([weights[f'{norm}.{kind}'] for kind in ('weight', 'bias', 'running_mean', 'running_var')])
    elif isinstance(layer, layers.Dense):
      name = next(dense)
      layer.set_weights([weights[f'{name}.weight'].T, weights[f'{name}.bias']])
  every = keras.Model(image, [*outputs, features, probabilities])
  return model, lambda images: [np.asarray(x) for x in every(prepared(images))]


def _torch_name(name):
  if name == 'conv1_7x7_s2':
    return 'conv_layer_s2_same'
  stage, unit, kind = name.removeprefix('conv').split('_', 2)
  part = {'1x1_reduce': 'conv1', '3x3': 'conv2', '1x1_increase': 'conv3', '1x1_proj': 'i_downsample.0'}[kind]
  return f'layer{int(stage) - 1}.{int(unit) - 1}.{part}'


def _torch_norm(name):
  if name == 'conv1_7x7_s2':
    return 'batch_norm1'
  return _torch_name(name).replace('.conv', '.batch_norm').replace('i_downsample.0', 'i_downsample.1')


def torch_temporal(weights: dict, features: np.ndarray) -> np.ndarray:
  """Features of five faces a second [T, 512] -> probabilities [T, 7], by PyTorch's own LSTM, window by window."""
  import torch

  lstm = {'lstm1': torch.nn.LSTM(512, 512, batch_first=True), 'lstm2': torch.nn.LSTM(512, 256, batch_first=True)}
  for name, module in lstm.items():
    of = {key.partition('.')[2]: torch.from_numpy(value) for key, value in weights.items() if key.startswith(name)}
    module.load_state_dict(of)
  rows = [[] for _ in features]
  with torch.no_grad():
    for start in range(0, len(features), 5):
      window = list(features[start : start + 10])
      steps = range(start, start + len(window))
      window += [window[-1]] * (10 - len(window))
      x = torch.from_numpy(np.stack(window)[None].astype(np.float32))
      for module in lstm.values():
        x, _ = module(x)
      logits = x[:, -1] @ torch.from_numpy(weights['fc.weight']).T + torch.from_numpy(weights['fc.bias'])
      for step in steps:
        rows[step].append(torch.softmax(logits, dim=1)[0].numpy())
  return np.stack([np.mean(of, axis=0) for of in rows])
