"""Reads TensorFlow checkpoints, by TensorFlow, after `tf_file_index` has looked at them."""

import functools
import pathlib

import numpy as np

from e2e_affect.weights import limits, tf_file_index
from e2e_affect.weights.tensors import Stored


def read(path) -> dict[str, Stored]:
  """The variables of a TensorFlow checkpoint, version 1 (one file) or 2 (`.index` and `.data-…`).

  Args:
    path: of the checkpoint, or of any of its files.

  Raises:
    DataError: it is damaged or incomplete.
  """
  prefix = prefix_of(path)
  index = prefix.with_name(prefix.name + '.index')
  try:
    if index.is_file():
      tf_file_index.check_index(index)
    else:
      tf_file_index.check_footer(path)
  except limits.Exceeded as e:
    raise limits.exceeded(path, e) from None
  except (OSError, IndexError) as e:
    raise limits.damaged(path, e) from None
  from data_prep.core.quiet_tf import tf  # seconds of start-up, for this format alone

  errors = (
    tf.errors.OpError,
    ValueError,
    RuntimeError,
    OSError,
    LookupError,
    TypeError,  # as its reader maps codes
    MemoryError,
    OverflowError,
  )
  try:
    reader = tf.train.load_checkpoint(str(prefix))
    shapes = reader.get_variable_to_shape_map()
  except errors as e:
    raise limits.damaged(path, e) from None

  def read_one(name):
    try:
      return np.asarray(reader.get_tensor(name))
    except errors as e:
      raise limits.damaged(path, e) from None

  return {name: Stored(tuple(shape), functools.partial(read_one, name)) for name, shape in shapes.items()}


def prefix_of(path) -> pathlib.Path:
  """The checkpoint that a file belongs to: `model.ckpt-5` of `model.ckpt-5.index`."""
  path = pathlib.Path(path)
  name = path.name
  for suffix in ('.index', '.meta'):
    name = name.removesuffix(suffix)
  return path.with_name(name.partition('.data-')[0])
