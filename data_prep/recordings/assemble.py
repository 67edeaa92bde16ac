"""One recording, from its files to its records: lengths compared, modalities on one grid, cut into seconds."""

import dataclasses
import math
import time

import numpy as np

from data_prep import streams
from data_prep.core.errors import DataError
from data_prep.corpora.recording import read_csv, Recording
from data_prep.face import faces
from data_prep.labels import gold_standard, label_files, resample
from data_prep.media import audio_track, containers, video_track
from data_prep.schema import records
from data_prep.schema.fields import Layout
from data_prep.schema.grid import PAPER

# Codecs pad sound by up to a frame and the encoder's delay: 50 to 100 ms in ordinary files.
MAX_DIFFERENCE_SECONDS = 0.12
MIN_LABELLED = 0.5  # share of the steps; below it something else is wrong than a hole


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a corpus is prepared; equal settings and files give equal bytes.

  Attributes:
    targets: names of the label columns.
    label_range: (low, high) of the corpus's own scale.
    label_slack: how far beyond it a value may lie.
    annotated_seconds: media may run on after labels that reach this long; None: never.
    recipe: of the gold standard.
    max_lost: share of steps without a face above which a recording is refused.
    max_difference: seconds by which labels, sound and picture may differ in length.
    labels: what is between two labels, see `resample.on_grid`.
    channel: of the sound, from 1; None: the mean of all, or the loudest where that is far below it.
  """

  targets: tuple[str, ...]
  label_range: tuple[float, float]
  label_slack: float
  annotated_seconds: float | None
  recipe: str
  max_lost: float
  max_difference: float = MAX_DIFFERENCE_SECONDS
  labels: str = 'linear'
  channel: int | None = None

  @property
  def layout(self) -> Layout:
    """Of the records."""
    return streams.layout(self.targets, PAPER, ('speech', 'visual'))

  def label_scale(self) -> dict[str, list[float]]:
    """Per target [gain, offset]: stored = gain · original + offset."""
    low, high = self.label_range
    scale = [2 / (high - low), 0.0 - (high + low) / (high - low)]
    return dict.fromkeys(self.targets, scale)


@dataclasses.dataclass(frozen=True)
class Summary:
  """A row of the table at the end.

  Attributes:
    steps: T; labels: steps that have one.
    label_seconds, audio_seconds, video_seconds: where each ends, or None.
    fps: of the video; face_found: share of steps with a face, or None without a video.
    seconds: that the work took.
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
  notes = []
  first_box = read_box(recording.boxes) if recording.boxes else None
  traces = []
  for source in recording.labels:
    times, trace, said = read_trace(source, settings)
    traces.append((times, trace))
    notes += [note for note in said if note not in notes]
  label_end = min((times[-1] for times, _ in traces), default=None)
  interval = max((resample.interval(times) for times, _ in traces), default=records.STEP_SECONDS)

  shared = recording.audio is None  # the video's own sound track
  path = recording.video if shared else recording.audio
  audio = None
  if not shared or audio_track.has_audio(path):
    audio = audio_track.read_audio(path, channel=settings.channel, max_lost=containers.MAX_LOST_LEARNT)
  # A cover is no video: as in a prediction, the sound counts alone.
  has_video = recording.video is not None and (audio is None or not shared or video_track.has_video(recording.video))
  video, crops, found = _faces(recording.video if has_video else None, first_box)

  seconds = common_length(
    recording.recording,
    label_end,
    interval,
    audio and audio.end,
    video and video.end,
    one_file=shared,
    annotated_seconds=settings.annotated_seconds,
    max_difference=settings.max_difference,
    held=settings.labels == 'hold',
  )
  notes += _cut_notes(seconds, label_end, interval, audio and audio.end, video and video.end, settings)
  steps = video_track.num_steps(seconds)
  crops, found = crops[:steps], found[:steps]
  if audio is None:
    notes.append('no sound: silence')
  elif audio.start > records.STEP_SECONDS:
    notes.append(f'sound starts at {audio.start:.2f} s')
  if audio is not None and audio.end < seconds - records.STEP_SECONDS:
    notes.append(f'sound ends at {audio.end:.2f} s')
  if video is not None and video.start > records.STEP_SECONDS:
    notes.append(f'picture starts at {video.start:.2f} s')
  for track in (audio, video):
    notes += [] if track is None else [note for note in track.notes if note not in notes]
  share = None
  if video is None:
    notes.append('no video: grey')
    crops, found = [faces.encode_crop(faces.FaceTracker().step(None)[0])] * steps, [0.0] * steps
  else:
    share = float(np.mean(np.array(found) > 0))
    if 1 - share > settings.max_lost:
      raise DataError(
        f'{recording.video}: no face in {100 * (1 - share):.0f} % of the steps, at most '
        f'{100 * settings.max_lost:.0f} % are allowed (--max_lost)'
      )
  label, mask = _labels(traces, settings, steps)
  notes += _label_notes(recording, traces, settings, steps, int(mask.sum()))
  if steps * records.STEP_SECONDS > seconds + video_track.LENGTH_SLACK_SECONDS:
    # The last step is short: it stays (valid 1, missing samples 0), but nothing is learnt from it or scored on it.
    mask[-1] = 0
    label[-1] = 0
  result = _cut(recording, audio, seconds, crops, np.array(found, np.float32), label, mask)
  return result, Summary(
    steps=steps,
    labels=int(mask.sum()),
    label_seconds=label_end,
    audio_seconds=audio and audio.end,
    video_seconds=video and video.end,
    fps=video and video.fps,
    face_found=share,
    seconds=time.perf_counter() - begin,
    notes=notes,
  )


