"""Compares the length that a wav or w64 file declares with the file.

FFmpeg plays a wav file to its end whatever the header declares, so a file that was cut off decodes without an error. It
is judged by its data chunk alone: the size of the whole file, which stands before it, is often wrong in intact files.
"""

import os

from data_prep.core.errors import DataError

_W64 = bytes.fromhex('72696666 2e91cf11 a5d628db 04c10000')
_W64_DATA = bytes.fromhex('64617461 f3acd311 8cd100c0 4f8edb8a')
_SLACK_BYTES = 64  # a header may count its own chunks in, or a last sample that was not written
_MOST_TRAILING_BYTES = 1 << 16  # behind the data chunk, of what is no chunk


def check(path) -> None:
  """Raises DataError where a data chunk declares more than there is, or far less; other formats pass."""
  with open(path, 'rb') as file:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(40)
    if head[:16] == _W64:
      found = _w64_data(file)
    elif head[:4] in (b'RIFF', b'RIFX', b'RF64', b'BW64') and head[8:12] == b'WAVE':
      found = _riff_data(file, 'big' if head[:4] == b'RIFX' else 'little')
    else:
      return
    if found is None:
      return  # FFmpeg says what is wrong with a file without a data chunk
    begin, declared = found
    there = size - begin
    if _is_unknown(declared):
      return
    if declared > there + _SLACK_BYTES:
      raise DataError(
        f'{path}: the data chunk declares {declared} bytes and {there} are there; it was cut off: copy it again'
      )
    if there - declared > _MOST_TRAILING_BYTES and head[:16] != _W64:
      file.seek(begin + declared)
      if not _is_chunk(file.read(9)):
        raise DataError(
          f'{path}: the data chunk declares {declared} bytes and {there} follow, which are no other '
          'chunk; the header is wrong: write it anew, for instance with `sox --ignore-length`'
        )


def _is_unknown(declared) -> bool:
  """Programs that write to a pipe leave 0, or what they take for the largest number."""
  near = 1 << 20
  return (
    declared == 0 or abs(declared - (1 << 31)) <= near or 0 <= (1 << 32) - declared <= near or declared >= (1 << 62)
  )


def _is_chunk(data) -> bool:
  """Whether a chunk, or the zero byte that pads the one before it and then a chunk, or padding begins here."""
  return not any(data) or any(name.isascii() and name.decode().isprintable() for name in (data[:4], data[1:5]))


def _riff_data(file, order):
  """(first byte, declared bytes) of the data chunk, or None."""
  long_size, place = None, 12
  while True:
    file.seek(place)
    head = file.read(24)
    if len(head) < 8:
      return None
    size = int.from_bytes(head[4:8], order)
    if head[:4] == b'ds64':  # the sizes of a file above 4 GB
      long_size = int.from_bytes(head[16:24], order)
    if head[:4] == b'data':
      return place + 8, long_size if size == 0xFFFFFFFF and long_size is not None else size
    place += 8 + size + size % 2


def _w64_data(file):
  place = 40
  while True:
    file.seek(place)
    head = file.read(24)
    if len(head) < 24:
      return None
    size = int.from_bytes(head[16:], 'little')  # its head among it
    if head[:16] == _W64_DATA:
      return place + 24, max(0, size - 24)
    place += max(24, -(-size // 8) * 8)
