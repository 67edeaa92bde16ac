"""What `e2e_affect.weights.torch_pickle` could have been: an unpickler that admits tensors by name, behind a guard.

    python tests/e2e_affect/weights/unpickler.py DATA.PKL

It builds descriptions of tensors and prints what it read. The guard counts instructions and measures their arguments
before anything is loaded. It does not know what is used as a key: for that it would have to follow the stack.
"""

import collections
import pathlib
import pickle
import pickletools
import sys

MOST_INSTRUCTIONS, LONGEST_ARGUMENT = 250_000, 512
REFUSED = {'DUP', 'POP', 'POP_MARK', 'EXT1', 'EXT2', 'EXT4', 'INST', 'OBJ', 'PERSID', 'NEXT_BUFFER', 'READONLY_BUFFER'}


class Unpickler(pickle.Unpickler):
  def find_class(self, module, name):
    if (module, name) == ('collections', 'OrderedDict'):
      return collections.OrderedDict
    if (module, name) == ('torch._utils', '_rebuild_tensor_v2'):
      return lambda storage, offset, shape, strides, *_: ('tensor', storage, offset, shape, strides)
    if module == 'torch' and name.endswith('Storage'):
      return name
    raise pickle.UnpicklingError(f'asks for {module}.{name}')

  def persistent_load(self, identity):
    return identity


def guard(f):
  """Refuses what can be seen without following the stack."""
  for count, (opcode, argument, _) in enumerate(pickletools.genops(f), 1):
    size = len(argument) if isinstance(argument, (str, bytes, bytearray)) else 0
    number = argument if isinstance(argument, int) else 0
    most = 4 * MOST_INSTRUCTIONS if 'PUT' in opcode.name else 1 << 62  # the memo is as long as its largest index
    if opcode.name in REFUSED or count > MOST_INSTRUCTIONS or size > LONGEST_ARGUMENT or abs(number) > most:
      raise pickle.UnpicklingError(f'refused: {opcode.name}')
  f.seek(0)


if __name__ == '__main__':
  with pathlib.Path(sys.argv[1]).open('rb') as f:
    guard(f)
    content = Unpickler(f).load()
  print(*(f'{name}: {value[0]} {value[3]}' for name, value in content.items() if isinstance(name, str)))
