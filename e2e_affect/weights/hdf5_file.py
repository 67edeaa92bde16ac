"""Reads Keras weights: HDF5 files (`.h5`, `.weights.h5`), and `.keras` files, which are zip files with one inside."""

import contextlib
import functools
import io

import h5py
import ml_dtypes
import numpy as np

from data_prep.core.errors import DataError
from e2e_affect.weights import archive, limits
from e2e_affect.weights.tensors import Stored

_KERAS_MEMBER = 'model.weights.h5'  # of a `.keras` file
_KERAS_3_VARIABLES = {  # Keras numbers the variables of a layer; how many there are says which layer it is
  1: ('kernel',),
  2: ('kernel', 'bias'),
  4: ('gamma', 'beta', 'moving_mean', 'moving_variance'),
}
_MOST_NODES, _MOST_DEPTH = 10_000, 16  # groups and arrays of an HDF5 file, and groups within groups
_MOST_MEMBER = 1 << 30  # bytes of weights in a `.keras` file, which are read into memory


def read(path) -> dict[str, Stored]:
  """The variables of Keras weights or of a whole model in HDF5, as '<layer>/<variable>'.

  Since Keras 2.12 a layer's name is its kind and a number: 'conv2d_4' (see `keras`).

  Raises:
    DataError: it is damaged, or its numbers lie in other files.
  """
  return _keras(path, lambda: h5py.File(path, 'r'))


def read_keras_archive(path) -> dict[str, Stored]:
  """The variables of a `.keras` file, as `read` has them.

  Raises:
    DataError: it is damaged, or holds no weights in one piece.
  """
  try:
    members = archive.Archive(path)
    if members.size(_KERAS_MEMBER) > _MOST_MEMBER:
      raise limits.Exceeded(
        f'{_KERAS_MEMBER} has {members.size(_KERAS_MEMBER):,} bytes, expected at most {_MOST_MEMBER:,}'
      )
    content = members.read(_KERAS_MEMBER)
  except KeyError:
    raise DataError(
      f'{path}: a Keras model whose weights lie in several pieces, expected {_KERAS_MEMBER} in it: '
      "model.save_weights('model.weights.h5')"
    ) from None
  except limits.Exceeded as e:
    raise limits.exceeded(path, e) from None
  except archive.ERRORS as e:
    raise limits.damaged(path, e) from None
  return _keras(path, lambda: h5py.File(io.BytesIO(content), 'r'))


def _keras(path, opened):
  """Names the variables of an HDF5 file, which `opened()` opens."""
  found = {}

  @contextlib.contextmanager
  def file():
    try:
      with opened() as f:
        yield f
    except limits.Exceeded as e:
      raise limits.exceeded(path, e) from None
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, OverflowError, MemoryError) as e:
      raise limits.damaged(path, e) from None

  def read_one(name):
    with file() as f:
      return _numbers(path, name, f[name])

  with file() as f:
    for (*parents, variable), group, node in _datasets(f):
      name = '/'.join((*parents, variable))
      if node.external or node.is_virtual:
        raise DataError(
          f'{path}: {limits.short(name)} lies in another file, which is not opened; expected the numbers themselves'
        )
      variable = variable.removesuffix(':0')
      if parents[-1:] == ['vars']:  # 'layers/conv2d_2/vars/0'
        kinds = _KERAS_3_VARIABLES.get(len(group), ())
        # Newer files also have the layer's own name in an attribute. It is not read: Keras does not use it, and HDF5
        # takes minutes over a damaged one.
        layer = ''.join(parents[-2:-1])
        variable = kinds[int(variable)] if variable.isdecimal() and int(variable) < len(kinds) else variable
      else:
        layer = ''.join(parents[-1:])
      key = f'{layer}/{variable}'
      if key in found:
        raise DataError(f'{path}: {limits.short(key)} is there twice, expected one network')
      found[key] = Stored(tuple(node.shape or ()), functools.partial(read_one, name))
  return found


def _datasets(file):
  """(path in the file, its group, it) of every array that is no optimiser's; links are not followed."""
  groups, count = [((), file)], 0
  while groups:
    place, group = groups.pop()
    count += len(group)
    if count > _MOST_NODES or len(place) > _MOST_DEPTH:
      raise limits.Exceeded(f'more than {_MOST_NODES:,} groups and arrays, or groups more than {_MOST_DEPTH} deep')
    for name in group:
      if not isinstance(name, str) or len(name) > limits.LONGEST_NAME:
        raise limits.Exceeded(f'the name {name[:40]!a}, expected UTF-8 of at most {limits.LONGEST_NAME} characters')
      if name in ('optimizer_weights', 'optimizer') or not isinstance(group.get(name, getlink=True), h5py.HardLink):
        continue
      node = group[name]
      if isinstance(node, h5py.Group):
        groups.append(((*place, name), node))
      elif isinstance(node, h5py.Dataset):
        yield (*place, name), group, node


def _numbers(path, name, node) -> np.ndarray:
  """Reads an array whose bytes are all there: a filter, or a default value, may make gigabytes of a kilobyte."""
  kept, size = node.id.get_storage_size(), node.size * node.dtype.itemsize
  if node.id.get_create_plist().get_nfilters():
    raise DataError(f'{path}: {limits.short(name)} is compressed, which Keras never does; `h5repack -f NONE` undoes it')
  if node.dtype.kind not in 'fiubV' or node.dtype.itemsize > 8:
    raise DataError(f'{path}: {limits.short(name)} holds {limits.short(str(node.dtype))}, expected numbers')
  if kept < size:
    raise limits.damaged(path, f'{limits.short(name)} has {kept} of {size} bytes')
  array = node[()]
  return array.view(ml_dtypes.bfloat16) if array.dtype == 'V2' else array
