"""One recording, from its files to its records: lengths compared, streams and labels on one grid, cut into records."""

import dataclasses
import time

import numpy as np

from data_prep import streams
from data_prep.core.errors import DataError
from data_prep.corpora.recording import Recording
from data_prep.corpora.settings import Settings
from data_prep.labels import gold_standard, label_files, resample
from data_prep.recordings import lengths
from data_prep.schema import records
from data_prep.schema.fields import Layout
from data_prep.schema.grid import LENGTH_SLACK_SECONDS

MIN_LABELLED = 0.5  # share of the steps; below it something else is wrong than a hole


@dataclasses.dataclass(frozen=True)
class Summary:
  """A row of the table at the end.

  Attributes:
    steps: T; labels: steps that have one.
    label_seconds, audio_seconds, video_seconds: where each ends, or None.
    fps: of the video; face_found: share of steps with a face, or None without a video.
    seconds: how long the work took.
    notes: what a person should know, for instance 'no sound'.
  """

  steps: int
  labels: int
  label_seconds: float | None
  audio_seconds: float | None
  video_seconds: float | None
  fps: float | None
  face_found: float | None
  seconds: float
  notes: list[str]


def assemble(recording: Recording, settings: Settings) -> tuple[list[records.Record], Summary]:
  """Reads one recording.

  Returns:
    its records in order, and the row of the summary.

  Raises:
    DataError: a file is bad, the lengths differ by more than `max_difference`, the face is lost in too many steps, or
      too few steps have a label.
  """
  begin = time.perf_counter()
  grid, notes, traces = settings.grid, [], []
  for source in recording.labels:
    times, trace, said = read_trace(source, settings)
    traces.append((times, trace))
    notes += [note for note in said if note not in notes]
  label_end = min((times[-1] for times, _ in traces), default=None)
  interval = max((resample.interval(times, grid) for times, _ in traces), default=grid.step_seconds)
  traces, annotated = _annotated(traces, settings.labels)

  chosen = streams.recorded(settings.streams)
  tracks = {stream.name: stream.read(recording, settings) for stream in chosen}
  sound, picture = tracks.get('speech'), tracks.get('visual')  # `lengths` has rules of their own for the two
  ends = {stream.word: tracks[stream.name].end for stream in chosen if tracks[stream.name] is not None}
  seconds = lengths.common_length(
    recording.recording,
    label_end,
    interval,
    sound and sound.end,
    picture and picture.end,
    one_file=recording.audio is None,
    annotated_seconds=settings.annotated_seconds,
    max_difference=settings.max_difference,
    held=settings.labels == 'hold',
    others={stream.word: ends[stream.word] for stream in chosen if _is_other(stream) and stream.word in ends},
    grid=grid,
  )
  notes += _cut_notes(seconds, label_end, ends, settings)
  for stream in chosen:
    track = tracks[stream.name]
    if track is None:
      notes.append(stream.absent)
      continue
    if track.start > grid.step_seconds:
      notes.append(f'{stream.word} starts at {track.start:.2f} s')
    if track.end < seconds - grid.step_seconds:
      notes.append(f'{stream.word} ends at {track.end:.2f} s')
    notes += [note for note in track.notes if note not in notes]

  steps = grid.steps_begun(seconds)
  lengths.check_begun(recording.recording, seconds, steps)
  values: dict[str, np.ndarray] = {}
  for stream in chosen:
    values |= stream.cut(recording, tracks[stream.name], seconds, settings)
  label, mask = _whole(recording, settings, steps) if recording.whole else _labels(traces, settings, steps)
  notes += _label_notes(recording, traces, settings, steps, int(mask.sum()), annotated)
  if steps * grid.step_seconds > seconds + LENGTH_SLACK_SECONDS:
    # The last step is short: it stays (valid 1, missing samples 0), but nothing is learnt from it or scored on it.
    mask[-1] = 0
    label[-1] = 0
  layout = streams.layout(settings.targets, grid, settings.streams, classes=settings.classes)
  return _cut(recording, layout, values, label, mask), Summary(
    steps=steps,
    labels=int(mask.sum()),
    label_seconds=label_end,
    audio_seconds=sound and sound.end,
    video_seconds=picture and picture.end,
    fps=picture and picture.fps,
    face_found=picture and float(np.mean(values['face_found'] > 0)),
    seconds=time.perf_counter() - begin,
    notes=notes,
  )


