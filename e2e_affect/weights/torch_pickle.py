"""A stack machine for the pickles of PyTorch, which builds descriptions and calls nothing.

A pickle is a program for a small stack machine, which may call any function it names. The machine here knows the
instructions that lists, dictionaries, numbers and strings need, and the names that PyTorch rebuilds tensors with.
Objects beside the tensors, such as the `argparse.Namespace` of a training script, leave the name of their class. A
pickle that would have Python's own library, NumPy or PyTorch do anything else is refused, with the name. Every
instruction costs about the same, whatever a pickle refers to, and their number is limited.

A `pickle.Unpickler` with a list of admitted names would be shorter. It hashes whatever a pickle uses as a key, in C:
a tuple of tuples then hangs or ends the process (see `test_an_unpickler_with_a_list_of_names_hangs_and_crashes`).
"""

import dataclasses
import pickletools
import sys

import ml_dtypes
import numpy as np

from e2e_affect.weights import limits

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
# A call of these libraries is refused unless `_BESIDE` lists it: trainers save scores, settings, paths and schedules
# beside the weights. A call of any other library, or of the trainer's own code, leaves the name of what it calls.
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
# Instructions that push their own argument, a number or a text.
_PUSH = {
  op.name
  for op in pickletools.opcodes
  if op.arg and not op.stack_before and op.stack_after and op.stack_after[0] is not pickletools.anyobject
}
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False}
_EMPTY = {'EMPTY_DICT': dict, 'EMPTY_LIST': list, 'EMPTY_TUPLE': tuple}
_MOST_WORK = 250_000  # instructions and copied items; the same has thirty thousand


@dataclasses.dataclass(frozen=True)
class Global:
  """A name that the pickle asks for, as `module.name`."""

  module: str
  name: str

  def __str__(self):
    return limits.short(f'{self.module}.{self.name}')


@dataclasses.dataclass(frozen=True)
class Object:
  """Something that is neither a tensor nor plain, of which only the name of its class is kept."""

  of: Global


@dataclasses.dataclass(frozen=True)
class Storage:
  """A block of numbers: its key in the file, type and length."""

  key: str
  dtype: np.dtype
  numel: int


@dataclasses.dataclass(frozen=True)
class Tensor:
  """A view into a storage, in elements."""

  storage: Storage
  offset: int
  shape: tuple[int, ...]
  strides: tuple[int, ...]


class Refused(Exception):
  """The pickle is damaged, or wants more than to rebuild tensors."""


class Machine:
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
        stack.append(Object(Global('builtins', 'set')))
      elif name == 'FROZENSET':
        to_mark()
        stack.append(Object(Global('builtins', 'frozenset')))
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
        stack.append(Global(*argument.split(' ', 1)))
      elif name == 'STACK_GLOBAL':
        stack[-2:] = [_global(*stack[-2:])]
      elif name == 'REDUCE':
        stack[-2:] = [self._call(*stack[-2:])]
      elif name in ('NEWOBJ', 'NEWOBJ_EX'):
        of = stack[-2 if name == 'NEWOBJ' else -3]
        if not isinstance(of, Global):
          raise Refused('damaged: an object of no class')
        stack[-2 if name == 'NEWOBJ' else -3 :] = [Object(of)]
      elif name == 'BUILD':  # attributes of an object, or of a dictionary, such as versions of layers
        stack.pop()
      elif name == 'BINPERSID':
        stack.append(self._storage(stack.pop()))
      elif name in ('SETITEM', 'SETITEMS'):
        values = [stack.pop(-2), stack.pop()] if name == 'SETITEM' else to_mark()
        _set(stack[-1], zip(values[::2], values[1::2], strict=True))
      elif name in ('APPEND', 'APPENDS', 'ADDITEMS'):
        values = [stack.pop()] if name == 'APPEND' else to_mark()
        if not isinstance(stack[-1], Object):
          stack[-1].extend(values)
      else:
        raise Refused(f'asks for the pickle instruction {name}, which no weights need')
    raise Refused('cut off')

  def _count(self, items):
    self._work += items
    if self._work > _MOST_WORK:
      raise Refused(f'a pickle of more than {_MOST_WORK:,} instructions, which no weights need')

  def _storage(self, identity):
    if not isinstance(identity, tuple) or len(identity) not in (5, 6):
      raise Refused('a storage of an unknown kind')
    kind, of_type, key, _, numel = identity[:5]
    view = identity[5] if len(identity) > 5 else None  # of the legacy format, long unused
    if not isinstance(kind, str) or kind != 'storage' or not isinstance(of_type, Global) or view is not None:
      raise Refused('a storage of an unknown kind')
    if of_type.module != 'torch' or of_type.name not in _TYPES:
      raise Refused(f'a storage of {of_type}, expected torch.FloatStorage or another of numbers')
    if not isinstance(key, str) or '/' in key or len(key) > limits.LONGEST_NAME or not key.isprintable():
      raise Refused('a storage of an impossible name')
    self.storages[key] = Storage(key, np.dtype(_TYPES[of_type.name]), _size(numel))
    return self.storages[key]

  def _call(self, function, arguments):
    """What a call would have returned, as a description."""
    if not isinstance(function, Global) or not isinstance(arguments, tuple):
      raise Refused('calls what is no name')
    asked = function.module, function.name
    self._count(1)
    if asked in _TENSORS:
      storage, offset, shape, strides = arguments[:4]
      if not isinstance(storage, Storage):
        raise Refused('a tensor without a storage')
      if not (isinstance(shape, tuple) and isinstance(strides, tuple) and len(shape) == len(strides)):
        raise Refused('a tensor without a shape')
      if len(shape) > limits.MOST_DIMENSIONS:
        raise Refused(f'a tensor of {len(shape)} dimensions, expected at most {limits.MOST_DIMENSIONS}')
      return Tensor(storage, _size(offset), tuple(map(_size, shape)), tuple(map(_size, strides)))
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
      return Object(function)
    raise Refused(f'asks for {function}, expected tensors and plain values: save the state dict alone')


def _global(module, name):
  if not isinstance(module, str) or not isinstance(name, str):
    raise Refused('damaged: a name that is no text')
  return Global(module, name)


def _size(number):
  """A number that fits into an index; a number in a pickle may have millions of digits."""
  if type(number) is not int or not 0 <= number < 1 << 62:
    raise Refused('a tensor of an impossible size')
  return number


def _set(target, items):
  """Sets the items with text keys. No other leads to a tensor, and hashing a tuple of tuples could take for ever."""
  if isinstance(target, Object):
    return
  if not isinstance(target, dict):
    raise Refused('damaged: items of what is no dictionary')
  for key, value in items:
    if not isinstance(key, str):
      continue
    if len(key) <= limits.LONGEST_NAME:
      target[key] = value
    elif isinstance(value, Tensor):
      raise Refused(f'a tensor whose name has {len(key):,} characters, expected at most {limits.LONGEST_NAME}')
