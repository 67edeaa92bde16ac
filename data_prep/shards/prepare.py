"""Recordings -> shards: finds a corpus, prepares what is not done yet, and publishes the data folder."""

import contextlib
import dataclasses
import functools
import json
import math
import pathlib
import sys
import time

import av
import cv2
import soxr
import tqdm

from data_prep import corpora
from data_prep.core import atomic, cli, lock, remote
from data_prep.core.errors import DataError, UserError
from data_prep.corpora.recording import with_spread
from data_prep.corpora.settings import MAX_DIFFERENCE_SECONDS, MAX_LOST, MAX_MINUTES, Settings
from data_prep.face import detectors, tracker
from data_prep.labels import gold_standard as gold_standards
from data_prep.labels import label_files
from data_prep.recordings import assemble
from data_prep.schema.manifest import inside, Manifest, Shard
from data_prep.shards import own_labels, runners, sidecars, summary_table, workers, write

REJECTS = 'rejects.jsonl'
SIMULATED = 'simulation.json'  # left by `data_prep.simulate`: what is learnt from it says nothing of people


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
  split: str | None = None,
  split_file=None,
  targets=(),
  spread: bool = False,
  gold_standard: str = 'ccc_centred',
  label_range=None,
  labels: str = 'linear',
  max_lost: float = MAX_LOST,
  max_difference: float | None = None,
  channel: int | None = None,
  detector: str = detectors.CASCADE,
  allow_rejects: bool = False,
  jobs: int | None = None,
  max_minutes: float = MAX_MINUTES,
  runner: str = runners.LOCAL,
  runner_options=(),
) -> Result:
  """Prepares a corpus as shards, metadata and a manifest in `out`, and prints the summary table.

  Args:
    corpus: one of `corpora.READERS`.
    source: the corpus's folder, or the CSV manifest.
    out: data folder; made if absent, continued if it holds a part of the work.
    split: of RECOLA: 'full' (the default) or 'avec'.
    split_file: CSV `recording,partition` that replaces the corpus's own split.
    targets: of a corpus that offers several sets of them; (): its first.
    spread: see `corpora.recording.with_spread`.
    gold_standard: recipe where there are several raters: 'ccc_centred', 'ewe' or 'mean'.
    label_range: (low, high) of the label files of a csv corpus, default (−1, 1); stored scaled to [−1, 1].
    labels: 'linear' or 'hold', what is between two labels, see `resample.on_grid`.
    max_lost: share of steps without a face above which a recording is refused.
    max_difference: seconds by which labels, sound and picture may differ in length; the longer ones are cut. None:
      0.12, or one step where that is longer.
    channel: of the sound, from 1; None: the mean of all, or the loudest where that is far below it.
    detector: of faces, of `detectors.DETECTORS`.
    allow_rejects: return normally even if recordings were refused.
    jobs: processes; None: one per core, or one for each worker of Beam. 0 works in this process, which a decoder that
      crashes then takes along.
    max_minutes: of the processor's time above which a recording is refused; by the clock it may take twice as long.
    runner: one of `runners.RUNNERS`.
    runner_options: its own, as Beam's '--runner=FlinkRunner'.

  Raises:
    DataError: recordings were refused (the others are prepared), or nothing at all could be prepared.
    UserError: an argument has no meaning. WorkdirError, LockedError, DiskFullError: about `out`.
  """
  if label_range is not None:
    _check_label_range(label_range)
  chosen = pathlib.Path(split_file) if split_file else split
  found = corpora.read(corpus, source, split=chosen, label_range=label_range, targets=targets)
  if spread:
    found = with_spread(found)
  settings = _settings(found, gold_standard, labels, max_lost, max_difference, channel, detector)
  if jobs is not None and jobs < 0:
    raise UserError(f'--jobs={jobs}; expected at least 1, or 0 to work in this process')
  if not max_minutes > 0:
    raise UserError(f'--max_minutes={max_minutes}; expected a number above 0')
  parameters = _parameters(corpus, settings, simulated=(pathlib.Path(source) / SIMULATED).is_file())
  if runner not in runners.RUNNERS:
    raise UserError(f'--runner={runner}; expected one of {", ".join(runners.RUNNERS)}')
  for name, path in (('source', source), ('out', out)):
    if runner != runners.LOCAL and remote.is_address(remote.named(path)):
      raise UserError(f'--{name}={remote.named(path)}: --runner={runner} takes a folder that every machine sees')
  run = runners.RUNNERS[runner](runner_options)
  out = pathlib.Path(out)
  work = functools.partial(workers.run, out=out, settings=settings, parameters=parameters, max_minutes=max_minutes)
  begin = time.perf_counter()
  with locked(out):
    done, rejects = {}, []
    todo = []
    for recording in found.recordings:
      before = sidecars.done_before(out, recording, parameters)
      if before is None:
        todo.append(recording)
      else:
        done[recording.recording] = before
    fresh = set()
    with contextlib.closing(run(work, todo, out, jobs)) as results:
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
          remote.send(out, every=remote.EVERY_SECONDS)
    rejects.sort(key=lambda row: row['recording'])
    lines = [json.dumps(row, ensure_ascii=False) + '\n' for row in rejects]
    with atomic.writing(out):
      atomic.write(out / REJECTS, ''.join(lines))
      manifest = _publish(out, done, settings, parameters, found) if done else None
    remote.send(out)
  summaries = {name: assemble.Summary(**done[name]['summary']) for name in sorted(done)}
  partitions = {recording.recording: recording.partition for recording in found.recordings}
  columns = dict.fromkeys(column for recording in found.recordings for column in recording.about)
  if columns:
    cli.say(f'reports divide people by: {", ".join(columns)}')
  cli.say(
    summary_table.format_table(
      summaries, partitions, fresh, time.perf_counter() - begin, found.absent, rejects, found.grid
    )
  )
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