def _is_other(stream) -> bool:
  return stream.name not in ('speech', 'visual') and not stream.ends_early


def _cut_notes(seconds, label_end, ends, settings) -> list[str]:
  """Says what was cut to the common length, if it was more than a step: less may be the padding of a codec."""
  step = settings.grid.step_seconds + LENGTH_SLACK_SECONDS
  annotated = (
    settings.annotated_seconds is not None
    and label_end is not None
    and (label_end >= settings.annotated_seconds - step)
  )
  ends = {'labels': label_end, **ends}
  cut = [f'{kind} of {end:.2f} s' for kind, end in ends.items() if end is not None and end - seconds > step]
  return [f'{" and ".join(cut)} cut to {seconds:.2f} s'] if cut and not annotated else []


def _annotated(traces, method):
  """The rows that have a label, and which share of them that is; no trace where a target has none at all.

  Where labels hold until the next row, rows without one stay (NaN): they end what was held.
  """
  share = min((float(np.mean(np.isfinite(trace))) for _, trace in traces), default=1.0)
  if not share:
    return [], share
  if method == 'hold':
    return traces, share
  return [(times[np.isfinite(trace)], trace[np.isfinite(trace)]) for times, trace in traces], share


def _label_notes(recording, traces, settings, steps, labelled, annotated) -> list[str]:
  """Says how the labels were placed where that is not plain to see.

  Args:
    annotated: share of the label file's rows that the corpus says have a label.

  Raises:
    DataError: too few steps have one.
  """
  if not annotated:
    return ['the corpus has no label here']
  if not traces:
    return []
  paths = ', '.join(dict.fromkeys(str(source.path) for source in recording.labels))
  gap = max(resample.longest_gap(times, settings.grid) for times, _ in traces)
  if labelled < MIN_LABELLED * annotated * steps:
    hint = (
      'they begin too late'
      if settings.labels == 'hold'
      else f'a line joins labels at most {gap:.2f} s apart, half more than is usual in this file: give --labels=hold '
      'where a label holds until the next one'
    )
    raise DataError(
      f'{paths}: {labelled} of {steps} steps have a label, expected at least '
      f'{100 * MIN_LABELLED:.0f} %; {hint}, or leave the labels of this recording out'
    )
  if settings.labels == 'hold':
    return [f'every label holds until the next: {labelled} of {steps} steps have one']
  hole = max(
    (span for times, _ in traces for span in np.diff(times) if span > resample.longest_gap(times, settings.grid)),
    default=0,
  )
  interval = max(resample.interval(times, settings.grid) for times, _ in traces)
  notes = [f'the corpus has no label in {100 * (1 - annotated):.1f} % of its rows'] if annotated < 1 else []
  if interval > 1:  # second
    notes.append(f'labels every {interval:.2f} s, a line between them')
  if hole:
    notes.append(f'labels have holes of up to {hole:.2f} s: {labelled} of {steps} steps have one')
  return notes


def read_trace(source, settings):
  """(times, [N] trace in the corpus's own scale, notes) of one target; NaN where the corpus says there is no label."""
  low, high = settings.range_of(source.target)
  if source.parse is not None:
    return _parsed_trace(source, settings, low, high)
  table = label_files.read_table(
    source.path,
    low=low - settings.label_slack,
    high=high + settings.label_slack,
    only=settings.targets if source.column is not None else None,
  )
  if source.column is not None:
    unread = [f'column {name[:40]} of the labels is no target: not read' for name in table.unread[:8]]
    return table.times, table.values[:, settings.targets.index(source.column)], unread
  trace, notes = _of_raters(source, table.values, settings, low, high)
  return table.times, trace, notes


