"""Reads `.pth` files, zip and legacy, without PyTorch and without `pickle`.

Such a file holds a pickle: a program for a small stack machine, which may call any function it names. The machine here
knows the instructions that lists, dictionaries, numbers and strings need, and the handful of names that PyTorch
rebuilds tensors with. These build descriptions, never objects; everything else is refused, and nothing is ever called.
"""

import collections
import contextlib
import dataclasses
import functools
import io
import math
import pathlib
import pickletools
import zipfile

import ml_dtypes
import numpy as np

from data_prep.errors import DataError
from e2e_affect.weights.tensors import Stored

LEGACY_MAGIC = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'  # the pickle of a number that opens a legacy file
_TYPES = {'FloatStorage': np.float32, 'DoubleStorage': np.float64, 'HalfStorage': np.float16,
          'BFloat16Storage': ml_dtypes.bfloat16, 'LongStorage': np.int64, 'IntStorage': np.int32,
          'ShortStorage': np.int16, 'CharStorage': np.int8, 'ByteStorage': np.uint8, 'BoolStorage': np.bool_}
_TENSOR, _PARAMETER = ('torch._utils', '_rebuild_tensor_v2'), ('torch._utils', '_rebuild_parameter')
_DICT = ('collections', 'OrderedDict')
# Scores and counts that trainers save beside the weights: their content is dropped.
_DROPPED = {('numpy', 'dtype'), ('numpy.core.multiarray', 'scalar'), ('numpy._core.multiarray', 'scalar'),
            ('_codecs', 'encode'), ('torch', 'Size'), ('torch', 'device')}
_PUSH = {'BINUNICODE', 'SHORT_BINUNICODE', 'BINUNICODE8', 'BININT', 'BININT1', 'BININT2', 'INT', 'LONG', 'LONG1',
         'LONG4', 'FLOAT', 'BINFLOAT', 'UNICODE', 'STRING', 'BINSTRING', 'SHORT_BINSTRING', 'BINBYTES',
         'SHORT_BINBYTES'}
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_MARK = object()


@dataclasses.dataclass(frozen=True)
class _Global:
  """A name that the pickle asks for, as `module.name`."""

  module: str
  name: str


@dataclasses.dataclass(frozen=True)
class _Storage:
  """A block of numbers: its key in the file, type and length."""

  key: str
  dtype: np.dtype
  numel: int


@dataclasses.dataclass(frozen=True)
class _Tensor:
  """A view into a storage, in elements."""

  storage: _Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


class _Refused(Exception):
  """The pickle is damaged, or wants more than to rebuild tensors."""


def read(path) -> dict[str, Stored]:
  """The tensors of a file by name; of a checkpoint, those of its `state_dict`.

  Args:
    path: a file that `torch.save` wrote a state dict, or a checkpoint that holds one, to.

  Raises:
    DataError: it is damaged, holds anything but tensors and plain values, or no tensors.
  """
  path = pathlib.Path(path)
  with _one_line(path):
    with open(path, 'rb') as f:
      content, storage_bytes = _read_legacy(f) if f.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC else _read_zip(path)
    tensors = _state_dict(content)

  def materialise(tensor):
    with _one_line(path):
      return _materialise(tensor, storage_bytes)

  return {name: Stored(tensor.shape, functools.partial(materialise, tensor)) for name, tensor in tensors.items()}


@contextlib.contextmanager
def _one_line(path):
  """Turns whatever damaged bytes make the parsers say into a DataError."""
  try:
    yield
  except _Refused as e:
    raise DataError(f'{path}: {e}; nothing of it was run or imported') from None
  except OSError as e:
    raise DataError(f'{path}: cannot be read ({e.strerror or e}); copy the file again') from None
  except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError, MemoryError,
          NotImplementedError, EOFError, zipfile.BadZipFile) as e:
    raise DataError(f'{path}: damaged ({type(e).__name__}: {str(e)[:80]}); copy the file again') from None


