"""Reads `.pth` files, zip and legacy, without PyTorch and without `pickle`.

Such a file holds a pickle: a program for a small stack machine, which may call any function it names. The machine here
knows the instructions that lists, dictionaries, numbers and strings need, and the handful of names that PyTorch
rebuilds tensors with. These build descriptions, never objects, and nothing is ever called. Objects beside the tensors,
such as the `argparse.Namespace` of a training script, leave the name of their class; a file that would have Python's
own library, NumPy or PyTorch do anything else is refused, with the name. Every instruction costs about the same,
whatever a pickle refers to, and there is a most of them.
"""

import contextlib
import dataclasses
import functools
import io
import math
import mmap
import pathlib
import pickletools
import sys

import ml_dtypes
import numpy as np

from data_prep.core.errors import DataError
from e2e_affect.weights import archive, limits
from e2e_affect.weights.tensors import Stored

LEGACY_MAGIC = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'  # the pickle of a number that opens a legacy file
_TYPES = {
  'FloatStorage': np.float32,
  'DoubleStorage': np.float64,
  'HalfStorage': np.float16,
  'BFloat16Storage': ml_dtypes.bfloat16,
  'LongStorage': np.int64,
  'IntStorage': np.int32,
  'ShortStorage': np.int16,
  'CharStorage': np.int8,
  'ByteStorage': np.uint8,
  'BoolStorage': np.bool_,
}
_TENSORS = {('torch._utils', '_rebuild_tensor_v2'), ('torch._utils', '_rebuild_tensor')}
_PARAMETERS = {('torch._utils', '_rebuild_parameter'), ('torch._utils', '_rebuild_parameter_with_state')}
_SUBCLASS = ('torch._tensor', '_rebuild_from_type_v2')
_DICT = ('collections', 'OrderedDict')
# Calls of these libraries build what trainers save beside the weights (scores, settings, paths, schedules), or they are
# no business of a weight file. Those of other libraries, and of the trainer itself, are enumerations and the like.
_LIBRARIES = {*sys.stdlib_module_names, '__builtin__', 'commands', 'copy_reg', 'cPickle', 'numpy', 'torch'}
_BESIDE = {
  (module, name)
  for modules, names in (
    (('numpy',), ('dtype',)),
    (('numpy.core.multiarray', 'numpy._core.multiarray'), ('scalar', '_reconstruct')),
    (('numpy.core.numeric', 'numpy._core.numeric'), ('_frombuffer',)),
    (('_codecs',), ('encode',)),
    (('torch',), ('Size', 'device', 'Generator')),
    (('torch.serialization',), ('_get_layout',)),
    (('numpy.random._pickle',), ('__randomstate_ctor', '__generator_ctor', '__bit_generator_ctor')),
    (('numpy.random.bit_generator',), ('__pyx_unpickle_SeedSequence',)),
    (('operator', '_operator'), ('getitem',)),  # of types in settings: List[int]
    (('__builtin__', 'builtins'), ('getattr', 'set', 'frozenset', 'slice', 'complex', 'bytearray', 'range', 'xrange')),
    (('collections',), ('defaultdict', 'Counter', 'deque')),
    (('copy_reg', 'copyreg'), ('_reconstructor',)),
    (('functools',), ('partial',)),
    (('uuid',), ('UUID',)),
    (('datetime',), ('datetime', 'date', 'time', 'timedelta', 'timezone')),
    (('decimal',), ('Decimal',)),
    (
      ('pathlib', 'pathlib._local'),
      ('Path', 'PosixPath', 'WindowsPath', 'PurePath', 'PurePosixPath', 'PureWindowsPath'),
    ),
  )
  for module in modules
  for name in names
}
_PUSH = {
  'BINUNICODE',
  'SHORT_BINUNICODE',
  'BINUNICODE8',
  'BININT',
  'BININT1',
  'BININT2',
  'INT',
  'LONG',
  'LONG1',
  'LONG4',
  'FLOAT',
  'BINFLOAT',
  'UNICODE',
  'STRING',
  'BINSTRING',
  'SHORT_BINSTRING',
  'BINBYTES',
  'SHORT_BINBYTES',
  'BINBYTES8',
  'BYTEARRAY8',
}
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_EMPTY = {'EMPTY_DICT': dict, 'EMPTY_LIST': list, 'EMPTY_TUPLE': tuple}
# Where checkpoints keep their state dict, the one to take first: trainers evaluate the averaged weights where they have
# any.
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
_MOST_WORK = 250_000  # instructions and copied items; the same has thirty thousand


@dataclasses.dataclass(frozen=True)
class _Global:
  """A name that the pickle asks for, as `module.name`."""

  module: str
  name: str

  def __str__(self):
    return limits.short(f'{self.module}.{self.name}')