def _parsed_trace(source, settings, low, high):
  """As `read_trace`, of a file that the corpus's reader parses."""
  table = source.parse(source.path)
  kept = [i for i, name in enumerate(table.columns) if name not in source.beside]
  values = table.values[:, kept if source.column is None else [table.columns.index(source.column)]]
  for row, column in np.argwhere(
    (values < low - settings.label_slack) | (values > high + settings.label_slack)  # False of NaN
  )[:1]:
    raise DataError(
      f'{source.path}, at {table.times[row]:g} s: {source.target} is {values[row, column]:g}; expected values from '
      f'{low:g} to {high:g}'
    )
  complete = np.isfinite(values).all(axis=1)
  trace = np.full(len(values), np.nan)
  if not complete.any():
    return table.times, trace, []
  trace[complete], notes = _of_raters(source, values[complete], settings, low, high)
  return table.times, trace, notes


def _of_raters(source, values, settings, low, high):
  """([N] gold standard of ratings [N, R], notes)."""
  trace = gold_standard.gold_standard(values, settings.recipe)
  raters = values.shape[1]
  furthest = trace[np.argmax(np.abs(trace - (low + high) / 2))]
  if raters == 1 or low - 1e-9 <= furthest <= high + 1e-9:
    return trace, []
  # The offset of `ccc_centred` can carry a trace past the end of the scale, and raters pass it by rounding.
  if not low - settings.label_slack <= furthest <= high + settings.label_slack:
    raise DataError(
      f'{source.path}: the gold standard of {raters} raters ({settings.recipe}) reaches {furthest:.2f}, '
      f"expected {low:g} to {high:g}; look at the raters' scales, or give another --gold_standard"
    )
  return (
    np.clip(trace, low, high),
    [f'gold standard of {source.target} reached {furthest:.2f}: clipped to {low:g} … {high:g}'],
  )


def _labels(traces, settings, steps):
  """[T, K] float32 in [−1, 1], and [T] float32 mask: 1 where every target has a label."""
  label = np.zeros((steps, len(settings.targets)), np.float32)
  mask = np.zeros(steps, np.float32)
  if traces:
    mask[:] = 1
    for k, (target, (times, trace)) in enumerate(zip(settings.targets, traces, strict=True)):
      gain, offset = settings.label_scale()[target]
      placed, has_label = resample.on_grid(times, trace, steps, settings.grid, settings.labels)
      there = np.isfinite(placed)
      label[:, k] = gain * np.where(there, placed, 0) + offset
      mask *= has_label * there
    label[mask == 0] = 0
  return label, mask


def _whole(recording, settings, steps):
  """As `_labels`, of labels that hold for the whole recording.

  Raises:
    DataError: a target has none, no such class, or a number out of the scale.
  """
  values = []
  for target in settings.targets:
    said, where = recording.whole.get(target), f'{recording.recording}: {target}'
    if target in settings.classes:
      if said not in settings.classes[target]:
        raise DataError(f'{where} is {said!r}; expected one of {", ".join(settings.classes[target])}')
      values.append(settings.classes[target].index(said))
    else:
      low, high = settings.range_of(target)
      if said is None or not low - settings.label_slack <= said <= high + settings.label_slack:
        raise DataError(f'{where} is {said}; expected {low:g} to {high:g}')
      gain, offset = settings.label_scale()[target]
      values.append(gain * said + offset)
  return np.tile(np.array(values, np.float32), (steps, 1)), np.ones(steps, np.float32)


def _cut(recording, layout: Layout, values, label, mask) -> list[records.Record]:
  """Cuts a recording's steps into records, the last one padded: with zeros, and with the last picture again."""
  steps, per_record = len(mask), layout.grid.steps_per_record
  count = layout.grid.records(steps)

  def rows(value):
    """An array [T, …] or T pictures -> a row for each record."""
    padding = count * per_record - steps
    if isinstance(value, list):
      value = value + value[-1:] * padding
      return [value[i * per_record : (i + 1) * per_record] for i in range(count)]
    value = np.pad(value, [(0, padding)] + [(0, 0)] * (value.ndim - 1))
    return value.reshape(count, per_record, *value.shape[1:])

  values = {
    field.name: rows(values[field.name]) if field.per == 'step' else [values[field.name]] * count
    for field in layout.fields()
  }
  label, mask, valid = rows(label), rows(mask), rows(np.ones(steps, np.float32))
  return [
    records.Record(
      recording=recording.recording,
      subject=recording.subject,
      index=i,
      label=label[i],
      label_mask=mask[i],
      valid=valid[i],
      values={name: of[i] for name, of in values.items()},
    )
    for i in range(count)
  ]
