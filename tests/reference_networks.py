"""Networks as their own frameworks compute them, in plain operations, to compare imported weights with."""

import numpy as np

UNITS = (3, 4, 6, 3)


def random_resnet50(seed: int = 0) -> dict[str, np.ndarray]:
  """Weights and statistics under torchvision's names, kernels [out, in, h, w]; activations stay near 1."""
  rng = np.random.default_rng(seed)
  weights = {}

  def layer(conv, norm, outputs, inputs, size):
    weights[f'{conv}.weight'] = rng.normal(0, (2 / (inputs * size * size)) ** 0.5, (outputs, inputs, size, size))
    for name, low, high in (
      ('weight', 0.5, 1.0),
      ('bias', -0.3, 0.3),
      ('running_mean', -0.3, 0.3),
      ('running_var', 0.5, 1.5),
    ):
      weights[f'{norm}.{name}'] = rng.uniform(low, high, outputs)
    weights[f'{norm}.num_batches_tracked'] = np.array(7)

  layer('conv1', 'bn1', 64, 3, 7)
  inputs = 64
  for stage, count in enumerate(UNITS, 1):
    features = 64 * 2 ** (stage - 1)
    for unit in range(count):
      place = f'layer{stage}.{unit}'
      layer(f'{place}.conv1', f'{place}.bn1', features, inputs, 1)
      layer(f'{place}.conv2', f'{place}.bn2', features, features, 3)
      layer(f'{place}.conv3', f'{place}.bn3', 4 * features, features, 1)
      if unit == 0:
        layer(f'{place}.downsample.0', f'{place}.downsample.1', 4 * features, inputs, 1)
      inputs = 4 * features
  weights |= {'fc.weight': rng.normal(0, 0.01, (1000, 2048)), 'fc.bias': np.zeros(1000)}
  return {name: value if value.dtype.kind == 'i' else value.astype(np.float32) for name, value in weights.items()}


def torch_resnet50(weights: dict, images: np.ndarray, stride_on: str = '3x3') -> list[np.ndarray]:
  """[N, H, W, 3] normalised images -> output of the stem, of every unit [N, h, w, C], and the pooled features."""
  import torch
  from torch.nn import functional

  w = {name: torch.from_numpy(np.asarray(value)) for name, value in weights.items()}

  def layer(x, conv, norm, stride=1, padding=0):
    x = functional.conv2d(x, w[f'{conv}.weight'], stride=stride, padding=padding)
    return functional.batch_norm(
      x,
      w[f'{norm}.running_mean'],
      w[f'{norm}.running_var'],
      w[f'{norm}.weight'],
      w[f'{norm}.bias'],
      training=False,
      eps=1e-5,
    )

  x = torch.from_numpy(images.transpose(0, 3, 1, 2).astype(np.float32))
  x = functional.max_pool2d(torch.relu(layer(x, 'conv1', 'bn1', 2, 3)), 3, 2, 1)
  outputs = [x]
  for stage, count in enumerate(UNITS, 1):
    for unit in range(count):
      place, stride = f'layer{stage}.{unit}', 2 if stage > 1 and unit == 0 else 1
      first, second = (stride, 1) if stride_on == '1x1' else (1, stride)
      y = torch.relu(layer(x, f'{place}.conv1', f'{place}.bn1', first))
      y = torch.relu(layer(y, f'{place}.conv2', f'{place}.bn2', second, 1))
      y = layer(y, f'{place}.conv3', f'{place}.bn3')
      if unit == 0:
        x = layer(x, f'{place}.downsample.0', f'{place}.downsample.1', stride)
      x = torch.relu(x + y)
      outputs.append(x)
  return [o.numpy().transpose(0, 2, 3, 1) for o in outputs] + [x.mean(dim=(2, 3)).numpy()]


