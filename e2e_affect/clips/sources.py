"""Which clips a person means: files, folders and CSV lists -> recordings with distinct names."""

import collections
from collections.abc import Callable, Sequence
import errno
import hashlib
import os
import pathlib
import re
import unicodedata

from data_prep.core.errors import DataError, WorkdirError
from data_prep.corpora.own import path_of_cell
from data_prep.corpora.recording import read_csv, Recording

# What a folder is searched for; a file that is named itself may have any suffix.
SUFFIXES = tuple(
  '.264 .265 .3g2 .3ga .3gp .aac .ac3 .adts .aif .aifc .aiff .amr .ape .asf .au .avi .bwf .caf .divx .dts .dv '
  '.eac3 .ec3 .evo .f4a .f4v .flac .flv .h264 .h265 .hevc .ivf .m1v .m2p .m2t .m2ts .m2v .m4a .m4b '
  '.m4r .m4v .mj2 .mk3d .mka .mkv .mov .mp2 .mp3 .mp4 .mpa .mpe .mpeg .mpg .mpv .mts .mxf .oga .ogg .ogm .ogv '
  '.ogx .opus .qt .snd .spx .tod .trp .ts .tta .vob .w64 .wav .wave .weba .webm .wma .wmv .wv'.split()
)
_COLUMNS = ('recording', 'video', 'audio', 'boxes')


def find(
  arguments: Sequence[str], out: str | pathlib.Path, say: Callable[[str], None] = lambda line: None
) -> list[Recording]:
  """The clips of all arguments, in their order.

  Args:
    arguments: files, folders (searched with their subfolders, by suffix, links followed, hidden files and `out` left
      alone), and CSV lists with a column `video`, `audio` or both, and optional ones `recording` (its name) and
      `boxes` (a file with the face's box in the first frame); other columns are not read. Paths are relative to the
      list and stay inside its folder.
    out: folder that results are written to.
    say: called with a line about each folder of which files were left out.

  Returns:
    Recordings; those given as one file have it as `video`, whatever it holds.

  Raises:
    DataError: an argument is not there, a folder holds no media, or a list is malformed.
    WorkdirError: `out` is a symbolic link to itself.
  """
  try:
    out = pathlib.Path(out).resolve()
  except (OSError, RuntimeError):
    raise WorkdirError(
      f'{str(out)[:200]}: leads nowhere (a link to itself, or too long); choose another --out'
    ) from None
  found = []
  for argument in arguments:
    path = pathlib.Path(argument)
    try:
      is_folder = path.is_dir()
    except OSError as e:
      if e.errno == errno.ENAMETOOLONG:
        raise DataError(f'{argument[:60]}…: {e.strerror}; expected a file, a folder or a CSV list') from None
      is_folder = False  # in one that may not be entered: a reject
    if is_folder:
      found += _of_folder(path, out, say)
    elif path.suffix.lower() == '.csv':
      found += _of_list(path)
    else:
      found.append((path.stem, path, None, None))  # an absent file becomes a reject as a damaged one does
  return [
    Recording(recording=name, subject='', partition='', video=video, audio=audio, boxes=boxes)
    for name, (_, video, audio, boxes) in zip(_distinct(found), found, strict=True)
  ]


def _of_folder(folder, out, say):
  clips, left, hidden, broken, closed = [], collections.Counter(), 0, [], []
  for path in _walk(folder, out, closed):
    suffix = path.suffix.lower()
    if path.name.startswith('.'):
      hidden += 1
    elif suffix in SUFFIXES and (path.is_file() or path.is_symlink()):
      clips.append((path.stem, path, None, None))  # a broken link among them becomes a reject that names it
    elif path.is_symlink() and not path.exists():
      broken.append(path)
    else:
      left[suffix or 'without suffix'] += 1
  clips.sort(key=lambda clip: clip[1])
  own = ' (--out itself is not searched)' if out in (folder.resolve(), *folder.resolve().parents) else ''
  kinds = ', '.join(f'{count} {suffix}' for suffix, count in sorted(left.items())[:12]) + ', …' * (len(left) > 12)
  said = [f'{left.total()} {"file" if left.total() == 1 else "files"} left out by suffix ({kinds})'] if left else []
  said += [f'{hidden} hidden left out'] if hidden else []
  for paths, words in ((broken, 'broken links'), (closed, 'folders that cannot be read')):
    said += [f'{words}: {", ".join(map(str, sorted(paths)))}'] if paths else []
  said = '; '.join(said)
  if not clips:
    raise DataError(
      f'{folder}: no media in it{own}{": " * bool(said)}{said}; expected files with one of the suffixes '
      f'{" ".join(SUFFIXES)}'
    )
  if said:
    say(f'{folder}: {len(clips)} {"clip" if len(clips) == 1 else "clips"}; {said}')
  return clips


def _walk(folder, out, closed):
  """Yields all that is no folder. Hidden folders and `out` are left alone; a folder with several links is read once."""
  seen = set()

  def is_new(path):
    try:
      stat = os.stat(path)
    except OSError:
      return False
    new = (stat.st_dev, stat.st_ino) not in seen
    seen.add((stat.st_dev, stat.st_ino))
    return new

  is_new(folder)
  for parent, folders, files in os.walk(folder, followlinks=True, onerror=lambda e: closed.append(e.filename)):
    parent = pathlib.Path(parent)
    # Real folders before links to them, so that a file keeps its plainest path.
    folders.sort(key=lambda name: ((parent / name).is_symlink(), name))
    folders[:] = [
      name
      for name in folders
      if not name.startswith('.') and (parent / name).resolve() != out and is_new(parent / name)
    ]
    yield from (parent / name for name in files)


def _of_list(path):
  clips = []
  # Further columns: a manifest of `data_prep.prepare --corpus=csv` is such a list, too.
  for line, row in read_csv(path, required=(), optional=_COLUMNS, further=True):
    where = f'{path}, line {line}'
    files = {name: path_of_cell(path.parent, row.get(name, ''), where) for name in ('video', 'audio', 'boxes')}
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
  names = [safe(name) for name, *_ in found]
  lower = collections.Counter(name.lower() for name in names)  # some file systems know no case
  for i, (_, video, *_) in enumerate(found):
    if lower[names[i].lower()] > 1 and video.suffix:
      names[i] = safe(f'{names[i]}_{video.suffix[1:]}')
  taken = {'index', 'rejects'}
  for i, name in enumerate(names):
    number = 1
    while names[i].lower() in taken:
      number += 1
      names[i] = f'{name}_{number}'
    taken.add(names[i].lower())
  return names


def safe(name: str) -> str:
  """A name that every file system takes, with room for what results append: at most 190 bytes.

  Letters of every script stay, with their marks, composed as most systems write them; of ASCII, what no shell, URL or
  file system reads as a sign of its own.
  """
  name = unicodedata.normalize('NFC', name)
  name = ''.join(c if re.match(r'[\w.() +-]', c) or _is_text(c) else '_' for c in name).strip(' .') or 'clip'
  data = name.encode()
  if len(data) <= 180:
    return name
  return f'{data[:180].decode(errors="ignore")}-{hashlib.sha256(data).hexdigest()[:8]}'


def _is_text(character):
  """Whether a character beyond ASCII is visible or joins others; controls, surrogates and line breaks are not."""
  if character in '\u200c\u200d':  # they join: in Persian and Indian words, and pictograms
    return True
  return character > '\x7f' and unicodedata.category(character) not in ('Cc', 'Cf', 'Cs', 'Co', 'Cn', 'Zl', 'Zp')