def common_length(
  name,
  label_end,
  interval,
  audio_end,
  video_end,
  *,
  one_file,
  annotated_seconds=None,
  max_difference=records.STEP_SECONDS,
  held=False,
) -> float:
  """The length that labels, sound and picture share, seconds: the shortest, if they differ by `max_difference` at most.

  A file of half a length decodes without an error, so differing lengths are an error, with three exceptions:
  * without labels, the sound track of a video may end before the picture, as its container says (silence follows);
  * labels that reach `annotated_seconds` say which part of longer media was annotated;
  * labels that hold until the next one do not say where they end.

  Args:
    name: of the recording, for messages.
    label_end, audio_end, video_end: seconds; None where there is none.
    interval: seconds between two labels.
    one_file: the sound is the video's own track.
    annotated_seconds: see `Corpus`.
    max_difference: seconds.
    held: the last label holds to the end.
  """
  step = records.STEP_SECONDS + video_track.LENGTH_SLACK_SECONDS
  allowed = max_difference + video_track.LENGTH_SLACK_SECONDS
  ends = {'labels': label_end, 'audio': audio_end, 'video': video_end}
  present = {kind: end for kind, end in ends.items() if end is not None}
  media_end = min(end for kind, end in present.items() if kind != 'labels')
  if label_end is None and one_file and None not in (audio_end, video_end) and audio_end <= video_end + step:
    return video_end if audio_end < video_end - step else media_end
  if (
    label_end is not None
    and annotated_seconds is not None
    and label_end >= annotated_seconds - step
    and media_end >= label_end - allowed
  ):
    return min(label_end, media_end)
  if label_end is not None and held and label_end <= media_end + allowed:
    present.pop('labels')
  elif label_end is not None and interval > step:  # labels coarser than the grid end up to one interval early
    if -allowed <= media_end - label_end <= interval + allowed:
      present.pop('labels')
  if max(present.values()) - min(present.values()) > allowed:
    numbers = ', '.join('no ' + kind if end is None else f'{kind} {end:.2f} s' for kind, end in ends.items())
    limit = (
      'one step of 0.04 s' if max_difference == records.STEP_SECONDS else f'{max_difference:g} s (--max_difference)'
    )
    raise DataError(
      f'{name}: the lengths differ by more than {limit}: {numbers}; '
      f'{_length_hint(label_end, interval, media_end, step)}'
    )
  return min(present.values())


