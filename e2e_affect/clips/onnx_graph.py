"""A trained network as an ONNX graph, of the standard operators alone.

Converters were no way: `jax2onnx` 0.17 wants an older Orbax than this program has, and what `jax2tf` makes is one
operator that `tf2onnx` does not know. The network is small, so its layers are written one by one.

The long filter is run as in `long_conv`, by Fourier transforms that are matrix products, but of one length: blocks of a
step, each with the block before it. Its taps are cut into as many samples, so that it is a short convolution over
blocks, one for each frequency. The graph holds the taps as they are; runtimes transform them once, when they load it.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from e2e_affect.clips.network import Network
from e2e_affect.config import switches
from e2e_affect.streams import visual

OPSET, _IR_VERSION = 17, 8  # of 2022: what old runtimes read
_POOL_TIME = 2  # samples into one, after the short filter
_MOST = np.iinfo(np.int64).max  # an end that no axis reaches
_LONGEST_BLOCK = 400  # samples: the matrices of longer transforms outweigh the taps


class _Graph:
  """Nodes and constants, in the order in which they are added."""

  def __init__(self):
    self.nodes: list[onnx.NodeProto] = []
    self.constants: list[onnx.TensorProto] = []

  def add(self, operator: str, *inputs: str | np.ndarray, outputs: int = 1, name: str = '', **attributes) -> list[str]:
    """Adds a node; arrays among its inputs become constants. Returns the names of its outputs."""
    names = [name or f'{operator}_{len(self.nodes)}_{k}' for k in range(outputs)]
    given = [self.constant(value) if isinstance(value, np.ndarray) else value for value in inputs]
    self.nodes.append(helper.make_node(operator, given, names, **attributes))
    return names

  def constant(self, value: np.ndarray) -> str:
    """Its name."""
    name = f'constant_{len(self.constants)}'
    self.constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    return name

  def __call__(self, operator: str, *inputs: str | np.ndarray, **options) -> str:
    """As `add`, of a node with one output."""
    return self.add(operator, *inputs, **options)[0]

  def reshape(self, x: str, *shape: int) -> str:
    """0 keeps a size, −1 is what is left."""
    return self('Reshape', x, np.array(shape, np.int64))

  def cut(self, x: str, axis: int, first: int, end: int) -> str:
    """A slice; negative numbers count from the end."""
    return self('Slice', x, *(np.array([value], np.int64) for value in (first, end, axis)))

  def transposed(self, x: str, *axes: int) -> str:
    """With the axes in this order."""
    return self('Transpose', x, perm=axes)


def model(network: Network, inputs: dict, outputs: dict, context: int, description: str) -> onnx.ModelProto:
  """The graph.

  Args:
    network: one that `graphs.check` lets through.
    inputs, outputs: name -> (type, shape), of `graphs.signature`.
    context: C, of the same.
    description: a sentence or two, kept in the file.
  """
  graph, settled = _Graph(), switches.settled(network.config.model)
  params, statistics = (_numpy(network.variables.get(kind, {})) for kind in ('params', 'batch_stats'))
  features = [
    _PARTS[name](graph, params[name], statistics.get(name, {}), settled[name], network, context)
    for name in network.modalities
  ]
  x = graph('Concat', *features, axis=2) if len(features) > 1 else features[0]
  _recurrent(graph, params['recurrent'], settled.recurrent.layers, x, list(outputs))
  value = lambda name, kind, shape: helper.make_tensor_value_info(
    name, helper.np_dtype_to_tensor_dtype(np.dtype(kind)), shape
  )
  made = helper.make_model(
    helper.make_graph(
      graph.nodes,
      network.config.name,
      [value(name, *of) for name, of in inputs.items()],
      [value(name, *of) for name, of in outputs.items()],
      graph.constants,
    ),
    opset_imports=[helper.make_opsetid('', OPSET)],
    ir_version=_IR_VERSION,
    producer_name='e2e_affect',
    producer_version=str(network.about['commit']),
    doc_string=description,
  )
  onnx.checker.check_model(made)
  return made


def _numpy(tree):
  return {name: _numpy(value) if isinstance(value, dict) else np.asarray(value) for name, value in tree.items()}


def _speech(graph: _Graph, params: dict, statistics: dict, options, network: Network, context: int) -> str:
  """`Speech.inputs`, `SpeechNetwork` and the mask: `audio` [B, C+T+C, S] -> [B, T, D]."""
  del statistics  # nothing is normalised by batches
  filters, half = options.filters, network.layout.grid.samples_per_step // _POOL_TIME
  std = graph.reshape('audio_std', -1, 1, 1)
  found = graph('Cast', graph('Greater', std, np.zeros(1, np.float32)), to=onnx.TensorProto.FLOAT)
  gain = graph('Div', found, graph('Max', std, np.ones(1, np.float32)))
  x = graph('Sub', graph('Cast', 'audio', to=onnx.TensorProto.FLOAT), graph.reshape('audio_mean', -1, 1, 1))
  x = graph('Mul', graph('Mul', x, gain), graph.reshape('valid', 0, 0, 1))
  # [B, C+T+C, S] -> [B, 1, N] -> [B, F, N] -> [B, F, N / 2]
  kernel, bias = params['conv']['kernel'], params['conv']['bias']
  before = (len(kernel) - 1) // 2
  pads = [before, len(kernel) - 1 - before]
  x = graph('Conv', graph.reshape(x, 0, 1, -1), kernel.transpose(2, 1, 0), bias, pads=pads)
  x = graph('Relu', graph('MaxPool', x, kernel_shape=[_POOL_TIME], strides=[_POOL_TIME]))
  x = graph('Mul', graph.reshape(x, 0, 0, -1, half), graph.reshape('valid', 0, 1, -1, 1))
  x = _long_conv(graph, graph.reshape(x, 0, 0, -1), params['long_conv_kernel'], context, half)
  x = graph('Add', x, params['long_conv_bias'][:, None])
  # [B, F, T · S / 2] -> [B, F / 10, T · S / 2] -> [B, T, D]
  x = graph.reshape(x, 0, filters // options.pool_channels, options.pool_channels, -1)
  x = graph('Relu', graph('ReduceMax', x, axes=[2], keepdims=0))
  x = graph.reshape(graph.transposed(x, 0, 2, 1), 0, -1, half * filters // options.pool_channels)
  return graph('Mul', x, found)


def _long_conv(graph, x, kernel, context, half):
  """[B, F_in, (C+T+C) · S / 2] and [taps, F_in, F_out] -> [B, F_out, T · S / 2], as padding SAME has it."""
  taps, c_in, c_out = kernel.shape
  block = max(size for size in range(1, min(half, _LONGEST_BLOCK) + 1) if half % size == 0)
  pieces, frequencies = -(-taps // block), block + 1
  forward, backward = _transforms(block)
  # [P, block, F_in · F_out] -> [frequencies, 2 · F_out, 2 · F_in, P], a matrix of the conjugate for each frequency
  filters = graph('Pad', kernel.reshape(taps, -1), np.array([0, 0, pieces * block - taps, 0], np.int64))
  filters = graph('MatMul', forward[:block].T, graph.reshape(filters, pieces, block, c_in * c_out))
  filters = graph.transposed(graph.reshape(filters, pieces, frequencies, 2, c_in, c_out), 1, 2, 4, 3, 0)
  real, imag = graph.cut(filters, 1, 0, 1), graph.cut(filters, 1, 1, 2)
  rows = graph('Concat', real, imag, axis=3), graph('Concat', graph('Neg', imag), real, axis=3)
  filters = graph.reshape(graph('Concat', *rows, axis=1), frequencies * 2 * c_out, 2 * c_in, pieces)
  # The first block begins where the first step's window does: what is left of the context is cut off, by negative pads.
  before = (taps - 1) // 2 - context * half
  pads = [0, 0, before, 0, 0, pieces * block - (taps - 1) // 2 - context * half]
  blocks = graph.reshape(graph('Pad', x, np.array(pads, np.int64)), 0, c_in, -1, block)
  # [B, F_in, blocks, 2 · block] -> [B, F_in, blocks, 2 · frequencies] -> [B, frequencies · 2 · F_in, blocks]
  pairs = graph('Concat', graph.cut(blocks, 2, 0, -1), graph.cut(blocks, 2, 1, _MOST), axis=3)
  spectrum = graph.reshape(graph('MatMul', pairs, forward), 0, c_in, -1, frequencies, 2)
  spectrum = graph.reshape(graph.transposed(spectrum, 0, 3, 4, 1, 2), 0, frequencies * 2 * c_in, -1)
  product = graph('Conv', spectrum, filters, group=frequencies)
  # [B, frequencies · 2 · F_out, blocks] -> [B, F_out, blocks, 2 · frequencies] -> [B, F_out, blocks · block]
  product = graph.transposed(graph.reshape(product, 0, frequencies, 2, c_out, -1), 0, 3, 4, 1, 2)
  y = graph('MatMul', graph.reshape(product, 0, c_out, -1, 2 * frequencies), backward)
  return graph.reshape(y, 0, c_out, -1)


def _transforms(block):
  """[2 · block, 2 · frequencies], of each frequency real, then imaginary part; the inverse's first `block` columns."""
  n = 2 * block
  turns = np.exp(-2j * np.pi * (np.outer(np.arange(n), np.arange(block + 1)) % n) / n)
  forward = np.stack([turns.real, turns.imag], axis=2).reshape(n, -1)
  weights = np.where(np.arange(block + 1) % block == 0, 1, 2) / n  # twice where the conjugate frequency is left out
  backward = (turns[:block, :, None].conj() * weights[:, None] * np.array([1, 1j])).real.reshape(block, -1).T
  return forward.astype(np.float32), backward.astype(np.float32)


