"""Zip files that weights come in: members are stored, never compressed, and take no more bytes than the file has."""

import io
import os
import struct
import zipfile
import zlib

from e2e_affect.weights import limits

ERRORS = (OSError, ValueError, NotImplementedError, RuntimeError, EOFError, struct.error, zipfile.BadZipFile)
_MOST_DIRECTORY = 2 << 20  # bytes; ten thousand members of a .pth file take half of it
_LOCAL = 30  # bytes before a member's name


class Archive:
  """The directory of a zip file, read once; members are read by their places in it.

  Raises:
    limits.Exceeded: it has more or longer members than weights need. Any of `ERRORS`: it is damaged.
  """

  def __init__(self, path):
    self._path = path
    with _Sparing(path) as f, zipfile.ZipFile(f) as members:
      self._members = {info.filename: info for info in members.infolist()}
      if sum(info.compress_size for info in self._members.values()) > f.size:
        raise limits.Exceeded('its members claim more bytes than the file has')

  def __contains__(self, name: str) -> bool:
    return name in self._members

  def __iter__(self):
    return iter(self._members)

  def size(self, name: str) -> int:
    """Bytes of a member. Raises: KeyError: there is none of this name. limits.Exceeded: it is compressed."""
    info = self._members[name]
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
      raise limits.Exceeded('compressed inside, which no program that saves weights does; unpack it and store it again')
    return info.file_size

  def read(self, name: str) -> bytes:
    """A whole member. Raises: as `size`, and zipfile.BadZipFile: it is not whole, or its checksum differs."""
    size, info = self.size(name), self._members[name]
    with open(self._path, 'rb') as f:
      f.seek(info.header_offset)
      header = f.read(_LOCAL)
      f.seek(sum(int.from_bytes(header[place : place + 2], 'little') for place in (26, 28)), io.SEEK_CUR)
      if size > os.fstat(f.fileno()).st_size - f.tell():
        raise zipfile.BadZipFile('a member is cut off')
      content = f.read(size)
    if not header.startswith(b'PK\x03\x04') or zlib.crc32(content) != info.CRC:
      raise zipfile.BadZipFile("a member's checksum differs")
    return content


class _Sparing(io.FileIO):
  """A file that refuses to read more at once than a directory may have; `zipfile` itself reads one of any size."""

  def __init__(self, path):
    super().__init__(path)
    self.size = os.fstat(self.fileno()).st_size

  def read(self, size=-1):
    rest = max(self.size - self.tell(), 0)
    size = rest if size is None or size < 0 else min(size, rest)
    if size > _MOST_DIRECTORY:
      raise limits.Exceeded(f'{size:,} bytes of directory, expected at most {_MOST_DIRECTORY:,}')
    return super().read(size)
