"""The folder of results: held by one analysis at a time, and which name in it belongs to which source.

The source of a result is the resolved paths of its files, and their content. `NAME.json` has both. Only a newer result
of the same source replaces a result. Another source of that name gets another name, the same each time.
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import dataclasses
import errno
import hashlib
import os
import pathlib
import re
import shutil
import unicodedata

from data_prep.core import atomic, lock
from data_prep.core.errors import UserError, WorkdirError, write_error
from data_prep.corpora.recording import Recording
from e2e_affect.clips import clip_files, sources

SPOOL = '.predict-'  # folders of the clip in work
_LOCK = f'{SPOOL}lock'
_PROBE_BYTES = 1 << 20
_OF_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)  # no reading fails like this


@contextlib.contextmanager
def held(out: pathlib.Path) -> Iterator[None]:
  """Makes the folder, holds it for this analysis alone, and removes what killed ones left.

  Raises:
    LockedError: another analysis holds it: named with its host.
    WorkdirError, DiskFullError: it cannot be written.
  """

  def in_use(holder):
    return f'{out}: in use by {holder or "another prediction"}; wait for it, or choose another --out'

  with lock.held(out / _LOCK, out, in_use):
    with atomic.writing(out):
      for path in out.glob(f'{SPOOL}*'):
        if path.is_dir() and not path.is_symlink():
          shutil.rmtree(path, ignore_errors=True)
      for folder in (out, out / clip_files.MEDIA_FOLDER):
        if folder.is_dir():
          atomic.sweep(folder)
    yield


def fault_of_output(out: pathlib.Path, spool: pathlib.Path, error: Exception) -> UserError | None:
  """The user's error where the folder of results is to blame for an error, and not the clip.

  Args:
    out: folder.
    spool: folder inside `out` in which the clip is worked on; its files must still lie there.
    error: what ended the work.
  """
  number = getattr(error, 'errno', None)  # FFmpeg's errors have one, too
  if number in _OF_OUTPUT:
    return write_error(out, OSError(number, os.strerror(number)))
  try:
    with open(spool / 'probe', 'wb') as file:
      file.write(bytes(_PROBE_BYTES))
      os.fsync(file.fileno())
    (spool / 'probe').unlink()
  except OSError as e:
    return write_error(out, e)
  return None


def foreign(path: pathlib.Path) -> WorkdirError:
  """The error of a file that another program wrote where a result belongs."""
  return WorkdirError(f'{path}: is there already and not of this program; left as it is: choose another --out')


def files_of(recording: Recording) -> dict[str, str]:
  """Kind -> resolved path of each file of a clip."""
  return {
    kind: os.path.realpath(path)
    for kind, path in (('video', recording.video), ('audio', recording.audio), ('boxes', recording.boxes))
    if path is not None
  }


def content_of(recording: Recording) -> dict[str, dict]:
  """Kind -> bytes, time of the last change and SHA-256 of each file; raises OSError."""
  content = {}
  for kind, path in files_of(recording).items():
    with open(path, 'rb') as file:
      stat = os.fstat(file.fileno())
      content[kind] = {
        'bytes': stat.st_size,
        'mtime_ns': stat.st_mtime_ns,
        'sha256': hashlib.file_digest(file, 'sha256').hexdigest(),
      }
  return content


@dataclasses.dataclass(frozen=True)
class Place:
  """A clip and its name in the folder.

  Attributes:
    recording: its `recording` is the name.
    earlier: name of a result of the same files that lies there, or None.
    why: why the name is not the plain one, in words, or None.
  """

  recording: Recording
  earlier: str | None
  why: str | None


def places(
  out: pathlib.Path, found: Sequence[Recording], rejects: Mapping[tuple, dict]
) -> tuple[list[Place], list[str]]:
  """Gives every clip its name, and leaves out what is given twice.

  Args:
    out: folder, held.
    found: clips with the names that they would have in an empty folder.
    rejects: `key_of` -> row of `rejects.jsonl`, of earlier runs.

  Returns:
    The clips in their order, and what is to be said of those left out.
  """
  results = clip_files.read_summaries(out)
  by_files: dict[tuple, list[str]] = {}
  for name, content in results.items():
    by_files.setdefault(key_of(content['files']), []).append(name)
  owners = {row['clip']: row['files'] for row in rejects.values()}
  owners |= {name: {} for name in clip_files.half_results(out)}
  owners |= {name: content['files'] for name, content in results.items()}
  taken = {_folded(name): name for name in owners}
  placed, said = [], []
  given: dict[tuple, list[str]] = {}
  for recording in found:
    key = key_of(files_of(recording))
    if any(_is_name_of(name, recording) for name in given.get(key, ())):
      said.append(f'{recording.video}: given twice, analysed once')
      continue
    related = [name for name in by_files.get(key, ()) if _is_name_of(name, recording)]
    own = next((name for name in related if _same_content(results[name], recording)), None)
    refused = rejects.get(key, {}).get('clip')
    if not own and refused and refused not in results and _is_name_of(refused, recording):
      own = refused
    name, number, why = own or recording.recording, 1, None
    other = taken.get(_folded(name))
    if not own and other:
      why = f'{other} is ' + (
        f'of what {recording.video} held before'
        if other in related
        else f'of {" and ".join(owners[other].values())}'
        if owners[other]
        else 'taken'
      )
      while _folded(name) in taken:
        number += 1
        name = f'{recording.recording}_{number}'
    taken.setdefault(_folded(name), name)
    owners.setdefault(name, files_of(recording))
    given.setdefault(key, []).append(name)
    earlier = own if own in results else next(iter(related), None)
    placed.append(Place(dataclasses.replace(recording, recording=name), earlier, why))
  return placed, said


def key_of(files: Mapping[str, str]) -> tuple:
  """The key of a clip: kind and resolved path of each of its files."""
  return tuple(sorted((kind, os.path.realpath(path)) for kind, path in files.items()))


def _folded(name):
  return unicodedata.normalize('NFC', name).casefold()  # some file systems know neither case nor composition


def _is_name_of(name, recording):
  """Whether a name is one that this clip may have had in another batch; a list may name one clip in several ways."""
  stem = sources.safe(recording.video.stem)
  plain = {stem, sources.safe(f'{stem}_{recording.video.suffix[1:]}')}
  bare = lambda text: text if text in plain else re.sub(r'_\d+$', '', text)
  return bare(name) == bare(recording.recording) or {bare(name), bare(recording.recording)} <= plain


def _same_content(result, recording):
  """Whether a result was made of the present content of the files; True where that cannot be told."""
  for kind, path in files_of(recording).items():
    known = result['content'].get(kind)
    if known is None:
      continue  # written before contents were noted
    try:
      stat = os.stat(path)
      if stat.st_size != known['bytes']:
        return False
      if stat.st_mtime_ns != known['mtime_ns']:
        with open(path, 'rb') as file:
          if hashlib.file_digest(file, 'sha256').hexdigest() != known['sha256']:
            return False
    except OSError:
      continue  # away: nothing will come of it that could replace the result
  return True
