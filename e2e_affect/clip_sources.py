"""Which clips a person means: files, folders and CSV lists -> recordings with distinct names."""

import collections
import hashlib
import pathlib
import re
from collections.abc import Sequence

from data_prep.corpora.own import inside
from data_prep.corpora.recording import Recording, read_csv
from data_prep.errors import DataError, WorkdirError

# What a folder is searched for; a file that is named itself may have any suffix.
SUFFIXES = tuple('.3gp .aac .aif .aiff .asf .avi .caf .flac .flv .m2ts .m4a .m4v .mkv .mov .mp3 .mp4 .mpeg .mpg .mts '
                 '.oga .ogg .ogv .opus .ts .w64 .wav .webm .wma .wmv'.split())
_COLUMNS = ('recording', 'video', 'audio', 'boxes')
_UNUSED = ('subject', 'partition', 'labels', 'landmarks')  # of a manifest of `data_prep.prepare --corpus=csv`


def find(arguments: Sequence[str], out: str) -> list[Recording]:
  """The clips of all arguments, in their order.

  Args:
    arguments: files, folders (searched with their subfolders, by suffix, hidden files and `out` left alone), and CSV
      lists with a column `video`, `audio` or both, and optional ones `recording` (its name) and `boxes` (a file with
      the face's box in the first frame); paths are relative to the list and stay inside its folder.
    out: folder that results are written to.

  Returns:
    Recordings; those given as one file have it as `video`, whatever it holds.

  Raises:
    DataError: an argument is not there, a folder holds no media, or a list is malformed.
    WorkdirError: `out` is a symbolic link to itself.
  """
  try:
    out = pathlib.Path(out).resolve()
  except (OSError, RuntimeError):
    raise WorkdirError(f'{str(out)[:200]}: leads nowhere (a link to itself, or too long); choose another --out'
                       ) from None
  found = []
  for argument in arguments:
    path = pathlib.Path(argument)
    try:
      is_folder = path.is_dir()
    except OSError as e:
      raise DataError(f'{argument[:60]}…: {e.strerror}; expected a file, a folder or a CSV list') from None
    if is_folder:
      found += _of_folder(path, out)
    elif path.suffix.lower() == '.csv':
      found += _of_list(path)
    else:
      found.append((path.stem, path, None, None))  # an absent file becomes a reject as a damaged one does
  return [Recording(recording=name, subject='', partition='', video=video, audio=audio, boxes=boxes)
          for name, (_, video, audio, boxes) in zip(_distinct(found), found, strict=True)]


def _of_folder(folder, out):
  clips = []
  for path in sorted(folder.rglob('*')):
    hidden = any(part.startswith('.') for part in path.relative_to(folder).parts)
    if not hidden and path.suffix.lower() in SUFFIXES and path.is_file() and out not in path.resolve().parents:
      clips.append((path.stem, path, None, None))
  if not clips:
    own = ' (--out itself is not searched)' if out in (folder.resolve(), *folder.resolve().parents) else ''
    raise DataError(f'{folder}: no media in it{own}; expected files with one of the suffixes {" ".join(SUFFIXES)}')
  return clips


def _of_list(path):
  clips = []
  for line, row in read_csv(path, required=(), optional=(*_COLUMNS, *_UNUSED)):
    where = f'{path}, line {line}'
    files = {name: inside(path.parent, row.get(name, ''), where) for name in ('video', 'audio', 'boxes')}
    video, audio = files['video'], files['audio']
    if video is None and audio is None:
      raise DataError(f'{where}: neither video nor audio; expected a header with video, audio or both, and a path')
    if video is None:
      video, audio = audio, None
    clips.append((row.get('recording') or video.stem, video, audio, files['boxes']))
  if not clips:
    raise DataError(f'{path}: no rows; expected a clip in each')
  return clips


def _distinct(found):
  """File names for results: the clip's own, told apart by suffix and number where two share it."""
  names = [_safe(name) for name, *_ in found]
  lower = collections.Counter(name.lower() for name in names)  # some file systems know no case
  for i, (_, video, *_) in enumerate(found):
    if lower[names[i].lower()] > 1 and video.suffix:
      names[i] = _safe(f'{names[i]}_{video.suffix[1:]}')
  taken = {'index', 'rejects'}
  for i, name in enumerate(names):
    number = 1
    while names[i].lower() in taken:
      number += 1
      names[i] = f'{name}_{number}'
    taken.add(names[i].lower())
  return names


def _safe(name):
  """A name that every file system takes, with room for what results append: at most 190 bytes."""
  name = re.sub(r'[^\w.() +-]', '_', name).strip(' .') or 'clip'
  data = name.encode()
  if len(data) <= 180:
    return name
  return f'{data[:180].decode(errors="ignore")}-{hashlib.sha256(data).hexdigest()[:8]}'
