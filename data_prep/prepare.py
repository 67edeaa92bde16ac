"""Recordings -> shards: the command.

    python -m data_prep.prepare --corpus=recola --source=RECOLA --out=data/recola

Corpora: `recola` and `avec2016` as they are released, `csv` for own data (`--source` is then the manifest, see
corpora/own.py). One process per core, one recording at a time each; run again after an interruption, it goes on where
it was, and redoes what was prepared with other parameters or from other files. What cannot be used is refused with the
reason, in the table at the end and in `rejects.jsonl`; the rest is prepared all the same, and the exit code is 65
unless `--allow_rejects`.
"""

import contextlib
import dataclasses
import json
import math
import pathlib
import sys
import time

from absl import flags
import av
import cv2
import soxr
import tqdm

from data_prep.core import atomic, cli, lock, pool
from data_prep.core.errors import DataError, UserError
from data_prep.corpora import avec2016, own, recola
from data_prep.corpora.recording import check_subjects, read_split_file
from data_prep.face import faces
from data_prep.labels import gold_standard as gold_standards
from data_prep.labels import label_files
from data_prep.recordings import assemble
from data_prep.schema import records
from data_prep.schema.manifest import inside, Manifest, Shard
from data_prep.shards import summary_table, workers, write

REJECTS = 'rejects.jsonl'
SIMULATED = 'simulation.json'  # left by `data_prep.simulate`: what is learnt from it says nothing of people
MAX_LOST = 0.75  # share of steps without a face
CORPORA = ('recola', 'avec2016', 'csv')


@dataclasses.dataclass(frozen=True)
class Result:
  """What a preparation did.

  Attributes:
    manifest: of the data folder.
    summaries: recording -> `assemble.Summary` of what was prepared, now or before.
    rejects: rows of `rejects.jsonl`: recording, subject, partition, reason.
    absent: (recording, partition, what is missing).
  """

  manifest: Manifest
  summaries: dict[str, assemble.Summary]
  rejects: list[dict]
  absent: list[tuple[str, str, str]]


def prepare(
  *,
  corpus: str,
  source,
  out,
  split: str = 'full',
  split_file=None,
  gold_standard: str = 'ccc_centred',
  label_range=(-1.0, 1.0),
  labels: str = 'linear',
  max_lost: float = MAX_LOST,
  max_difference: float = assemble.MAX_DIFFERENCE_SECONDS,
  channel: int | None = None,
  allow_rejects: bool = False,
  jobs: int | None = None,
) -> Result:
  """Prepares a corpus as shards, metadata and a manifest in `out`, and prints the summary table.

  Args:
    corpus: 'recola', 'avec2016' or 'csv'.
    source: the corpus's folder, or the CSV manifest.
    out: data folder; made if absent, continued if it holds a part of the work.
    split: of RECOLA: 'full' or 'avec'.
    split_file: CSV `recording,partition` that replaces the corpus's own split.
    gold_standard: recipe where there are several raters: 'ccc_centred', 'ewe' or 'mean'.
    label_range: (low, high) of the label files of a csv corpus; stored scaled to [−1, 1].
    labels: 'linear' or 'hold', what is between two labels, see `labels.on_grid`.
    max_lost: share of steps without a face above which a recording is refused.
    max_difference: seconds by which labels, sound and picture may differ in length; the longer ones are cut.
    channel: of the sound, from 1; None: the mean of all, or the loudest where that is far below it.
    allow_rejects: return normally even if recordings were refused.
    jobs: processes; None: one per core. 1 works in this process.

  Raises:
    DataError: recordings were refused (the others are prepared), or nothing at all could be prepared.
    UserError: an argument has no meaning. WorkdirError, LockedError, DiskFullError: about `out`.
  """
  found, settings = _read_corpus(
    corpus, source, split, split_file, gold_standard, label_range, labels, max_lost, max_difference, channel
  )
  if jobs is not None and jobs < 1:
    raise UserError(f'--jobs={jobs}; expected at least 1')
  parameters = _parameters(corpus, settings, simulated=(pathlib.Path(source) / SIMULATED).is_file())
  jobs = jobs or pool.cores()
  out = pathlib.Path(out)
  begin = time.perf_counter()
  with locked(out):
    done, rejects = {}, []
    todo = []
    for recording in found.recordings:
      before = workers.done_before(out, recording, parameters)
      if before is None:
        todo.append(recording)
      else:
        done[recording.recording] = before
    fresh = set()
    with contextlib.closing(workers.run(todo, out, settings, parameters, jobs)) as results:
      for recording, result in tqdm.tqdm(results, total=len(todo), unit='recording', disable=not sys.stderr.isatty()):
        if 'reason' in result:
          rejects.append(
            {
              'recording': recording.recording,
              'subject': recording.subject,
              'partition': recording.partition,
              'reason': result['reason'],
            }
          )
        else:
          done[recording.recording] = result
          fresh.add(recording.recording)
    rejects.sort(key=lambda row: row['recording'])
    lines = [json.dumps(row, ensure_ascii=False) + '\n' for row in rejects]
    with atomic.writing(out):
      atomic.write(out / REJECTS, ''.join(lines))
      manifest = _publish(out, done, settings, parameters) if done else None
  summaries = {name: assemble.Summary(**done[name]['summary']) for name in sorted(done)}
  partitions = {recording.recording: recording.partition for recording in found.recordings}
  cli.say(summary_table.format_table(summaries, partitions, fresh, time.perf_counter() - begin, found.absent, rejects))
  if manifest is None:
    raise DataError(
      f'{source}: no recording could be prepared ({len(rejects)} refused, {len(found.absent)} absent)'
      + (f'; the first: {rejects[0]["reason"]}' if rejects else '')
    )
  if rejects and not allow_rejects:
    raise DataError(
      f'{len(rejects)} of {len(found.recordings)} recordings refused, reasons in {out / REJECTS}; '
      'mend them, or accept with --allow_rejects'
    )
  return Result(manifest=manifest, summaries=summaries, rejects=rejects, absent=found.absent)


