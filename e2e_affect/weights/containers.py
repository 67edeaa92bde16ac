"""File formats that are safe by themselves, as named arrays: safetensors, HDF5 and TensorFlow checkpoints."""

import pathlib

import h5py
import numpy as np
import safetensors

from data_prep.errors import DataError
from e2e_affect.weights.tensors import Stored

_KERAS_3_VARIABLES = {  # Keras 3 numbers the variables of a layer; how many there are says which layer it is
    1: ('kernel',), 2: ('kernel', 'bias'), 4: ('gamma', 'beta', 'moving_mean', 'moving_variance')}


def read_safetensors(path) -> dict[str, Stored]:
  """The tensors of a safetensors file.

  Raises:
    DataError: its header does not fit it, or it is cut off.
  """
  try:
    with safetensors.safe_open(path, framework='numpy') as f:
      shapes = {name: tuple(f.get_slice(name).get_shape()) for name in f.keys()}
  except (safetensors.SafetensorError, OSError) as e:
    raise _damaged(path, e) from None

  def read(name):
    try:
      with safetensors.safe_open(path, framework='numpy') as f:
        return f.get_tensor(name)
    except (safetensors.SafetensorError, OSError, TypeError, KeyError, AttributeError) as e:
      raise _damaged(path, e) from None

  return {name: Stored(shape, lambda name=name: read(name)) for name, shape in shapes.items()}


def read_keras_h5(path) -> dict[str, Stored]:
  """The variables of Keras weights or of a whole model in HDF5, as '<layer>/<variable>'.

  Raises:
    DataError: it is damaged, or its numbers lie in other files.
  """
  found = {}

  def visit(name, node):
    if not isinstance(node, h5py.Dataset):
      return
    if node.external or node.is_virtual:
      raise DataError(f'{path}: {name} lies in another file, which is not opened; expected the numbers themselves')
    *parents, variable = name.removesuffix(':0').split('/')
    if 'optimizer_weights' in parents or 'optimizer' in parents:
      return
    if parents[-1:] == ['vars']:  # Keras 3: 'layers/conv2d_2/vars/0', the layer's own name beside it
      kinds = _KERAS_3_VARIABLES.get(len(node.parent), ())
      layer = node.parent.attrs.get('name', parents[-2])
      variable = kinds[int(variable)] if variable.isdigit() and int(variable) < len(kinds) else variable
    else:
      layer = parents[-1] if parents else ''
    key = f'{layer}/{variable}'
    if key in found:
      raise DataError(f'{path}: {key} is there twice, expected one network')
    found[key] = Stored(tuple(node.shape), lambda: _read_h5(path, name))

  try:
    with h5py.File(path, 'r') as f:
      f.visititems(visit)
  except (OSError, RuntimeError, KeyError, ValueError) as e:
    raise _damaged(path, e) from None
  return found


def _read_h5(path, name) -> np.ndarray:
  try:
    with h5py.File(path, 'r') as f:
      return f[name][()]
  except (OSError, RuntimeError, KeyError, ValueError) as e:
    raise _damaged(path, e) from None


def read_tf_checkpoint(path) -> dict[str, Stored]:
  """The variables of a TensorFlow checkpoint, version 1 (one file) or 2 (`.index` and `.data-…`).

  Args:
    path: of the checkpoint, or of any of its files.

  Raises:
    DataError: it is damaged or incomplete.
  """
  from data_prep.quiet_tf import tf  # seconds of start-up, for this format alone
  prefix = tf_prefix(path)
  errors = (tf.errors.OpError, ValueError, RuntimeError, OSError, LookupError, TypeError)  # as its reader maps codes
  try:
    reader = tf.train.load_checkpoint(str(prefix))
    shapes = reader.get_variable_to_shape_map()
  except errors as e:
    raise _damaged(path, e) from None

  def read(name):
    try:
      return np.asarray(reader.get_tensor(name))
    except errors as e:
      raise _damaged(path, e) from None

  return {name: Stored(tuple(shape), lambda name=name: read(name)) for name, shape in shapes.items()}


def tf_prefix(path) -> pathlib.Path:
  """The checkpoint that a file belongs to: `model.ckpt-5` of `model.ckpt-5.index`."""
  path = pathlib.Path(path)
  name = path.name
  for suffix in ('.index', '.meta'):
    name = name.removesuffix(suffix)
  return path.with_name(name.partition('.data-')[0])


def _damaged(path, error):
  reason = getattr(error, 'message', None) or str(error) or type(error).__name__
  return DataError(f'{path}: damaged ({reason.splitlines()[0][:120]}); nothing was imported: copy the file again')