def _read_zip(path):
  """(content, key -> bytes) of the format since PyTorch 1.6."""
  with zipfile.ZipFile(path) as archive:
    pickles = [n for n in archive.namelist() if n.rpartition('/')[2] == 'data.pkl']
    if len(pickles) != 1:
      raise _Refused('a zip file without a data.pkl, expected one that torch.save wrote')
    folder = pickles[0].removesuffix('data.pkl')
    if any(info.compress_type != zipfile.ZIP_STORED for info in archive.infolist()):
      raise _Refused('compressed inside, which torch.save never does')
    if f'{folder}byteorder' in archive.namelist() and archive.read(f'{folder}byteorder') != b'little':
      raise _Refused('written on a big-endian machine; save it again on a little-endian one')
    content = _Machine().run(io.BytesIO(archive.read(pickles[0])))

  def storage_bytes(storage):
    with zipfile.ZipFile(path) as archive:
      info = archive.getinfo(f'{folder}data/{storage.key}')
      if info.file_size != storage.numel * storage.dtype.itemsize:
        raise _Refused(f'storage {storage.key} has {info.file_size} bytes, {storage.numel} {storage.dtype} are said')
      return archive.read(info)

  return content, storage_bytes


def _read_legacy(f):
  """(content, key -> bytes) of the format before PyTorch 1.6; `f` stands behind the magic number."""
  if _Machine().run(f) != 1001:
    raise _Refused('an unknown version of PyTorch\'s legacy format')
  if _Machine().run(f).get('little_endian') is not True:
    raise _Refused('written on a big-endian machine; save it again on a little-endian one')
  machine = _Machine()
  content = machine.run(f)
  keys = _Machine().run(f)
  blocks = {}
  for key in keys:
    storage = machine.storages[key]
    numel, size = f.read(8), storage.numel * storage.dtype.itemsize
    if numel != storage.numel.to_bytes(8, 'little'):
      raise _Refused(f'damaged or cut off: storage {key} has {int.from_bytes(numel, "little")} numbers, '
                     f'{storage.numel} are said')
    blocks[key] = f.read(size)  # as many as there are, whatever the header says
    if len(blocks[key]) != size:
      raise _Refused(f'cut off: storage {key} has {len(blocks[key])} of {size} bytes')
  return content, lambda storage: blocks[storage.key]


def _state_dict(content) -> dict[str, _Tensor]:
  """The tensors by name, from a state dict or a checkpoint around one."""
  for key in ('state_dict', 'model', 'model_state_dict'):
    if isinstance(content, dict) and isinstance(content.get(key), dict):
      content = content[key]
  if not isinstance(content, dict):
    raise _Refused(f'holds a {type(content).__name__.lstrip("_")}, expected a state dict')
  tensors = {str(name): value for name, value in content.items() if isinstance(value, _Tensor)}
  if not tensors:
    raise _Refused('holds no tensors, expected a state dict')
  strip = 'module.'  # of a network that was trained with DataParallel
  return {name.removeprefix(strip) if all(n.startswith(strip) for n in tensors) else name: value
          for name, value in tensors.items()}


def _materialise(tensor, storage_bytes) -> np.ndarray:
  """The numbers of a tensor; a view that leaves its storage is refused."""
  numbers = np.frombuffer(storage_bytes(tensor.storage), tensor.storage.dtype)
  last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
  least = min((*tensor.shape, *tensor.strides, tensor.offset), default=0)
  if least < 0 or math.prod(tensor.shape) > len(numbers) or last >= len(numbers):
    raise _Refused(f'storage {tensor.storage.key}: a tensor reaches {last} of {len(numbers)} numbers')
  strides = [stride * numbers.itemsize for stride in tensor.strides]
  return np.lib.stride_tricks.as_strided(numbers[tensor.offset:], tensor.shape, strides).copy()


