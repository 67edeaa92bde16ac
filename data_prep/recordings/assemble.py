"""One recording, from its files to its records: lengths compared, streams and labels on one grid, cut into records."""

import dataclasses
import math
import time

import numpy as np

from data_prep import streams
from data_prep.corpora.recording import Recording
from data_prep.corpora.settings import Settings
from data_prep.recordings import labels, lengths
from data_prep.schema import records
from data_prep.schema.fields import Layout
from data_prep.schema.grid import LENGTH_SLACK_SECONDS


@dataclasses.dataclass(frozen=True)
class Summary:
  """A row of the table at the end.

  Attributes:
    steps: T; labels: steps that have one.
    label_seconds, audio_seconds, video_seconds: where each ends, or None.
    fps: of the video; face_found: share of steps with a face, or None without a video.
    seconds: how long the work took.
    notes: what a person should know, for instance 'no sound'.
    face_size: median side of the face's box, pixels of the picture; None where none was followed.
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
  face_size: float | None = None

  @classmethod
  def parse(cls, content) -> 'Summary':
    """A summary as JSON holds it.

    Raises:
      TypeError: a field is missing or unknown, or the size of the face is no number of pixels.
    """
    summary = cls(**content)
    size = summary.face_size
    if size is not None and not (type(size) in (int, float) and 0 < size < math.inf):
      raise TypeError(f'face_size is {size!r}')
    return summary


def assemble(recording: Recording, settings: Settings) -> tuple[list[records.Record], Summary]:
  """Reads one recording.

  Returns:
    its records in order, and the row of the summary.

  Raises:
    DataError: a file is bad, the lengths differ by more than `max_difference`, the face is lost in too many steps, or
      too few steps have a label.
  """
  begin = time.perf_counter()
  grid, found = settings.grid, labels.read(recording, settings)
  notes = list(found.notes)
  chosen = streams.recorded(settings.streams)
  tracks = {stream.name: stream.read(recording, settings) for stream in chosen}
  ends = {stream.word: tracks[stream.name].end for stream in chosen if tracks[stream.name] is not None}
  sound, picture = tracks.get('speech'), tracks.get('visual')  # have columns of their own in the summary
  seconds = lengths.common_length(
    recording.recording,
    found.end,
    found.interval,
    {stream.word: ends.get(stream.word) for stream in chosen if not stream.ends_early},
    one_file=recording.audio is None,
    annotated_seconds=settings.annotated_seconds,
    max_difference=settings.max_difference,
    held=settings.labels == 'hold',
    grid=grid,
  )
  notes += _cut_notes(seconds, found.end, ends, settings)
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
  label, mask, said = labels.place(recording, found, settings, steps)
  notes += said
  if steps * grid.step_seconds > seconds + LENGTH_SLACK_SECONDS:
    # The last step is short: it stays (valid 1, missing samples 0), but nothing is learnt from it or scored on it.
    mask[-1] = 0
    label[-1] = 0
  layout = streams.layout(settings.targets, grid, settings.streams, classes=settings.classes)
  return _cut(recording, layout, values, label, mask), Summary(
    steps=steps,
    labels=int(mask.sum()),
    label_seconds=found.end,
    audio_seconds=sound and sound.end,
    video_seconds=picture and picture.end,
    fps=picture and picture.fps,
    face_found=picture and float(np.mean(values['face_found'] > 0)),
    seconds=time.perf_counter() - begin,
    notes=notes,
    face_size=picture and picture.size,
  )


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
