"""Reads `.pth` files, zip and legacy, without PyTorch and without `pickle`: see `torch_pickle`."""

import contextlib
import functools
import io
import math
import mmap
import pathlib

import numpy as np

from data_prep.core.errors import DataError
from e2e_affect.weights import archive, limits
from e2e_affect.weights.tensors import Stored
from e2e_affect.weights.torch_pickle import Global, Machine, Object, Refused, Tensor

LEGACY_MAGIC = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'  # the pickle of a number that opens a legacy file
# Keys under which checkpoints keep a state dict, in the order they are tried. Averaged weights come first, as trainers
# evaluate these where they have them.
_AVERAGED = ('model_ema', 'state_dict_ema', 'ema_state_dict', 'params_ema', 'ema')
_NESTS = _AVERAGED + (
  'state_dict',
  'model_state_dict',
  'model_state',
  'model',
  'module',
  'net',
  'network',
  'params',
  'weights',
)
_MOST_PICKLE = 16 << 20  # bytes; the one of ResNet-50 with an optimiser has a quarter of a million


def read(path, notes: list[str] | None = None) -> dict[str, Stored]:
  """The tensors of a file by name; of a checkpoint, those of its state dict.

  Args:
    path: a file that `torch.save` wrote: a state dict, or a checkpoint that holds one.
    notes: a line is appended where a person should know which state dict was taken.

  Raises:
    DataError: it is damaged, no tensors are in it, or it asks for more than tensors and what stands beside them.
  """
  path = pathlib.Path(path)
  with _one_line(path):
    with open(path, 'rb') as f:
      content, storage_bytes = _read_legacy(path) if f.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC else _read_zip(path)
    tensors = _state_dict(content, [] if notes is None else notes)
    uses: dict[str, int] = {}
    for tensor in tensors.values():
      uses[tensor.storage.key] = uses.get(tensor.storage.key, 0) + 1
    # A storage of several tensors is read once, or a file of one storage and many views of it would take hours.
    shared = functools.cache(storage_bytes)

  def materialise(tensor):
    with _one_line(path):
      return _materialise(tensor, shared if uses[tensor.storage.key] > 1 else storage_bytes)

  return {name: Stored(tensor.shape, functools.partial(materialise, tensor)) for name, tensor in tensors.items()}


@contextlib.contextmanager
def _one_line(path):
  """Turns whatever damaged bytes make the parsers say into a DataError."""
  try:
    yield
  except (Refused, limits.Exceeded) as e:
    raise DataError(f'{path}: {e}; nothing of it was run or imported') from None
  except OSError as e:
    raise DataError(f'{path}: cannot be read ({e.strerror or e}); copy the file again') from None
  except (TypeError, LookupError, AttributeError, OverflowError, MemoryError, *archive.ERRORS) as e:
    raise DataError(f'{path}: damaged ({type(e).__name__}: {limits.short(str(e), 80)}); copy the file again') from None


def _read_zip(path):
  """(content, storage -> bytes) of the format since PyTorch 1.6."""
  members = archive.Archive(path)
  pickles = [name for name in members if name.rpartition('/')[2] == 'data.pkl']
  if len(pickles) != 1:
    raise Refused('a zip file without a data.pkl, expected one that torch.save wrote')
  folder = pickles[0].removesuffix('data.pkl')
  if f'{folder}constants.pkl' in members:
    raise Refused(
      'TorchScript, a program with its weights; expected a state dict: torch.save(torch.jit.load(FILE).state_dict(), …)'
    )
  if f'{folder}byteorder' in members and members.read(f'{folder}byteorder') != b'little':
    raise Refused('written on a big-endian machine; save it again on a little-endian one')
  _check_pickle(members.size(pickles[0]))
  content = Machine().run(io.BytesIO(members.read(pickles[0])))

  def storage_bytes(storage):
    name = f'{folder}data/{storage.key}'
    if members.size(name) != storage.numel * storage.dtype.itemsize:
      raise Refused(f'storage {storage.key} has {members.size(name)} bytes, {storage.numel} {storage.dtype} are said')
    return members.read(name)

  return content, storage_bytes


def _read_legacy(path):
  """(content, storage -> bytes) of the format before PyTorch 1.6: five pickles, then lengths and numbers."""
  with open(path, 'rb') as f, mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as file:
    place = len(LEGACY_MAGIC)

    def run(machine):
      nonlocal place
      part = io.BytesIO(file[place : place + _MOST_PICKLE + 1])
      try:
        value = machine.run(part)
      finally:
        _check_pickle(part.tell())
      place += part.tell()
      return value

    if run(Machine()) != 1001:
      raise Refused("an unknown version of PyTorch's legacy format")
    if run(Machine()).get('little_endian') is not True:
      raise Refused('written on a big-endian machine; save it again on a little-endian one')
    machine = Machine()
    content = run(machine)
    blocks = {}
    for key in run(Machine()):
      storage = machine.storages[key]
      numel, size = file[place : place + 8], storage.numel * storage.dtype.itemsize
      if numel != storage.numel.to_bytes(8, 'little'):
        raise Refused(
          f'damaged or cut off: storage {key} has {int.from_bytes(numel, "little")} numbers, {storage.numel} are said'
        )
      place += 8
      if place + size > len(file):
        raise Refused(f'cut off: storage {key} has {len(file) - place} of {size} bytes')
      blocks[key] = place, size
      place += size

  def storage_bytes(storage):
    start, size = blocks[storage.key]
    with open(path, 'rb') as f:
      f.seek(start)
      return f.read(size)

  return content, storage_bytes


def _check_pickle(size):
  if size > _MOST_PICKLE:
    raise Refused(
      f'a pickle of {"more than " if size == _MOST_PICKLE + 1 else ""}{size:,} bytes, expected at most {_MOST_PICKLE:,}'
    )


def _state_dict(content, notes) -> dict[str, Tensor]:
  """The tensors by name, from a state dict or a checkpoint around one."""
  if isinstance(content, (Object, Global)):
    of = content.of if isinstance(content, Object) else content
    raise Refused(f'asks for {of}, expected a state dict: torch.save(model.state_dict(), …)')
  if not isinstance(content, dict):
    raise Refused(f'holds a {type(content).__name__.lstrip("_")}, expected a state dict')
  seen = set()

  def search(inside):  # -> tensors of the first nest that has some; each dictionary is looked at once
    seen.add(id(inside))
    for key in _NESTS:
      nest = inside.get(key)
      if isinstance(nest, dict) and id(nest) not in seen and (found := search(nest)):
        others = [k for k in _NESTS if k not in _AVERAGED and isinstance(inside.get(k), dict)]
        if key in _AVERAGED and others:
          notes.append(f'the averaged weights ({key}) are taken, as their trainer evaluates them; {others[0]} is not')
        return found
    return {name: value for name, value in inside.items() if isinstance(value, Tensor)}

  tensors = search(content)
  if not tensors:
    raise Refused('holds no tensors, expected a state dict')
  return tensors


def _materialise(tensor, storage_bytes) -> np.ndarray:
  """The numbers of a tensor; a view that leaves its storage is refused."""
  numbers = np.frombuffer(storage_bytes(tensor.storage), tensor.storage.dtype)
  last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
  least = min((*tensor.shape, *tensor.strides, tensor.offset), default=0)
  if least < 0 or math.prod(tensor.shape) > len(numbers) or last >= len(numbers):
    raise Refused(f'storage {tensor.storage.key}: a tensor reaches {last} of {len(numbers)} numbers')
  strides = [stride * numbers.itemsize for stride in tensor.strides]
  return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides).copy()
