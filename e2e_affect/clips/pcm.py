"""Recognises media files where PCM is expected: read as samples, they would be noise at full level."""

from data_prep.media import endings

# Kind of file, offset, and the signatures that may stand there.
_SIGNS = [
  ('a WAV, AVI or other RIFF', 0, (b'RIFF', b'RIFX', b'RF64', b'BW64', b'riff\x2e\x91\xcf\x11')),
  ('an AIFF', 0, (b'FORM',)),
  ('a CAF', 0, (b'caff',)),
  ('an AU', 0, (b'.snd', b'dns.')),
  ('a Sphere', 0, (b'NIST_1A',)),
  ('a VOC', 0, (b'Creative Voice File',)),
  ('a DSD', 0, (b'DSD ', b'FRM8')),
  ('a FLAC', 0, (b'fLaC',)),
  ('an Ogg', 0, (b'OggS',)),
  ('an MP3', 0, (b'ID3', b'TAG', b'APETAGEX')),
  ('an AAC', 0, (b'ADIF',)),
  ('a WavPack', 0, (b'wvpk',)),
  ('an AMR', 0, (b'#!AMR',)),
  ('a TTA', 0, (b'TTA1', b'TTA2')),
  ("a Monkey's Audio", 0, (b'MAC ',)),
  ('a MIDI', 0, (b'MThd',)),
  ('an MP4 or QuickTime', 4, (b'ftyp', b'moov', b'moof', b'styp', b'mdat', b'free', b'skip', b'wide', b'pnot')),
  ('a Matroska or WebM', 0, (b'\x1a\x45\xdf\xa3',)),
  ('an FLV', 0, (b'FLV\x01',)),
  ('an ASF (WMA, WMV)', 0, (b'\x30\x26\xb2\x75\x8e\x66\xcf\x11',)),
  ('a RealMedia', 0, (b'.RMF', b'.ra\xfd')),
  ('an MXF', 0, (b'\x06\x0e\x2b\x34',)),
  ('a NUT', 0, (b'nut/multimedia',)),
  ('a YUV4MPEG', 0, (b'YUV4MPEG2',)),
  ('an MPEG', 0, (b'\x00\x00\x01\xba', b'\x00\x00\x01\xb3', b'\x00\x00\x01\xb0')),
  ('a DV', 0, (b'\x1f\x07\x00', b'\x1f\x87\x00')),
]
SNIFFED = 4 * 188 + 1  # bytes; a transport stream is recognised by four of its packets


def container_of(head: bytes) -> str | None:
  """The kind of file that some bytes begin, 'a FLAC' for instance, or None.

  A signature decides alone. Frames of MPEG audio, AAC and AC-3 begin with few fixed bits, which quiet PCM has too: a
  whole header must be valid, and that of the next frame, which must lie within `head`.

  Args:
    head: the first bytes, `SNIFFED` of them or more where there are so many; long frames are recognised in more alone.
  """
  for kind, place, words in _SIGNS:
    if head[place:].startswith(words):
      return kind
  for first, length in ((0, 188), (4, 192), (0, 204)):
    places = range(first, len(head), length)
    if len(places) >= 4 and all(head[place] == 0x47 for place in places):
      return 'an MPEG-TS'
  for kind, frame in (('an MPEG audio', _mpeg_audio), ('an AAC', _adts), ('an AC-3', endings.ac3_frame)):
    length = frame(head)
    # The chance that PCM has two such headers at the right distance is nil.
    if length and length + 7 <= len(head) and frame(head[length:]):
      return kind
  return None


def _mpeg_audio(data):
  """Bytes of the MP1, MP2 or MP3 frame at the front, or None."""
  if len(data) < 4 or data[0] != 0xFF or data[1] & 0xE0 != 0xE0:
    return None
  version, layer = data[1] >> 3 & 3, 4 - (data[1] >> 1 & 3)  # version 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5
  rate, frequency, padding = data[2] >> 4, data[2] >> 2 & 3, data[2] >> 1 & 1
  if version == 1 or layer == 4 or rate in (0, 15) or frequency == 3 or data[3] & 3 == 2:
    return None
  hertz = (44100, 48000, 32000)[frequency] >> {3: 0, 2: 1, 0: 2}[version]
  kilobits = _KILOBITS[(layer if version == 3 else min(layer, 2) + 3)][rate - 1]
  if layer == 1:
    return (12_000 * kilobits // hertz + padding) * 4
  return (72_000 if layer == 3 and version != 3 else 144_000) * kilobits // hertz + padding


_KILOBITS = {  # of MPEG-1's layers, and of MPEG-2's: layer 1, and layers 2 and 3
  1: (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
  2: (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
  3: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
  4: (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
  5: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def _adts(data):
  """Bytes of the AAC frame at the front, or None."""
  if len(data) < 7 or data[0] != 0xFF or data[1] & 0xF6 != 0xF0 or data[2] >> 2 & 15 > 12:
    return None
  length = (data[3] & 3) << 11 | data[4] << 3 | data[5] >> 5
  return length if length > 7 else None
