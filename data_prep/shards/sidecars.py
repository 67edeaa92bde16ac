"""Sidecars: what was written for a recording, and of which files, so that a later run skips what is done."""

import hashlib
import json
import pathlib

from data_prep.core import atomic, json_text
from data_prep.corpora.recording import Recording
from data_prep.media import picture_folder
from data_prep.recordings import assemble
from data_prep.schema.label_clock import File
from data_prep.schema.manifest import Shard
from data_prep.shards import write

_RECORDS_VERSION = 1  # of what is written for a recording: a manifest of another version does not make it anew


def _media(recording):
  paths = [recording.video, recording.audio, *(file.path for file in recording.sensors)]
  return [path if path is not None and path.is_file() else None for path in paths]


def fingerprint(recording: Recording, parameters: dict) -> str:
  """A digest that changes when the recording must be prepared again. Of media it covers the size; see `stamps`."""

  def contents(path):
    return write.sha256(path) if path is not None and path.is_file() else None

  content = {
    'format_version': _RECORDS_VERSION,
    'parameters': parameters,
    'ids': [recording.recording, recording.subject, recording.partition],
    'media': [path and path.stat().st_size for path in _media(recording)],
    'labels': [
      [source.target, source.column, contents(source.path), *map(contents, source.files)] for source in recording.labels
    ],
    'boxes': contents(recording.boxes),
    **({'whole': dict(recording.whole)} if recording.whole else {}),
    **({'first_box': recording.first_box} if recording.first_box else {}),
    **({'pictures': _pictures(recording)} if recording.frames is not None else {}),
    **({'sensors': [file.signals for file in recording.sensors]} if recording.sensors else {}),
  }
  return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _pictures(recording):
  """A digest of the pictures of a folder, and what times them."""
  digest = hashlib.sha256()
  for number, path in picture_folder.pictures(recording.video).items():
    digest.update(f'{number} {path.name} {write.sha256(path)}\n'.encode())
  frames = recording.frames
  return [digest.hexdigest(), write.sha256(frames) if isinstance(frames, pathlib.Path) else frames]


def _times(path):
  """Times of a file's last change and of its entry's: one of them differs once it is written to, replaced or copied."""
  stat = path.stat()
  return [stat.st_mtime_ns, stat.st_ctime_ns]


def stamps(recording: Recording) -> list:
  """Times and SHA-256 of video, sound and files of sensors; None where there is no such file."""
  return [path and [_times(path), write.sha256(path)] for path in _media(recording)]


def write_for(out: pathlib.Path, recording: Recording, content: dict) -> None:
  """Writes the sidecar of a recording: `fingerprint`, `media` (`stamps`), and what a later run is to know of it."""
  atomic.write(_path(out, recording), json.dumps(content))


def _path(out, recording) -> pathlib.Path:
  return out / write.PARTS / f'{write.part_stem(recording.recording)}.json'


def done_before(out: pathlib.Path, recording: Recording, parameters: dict) -> dict | None:
  """What was written for this recording before, or None if it must be prepared.

  Media are hashed where a time differs from the sidecar's, so that copies are not prepared again. A sidecar of a
  version that knew sizes only stands if it is younger than the media.
  """
  path = _path(out, recording)
  try:
    content = json_text.parse(path.read_text(encoding='utf-8'))
    if content['fingerprint'] != fingerprint(recording, parameters):
      return None
    assemble.Summary.parse(content['summary'])
    names = write.names(out)
    for k, shard in enumerate(map(Shard.parse, content['shards'])):
      if shard.file != write.part_name(recording.recording, k) or (shard.recording, shard.subject, shard.partition) != (
        recording.recording,
        recording.subject,
        recording.partition,
      ):
        return None  # a name that is not ours would be renamed, and read as this recording's
      place = out / write.PARTS / shard.file
      place = place if place.is_file() else out / names.get(shard.file, shard.file)
      if not place.is_file() or place.stat().st_size != shard.bytes:
        return None
    labels = content.get('labels')
    if labels is not None and not (out / File.parse(labels).file).is_file():
      return None
    if 'media' not in content:
      written = path.stat().st_mtime_ns
      if any(file and max(_times(file)) >= written for file in _media(recording)):
        return None
      now = stamps(recording)
    elif [file and _times(file) for file in _media(recording)] == [old and old[0] for old in content['media']]:
      return content
    else:
      now = stamps(recording)
      if [new and new[1] for new in now] != [old and old[1] for old in content['media']]:
        return None
    content['media'] = now
  except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):  # absent or damaged: do it again
    return None
  atomic.write(path, json.dumps(content))
  return content