def _visual(graph: _Graph, params: dict, statistics: dict, options, network: Network, context: int) -> str:
  """`Visual.inputs` in evaluation, `ResNet50` and the mask: `face` [B, T, H, W, 3] -> [B, T, D]."""
  del context  # no filter looks beside a step
  size, source = options.image_size, network.layout.streams['visual'][0].shape[0]
  x = graph('Cast', graph.reshape('face', -1, source, source * 3), to=onnx.TensorProto.FLOAT)
  matrix = visual.seen_in_evaluation(options, network.config.augment, source)
  if matrix is not None:  # rows, then columns
    x = graph('MatMul', matrix, x)
  x = graph.transposed(graph.reshape(x, -1, size, source, 3), 0, 3, 1, 2)
  if matrix is not None:
    x = graph('MatMul', x, matrix.T)
  mean, std = (np.array(values, np.float32)[:, None, None] for values in (options.mean, options.std))
  x = graph('Sub', graph('Mul', x, 1 / (255 * std)), mean / std)

  def conv(x, unit, number, strides=1, padding=None):
    """A convolution of a unit, or of the stem, with the running statistics of its normalisation folded in."""
    of = lambda tree: tree[unit] if unit else tree
    shortcut = number == 'shortcut'
    kernel = of(params)[number if shortcut else f'conv{number}']['kernel']
    norm = 'shortcut_norm' if shortcut else f'norm{number}'
    scale, running = of(params)[norm], of(statistics)[norm]
    gain = scale['scale'] / np.sqrt(running['var'] + np.float32(options.batch_norm_epsilon))
    return graph(
      'Conv',
      x,
      (kernel * gain).transpose(3, 2, 0, 1),
      scale['bias'] - running['mean'] * gain,
      strides=[strides] * 2,
      pads=padding or [len(kernel) // 2] * 4,
    )

  x = conv(x, '', 1, 2, [2 + size % 2] * 2 + [3] * 2 if options.stem_padding == 'SAME' else None)
  size = -(-size // 2)
  before, after = {'SAME': (size % 2, 1), 'SYMMETRIC': (1, size % 2), 'VALID': (0, 0)}[options.stem_pool_padding]
  x = graph('Relu', graph('MaxPool', x, kernel_shape=[3, 3], strides=[2, 2], pads=[before] * 2 + [after] * 2))
  for unit in sorted(name for name in params if name.startswith('stage')):
    strides = 2 if unit.endswith('unit1') and unit != 'stage1_unit1' else 1
    first, second = (strides, 1) if options.stride_on == '1x1' else (1, strides)
    y = graph('Relu', conv(x, unit, 1, first))
    y = conv(graph('Relu', conv(y, unit, 2, second)), unit, 3)
    x = graph('Relu', graph('Add', y, conv(x, unit, 'shortcut', strides) if 'shortcut' in params[unit] else x))
  # [B · T, D, H, W] -> [B, T, D]
  shape = graph('Concat', graph('Shape', 'face_found'), np.array([-1], np.int64), axis=0)
  x = graph('Reshape', graph('ReduceMean', x, axes=[2, 3], keepdims=0), shape)
  found = graph('Greater', graph.reshape('face_found', 0, 0, 1), np.zeros(1, np.float32))
  return graph('Mul', x, graph('Cast', found, to=onnx.TensorProto.FLOAT))


_PARTS = {'speech': _speech, 'visual': _visual}  # of a stream: its features


def _recurrent(graph: _Graph, params: dict, layers: int, x: str, outputs: list[str]) -> None:
  """`RecurrentNetwork`: features [B, T, D], `cell` and `hidden` [layers, B, H] -> the outputs of the graph."""

  def ordered(gates):
    """From our order, input, candidate, forget, output, to ONNX's: input, output, forget, candidate."""
    i, j, f, o = np.split(gates, 4)
    return np.concatenate([i, o, f, j])[None]

  traces, cell, hidden = outputs
  x = graph.transposed(x, 1, 0, 2)  # [T, B, D]
  cells, hiddens = [], []
  for layer in range(layers):
    own = params[f'lstm_{layer}']
    units = len(own['recurrent_kernel'])
    bias = own['bias'] + np.repeat(np.array([0, 0, 1, 0], np.float32), units)  # forget bias 1, see LSTM
    state = (graph.cut(name, 0, layer, layer + 1) for name in ('hidden', 'cell'))
    peepholes = [np.concatenate([own[f'peephole_{gate}'] for gate in 'iof'])[None]] if 'peephole_i' in own else []
    y, of_hidden, of_cell = graph.add(
      'LSTM',
      x,
      ordered(own['kernel'].T),
      ordered(own['recurrent_kernel'].T),
      np.concatenate([ordered(bias), np.zeros((1, 4 * units), np.float32)], axis=1),
      '',
      *state,
      *peepholes,
      outputs=3,
      hidden_size=units,
    )
    x = graph('Squeeze', y, np.array([1], np.int64))  # [T, directions, B, H] -> [T, B, H]
    cells.append(of_cell)
    hiddens.append(of_hidden)
  x = graph('Add', graph('MatMul', x, params['head']['kernel']), params['head']['bias'])
  graph('Transpose', x, perm=[1, 0, 2], name=traces)
  graph('Concat', *cells, axis=0, name=cell)
  graph('Concat', *hiddens, axis=0, name=hidden)