def slim_names(weights: dict, prefix: str = '') -> dict[str, np.ndarray]:
  """The same weights under TF-slim's names, kernels [h, w, in, out]."""
  renamed = {}
  norms = {'weight': 'gamma', 'bias': 'beta', 'running_mean': 'moving_mean', 'running_var': 'moving_variance'}
  for name, value in weights.items():
    *place, leaf = name.split('.')
    if leaf == 'num_batches_tracked' or place == ['fc']:
      continue
    is_norm = place[-1].startswith('bn') or place[-2:] == ['downsample', '1']
    if len(place) == 1:
      layer = 'conv1'
    else:
      part = 'shortcut' if 'downsample' in place else 'conv' + place[-1][-1]
      layer = f'block{place[0][-1]}/unit_{int(place[1]) + 1}/bottleneck_v1/{part}'
    layer = f'{prefix}resnet_v1_50/{layer}'
    renamed[f'{layer}/BatchNorm/{norms[leaf]}' if is_norm else f'{layer}/weights'] = (
      value if is_norm else value.transpose(2, 3, 1, 0)
    )
  return renamed


def slim_resnet50(variables: dict, images: np.ndarray, prefix: str = '') -> list[np.ndarray]:
  """As slim computes it: blocks 1 to 3 are strided in the 3×3 convolution of their last unit. Outputs as above."""
  import tensorflow as tf

  def layer(x, name, stride=1, relu=True):
    kernel = variables[f'{prefix}resnet_v1_50/{name}/weights']
    size = kernel.shape[0]
    if stride > 1:  # slim pads by hand, so that the result does not depend on the input's size
      x = tf.pad(x, [[0, 0], [size // 2] * 2, [size // 2] * 2, [0, 0]])
    x = tf.nn.conv2d(x, kernel, stride, 'VALID' if stride > 1 else 'SAME')
    norm = lambda kind: variables[f'{prefix}resnet_v1_50/{name}/BatchNorm/{kind}']
    x = tf.nn.batch_normalization(x, norm('moving_mean'), norm('moving_variance'), norm('beta'), norm('gamma'), 1e-5)
    return tf.nn.relu(x) if relu else x

  x = tf.nn.max_pool2d(layer(tf.constant(images), 'conv1', 2), 3, 2, 'SAME')
  outputs = [x.numpy()]
  for block, count in enumerate(UNITS, 1):
    for unit in range(1, count + 1):
      place, stride = f'block{block}/unit_{unit}/bottleneck_v1', 2 if block < 4 and unit == count else 1
      y = layer(layer(x, f'{place}/conv1'), f'{place}/conv2', stride)
      y = layer(y, f'{place}/conv3', relu=False)
      shortcut = layer(x, f'{place}/shortcut', relu=False) if unit == 1 else tf.nn.max_pool2d(x, 1, stride, 'VALID')
      x = tf.nn.relu(shortcut + y)
      outputs.append(x.numpy())
  return outputs + [tf.reduce_mean(x, [1, 2]).numpy()]


def write_tf_checkpoint(prefix, variables: dict, version: int = 2) -> None:
  """Writes variables as a TensorFlow checkpoint of version 1 or 2."""
  import tensorflow as tf

  names = sorted(variables)
  values = [tf.constant(variables[name]) for name in names]
  if version == 1:
    tf.raw_ops.Save(filename=str(prefix), tensor_names=names, data=values)
  else:
    tf.raw_ops.SaveV2(prefix=str(prefix), tensor_names=names, shape_and_slices=[''] * len(names), tensors=values)


def random_authors_network(parts: tuple[str, ...], seed: int = 1) -> dict[str, np.ndarray]:
  """Variables of the authors' network under the names of TensorFlow 1.2 and later."""
  rng = np.random.default_rng(seed)
  variables = {}
  if 'speech' in parts:
    for name, shape in (('Conv', (1, 20, 1, 40)), ('Conv_1', (1, 40, 40, 40))):
      variables[f'audio_model/{name}/weights'] = rng.normal(0, 1 / np.prod(shape[:3]) ** 0.5, shape)
      for kind, low, high in (
        ('gamma', 0.5, 1.5),
        ('beta', -0.3, 0.3),
        ('moving_mean', -0.1, 0.1),
        ('moving_variance', 0.05, 0.2),
      ):
        variables[f'audio_model/{name}/BatchNorm/{kind}'] = rng.uniform(low, high, 40)
  if 'visual' in parts:
    variables |= slim_names(random_resnet50(seed), 'video_model/')
  inputs = sum({'speech': 1280, 'visual': 2048}[part] for part in parts)
  for layer, size in enumerate((inputs, 256)):
    cell = f'rnn/multi_rnn_cell/cell_{layer}/lstm_cell'
    variables[f'{cell}/kernel'] = rng.normal(0, 1 / (size + 256) ** 0.5, (size + 256, 1024))
    variables[f'{cell}/bias'] = rng.uniform(-0.5, 0.5, 1024)
    variables |= {f'{cell}/w_{gate}_diag': rng.uniform(-0.5, 0.5, 256) for gate in 'fio'}
  variables |= {'fully_connected/weights': rng.normal(0, 0.1, (256, 2)), 'fully_connected/biases': rng.normal(0, 1, 2)}
  return {name: np.asarray(value, np.float32) for name, value in variables.items()}


def old_names(variables: dict) -> dict[str, np.ndarray]:
  """The names of TensorFlow 0.12."""

  def rename(name):
    if not name.startswith('rnn/'):
      return name
    _, _, cell, _, leaf = name.split('/')
    leaf = {'kernel': 'W_0', 'bias': 'B'}.get(
      leaf, leaf.replace('w_', 'W_').replace('f_', 'F_').replace('i_', 'I_').replace('o_', 'O_')
    )
    return f'RNN/MultiRNNCell/Cell{cell[-1]}/LSTMCell/{leaf}'

  return {rename(name): value for name, value in variables.items()}


def authors_network(variables: dict, audio: np.ndarray | None, video: np.ndarray | None) -> np.ndarray:
  """The authors' network at evaluation, on one sequence.

  Args:
    variables: under the names of TensorFlow 1.2 and later.
    audio: [T, 640] in [-1, 1], or None.
    video: [T, 96, 96, 3] in [0, 1], or None.

  Returns:
    [T, 2].
  """
  import tensorflow as tf

  features = []
  if audio is not None:

    def conv(x, name):
      x = tf.nn.conv2d(x, variables[f'audio_model/{name}/weights'], 1, 'SAME')
      norm = lambda kind: variables[f'audio_model/{name}/BatchNorm/{kind}']
      return tf.nn.relu(
        tf.nn.batch_normalization(x, norm('moving_mean'), norm('moving_variance'), norm('beta'), norm('gamma'), 1e-5)
      )

    steps = len(audio)
    x = conv(tf.reshape(tf.constant(audio), [steps, 1, 640, 1]), 'Conv')
    x = conv(tf.nn.max_pool2d(x, (1, 2), (1, 2), 'SAME'), 'Conv_1')
    x = tf.nn.max_pool2d(tf.reshape(x, [steps, 320, 40, 1]), (1, 10), (1, 10), 'SAME')
    features.append(tf.reshape(x, [steps, 1280]))
  if video is not None:
    features.append(slim_resnet50(variables, video, 'video_model/')[-1])
  x = tf.concat(features, axis=1)
  for layer in (0, 1):
    x = _peephole_lstm(
      x, {name.rpartition('/')[2]: value for name, value in variables.items() if f'cell_{layer}/' in name}
    )
  return (x @ variables['fully_connected/weights'] + variables['fully_connected/biases']).numpy()


def _peephole_lstm(x, v):
  """tf.nn.rnn_cell.LSTMCell with peepholes and a cell clip of 100: [T, D] -> [T, H], from zero."""
  import tensorflow as tf

  units = v['bias'].shape[0] // 4
  cell, hidden, outputs = tf.zeros(units), tf.zeros(units), []
  for row in x:
    gates = tf.linalg.matvec(v['kernel'], tf.concat([row, hidden], 0), transpose_a=True) + v['bias']
    i, j, f, o = tf.split(gates, 4)
    cell = tf.sigmoid(f + 1.0 + v['w_f_diag'] * cell) * cell + tf.sigmoid(i + v['w_i_diag'] * cell) * tf.tanh(j)
    cell = tf.clip_by_value(cell, -100.0, 100.0)
    hidden = tf.sigmoid(o + v['w_o_diag'] * cell) * tf.tanh(cell)
    outputs.append(hidden)
  return tf.stack(outputs)
