"""Reads safetensors files: a header in JSON, then numbers."""

import functools
import os

import safetensors

from e2e_affect.weights import limits
from e2e_affect.weights.tensors import Stored


def read(path) -> dict[str, Stored]:
  """The tensors of a safetensors file.

  Raises:
    DataError: its header does not fit it, or it is cut off.
  """
  try:
    check_header(path)
    with safetensors.safe_open(path, framework='numpy') as f:
      shapes = {name: tuple(f.get_slice(name).get_shape()) for name in f.keys()}
  except limits.Exceeded as e:
    raise limits.exceeded(path, e) from None
  except (safetensors.SafetensorError, OSError, ValueError) as e:
    raise limits.damaged(path, e) from None

  def read_one(name):
    try:
      with safetensors.safe_open(path, framework='numpy') as f:
        return f.get_tensor(name)
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, LookupError, AttributeError) as e:
      raise limits.damaged(path, e) from None

  return {name: Stored(shape, functools.partial(read_one, name)) for name, shape in shapes.items()}


def check_header(path) -> None:
  """Refuses a header that is longer than names and shapes need; the library takes 100 MB.

  Raises:
    limits.Exceeded: it is. OSError: the file cannot be read.
  """
  with open(path, 'rb') as f:
    size, rest = int.from_bytes(f.read(8), 'little'), os.fstat(f.fileno()).st_size - 8
  if limits.MOST_HEADER < size <= rest:  # a longer one is damaged, as the library says
    raise limits.Exceeded(f'its header claims {size:,} bytes, expected at most {limits.MOST_HEADER:,}')
