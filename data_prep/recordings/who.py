"""Of several people in a clip: whose traces are wanted, and who speaks when."""

import dataclasses
import pathlib
import re

from data_prep.core.errors import DataError, UserError

LARGEST, ALL = 'largest', 'all'
Box = tuple[float, float, float, float]


@dataclasses.dataclass(frozen=True)
class Wanted:
  """Whose traces are wanted.

  Attributes:
    faces: 'largest', one face, which may be another person's after a cut; 'all'; or one person: the number, from 1 in
      the order of appearance, or a box (x, y, width, height), pixels, near where the face appears first.
    speakers: RTTM file that says who speaks, by the people's numbers; None: the sound is everybody's.
    detector: of faces, of `face.detectors.DETECTORS`; None: the network's own.
  """

  faces: str | int | Box = LARGEST
  speakers: pathlib.Path | None = None
  detector: str | None = None


def wanted(faces: str | int | Box, speakers: str | None, detector: str | None = None) -> Wanted:
  """What the flags `--faces`, `--speakers` and `--detector` say; in a notebook faces may be a number or a box, too.

  Raises:
    UserError: `--faces` is none of what it may be, or there are speakers without people.
  """
  faces = ','.join(map(str, faces)) if isinstance(faces, (tuple, list)) else str(faces)
  if faces == LARGEST and speakers:
    raise UserError(f'--speakers={speakers} says who speaks by the numbers of people; give --faces=all, or a number')
  return Wanted(_faces(faces), pathlib.Path(speakers) if speakers else None, detector)


def _faces(text):
  if text in (LARGEST, ALL):
    return text
  if re.fullmatch('[1-9][0-9]{0,5}', text):
    return int(text)
  try:
    x, y, width, height = map(float, text.split(','))
  except ValueError:
    width = height = 0.0
  if not (0 < width < 1e5 and 0 < height < 1e5 and abs(x) < 1e5 and abs(y) < 1e5):
    raise UserError(
      f'--faces={text[:40]}; expected {LARGEST}, {ALL}, the number of a person, or a box x,y,width,height in pixels'
    )
  return x, y, width, height


def turns(path: pathlib.Path, recording: str) -> dict[str, list[tuple[float, float]]]:
  """Speaker -> (begin, end) in seconds of each turn, from the rows `SPEAKER` of an RTTM file.

  https://www.nist.gov/itl/iad/mig/rich-transcription-evaluation: type, recording, channel, begin, length, two fields
  that are not read, the speaker's name.

  Args:
    path: the file.
    recording: the one whose rows are read: the name of its file without suffix.

  Raises:
    DataError: it cannot be read, a row is malformed, or none is of the recording.
  """
  found: dict[str, list[tuple[float, float]]] = {}
  others = set()
  try:
    lines = path.read_text(encoding='utf-8').splitlines()
  except (OSError, UnicodeDecodeError) as e:
    raise DataError(f'{path}: cannot be read ({getattr(e, "strerror", None) or e}); expected an RTTM file') from None
  for number, line in enumerate(lines, 1):
    cells = line.split()
    if not cells or cells[0] != 'SPEAKER':
      continue
    try:
      begin, length, name = float(cells[3]), float(cells[4]), cells[7]
    except (IndexError, ValueError):
      begin, length, name = -1.0, -1.0, ''
    if not (0 <= begin < 1e6 and 0 <= length < 1e6):
      raise DataError(
        f'{path}, line {number}: {line[:80]!r}; expected SPEAKER, recording, channel, begin and length in seconds, two '
        'fields, the name of the speaker'
      )
    if cells[1] == recording:
      found.setdefault(name, []).append((begin, begin + length))
    else:
      others.add(cells[1])
  if not found:
    if not others:
      raise DataError(f'{path}: no line begins with SPEAKER; expected an RTTM file')
    names = ', '.join(sorted(others)[:5])
    raise DataError(f'{path}: has turns of {names}, and none of {recording!r}; the second field names the recording')
  return found


def number_of(name: str) -> int | None:
  """The person that a speaker's name means, `2` or `person2`; None: nobody in the picture."""
  match = re.fullmatch(r'(?:person[ _]?)?([1-9][0-9]{0,5})', name, re.IGNORECASE)
  return int(match[1]) if match else None
