"""The authors' released network, a TF1 checkpoint: `audio_model/Conv/weights`, `rnn/multi_rnn_cell/cell_0/…`.

Speech, visual or fused. TensorFlow renamed the variables of recurrent cells twice, so these are matched by pattern:
`RNN/MultiRNNCell/Cell0/LSTMCell/W_0` (0.12), `…/cell_0/lstm_cell/weights` (1.0), `…/cell_0/lstm_cell/kernel` (1.2).
"""

import re

import numpy as np

from data_prep.core.errors import DataError
from e2e_affect.weights import limits, slim
from e2e_affect.weights.tensors import few, Imported, Tensors

FORMAT = "the authors' network (TF1 checkpoint)"
_CELL = re.compile(r'(?:.*/)?cell_?(\d)/(?:basic_)?lstm_?cell/(kernel|weights|w_0|bias|biases|b|w_([ifo])_diag)', re.I)
_KINDS = {'kernel': 'kernel', 'weights': 'kernel', 'w_0': 'kernel', 'bias': 'bias', 'biases': 'bias', 'b': 'bias'}
_FEATURES = {'speech': 1280, 'visual': 2048}
_LAYERS = 2
# As their data provider has it: samples and pixels as decoded, [−1, 1] and [0, 1], nothing subtracted.
_SPEECH = {
  'speech.variant': 'released',
  'speech.filters': 40,
  'speech.taps': 20,
  'speech.long_taps': 40,
  'speech.pool_channels': 10,
  'speech.normalise': 'none',
}
_VISUAL = slim.NETWORK | {'visual.mean': (0.0, 0.0, 0.0), 'visual.std': (1.0, 1.0, 1.0)}


def recognises(names) -> bool:
  """Whether recurrent cells lie beside a speech or a visual network."""
  return any(_CELL.fullmatch(name) for name in names) and any('audio_model/' in n or 'video_model/' in n for n in names)


def convert(path, arrays) -> Imported:
  """Imports the network with all its parts.

  Raises:
    DataError: variables are missing, left over or of another shape.
  """
  parts = [part for part, (scope, _, _) in _PARTS.items() if any(scope in name for name in arrays)]
  tensors = Tensors(path, arrays)
  params: dict[str, np.ndarray] = {}
  statistics: dict[str, np.ndarray] = {}
  switches: dict[str, object] = {}
  for part in parts:
    scope, fill, needed = _PARTS[part]
    filled = fill(tensors, _prefix(path, arrays, scope))
    params |= filled[0]
    statistics |= filled[1]
    switches |= needed
  switches |= _recurrent(path, tensors, arrays, sum(_FEATURES[part] for part in parts), params)
  return tensors.finish(
    FORMAT,
    params,
    statistics,
    switches,
    ignored=slim.IGNORED,
    notes=(f'{" + ".join(parts)}; run it with --config=released',),
  )


def _prefix(path, arrays, scope):
  """What stands before and with `scope` in the names: there may be an outer scope."""
  prefixes = {name.partition(scope)[0] + scope for name in arrays if scope in name}
  if len(prefixes) > 1:
    raise DataError(f'{path}: several networks ({few(sorted(prefixes))}), expected one network')
  return prefixes.pop()


def _speech(tensors, prefix):
  """Takes the network from under `prefix`."""
  params, statistics = {}, {}
  for theirs, ours, shape in (('Conv', 'conv', (1, 20, 1, 40)), ('Conv_1', 'conv_1', (1, 40, 40, 40))):
    kernel = tensors.take(f'{prefix}{theirs}/weights', shape, f'speech/{ours}/kernel')
    params[f'speech/{ours}/kernel'] = kernel[0]
    names = slim.slim_norm(f'{prefix}{theirs}')
    for leaf, tree in (('scale', params), ('bias', params), ('mean', statistics), ('var', statistics)):
      name = f'speech/{ours}_norm/{leaf}'
      tree[name] = tensors.take(names[leaf], shape[3:], name)
  return params, statistics


# Part -> where its variables lie, what takes them, and the switches that they need.
_PARTS = {'speech': ('audio_model/', _speech, _SPEECH), 'visual': ('video_model/', slim.fill, _VISUAL)}


def _recurrent(path, tensors, arrays, features, params):
  """Fills LSTM layers and head; returns their switches."""
  found = {}
  for name in sorted(arrays):
    match = _CELL.fullmatch(name)
    if match:
      layer, word, gate = match.groups()
      role = int(layer), f'peephole_{gate.lower()}' if gate else _KINDS[word.lower()]
      if role in found:
        raise DataError(f'{path}: both {limits.short(found[role])} and {limits.short(name)}, expected one network')
      found[role] = name
  take = lambda layer, kind, shape, ours: tensors.take(
    found.get((layer, kind), f'…/cell_{layer}/lstm_cell/{kind}'), shape, f'recurrent/lstm_{layer}/{ours}'
  )
  shape = arrays[found[0, 'bias']].shape if (0, 'bias') in found else ()
  units = shape[0] // 4 if len(shape) == 1 else 256
  limits.check_recurrent(units)
  for layer in range(_LAYERS):
    inputs = units if layer else features
    kernel = take(layer, 'kernel', (inputs + units, 4 * units), 'kernel')
    ours = f'recurrent/lstm_{layer}'
    params[f'{ours}/kernel'], params[f'{ours}/recurrent_kernel'] = kernel[:inputs].copy(), kernel[inputs:].copy()
    params[f'{ours}/bias'] = take(layer, 'bias', (4 * units,), 'bias')
    for gate in 'ifo':
      params[f'{ours}/peephole_{gate}'] = take(layer, f'peephole_{gate}', (units,), f'peephole_{gate}')
  heads = [name for name in arrays if re.fullmatch(r'(?:.*/)?fully_connected/biases', name)]
  head = heads[0].removesuffix('biases') if len(heads) == 1 else 'fully_connected/'
  targets = arrays[heads[0]].shape[0] if len(heads) == 1 and len(arrays[heads[0]].shape) == 1 else 2
  limits.check_recurrent(units, targets)
  params['recurrent/head/kernel'] = tensors.take(f'{head}weights', (units, targets), 'recurrent/head/kernel')
  params['recurrent/head/bias'] = tensors.take(f'{head}biases', (targets,), 'recurrent/head/bias')
  return {
    'recurrent.layers': _LAYERS,
    'recurrent.units': units,
    'recurrent.peepholes': True,
    'recurrent.cell_clip': 100.0,
  }
