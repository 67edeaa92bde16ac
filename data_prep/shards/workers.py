"""The work of `prepare.py`: one recording a task, on as many processes as are asked for, each within limits.

Decoders are large programs in C that read files of strangers. One that crashes, hangs or takes the memory of the
machine costs its recording, with the reason, and nothing else.
"""

import contextlib
import dataclasses
import functools

import cv2

from data_prep import streams
from data_prep.core import pool
from data_prep.core.errors import DiskFullError, UserError, WorkdirError
from data_prep.corpora.settings import Settings
from data_prep.recordings import assemble
from data_prep.schema.fields import Layout
from data_prep.shards import own_labels, sidecars, write

_SHARE_OF_MEMORY = 0.9  # of the machine's that all processes may take together


def layout(settings: Settings) -> Layout:
  """Of the records of a corpus."""
  return streams.layout(settings.targets, settings.grid, settings.streams, classes=settings.classes)


def _work(out, settings, parameters, recording) -> dict:
  """Prepares one recording; runs in a worker. Returns its sidecar, or {'reason': …} if it is refused."""
  cv2.setNumThreads(1)  # one process per core
  try:
    # Before the files are read: what is replaced meanwhile is seen by the next run.
    fingerprint, media = sidecars.fingerprint(recording, parameters), sidecars.stamps(recording)
    recording_records, summary = assemble.assemble(recording, settings)
    written = write.write_recording(out, recording_records, layout(settings), partition=recording.partition)
    content = {
      'fingerprint': fingerprint,
      'media': media,
      'summary': dataclasses.asdict(summary),
      'shards': [shard.stored() for shard in written],
      **own_labels.write(out, recording, settings),
    }
    sidecars.write_for(out, recording, content)
    return content
  except (DiskFullError, WorkdirError):
    raise  # the next recording would fare no better
  except UserError as e:
    return {'reason': str(e)}
  except Exception as e:  # one malformed file must not end the batch
    return {'reason': f'{recording.video or recording.audio}: {type(e).__name__}: {" ".join(str(e).split())}'}


def run(todo, out, settings, parameters, jobs, max_minutes):
  """Prepares recordings; yields (recording, result) as they are done, see `_work`.

  Args:
    todo: recordings.
    out: data folder.
    settings: of the corpus.
    parameters: all that the bytes depend on beside the files, for the sidecars.
    jobs: processes; 0 works in this one, without limits.
    max_minutes: of the processor's time for a recording; by the clock it may take twice as long.
  """
  work = functools.partial(_work, out, settings, parameters)
  if not jobs:
    for recording in todo:
      yield recording, work(recording)
    return
  jobs = min(jobs, len(todo)) or 1
  limits = pool.Limits(
    memory=_SHARE_OF_MEMORY * pool.memory() / jobs, processor_seconds=60 * max_minutes, seconds=120 * max_minutes
  )
  with contextlib.closing(pool.run(work, todo, jobs=jobs, limits=limits)) as results:
    for recording, result in results:
      if isinstance(result, pool.Crashed):
        advice = '; a longer one passes with --max_minutes' if 'minutes' in str(result) else ''
        result = {'reason': f'{recording.video or recording.audio}: {result}{advice}'}
      yield recording, result
