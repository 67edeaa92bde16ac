"""The batch behind `prepare.py`: one recording per task, processes on all cores, sidecars that say what is done."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import pathlib

import cv2

from data_prep import streams
from data_prep.core import atomic, json_text, pool
from data_prep.core.errors import DiskFullError, UserError, WorkdirError
from data_prep.corpora.settings import Settings
from data_prep.recordings import assemble
from data_prep.schema.fields import Layout
from data_prep.schema.manifest import Shard
from data_prep.shards import write

_RECORDS_VERSION = 1  # of what is written for a recording: a manifest of another version does not make it anew


def layout(settings: Settings) -> Layout:
  """Of the records of a corpus."""
  return streams.layout(settings.targets, settings.grid, settings.streams)


def _sha256(path) -> str:
  with open(path, 'rb') as f:
    return hashlib.file_digest(f, 'sha256').hexdigest()


def _media(recording):
  return [path if path is not None and path.is_file() else None for path in (recording.video, recording.audio)]


def _fingerprint(recording, parameters) -> str:
  """Changes when the recording must be prepared again; of media it holds the size, see `_stamps` for the rest."""

  def contents(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path is not None and path.is_file() else None

  content = {
    'format_version': _RECORDS_VERSION,
    'parameters': parameters,
    'ids': [recording.recording, recording.subject, recording.partition],
    'media': [path and path.stat().st_size for path in _media(recording)],
    'labels': [[source.target, source.column, contents(source.path)] for source in recording.labels],
    'boxes': contents(recording.boxes),
  }
  return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _times(path):
  """What changes when a file is written to, replaced or copied: time of its contents, time of its entry."""
  stat = path.stat()
  return [stat.st_mtime_ns, stat.st_ctime_ns]


def _stamps(recording):
  """Times and SHA-256 of the media."""
  return [path and [_times(path), _sha256(path)] for path in _media(recording)]


def _sidecar_path(out, recording) -> pathlib.Path:
  return out / write.PARTS / f'{write.part_stem(recording.recording)}.json'


def done_before(out, recording, parameters):
  """What was written for this recording before, or None if it must be prepared.

  Media are hashed where a time differs from the sidecar's, so that copies are not prepared again. A sidecar of a
  version that knew sizes only stands if it is younger than the media.
  """
  path = _sidecar_path(out, recording)
  try:
    content = json_text.parse(path.read_text(encoding='utf-8'))
    if content['fingerprint'] != _fingerprint(recording, parameters):
      return None
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
    if 'media' not in content:
      written = path.stat().st_mtime_ns
      if any(file and max(_times(file)) >= written for file in _media(recording)):
        return None
      stamps = _stamps(recording)
    elif [file and _times(file) for file in _media(recording)] == [old and old[0] for old in content['media']]:
      return content
    else:
      stamps = _stamps(recording)
      if [new and new[1] for new in stamps] != [old and old[1] for old in content['media']]:
        return None
    content['media'] = stamps
  except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):  # absent or damaged: do it again
    return None
  atomic.write(path, json.dumps(content))
  return content


def _work(out, settings, parameters, recording) -> dict:
  """Prepares one recording; runs in a worker. Returns its sidecar, or {'reason': …} if it is refused."""
  cv2.setNumThreads(1)  # one process per core
  try:
    # Before the files are read: what is replaced meanwhile is seen by the next run.
    fingerprint, media = _fingerprint(recording, parameters), _stamps(recording)
    recording_records, summary = assemble.assemble(recording, settings)
    written = write.write_recording(out, recording_records, layout(settings), partition=recording.partition)
    content = {
      'fingerprint': fingerprint,
      'media': media,
      'summary': dataclasses.asdict(summary),
      'shards': [dataclasses.asdict(shard) for shard in written],
    }
    atomic.write(_sidecar_path(out, recording), json.dumps(content))
    return content
  except (DiskFullError, WorkdirError):
    raise  # the next recording would fare no better
  except UserError as e:
    return {'reason': str(e)}
  except Exception as e:  # one malformed file must not end the batch
    return {'reason': f'{recording.video or recording.audio}: {type(e).__name__}: {" ".join(str(e).split())}'}


def run(todo, out, settings, parameters, jobs):
  """Prepares recordings; yields (recording, result) as they are done, see `_work`.

  Args:
    todo: recordings.
    out: data folder.
    settings: of the corpus.
    parameters: all that the bytes depend on beside the files, for the sidecars.
    jobs: processes; 1 works in this one.
  """
  work = functools.partial(_work, out, settings, parameters)
  jobs = min(jobs, len(todo))
  if jobs > 1:
    with contextlib.closing(pool.run(work, todo, jobs=jobs)) as results:
      for recording, result in results:
        crashed = isinstance(result, pool.Crashed)
        yield recording, {'reason': f'{recording.recording}: the decoder crashed'} if crashed else result
  else:
    for recording in todo:
      yield recording, work(recording)