@dataclasses.dataclass(frozen=True)
class _Object:
  """Something that is neither a tensor nor plain, of which only the name of its class is kept."""

  of: _Global


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


def read(path, notes: list[str] | None = None) -> dict[str, Stored]:
  """The tensors of a file by name; of a checkpoint, those of its state dict.

  Args:
    path: a file that `torch.save` wrote a state dict, or a checkpoint that holds one, to.
    notes: what a person should know of the choice is appended.

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
  except (_Refused, limits.Exceeded) as e:
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
    raise _Refused('a zip file without a data.pkl, expected one that torch.save wrote')
  folder = pickles[0].removesuffix('data.pkl')
  if f'{folder}constants.pkl' in members:
    raise _Refused(
      'TorchScript, a program with its weights; expected a state dict: torch.save(torch.jit.load(FILE).state_dict(), …)'
    )
  if f'{folder}byteorder' in members and members.read(f'{folder}byteorder') != b'little':
    raise _Refused('written on a big-endian machine; save it again on a little-endian one')
  _check_pickle(members.size(pickles[0]))
  content = _Machine().run(io.BytesIO(members.read(pickles[0])))

  def storage_bytes(storage):
    name = f'{folder}data/{storage.key}'
    if members.size(name) != storage.numel * storage.dtype.itemsize:
      raise _Refused(f'storage {storage.key} has {members.size(name)} bytes, {storage.numel} {storage.dtype} are said')
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

    if run(_Machine()) != 1001:
      raise _Refused("an unknown version of PyTorch's legacy format")
    if run(_Machine()).get('little_endian') is not True:
      raise _Refused('written on a big-endian machine; save it again on a little-endian one')
    machine = _Machine()
    content = run(machine)
    blocks = {}
    for key in run(_Machine()):
      storage = machine.storages[key]
      numel, size = file[place : place + 8], storage.numel * storage.dtype.itemsize
      if numel != storage.numel.to_bytes(8, 'little'):
        raise _Refused(
          f'damaged or cut off: storage {key} has {int.from_bytes(numel, "little")} numbers, {storage.numel} are said'
        )
      place += 8
      if place + size > len(file):
        raise _Refused(f'cut off: storage {key} has {len(file) - place} of {size} bytes')
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
    raise _Refused(
      f'a pickle of {"more than " if size == _MOST_PICKLE + 1 else ""}{size:,} bytes, expected at most {_MOST_PICKLE:,}'
    )


def _state_dict(content, notes) -> dict[str, _Tensor]:
  """The tensors by name, from a state dict or a checkpoint around one."""
  if isinstance(content, (_Object, _Global)):
    of = content.of if isinstance(content, _Object) else content
    raise _Refused(f'asks for {of}, expected a state dict: torch.save(model.state_dict(), …)')
  if not isinstance(content, dict):
    raise _Refused(f'holds a {type(content).__name__.lstrip("_")}, expected a state dict')
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
    return {name: value for name, value in inside.items() if isinstance(value, _Tensor)}

  tensors = search(content)
  if not tensors:
    raise _Refused('holds no tensors, expected a state dict')
  return tensors


def _materialise(tensor, storage_bytes) -> np.ndarray:
  """The numbers of a tensor; a view that leaves its storage is refused."""
  numbers = np.frombuffer(storage_bytes(tensor.storage), tensor.storage.dtype)
  last = tensor.offset + sum((n - 1) * stride for n, stride in zip(tensor.shape, tensor.strides, strict=True))
  least = min((*tensor.shape, *tensor.strides, tensor.offset), default=0)
  if least < 0 or math.prod(tensor.shape) > len(numbers) or last >= len(numbers):
    raise _Refused(f'storage {tensor.storage.key}: a tensor reaches {last} of {len(numbers)} numbers')
  strides = [stride * numbers.itemsize for stride in tensor.strides]
  return np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides).copy()


class _Machine:
  """The stack machine. `storages`: every storage that was met, by key."""

  def __init__(self):
    self.storages = {}
    self._work = 0

  def run(self, f):
    """Runs one pickle from a file, which is left standing behind it."""
    stack, marks, memo = [], [], {}

    def to_mark():
      place = marks.pop()
      values = stack[place:]
      del stack[place:]
      return values

    for opcode, argument, _ in pickletools.genops(f):
      name = opcode.name
      self._count(1)
      if name in ('PROTO', 'FRAME'):
        pass
      elif name == 'STOP':
        return stack.pop()
      elif name in _PUSH:
        stack.append(argument)
      elif name in _CONSTANTS:
        stack.append(_CONSTANTS[name])
      elif name in _EMPTY:
        stack.append(_EMPTY[name]())
      elif name == 'EMPTY_SET':
        stack.append(_Object(_Global('builtins', 'set')))
      elif name == 'FROZENSET':
        to_mark()
        stack.append(_Object(_Global('builtins', 'frozenset')))
      elif name == 'MARK':
        marks.append(len(stack))
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
        stack.append(_Global(*argument.split(' ', 1)))
      elif name == 'STACK_GLOBAL':
        stack[-2:] = [_global(*stack[-2:])]
      elif name == 'REDUCE':
        stack[-2:] = [self._call(*stack[-2:])]
      elif name in ('NEWOBJ', 'NEWOBJ_EX'):
        of = stack[-2 if name == 'NEWOBJ' else -3]
        if not isinstance(of, _Global):
          raise _Refused('damaged: an object of no class')
        stack[-2 if name == 'NEWOBJ' else -3 :] = [_Object(of)]
      elif name == 'BUILD':  # attributes of an object, or of a dictionary, such as versions of layers
        stack.pop()
      elif name == 'BINPERSID':
        stack.append(self._storage(stack.pop()))
      elif name in ('SETITEM', 'SETITEMS'):
        values = [stack.pop(-2), stack.pop()] if name == 'SETITEM' else to_mark()
        _set(stack[-1], zip(values[::2], values[1::2], strict=True))
      elif name in ('APPEND', 'APPENDS', 'ADDITEMS'):
        values = [stack.pop()] if name == 'APPEND' else to_mark()
        if not isinstance(stack[-1], _Object):
          stack[-1].extend(values)
      else:
        raise _Refused(f'asks for the pickle instruction {name}, which no weights need')
    raise _Refused('cut off')

  def _count(self, items):
    self._work += items
    if self._work > _MOST_WORK:
      raise _Refused(f'a pickle of more than {_MOST_WORK:,} instructions, which no weights need')

  def _storage(self, identity):
    if not isinstance(identity, tuple) or len(identity) not in (5, 6):
      raise _Refused('a storage of an unknown kind')
    kind, of_type, key, _, numel = identity[:5]
    view = identity[5] if len(identity) > 5 else None  # of the legacy format, long unused
    if not isinstance(kind, str) or kind != 'storage' or not isinstance(of_type, _Global) or view is not None:
      raise _Refused('a storage of an unknown kind')
    if of_type.module != 'torch' or of_type.name not in _TYPES:
      raise _Refused(f'a storage of {of_type}, expected torch.FloatStorage or another of numbers')
    if not isinstance(key, str) or '/' in key or len(key) > limits.LONGEST_NAME or not key.isprintable():
      raise _Refused('a storage of an impossible name')
    self.storages[key] = _Storage(key, np.dtype(_TYPES[of_type.name]), _size(numel))
    return self.storages[key]

  def _call(self, function, arguments):
    """What a call would have returned, as a description."""
    if not isinstance(function, _Global) or not isinstance(arguments, tuple):
      raise _Refused('calls what is no name')
    asked = function.module, function.name
    self._count(1)
    if asked in _TENSORS:
      storage, offset, shape, strides = arguments[:4]
      if not isinstance(storage, _Storage):
        raise _Refused('a tensor without a storage')
      if not (isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)):
        raise _Refused('a tensor without a shape')
      if len(shape) > limits.MOST_DIMENSIONS:
        raise _Refused(f'a tensor of {len(shape)} dimensions, expected at most {limits.MOST_DIMENSIONS}')
      return _Tensor(storage, _size(offset), tuple(map(_size, shape)), tuple(map(_size, strides)))
    if asked in _PARAMETERS:
      return arguments[0]
    if asked == _SUBCLASS:
      return self._call(arguments[0], arguments[2])
    if asked == _DICT:
      made = {}
      for pairs in arguments[:1]:
        self._count(len(pairs))
        _set(made, ((key, value) for key, value in pairs))
      return made
    if asked in _BESIDE or function.module.partition('.')[0] not in _LIBRARIES:
      return _Object(function)
    raise _Refused(f'asks for {function}, expected tensors and plain values: save the state dict alone')


def _global(module, name):
  if not isinstance(module, str) or not isinstance(name, str):
    raise _Refused('damaged: a name that is no text')
  return _Global(module, name)


def _size(number):
  """A number that fits into an index; those of pickles may have millions of digits."""
  if type(number) is not int or not 0 <= number < 1 << 62:
    raise _Refused('a tensor of an impossible size')
  return number


def _set(target, items):
  """Sets what may be tensors or lead to some; hashing other keys could take for ever, of tuples of tuples for one."""
  if isinstance(target, _Object):
    return
  if not isinstance(target, dict):
    raise _Refused('damaged: items of what is no dictionary')
  for key, value in items:
    if not isinstance(key, str):
      continue
    if len(key) <= limits.LONGEST_NAME:
      target[key] = value
    elif isinstance(value, _Tensor):
      raise _Refused(f'a tensor whose name has {len(key):,} characters, expected at most {limits.LONGEST_NAME}')
