"""Whether a media file breaks off, as far as the bytes of its format tell.

Decoders take what is there: a file that was cut off decodes without an error. Most formats say somewhere how long they
are, or end in a packet that says how long it is; where they do not, nothing can be known.
"""

import pathlib
import struct

from data_prep.media import parts

_TAIL = 1 << 16  # bytes that hold the last whole frames of a stream of frames, or the last page of Ogg
_SEGMENT, _CLUSTER = 0x18538067, 0x1F43B675  # the elements of Matroska that may have an unknown size
_UNKNOWN = 0x7F000000  # programs that write to a pipe leave this or more
_SLACK = 64  # bytes: a chunk may count its own head in
_ASF_PROPERTIES = bytes.fromhex('a1dcab8c47a9cf118ee400c00c205365')
# kbit/s by the index in the header; of MPEG-1 layers II and III, and of both in MPEG-2.
_BIT_RATES = {
  (1, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
  (1, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
}
_BIT_RATES |= {(2, layer): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160) for layer in (2, 3)}


def break_off(path, formats: list[str]) -> str | None:
  """How the file breaks off, in words; None: it does not, or its format does not tell.

  Args:
    path: of the file.
    formats: names of its format, of FFmpeg.
  """
  check = next((_CHECKS[name] for name in formats if name in _CHECKS), None)
  size = pathlib.Path(path).stat().st_size
  if check is None:
    return None
  with open(path, 'rb') as file:
    try:
      return check(file, size)
    except struct.error:  # a header that is no header, or cut off itself: whoever decodes the file says so
      return None


def tells_length(path, formats: list[str]) -> bool:
  """Whether the length that FFmpeg gives for a file of these formats stands in the file; otherwise it is an estimate.

  Formats that always hold their length, or never, are not asked about.
  """
  if formats[0] in ('aiff', 'au', 'caf'):
    return True
  if formats[0] not in ('mp3', 'flv'):
    return False
  with open(path, 'rb') as file:
    head = file.read(1024)
    if 'flv' in formats:
      _, _, value = head.partition(b'\0\x08duration\0')
      return bool(value) and struct.unpack('>d', value[:8].ljust(8, b'\0'))[0] > 0
    if head[:3] == b'ID3':
      file.seek(behind_id3(file))
      head = file.read(1024)
  return b'Xing' in head or b'Info' in head


def behind_id3(file) -> int:
  """The place behind the ID3 tags that a file begins with; 0: there are none."""
  place = 0
  while True:
    file.seek(place)
    head = file.read(10)
    if len(head) < 10 or head[:3] != b'ID3':
      return place
    size = sum((byte & 127) << shift for byte, shift in zip(head[6:], (21, 14, 7, 0)))
    place += 10 + size + (10 if head[5] & 16 else 0)  # with a footer


def _missing(what, declared, there, slack=0):
  return f'{what} declares {declared} bytes and {there} are there' if declared > there + slack else None


def _chunk(order):
  """RIFF and FORM: one chunk holds the file."""

  def check(file, size):
    (declared,) = struct.unpack(order + 'I', file.read(8)[4:])
    return None if declared >= _UNKNOWN else _missing('its first chunk', declared, size - 8, _SLACK)

  return check


def _au(file, size):
  start, declared = struct.unpack('>4xII', file.read(12))
  return None if declared >= _UNKNOWN else _missing('its header', declared, size - start)


def _boxes(file, size):
  """MP4: boxes follow each other."""
  place = 0
  while place + 8 <= size:
    file.seek(place)
    (length,) = struct.unpack('>I', file.read(4))
    if length == 1:
      (length,) = struct.unpack('>4xQ', file.read(12))
    if length < 8:  # 0: to the end of the file
      return None
    if place + length > size:
      return _missing('its last box', length, size - place)
    place += length
  return None


def _matroska(file, size):
  """Elements follow each other; those of unknown size are entered."""
  place = 0
  while place < size:
    file.seek(place)
    head = file.read(12)
    name_size = 9 - head[0].bit_length()
    if name_size > 4 or len(head) <= name_size:
      return None
    name = int.from_bytes(head[:name_size], 'big')
    size_size = 9 - head[name_size].bit_length()
    if size_size > 8:
      return None
    start = place + name_size + size_size
    ones = (1 << 7 * size_size) - 1
    length = int.from_bytes(head[name_size : name_size + size_size], 'big') & ones
    if length == ones:
      if name not in (_SEGMENT, _CLUSTER):
        return None
      place = start
      continue
    if name == _SEGMENT or start + length > size:
      return _missing('its segment' if name == _SEGMENT else 'its last element', length, size - start)
    place = start + length
  return None


def _flv(file, size):
  place, _ = parts.flv_end(file)
  return 'its last tag is not whole' if place > size else None


def _ogg(file, size):
  file.seek(max(0, size - _TAIL))
  data = file.read()
  place = data.rfind(b'OggS')
  if place < 0:
    return None
  if len(data) < place + 27 or len(data) < place + 27 + data[place + 26]:
    return 'its last page is not whole'
  segments = data[place + 27 : place + 27 + data[place + 26]]
  there = len(data) - place - 27 - len(segments)
  if sum(segments) > there:
    return _missing('its last page', sum(segments), there)
  return None if data[place + 5] & 4 else 'its last page is not marked as the last'


def _transport_stream(file, size):
  head = file.read(5 * 204)
  for packet in (188, 192, 204):
    first = packet - 188 if packet == 192 else 0
    if all(head[place : place + 1] == b'G' for place in range(first, len(head), packet)):
      over = size % packet
      return f'its last packet has {over} of {packet} bytes' if over else None
  return None


def _asf(file, size):
  head = file.read(_TAIL)
  place = head.find(_ASF_PROPERTIES)
  if place < 0:
    return None
  declared, live = struct.unpack('<Q', head[place + 40 : place + 48])[0], head[place + 88] & 1
  return None if live else _missing('its header', declared, size)


def _frames(length, what='frame'):
  """Streams of frames whose headers say how long they are: `length(data, place)`, 0: there is none."""

  def check(file, size):
    file.seek(max(0, size - _TAIL))
    data = file.read()
    for place in range(len(data)):
      step, count = length(data, place), 0
      while step and place + step <= len(data):
        place, count = place + step, count + 1
        step = length(data, place)
      if count > 2:  # so many in a row are no coincidence
        return _missing(f'its last {what}', step, len(data) - place) if step else None
    return None

  return check


def _adts(data, place):
  """Bytes of a frame of AAC; 0: there is none."""
  head = data[place : place + 6]
  if len(head) < 6 or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
    return 0
  return (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5


def _mpeg_audio(data, place):
  """Bytes of a frame of MPEG audio, layer II or III; 0: there is none."""
  head = data[place : place + 4]
  if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
    return 0
  version, layer = {3: 1, 2: 2, 0: 2.5}.get(head[1] >> 3 & 3), 4 - (head[1] >> 1 & 3)
  rate, bits = head[2] >> 2 & 3, head[2] >> 4
  if version is None or layer not in (2, 3) or rate == 3 or not 0 < bits < 15:
    return 0
  kilobits = _BIT_RATES[min(2, int(version)), layer][bits]
  samples = 576 if layer == 3 and version > 1 else 1152
  hertz = (44_100, 48_000, 32_000)[rate] / {1: 1, 2: 2, 2.5: 4}[version]
  return int(samples / 8 * 1000 * kilobits / hertz) + (head[2] >> 1 & 1)


def ac3_frame(data: bytes, place: int = 0) -> int:
  """Bytes of a frame of AC-3 or E-AC-3 that begins at a place; 0: there is none."""
  head = data[place : place + 7]
  if len(head) < 7 or head[:2] != b'\x0b\x77':
    return 0
  if head[5] >> 3 > 10:  # E-AC-3
    return 2 * ((head[2] & 7) << 8 | head[3]) + 2 if head[5] >> 3 <= 16 else 0
  rate, size = head[4] >> 6, head[4] & 63
  if rate == 3 or size > 37:
    return 0
  kilobits = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)[size >> 1]
  words = kilobits * 96_000 // (48_000, 44_100, 32_000)[rate]
  return 2 * (words + (size & 1 if rate == 1 else 0))


def _program_stream(data, place):
  """Bytes of a pack's or a packet's head and content; 0: there is none."""
  head = data[place : place + 14]
  if len(head) < 14 or head[:3] != b'\0\0\1' or head[3] < 0xBA:
    return 0
  if head[3] == 0xBA:
    return 14 + (head[13] & 7) if head[4] >> 6 == 1 else 12
  return 6 + (head[4] << 8 | head[5])


_CHECKS = {
  'aiff': _chunk('>'),
  'avi': _chunk('<'),
  'au': _au,
  'mov': _boxes,
  'matroska': _matroska,
  'ogg': _ogg,
  'flv': _flv,
  'mpegts': _transport_stream,
  'mpeg': _frames(_program_stream, 'packet'),
  'asf': _asf,
  'mp3': _frames(_mpeg_audio),
  'aac': _frames(_adts),
  'ac3': _frames(ac3_frame),
  'eac3': _frames(ac3_frame),
  'caf': lambda file, size: _missing('its list of chunks', parts.caf_end(file), size),
  'ivf': lambda file, size: _missing('its list of frames', parts.ivf_end(file), size),
  'amr': lambda file, size: _missing('its list of frames', parts.amr_end(file), size),
}