class _Machine:
  """The stack machine. `storages`: every storage that was met, by key."""

  def __init__(self):
    self.storages = {}

  def run(self, f):
    """Runs one pickle from a file, which is left standing behind it."""
    stack, memo = [], {}

    def to_mark():
      place = len(stack) - 1 - stack[::-1].index(_MARK)
      values = stack[place + 1:]
      del stack[place:]
      return values

    for opcode, argument, _ in pickletools.genops(f):
      name = opcode.name
      if name in ('PROTO', 'FRAME'):
        pass
      elif name == 'STOP':
        return stack.pop()
      elif name in _PUSH:
        stack.append(argument)
      elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
      elif name in ('EMPTY_DICT', 'EMPTY_LIST', 'EMPTY_TUPLE', 'MARK'):
        stack.append({'EMPTY_DICT': dict, 'EMPTY_LIST': list, 'EMPTY_TUPLE': tuple, 'MARK': lambda: _MARK}[name]())
      elif name == 'TUPLE':
        stack.append(tuple(to_mark()))
      elif name in ('TUPLE1', 'TUPLE2', 'TUPLE3'):
        size = int(name[-1])
        stack[-size:] = [tuple(stack[-size:])]
      elif name in ('BINPUT', 'LONG_BINPUT', 'PUT'):
        memo[argument] = stack[-1]
      elif name == 'MEMOIZE':
        memo[len(memo)] = stack[-1]
      elif name in ('BINGET', 'LONG_BINGET', 'GET'):
        stack.append(memo[argument])
      elif name == 'GLOBAL':
        stack.append(_named(*argument.split(' ', 1)))
      elif name == 'STACK_GLOBAL':
        stack[-2:] = [_named(*stack[-2:])]
      elif name == 'REDUCE':
        stack[-2:] = [self._build(*stack[-2:])]
      elif name == 'BUILD':  # attributes of a dictionary, such as versions of layers
        stack.pop()
      elif name == 'BINPERSID':
        stack.append(self._storage(stack.pop()))
      elif name in ('SETITEM', 'SETITEMS'):
        values = [stack.pop(-2), stack.pop()] if name == 'SETITEM' else to_mark()
        stack[-1].update(zip(values[::2], values[1::2], strict=True))
      elif name in ('APPEND', 'APPENDS'):
        values = [stack.pop()] if name == 'APPEND' else to_mark()
        stack[-1].extend(values)
      else:
        raise _Refused(f'asks for the pickle instruction {name}, which no weights need')
    raise _Refused('cut off')

  def _storage(self, identity):
    kind, of_type, key, _, numel = identity[:5]
    view = identity[5] if len(identity) > 5 else None  # of the legacy format, long unused
    if kind != 'storage' or not isinstance(of_type, _Global) or of_type.name not in _TYPES or view is not None:
      raise _Refused(f'a storage of an unknown kind: {str(identity)[:60]}')
    if '/' in str(key) or int(numel) < 0:
      raise _Refused(f'a storage of an impossible name or size: {str(identity)[:60]}')
    self.storages[key] = _Storage(str(key), np.dtype(_TYPES[of_type.name]), int(numel))
    return self.storages[key]

  def _build(self, function, arguments):
    """What a call would have returned, as a description."""
    asked = (function.module, function.name) if isinstance(function, _Global) else None
    if asked == _TENSOR:
      storage, offset, shape, strides = arguments[:4]
      if not isinstance(storage, _Storage):
        raise _Refused('a tensor without a storage')
      return _Tensor(storage, int(offset), tuple(map(int, shape)), tuple(map(int, strides)))
    if asked == _PARAMETER:
      return arguments[0]
    if asked == _DICT:
      return collections.OrderedDict(*arguments)
    if asked in _DROPPED:
      return None
    raise _Refused(f'calls {asked and ".".join(asked)}')


def _named(module, name):
  allowed = {_TENSOR, _PARAMETER, _DICT, *_DROPPED}
  if (module, name) not in allowed and not (module == 'torch' and name in _TYPES):
    raise _Refused(f'asks for {module}.{name}, expected tensors and plain values')
  return _Global(module, name)
