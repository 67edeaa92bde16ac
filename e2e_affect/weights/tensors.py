"""The named arrays of a weight file, each taken once, and what an import makes of them."""

from collections.abc import Callable, Iterable
import dataclasses
import re

import numpy as np

from data_prep.core.errors import DataError
from e2e_affect.weights import limits

COUNTERS = (r'(.*\.)?num_batches_tracked', 'n_averaged')  # PyTorch's, of batches and of averaged networks
_SHOWN = 3  # names of each kind in an error


@dataclasses.dataclass(frozen=True)
class Stored:
  """An array that still lies in its file: a header may lie, so its shape is compared before a byte is read.

  Attributes:
    shape: as the file says.
    read: returns the array; whatever a damaged file makes it raise is the reader's to turn into a DataError.
  """

  shape: tuple[int, ...]
  read: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Imported:
  """Published weights in our names.

  Attributes:
    format: what the file is, in words.
    params: nested, the network's own tree: {'visual': {'conv1': {'kernel': …}}}.
    batch_stats: running statistics, nested likewise.
    switches: fields of `config.model` that these weights need: {'visual.stride_on': '3x3'}.
    mapping: (name in the file, name in our tree, shape in the file).
    ignored: names in the file that no part of ours needs.
    notes: what a person should know, a line each.
    beside: parameters of what predicts by itself and no training starts from, nested.
  """

  format: str
  params: dict
  batch_stats: dict
  switches: dict
  mapping: list[tuple[str, str, tuple[int, ...]]]
  ignored: list[str]
  notes: tuple[str, ...] = ()
  beside: dict = dataclasses.field(default_factory=dict)


class Tensors:
  """Takes arrays by name and keeps count, so that one error says all that is wrong with a file."""

  def __init__(self, path, arrays: dict[str, Stored]):
    self._path, self._arrays = path, arrays
    self._mapping: list[tuple[str, str, tuple[int, ...]]] = []
    self._missing: list[str] = []
    self._wrong: list[str] = []

  def __contains__(self, name: str) -> bool:
    return name in self._arrays

  def take(self, name: str, shape: tuple[int, ...], ours: str) -> np.ndarray:
    """The float32 array `name` of this shape. One that is wrong is noted for `finish`, and zeros stand for it."""
    stored = self._arrays.get(name)
    self._mapping.append((name, ours, shape))
    if stored is None:
      self._missing.append(name)
    elif tuple(stored.shape) != shape:
      self._wrong.append(f'{name} is {list(stored.shape)}, expected {list(shape)}')
    else:
      array = np.asarray(stored.read())
      if array.shape != shape or array.dtype.kind != 'f' and array.dtype.name != 'bfloat16':
        self._wrong.append(f'{name} holds {array.dtype.name}{list(array.shape)}, expected float32{list(shape)}')
      else:
        array = array.astype(np.float32)
        if np.isfinite(array).all():
          return array
        self._wrong.append(f'{name} holds NaN or Inf')
    return np.zeros(shape, np.float32)

  def reject(self, fault: str) -> None:
    """Notes something else that is wrong with an array."""
    self._wrong.append(fault)

  def finish(
    self,
    words: str,
    params: dict[str, np.ndarray],
    statistics: dict[str, np.ndarray],
    switches: dict,
    *,
    ignored: Iterable[str] = (),
    notes: tuple[str, ...] = (),
  ) -> Imported:
    """What the import makes of the file, or all that is wrong with it at once.

    Args:
      words: what the file is.
      params, statistics: name in our tree -> array: {'visual/conv1/kernel': …}.
      switches, notes: see `Imported`.
      ignored: patterns of names that may be left over.

    Raises:
      DataError: arrays are missing, of another shape, not finite, or left over.
    """
    left = sorted(self._arrays.keys() - {name for name, _, _ in self._mapping})
    unneeded = [name for name in left if any(re.fullmatch(pattern, name) for pattern in ignored)]
    left = sorted(set(left).difference(unneeded))
    faults = [
      f'{kind}: {few(names)}'
      for kind, names in (('missing', self._missing), ('wrong', self._wrong), ('left over', left))
      if names
    ]
    if faults:
      raise DataError(f'{self._path}: {"; ".join(faults)}; nothing was imported: get the file again, or another one')
    return Imported(words, nest(params), nest(statistics), switches, self._mapping, unneeded, notes)


def few(names: list[str], most: int = 120) -> str:
  """The first of these names or faults, and how many more there are, as a message can hold them."""
  more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
  return ', '.join(limits.short(name, most) for name in names[:_SHOWN]) + more


def nest(flat: dict[str, np.ndarray]) -> dict:
  """{'a/b': x} -> {'a': {'b': x}}."""
  tree: dict = {}
  for name, value in flat.items():
    *parents, leaf = name.split('/')
    node = tree
    for parent in parents:
      node = node.setdefault(parent, {})
    node[leaf] = value
  return tree
