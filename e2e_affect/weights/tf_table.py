"""The sorted string tables of TensorFlow's checkpoints, walked through before TensorFlow allocates what they claim.

A table is blocks, a block that says where these lie, and a footer that says where that one lies. A key leaves out what
the key before it began with, so that a few bytes can mean megabytes.
"""

import io

from e2e_affect.weights import limits

_FOOTER = 48  # bytes: the places of two blocks, padded, and a magic number
_TRAILER = 5  # bytes of type and checksum behind each block


def check_index(path):
  """Refuses the index of a checkpoint of version 2 that has more or longer names than weights need, or is no table.

  Raises:
    limits.Exceeded, IndexError: it is. OSError: it cannot be read.
  """
  if path.stat().st_size > limits.MOST_HEADER:
    raise limits.Exceeded(f'its index has {path.stat().st_size:,} bytes, expected at most {limits.MOST_HEADER:,}')
  content = memoryview(path.read_bytes())
  _, root = _footer(content[-_FOOTER:], len(content))
  blocks = names = 0
  for _, value in _entries(content, root):
    blocks += 1
    block, _ = _handle(value, 0, len(content))
    for length, _ in _entries(content, block):
      names += 1
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
  if length > limits.MOST_HEADER:
    raise limits.Exceeded(f'its index has {length:,} bytes, expected at most {limits.MOST_HEADER:,}')


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
  data = content[start:start + length]
  end = len(data) - 4 * (int.from_bytes(data[-4:], 'little') + 1)
  place = 0
  while place < end:
    shared, place = _varint(data, place)
    own, place = _varint(data, place)
    size, place = _varint(data, place)
    if place + own + size > end:
      raise limits.Exceeded('damaged: an entry reaches out of its block')
    yield shared + own, data[place + own:place + own + size]
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