def _read_corpus(corpus, source, split, split_file, recipe, label_range, labels, max_lost, max_difference, channel):
  """Runs the reader; returns its `Corpus` and the settings."""
  if corpus not in CORPORA:
    raise UserError(f'--corpus={corpus}; expected one of {", ".join(CORPORA)}')
  if recipe not in gold_standards.RECIPES:
    raise UserError(f'--gold_standard={recipe}; expected one of {", ".join(gold_standards.RECIPES)}')
  if not 0 <= max_lost <= 1:
    raise UserError(f'--max_lost={max_lost}; expected a share from 0 to 1')
  if labels not in label_files.METHODS:
    raise UserError(f'--labels={labels}; expected one of {", ".join(label_files.METHODS)}')
  if not records.STEP_SECONDS <= max_difference < math.inf:
    raise UserError(
      f'--max_difference={max_difference}; expected seconds, at least one step of {records.STEP_SECONDS:g}'
    )
  low, high = label_range
  # Of ends too far apart or too close the labels would be NaN or 0.
  if not (low < high and 0 < 2 / (high - low) < math.inf and math.isfinite(high + low)):
    raise UserError(f'--label_range={low:g},{high:g}; expected LOW,HIGH: finite numbers, LOW below HIGH')
  if corpus != 'csv' and (low, high) != (-1, 1):
    raise UserError('--label_range is for --corpus=csv; the scale of the others is known')
  if corpus == 'csv' and split_file:
    raise UserError('--split_file is not for --corpus=csv; the manifest itself names the partitions')
  chosen = read_split_file(split_file) if split_file else None
  if corpus == 'recola':
    found = recola.read(source, split=chosen or split)
  elif corpus == 'avec2016':
    found = avec2016.read(source, split=chosen)
  else:
    found = own.read(source, label_range=(low, high))
  check_subjects(found.recordings)
  return found, assemble.Settings(
    targets=tuple(found.targets),
    label_range=found.label_range,
    label_slack=found.label_slack,
    annotated_seconds=found.annotated_seconds,
    recipe=recipe,
    max_lost=max_lost,
    max_difference=max_difference,
    channel=channel,
    labels=labels,
  )


