"""The batch behind `prepare.py`: one recording per task, processes on all cores, sidecars that say what is done."""

import concurrent.futures
import dataclasses
import functools
import hashlib
import json
import multiprocessing
import pathlib

import cv2

from data_prep import assemble
from data_prep import records
from data_prep import shards
from data_prep.errors import DiskFullError
from data_prep.errors import UserError


def _fingerprint(recording, parameters) -> str:
  """Changes when the recording must be prepared again."""
  def contents(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path is not None and path.is_file() else None

  def size(path):  # media are too large to be hashed at every start
    return path.stat().st_size if path is not None and path.is_file() else None

  content = {
      'format_version': records.FORMAT_VERSION, 'parameters': parameters,
      'ids': [recording.recording, recording.subject, recording.partition],
      'media': [size(recording.video), size(recording.audio)],
      'labels': [[source.target, source.column, contents(source.path)] for source in recording.labels],
      'boxes': contents(recording.boxes),
  }
  return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _sidecar_path(out, recording) -> pathlib.Path:
  return out / shards.PARTS / f'{shards.part_stem(recording.recording)}.json'


def done_before(out, recording, parameters):
  """What was written for this recording before, or None if it must be prepared."""
  try:
    content = json.loads(_sidecar_path(out, recording).read_text(encoding='utf-8'))
    fresh = content['fingerprint'] == _fingerprint(recording, parameters)
    names = shards.names(out)
    for shard in content['shards'] if fresh else ():
      path = out / shards.PARTS / shard['file']
      path = path if path.is_file() else out / names.get(shard['file'], shard['file'])
      fresh = fresh and path.is_file() and path.stat().st_size == shard['bytes']
    return content if fresh else None
  except (OSError, ValueError, KeyError, TypeError):  # absent or damaged: do it again
    return None


def _work(out, settings, parameters, recording) -> dict:
  """Prepares one recording; runs in a worker. Returns its sidecar, or {'reason': …} if it is refused."""
  cv2.setNumThreads(1)  # one process per core
  try:
    recording_records, summary = assemble.assemble(recording, settings)
    written = shards.write_recording(out, recording_records, partition=recording.partition)
    content = {'fingerprint': _fingerprint(recording, parameters), 'summary': dataclasses.asdict(summary),
               'shards': [dataclasses.asdict(shard) for shard in written]}
    path = _sidecar_path(out, recording)
    temporary = path.with_suffix('.json.tmp')
    with shards.writing(path):
      temporary.write_text(json.dumps(content), encoding='utf-8')
      temporary.replace(path)
    return content
  except DiskFullError:
    raise  # the next recording would fare no better
  except UserError as e:
    return {'reason': str(e)}
  except Exception as e:  # pylint: disable=broad-except  # one malformed file must not end the batch
    return {'reason': f'{recording.video or recording.audio}: {type(e).__name__}: {" ".join(str(e).split())}'}


def run(todo, out, settings, parameters, jobs):
  """Prepares recordings; yields (recording, result) as they are done, see `_work`.

  Args:
    todo: recordings.
    out: data folder.
    settings: `assemble.Settings`.
    parameters: all that the bytes depend on beside the files, for the sidecars.
    jobs: processes; 1 works in this one.
  """
  work = functools.partial(_work, out, settings, parameters)
  jobs = min(jobs, len(todo))
  if jobs > 1:
    yield from in_processes(work, todo, jobs=jobs)
  else:
    for recording in todo:
      yield recording, work(recording)


def in_processes(work, items, *, jobs: int):
  """Yields (item, work(item)) as they are done, by `jobs` processes.

  Where a process dies in `work`, the result is {'reason': …}.
  """
  # Not forked: TensorFlow's and OpenCV's threads do not survive a fork.
  pool = functools.partial(concurrent.futures.ProcessPoolExecutor, mp_context=multiprocessing.get_context('spawn'))
  broken = []
  with pool(jobs) as executor:
    futures = {executor.submit(work, item): item for item in items}
    try:
      for future in concurrent.futures.as_completed(futures):
        try:
          yield futures[future], future.result()
        except concurrent.futures.process.BrokenProcessPool:
          broken.append(futures[future])
    except BaseException:
      executor.shutdown(wait=False, cancel_futures=True)  # the disk is full, or somebody stopped us
      raise
  # A decoder that crashes takes the whole pool down; alone, each shows whether it was the one.
  for item in broken:
    with pool(1) as executor:
      try:
        yield item, executor.submit(work, item).result()
      except concurrent.futures.process.BrokenProcessPool:
        yield item, {'reason': f'{getattr(item, "recording", item)}: the decoder crashed'}