def _length_hint(label_end, interval, media_end, step) -> str:
  """What mends lengths that differ."""
  if label_end is not None and 0.9 < label_end / 1000 / media_end < 1.1:
    return 'are the times of the labels milliseconds? name their column time_ms'
  if label_end is not None and label_end < media_end and interval > step:
    return 'cut the longer ones, or give --labels=hold where a label holds until the next one'
  return 'cut the longer ones, or copy the file that was cut off'


def _cut_notes(seconds, label_end, interval, audio_end, video_end, settings) -> list[str]:
  """Says what was cut to the common length, where codec padding is more than a step."""
  step = records.STEP_SECONDS + video_track.LENGTH_SLACK_SECONDS
  ends = {'labels': label_end, 'sound': audio_end, 'picture': video_end}
  annotated = (
    settings.annotated_seconds is not None
    and label_end is not None
    and (label_end >= settings.annotated_seconds - step)
  )
  cut = [f'{kind} of {end:.2f} s' for kind, end in ends.items() if end is not None and end - seconds > step]
  return [f'{" and ".join(cut)} cut to {seconds:.2f} s'] if cut and not annotated else []


def _label_notes(recording, traces, settings, steps, labelled) -> list[str]:
  """Says how the labels were placed where that is not plain to see.

  Raises:
    DataError: too few steps have one.
  """
  if not traces:
    return []
  paths = ', '.join(dict.fromkeys(str(source.path) for source in recording.labels))
  gap = max(resample.longest_gap(times) for times, _ in traces)
  if labelled < MIN_LABELLED * steps:
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
  hole = max((span for times, _ in traces for span in np.diff(times) if span > resample.longest_gap(times)), default=0)
  interval = max(resample.interval(times) for times, _ in traces)
  notes = []
  if interval > 1:
    notes.append(f'labels every {interval:.2f} s, a line between them')
  if hole:
    notes.append(f'labels have holes of up to {hole:.2f} s: {labelled} of {steps} steps have one')
  return notes


def read_trace(source, settings):
  """(times, [N] trace in the corpus's own scale, notes) of one target."""
  low, high = settings.label_range
  table = label_files.read_table(
    source.path,
    low=low - settings.label_slack,
    high=high + settings.label_slack,
    only=settings.targets if source.column is not None else None,
  )
  if source.column is not None:
    unread = [f'column {name[:40]} of the labels is no target: not read' for name in table.unread[:8]]
    return table.times, table.values[:, settings.targets.index(source.column)], unread
  trace = gold_standard.gold_standard(table.values, settings.recipe)
  raters = table.values.shape[1]
  furthest = trace[np.argmax(np.abs(trace - (low + high) / 2))]
  if raters == 1 or low - 1e-9 <= furthest <= high + 1e-9:
    return table.times, trace, []
  # The offset of `ccc_centred` can carry a trace past the end of the scale, and raters pass it by rounding.
  if not low - settings.label_slack <= furthest <= high + settings.label_slack:
    raise DataError(
      f'{source.path}: the gold standard of {raters} raters ({settings.recipe}) reaches {furthest:.2f}, '
      f"expected {low:g} to {high:g}; look at the raters' scales, or give another --gold_standard"
    )
  return (
    table.times,
    np.clip(trace, low, high),
    [f'gold standard of {source.target} reached {furthest:.2f}: clipped to {low:g} … {high:g}'],
  )


def read_box(path):
  """(x, y, width, height), pixels, of the face in the first frame."""
  rows = list(read_csv(path, required=('x', 'y', 'width', 'height'), optional=()))
  if len(rows) != 1:
    raise DataError(f'{path}: {len(rows)} rows; expected one box, the face in the first frame')
  try:
    box = tuple(float(rows[0][1][name]) for name in ('x', 'y', 'width', 'height'))
  except ValueError as e:
    raise DataError(f'{path}, line {rows[0][0]}: {e}; expected pixels') from None
  if not np.abs(box).max() <= 1e5 or min(box[2:]) <= 0:
    raise DataError(f'{path}, line {rows[0][0]}: box {box}; expected pixels of a picture and a size above 0')
  return box