def _parameters(corpus, settings, simulated) -> dict:
  """All that the bytes depend on beside the files; no path, so that the same data made elsewhere is the same."""
  chosen = dataclasses.asdict(settings)
  if settings.channel is None:  # what was prepared before there was a choice stays valid
    del chosen['channel']
  parameters = {
    'corpus': corpus,
    **({'simulated': True} if simulated else {}),
    **chosen,
    'faces': faces.PARAMETERS,
    'versions': {'av': av.__version__, 'opencv': cv2.__version__, 'soxr': soxr.__version__},
  }
  return json.loads(json.dumps(parameters))  # as it will be read back: lists, no tuples


def _publish(out, done, settings, parameters) -> Manifest:
  """Final names and manifest; nothing is touched if the folder already is what it should be."""
  wanted = [Shard(**shard) for content in done.values() for shard in content['shards']]
  names = write.names(out)
  try:
    manifest = Manifest.read(out)
    listed = {(shard.file, shard.sha256) for shard in manifest.shards}
    complete = listed == {(names.get(shard.file), shard.sha256) for shard in wanted}
    rewritten = any((out / write.PARTS / shard.file).exists() for shard in wanted)
    if complete and not rewritten and manifest.preparation == parameters:
      return manifest
  except DataError:
    pass
  write.unname(out)
  parts = {shard.file for shard in wanted}
  for path in (out / write.PARTS).glob('*.tfrecord'):
    if path.name not in parts:
      path.unlink()  # of a recording that is no longer in the corpus, or is refused now
  return write.finish(out, wanted, settings.layout, label_scale=settings.label_scale(), preparation=parameters)


@contextlib.contextmanager
def locked(out):
  """Holds a data folder against a second preparation."""
  parts = pathlib.Path(out) / write.PARTS
  with atomic.writing(parts):
    parts.mkdir(parents=True, exist_ok=True)
    inside(out, write.PARTS, out)
  in_use = f'{parts.parent}: another preparation is writing here; wait for it'
  with lock.held(parts / 'lock', parts, lambda _: in_use):
    for folder in (parts, parts.parent):
      atomic.sweep(folder)  # of runs that were killed
    write.names(out)  # refused now rather than at the end
    yield


def _define_flags():
  flags.DEFINE_enum('corpus', None, CORPORA, 'Layout of the source.', required=True)
  cli.define_path('source', None, 'Folder of the corpus, or the CSV manifest of own data.', required=True)
  cli.define_path('out', None, 'Data folder to write.', required=True)
  flags.DEFINE_enum('split', 'full', tuple(recola.SPLITS), 'Split of RECOLA.')
  cli.define_path('split_file', None, 'CSV recording,partition that replaces the split.')
  flags.DEFINE_enum(
    'gold_standard',
    'ccc_centred',
    tuple(gold_standards.RECIPES),
    'Recipe: raters -> one trace. ewe weighs a rater by the correlation with the mean of the others.',
  )
  flags.DEFINE_list('label_range', ['-1', '1'], 'LOW,HIGH of the labels of own data.')
  flags.DEFINE_enum(
    'labels',
    'linear',
    label_files.METHODS,
    'Between two labels: a line, or the former until the latter (values stored on change).',
  )
  flags.DEFINE_float(
    'max_difference',
    assemble.MAX_DIFFERENCE_SECONDS,
    'Seconds by which labels, sound and picture may differ in length; the longer ones are cut.',
  )
  flags.DEFINE_float('max_lost', MAX_LOST, 'Share of steps without a face above which a recording is refused.')
  flags.DEFINE_integer(
    'channel', None, 'Channel of the sound, from 1; default: the mean of all, or the loudest.', lower_bound=1
  )
  flags.DEFINE_bool('allow_rejects', False, 'Exit 0 even if recordings were refused.')
  flags.DEFINE_integer('jobs', None, 'Processes; default: one per core.')


def main() -> None:
  values = flags.FLAGS
  try:
    low, high = map(float, values.label_range)
  except ValueError:
    raise UserError(f'--label_range={",".join(values.label_range)}; expected LOW,HIGH') from None
  prepare(
    corpus=values.corpus,
    source=values.source,
    out=values.out,
    split=values.split,
    split_file=values.split_file,
    gold_standard=values.gold_standard,
    label_range=(low, high),
    labels=values.labels,
    max_lost=values.max_lost,
    max_difference=values.max_difference,
    channel=values.channel,
    allow_rejects=values.allow_rejects,
    jobs=values.jobs,
  )


if __name__ == '__main__':
  cli.run(main, _define_flags)
