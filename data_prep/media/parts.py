"""Where a file that is made of parts ends by its own word, in formats whose parts say how long they are.

Every function takes an open file, at any place, and raises `struct.error` or the like of a header that is no header.
"""

from collections.abc import Callable
import struct
from typing import BinaryIO

_TAIL = 1 << 16  # bytes that hold the tags behind the sound
_ASF_HEADER = bytes.fromhex('3026b2758e66cf11a6d900aa0062ce6c')
_AMR = (12, 13, 15, 17, 19, 20, 26, 31, 5, 6, 5, 5, 0, 0, 0, 0)  # bytes of a frame without its first, by its type
_AMR_WIDE = (17, 23, 32, 36, 40, 46, 50, 58, 60, 5, 5, 0, 0, 0, 0, 0)


def _behind(
  file: BinaryIO, place: int, head_bytes: int, ours: Callable[[bytes], bool], length: Callable[[bytes], int]
) -> int:
  """The place where parts that follow each other end.

  Args:
    file: open at any place.
    place: of the first part.
    head_bytes: how many bytes of a part tell its length.
    ours: whether these bytes are of a part, not of a second file.
    length: of the part, from these bytes; 0 or less: it goes to the end of the file.
  """
  while True:
    file.seek(place)
    head = file.read(head_bytes)
    if len(head) < head_bytes or not ours(head):
      return place
    if (size := length(head)) <= 0:
      return file.seek(0, 2)
    place += size


def au_end(file):
  """The header says where the sound begins and how many bytes it has."""
  file.seek(4)
  return sum(struct.unpack('>II', file.read(8)))


def caf_end(file):
  """Chunks; the last one may go to the end of the file."""

  def length(head):
    (of_data,) = struct.unpack('>4xq', head)
    return 12 + of_data if of_data >= 0 else 0

  return _behind(file, 8, 12, lambda head: head[:4] != b'caff', length)


def tta_end(file):
  """Frames: the header says how many there are, a table how many bytes each has."""
  file.seek(10)
  rate, samples = struct.unpack('<II', file.read(8))
  frames = -(-samples // (256 * rate // 245))
  file.seek(22)
  place = 22 + 4 * frames + 4 + sum(struct.unpack(f'<{frames}I', file.read(4 * frames)))
  file.seek(place)
  return place + max(0, file.read(_TAIL).find(b'TTA1'))  # tags may lie between


def asf_end(file):
  """Objects; the first is the header."""

  def length(head):
    (of_object,) = struct.unpack('<16xQ', head)
    return of_object if of_object >= 24 else 0

  file.seek(0)
  first = max(24, length(file.read(24)))
  return _behind(file, first, 24, lambda head: head[:16] != _ASF_HEADER, length)


def ivf_end(file):
  """Frames behind a header of 32 bytes."""
  return _behind(file, 32, 12, lambda head: head[:4] != b'DKIF', lambda head: 12 + struct.unpack('<I8x', head)[0])


def amr_end(file):
  """Frames, whose first byte says how long they are."""
  file.seek(0)
  sizes, place = (_AMR_WIDE, 9) if file.read(9) == b'#!AMR-WB\n' else (_AMR, 6)
  file.seek(place)
  data = file.read()
  here = 0
  while here < len(data) and data[here : here + 5] != b'#!AMR':
    here += 1 + sizes[data[here] >> 3 & 15]
  return place + here


def flv_end(file):
  """Tags: the place where they end, and the bytes that begin there."""
  place = 9
  while True:
    file.seek(place + 4)
    head = file.read(4)
    if len(head) < 4 or head[0] & 31 not in (8, 9, 18):
      return place, head
    place += 15 + int.from_bytes(head[1:], 'big')