def _faces(path, first_box):
  """Follows the face: the video (read to its end) or None, and per step a JPEG and a confidence."""
  if path is None:
    return None, [], []
  video, crops, found = video_track.Video(path, max_lost=containers.MAX_LOST_LEARNT), [], []
  for data, confidence, _ in follow(video, first_box):
    crops.append(data)
    found.append(confidence)
  return video, crops, found


def follow(frames, first_box):
  """Follows the face through frames; yields for each the crop's JPEG, the confidence and the box.

  A lost face repeats the same bytes object.

  Args:
    frames: uint8 [H, W, 3] RGB, or None where nothing is shown.
    first_box: (x, y, width, height) in the first frame, or None.
  """
  tracker, last = faces.FaceTracker(first_box), None
  for frame in frames:
    crop, confidence, box = tracker.step(frame)
    if crop is not last:
      last, data = crop, faces.encode_crop(crop)
    yield data, confidence, box


def _labels(traces, settings, steps):
  """[T, K] float32 in [−1, 1], and [T] float32 mask: 1 where every target has a label."""
  label = np.zeros((steps, len(settings.targets)), np.float32)
  mask = np.zeros(steps, np.float32)
  if traces:
    mask[:] = 1
    for k, (target, (times, trace)) in enumerate(zip(settings.targets, traces, strict=True)):
      gain, offset = settings.label_scale()[target]
      placed, has_label = resample.on_grid(times, trace, steps, settings.labels)
      label[:, k] = gain * placed + offset
      mask *= has_label
    label[mask == 0] = 0
  return label, mask


def num_samples(seconds: float) -> int:
  """Samples of a recording that long: none past its last step."""
  return min(round(seconds * records.SAMPLE_RATE), video_track.num_steps(seconds) * records.SAMPLES_PER_STEP)


def sound_statistics(samples) -> tuple[float, float]:
  """Mean and standard deviation of int16 [N], exact, in constant memory."""
  total = squares = 0
  for first in range(0, len(samples), 1 << 20):
    piece = samples[first : first + (1 << 20)].astype(np.int64)
    total += int(piece.sum())
    squares += int((piece * piece).sum())
  count = len(samples)
  return total / count, math.sqrt((count * squares - total * total) / count**2)


def _cut(recording, audio, seconds, crops, found, label, mask) -> list[records.Record]:
  """Cuts a recording's steps into records, the last one padded."""
  steps, per_record = len(crops), records.STEPS_PER_RECORD
  count = math.ceil(steps / per_record)
  if not count:
    raise DataError(
      f'{recording.recording}: {seconds:.3f} s long; expected more than '
      f'{video_track.LENGTH_SLACK_SECONDS:g} s, the beginning of a step'
    )
  samples = audio.samples[: num_samples(seconds)] if audio is not None else np.zeros(1, np.int16)
  padded = np.zeros(count * per_record * records.SAMPLES_PER_STEP, np.int16)
  padded[: len(samples)] = samples
  padded = padded.reshape(count, per_record, records.SAMPLES_PER_STEP)
  padding = count * per_record - steps
  crops = crops + crops[-1:] * padding
  valid = np.ones(steps, np.float32)
  found, mask, valid = (np.pad(x, (0, padding)).reshape(count, per_record) for x in (found, mask, valid))
  label = np.pad(label, ((0, padding), (0, 0))).reshape(count, per_record, label.shape[1])
  mean, std = sound_statistics(samples)
  return [
    records.Record(
      recording=recording.recording,
      subject=recording.subject,
      second=i,
      label=label[i],
      label_mask=mask[i],
      valid=valid[i],
      values={
        'audio': padded[i],
        'audio_mean': mean,
        'audio_std': std,
        'audio_gain': 1.0 if audio is None else audio.gain,
        'face': crops[i * per_record : (i + 1) * per_record],
        'face_found': found[i],
      },
    )
    for i in range(count)
  ]
