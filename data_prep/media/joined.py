"""Whether a second file begins behind the first, as where recordings were joined byte by byte.

Decoders read on into the second file, take its header for sound, or stop before it, each as its format has it.
"""

import struct

from data_prep.media import parts

# Where the first file ends, of formats whose first file alone is read, or whose second header is taken for sound.
_ENDS = {
  'au': parts.au_end,
  'caf': parts.caf_end,
  'tta': parts.tta_end,
  'asf': parts.asf_end,
  'ivf': parts.ivf_end,
  'amr': parts.amr_end,
}


def is_followed(path, formats: list[str]) -> bool:
  """Whether another file of the same format begins behind the place where the first ends by its own word.

  Args:
    path: of the file.
    formats: names of its format, of FFmpeg.
  """
  with open(path, 'rb') as file:
    try:
      head = file.read(40)
      if 'wav' in formats or 'aiff' in formats:
        (size,) = struct.unpack(('>' if head[:4] in (b'FORM', b'RIFX') else '<') + 'I', head[4:8])
        file.seek(8 + size + size % 2)
        again = file.read(12)
        return again[:4] + again[8:] == head[:4] + head[8:12]
      if 'w64' in formats:
        file.seek(struct.unpack('<16xQ', head[:24])[0])
        return file.read(16) == head[:16]
      if 'mov' in formats:
        return _two_movies(file)
      if 'flv' in formats:
        return parts.flv_end(file)[1][:4] == head[:4]
      if formats[0] in _ENDS:
        file.seek(_ENDS[formats[0]](file))
        return file.read(4) == head[:4]
    # A header that is no header: whoever decodes the file says so.
    except (struct.error, OverflowError, OSError, IndexError, ZeroDivisionError):
      return False
  return False


def _two_movies(file):
  """Whether a second file begins among the boxes. Decoders read a file in fragments to its end, so it passes."""
  place, names = 0, []
  while True:
    file.seek(place)
    head = file.read(16).ljust(16, b'\0')
    (length,), name = struct.unpack('>I', head[:4]), head[4:8]
    length = struct.unpack('>Q', head[8:])[0] if length == 1 else length
    if length < 8 or name == b'moof':
      return False
    if name == b'ftyp' and b'moov' in names and b'mdat' in names:
      return True
    names.append(name)
    place += length
