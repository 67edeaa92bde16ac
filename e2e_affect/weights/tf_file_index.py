"""The sorted string tables of TensorFlow's checkpoints, walked through before TensorFlow allocates what they claim.

A table is blocks, a block that says where these lie, and a footer that says where that one lies. A key leaves out what
the key before it began with, so that a few bytes can mean megabytes.
"""

import io

from e2e_affect.weights import limits

_TYPES = range(1, 24)  # DT_FLOAT to DT_UINT64, without references and the types of fewer than eight bits
_MOST_INDEX = 2 << 20  # bytes; ten thousand names take half of it
_FOOTER = 48  # bytes: the places of two blocks, padded, and a magic number
_TRAILER = 5  # bytes of type and checksum behind each block


def check_index(path):
  """Refuses the index of a checkpoint of version 2 that has more or longer names than weights need, or is no table.

  Raises:
    limits.Exceeded, IndexError: it is. OSError: it cannot be read.
  """
  if path.stat().st_size > _MOST_INDEX:
    raise limits.Exceeded(f'its index has {path.stat().st_size:,} bytes, expected at most {_MOST_INDEX:,}')
  content = memoryview(path.read_bytes())
  _, root = _footer(content[-_FOOTER:], len(content))
  blocks = names = 0
  for _, value in _entries(content, root):
    blocks += 1
    block, _ = _handle(value, 0, len(content))
    for length, entry in _entries(content, block):
      names += 1
      if length:  # the first has no name and describes the checkpoint
        _check_entry(entry)
      if names > limits.MOST_ARRAYS or length > limits.LONGEST_NAME:
        raise limits.Exceeded(f'more than {limits.MOST_ARRAYS:,} names, or one longer than {limits.LONGEST_NAME}')
    if blocks > limits.MOST_ARRAYS:
      raise limits.Exceeded(f'more than {limits.MOST_ARRAYS:,} blocks')


def check_footer(path):
  """Refuses a checkpoint of version 1, one table with its numbers, that says its index lies outside of it.

  Raises:
    limits.Exceeded, IndexError: it does. OSError: it cannot be read.
  """
  with open(path, 'rb') as f:
    size = f.seek(0, io.SEEK_END)
    f.seek(max(size - _FOOTER, 0))
    _, (_, length) = _footer(f.read(), size)
  if length > _MOST_INDEX:
    raise limits.Exceeded(f'its index has {length:,} bytes, expected at most {_MOST_INDEX:,}')


def _check_entry(entry):
  """Refuses a BundleEntryProto of a type, shape or slice for which TensorFlow ends the process."""
  kind, shape, slices = 0, [], []
  for field, value in _fields(entry):
    if field == 1:
      kind = value
    elif field == 2:
      shape += [size for number, dim in _fields(value) if number == 2 for part, size in _fields(dim) if part == 1]
    elif field == 7:  # of a partitioned variable: extents of a start and a length
      slices.append([n for number, extent in _fields(value) if number == 1 for _, n in _fields(extent)])
  if kind not in _TYPES:
    raise limits.Exceeded(f'an array of an unknown type ({kind!r:.20})')
  for sizes, most in ((shape, limits.MOST_DIMENSIONS), *((extents, 2 * limits.MOST_DIMENSIONS) for extents in slices)):
    if len(sizes) > most or any(not isinstance(size, int) or size >= 1 << 31 for size in sizes):
      raise limits.Exceeded(f'an array of more than {limits.MOST_DIMENSIONS} dimensions, or of an impossible size')


def _fields(message):
  """(number, value) of the fields of a protocol buffer; values are numbers, or the bytes of what has a length."""
  if isinstance(message, int):
    raise limits.Exceeded('damaged: a number in the place of a message')
  place = 0
  while place < len(message):
    tag, place = _varint(message, place)
    if tag & 7 == 0:
      value, place = _varint(message, place)
    else:
      size, place = _varint(message, place) if tag & 7 == 2 else ({1: 8, 5: 4}.get(tag & 7, len(message)), place)
      value, place = message[place : place + size], place + size
      if place > len(message):
        raise limits.Exceeded('damaged: a message is cut off')
    yield tag >> 3, value


def _footer(footer, size):
  """The two places, each as (start, length), that a footer points to."""
  meta, place = _handle(footer, 0, size)
  root, _ = _handle(footer, place, size)
  return meta, root


def _handle(data, place, size):
  """((start, length) of a block, where the next one is said)."""
  start, place = _varint(data, place)
  length, place = _varint(data, place)
  if start + length + _TRAILER > size:
    raise limits.Exceeded(f'damaged: a block of {length:,} bytes at {start:,} of {size:,}')
  return (start, length), place


def _entries(content, block):
  """(length of the key, value) of each entry of an uncompressed block."""
  start, length = block
  if content[start + length] != 0:
    raise limits.Exceeded('damaged: a compressed block, which an index never has')
  data = content[start : start + length]
  end = len(data) - 4 * (int.from_bytes(data[-4:], 'little') + 1)
  place = 0
  while place < end:
    shared, place = _varint(data, place)
    own, place = _varint(data, place)
    size, place = _varint(data, place)
    if place + own + size > end:
      raise limits.Exceeded('damaged: an entry reaches out of its block')
    yield shared + own, data[place + own : place + own + size]
    place += own + size


def _varint(data, place):
  """(number of seven bits a byte, where it ends)."""
  value = 0
  for shift in range(0, 70, 7):
    byte = data[place]
    place += 1
    value |= (byte & 127) << shift
    if byte < 128:
      return value, place
  raise limits.Exceeded('damaged: a number of more than 64 bits')