def _settings(found, recipe, labels, max_lost, max_difference, channel, detector) -> Settings:
  """How the corpus is prepared; raises UserError where an argument has no meaning."""
  if recipe not in gold_standards.RECIPES:
    raise UserError(f'--gold_standard={recipe}; expected one of {", ".join(gold_standards.RECIPES)}')
  if not 0 <= max_lost <= 1:
    raise UserError(f'--max_lost={max_lost}; expected a share from 0 to 1')
  if labels not in label_files.METHODS:
    raise UserError(f'--labels={labels}; expected one of {", ".join(label_files.METHODS)}')
  step = found.grid.step_seconds
  if max_difference is None:
    max_difference = max(MAX_DIFFERENCE_SECONDS, step)
  if not step <= max_difference < math.inf:
    raise UserError(f'--max_difference={max_difference}; expected seconds, at least one step of {step:g}')
  return Settings(
    targets=tuple(found.targets),
    label_range=found.label_range,
    label_slack=found.label_slack,
    annotated_seconds=found.annotated_seconds,
    recipe=recipe,
    max_lost=max_lost,
    max_difference=max_difference,
    channel=channel,
    labels=labels,
    grid=found.grid,
    streams=tuple(found.streams),
    detector=detector,
    classes=found.classes,
    target_ranges=found.target_ranges,
  )


def _check_label_range(label_range) -> None:
  low, high = label_range
  # Of ends too far apart or too close the labels would be NaN or 0.
  if not (low < high and 0 < 2 / (high - low) < math.inf and math.isfinite(high + low)):
    raise UserError(f'--label_range={low:g},{high:g}; expected LOW,HIGH: finite numbers, LOW below HIGH')


def _parameters(corpus, settings, simulated) -> dict:
  """All that the bytes depend on beside the files; no path, so that the same data made elsewhere is the same."""
  chosen, pictures = dataclasses.asdict(settings), settings.grid.pictures_per_step
  # What was prepared before there was a choice stays valid.
  for name in ('channel', 'grid', 'streams', 'detector'):
    if getattr(settings, name) == getattr(Settings, name):
      del chosen[name]
  for name in ('classes', 'target_ranges'):
    if not chosen[name]:
      del chosen[name]
  versions = detectors.versions(settings.detector)
  parameters = {
    'corpus': corpus,
    **({'simulated': True} if simulated else {}),
    **chosen,
    'faces': tracker.PARAMETERS | ({'pictures_per_step': pictures} if pictures > 1 else {}),
    'versions': {'av': av.__version__, 'opencv': cv2.__version__, 'soxr': soxr.__version__} | versions,
  }
  return json.loads(json.dumps(parameters))  # as it will be read back: lists, no tuples


def _publish(out, done, settings, parameters, found) -> Manifest:
  """Final names and manifest; nothing is touched if the folder already is what it should be."""
  wanted = [Shard.parse(shard) for content in done.values() for shard in content['shards']]
  names = write.names(out)
  clock = own_labels.clock(done, found)
  own_labels.sweep(out, clock)
  about = {recording.recording: dict(recording.about) for recording in found.recordings if recording.about}
  about = {name: columns for name, columns in about.items() if name in done}
  sizes = {name: done[name]['summary'].get('face_size') for name in sorted(done)}
  face_size = {name: size for name, size in sizes.items() if size}
  try:
    manifest = Manifest.read(out)
    listed = {(shard.file, shard.sha256) for shard in manifest.shards}
    complete = listed == {(names.get(shard.file), shard.sha256) for shard in wanted}
    rewritten = any((out / write.PARTS / shard.file).exists() for shard in wanted)
    now = (parameters, found.folds, clock, about, face_size)
    before = (manifest.preparation, manifest.folds, manifest.label_clock, manifest.about, manifest.face_size)
    if complete and not rewritten and before == now:
      return manifest
  except DataError:
    pass
  write.unname(out)
  parts = {shard.file for shard in wanted}
  for path in (out / write.PARTS).glob('*.tfrecord'):
    if path.name not in parts:
      path.unlink()  # of a recording that is no longer in the corpus, or is refused now
  return write.finish(
    out,
    wanted,
    workers.layout(settings),
    label_scale=settings.label_scale(),
    preparation=parameters,
    folds=found.folds,
    label_clock=clock,
    about=about,
    face_size=face_size,
  )


@contextlib.contextmanager
def locked(out):
  """Holds a data folder against a second preparation."""
  parts = pathlib.Path(out) / write.PARTS
  with atomic.writing(parts):
    parts.mkdir(parents=True, exist_ok=True)
    inside(out, write.PARTS, out)

  def in_use(holder):
    return f'{parts.parent}: in use by {holder or "another preparation"}; wait for it, or choose another --out'

  with lock.held(parts / 'lock', parts, in_use):
    for folder in (parts, parts.parent):
      atomic.sweep(folder)  # of runs that were killed
    write.names(out)  # refused now rather than at the end
    yield
