"""One clip, from its files to what a network takes, in constant memory: the counterpart of `assemble` for prediction.

Sound, pictures, faces and lengths are those of `audio_track`, `video_track`, `tracker` and `lengths`, so that a network
sees at prediction what it saw in training; only the storage differs: records in shards there, two temporary files here.
"""

import array
import collections
from collections.abc import Callable, Iterator
import dataclasses
import pathlib
import time

import numpy as np

from data_prep.core.errors import DataError
from data_prep.corpora.recording import read_box, Recording
from data_prep.face import cropping, jpeg, tracker
from data_prep.media import audio_track, video_track
from data_prep.recordings import lengths
from data_prep.schema.grid import Grid, LENGTH_SLACK_SECONDS, PAPER
from data_prep.streams import speech


@dataclasses.dataclass(frozen=True)
class Clip:
  """What a network takes, and what a person wants to know of it.

  Attributes:
    grid: of its steps and its sound.
    steps: T, every step that the clip begins.
    seconds: its length.
    samples: [N] int16, mono, N ≤ S · T (silence follows), mapped from a file; None: no sound.
    audio_mean, audio_std: of the samples, int16 units; 0 without sound.
    audio_gain: that the samples were multiplied by, see `streams.speech`; 1 without sound.
    crops: T crops of the face; None: no picture, or none was asked for.
    face_found: [T] float32 in [0, 1]; 0: no face.
    boxes: [T, 3] float32, the face's x, y and side in pixels of the upright frame; NaN where it is lost.
    frame_size: (width, height) of the upright frames; None without a picture.
    notes: what a person should know, for instance 'no sound'.
    cost: seconds of work: 'decoding', 'faces', 'preview'.
  """

  grid: Grid
  steps: int
  seconds: float
  samples: np.ndarray | None
  audio_mean: float
  audio_std: float
  audio_gain: float
  crops: 'Crops | None'
  face_found: np.ndarray
  boxes: np.ndarray
  frame_size: tuple[int, int] | None
  notes: list[str]
  cost: dict[str, float]


class Crops:
  """JPEGs of the face in a file, one per step; a slice decodes them."""

  def __init__(self, path: pathlib.Path, size: int):
    self._size = size
    self._file = path.open('w+b')
    self._begin, self._end = array.array('q'), array.array('q')
    self._last: bytes | None = None

  def append(self, data: bytes) -> None:
    """Adds a step; the same object again takes no space."""
    if data is not self._last:
      self._last = data
      self._file.seek(0, 2)
      self._place = self._file.tell(), self._file.write(data) + self._file.tell() - len(data)
    self._begin.append(self._place[0])
    self._end.append(self._place[1])

  def __len__(self) -> int:
    return len(self._begin)

  def jpeg(self, step: int) -> bytes:
    """The bytes of a step's crop."""
    self._file.seek(self._begin[step])
    return self._file.read(self._end[step] - self._begin[step])

  def same(self, step: int, other: int) -> bool:
    """Whether two steps show the same crop, as they do while a face is lost."""
    return self._begin[step] == self._begin[other]

  def __getitem__(self, steps: slice) -> np.ndarray:
    """uint8 [n, size, size, 3] RGB of consecutive steps."""
    wanted = range(*steps.indices(len(self)))
    decoded = np.empty((len(wanted), self._size, self._size, 3), np.uint8)
    for i, step in enumerate(wanted):
      decoded[i] = jpeg.decode(self.jpeg(step))
    return decoded

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


def read(
  recording: Recording,
  spool: pathlib.Path,
  *,
  picture: bool,
  grid: Grid = PAPER,
  crop: cropping.Crop = cropping.STORED,
  channel: int | None = None,
  watch: Callable[[np.ndarray | None], None] | None = None,
) -> Clip:
  """Reads a clip.

  Sound and picture of one file may end apart. The clip is as long as the longer one; silence, or a lost face, follows
  the shorter one. Those of two files must agree to a step, as in a corpus.

  Args:
    recording: `video`, `audio` and `boxes` are read.
    spool: folder for the temporary files; the clip is good as long as they are there.
    picture: whether faces are wanted; without them the picture's length is read, and nothing is decoded.
    grid: of the network.
    crop: that the network takes.
    channel: of the sound, from 1; None: the mean of all, or the loudest where that is far below it.
    watch: called with the frame of every step, or None where nothing is shown, in order.

  Raises:
    DataError: a file is bad, neither sound nor picture is in it, the lengths of two files differ, or no step is begun.
  """
  cost: dict[str, float] = collections.defaultdict(float)
  begin = time.perf_counter()
  video_path = recording.video if recording.video is not None and video_track.has_video(recording.video) else None
  one_file = recording.audio is None or recording.audio == recording.video
  audio_path = recording.video if one_file else recording.audio
  if one_file and not audio_track.has_audio(audio_path):
    audio_path = None
  if audio_path is None and video_path is None:
    raise DataError(f'{recording.video}: neither a sound track nor a video track in it')
  sound, samples = _spool_sound(audio_path, spool / 'sound', grid, channel) if audio_path else (None, None)
  cost['decoding'] += time.perf_counter() - begin

  video, crops, found, boxes, size, video_end = None, None, [], [], None, None
  if video_path is not None and picture:
    video = video_track.Video(video_path, grid)
    crops = Crops(spool / 'crops', crop.size)
    first_box = read_box(recording.boxes) if recording.boxes else None
    begin, other = time.perf_counter(), sum(cost.values())
    for frame, data, confidence, box in tracker.follow(_timed(video, cost), first_box, grid, crop):
      if watch is not None:
        watching = time.perf_counter()
        watch(frame)
        cost['preview'] += time.perf_counter() - watching
      crops.append(data)
      found.append(confidence)
      boxes.append(box or (np.nan,) * 3)
    cost['faces'] += time.perf_counter() - begin - (sum(cost.values()) - other)
    video_end, size = video.end, video.size
  elif video_path is not None:
    video_end = video_track.video_end(video_path, grid)

  seconds = _length(recording, sound and sound.end, video_end, one_file, grid)
  steps = grid.steps_begun(seconds)
  lengths.check_begun(str(recording.video or recording.audio), seconds, steps)
  if crops is not None:
    if not len(crops):  # a picture that ends before the sound begins
      data = jpeg.encode(cropping.grey(crop))
    for _ in range(len(crops), steps):
      crops.append(data)
      found.append(0.0)
      boxes.append((np.nan,) * 3)
  mean = std = 0.0
  if samples is not None:
    samples = samples[: grid.samples(seconds)]
    mean, std = speech.statistics(samples)
  face_found = np.array(found[:steps], np.float32) if crops is not None else np.zeros(steps, np.float32)
  boxes = np.array(boxes[:steps], np.float32) if crops is not None else np.full((steps, 3), np.nan, np.float32)
  notes = _notes(sound, video, video_end, seconds, std, grid.step_seconds) + ['no face'] * (
    crops is not None and not face_found.any()
  )
  for track in (sound, video):
    notes += [] if track is None else [note for note in track.notes if note not in notes]
  return Clip(
    grid=grid,
    steps=steps,
    seconds=seconds,
    samples=samples,
    audio_mean=mean,
    audio_std=std,
    audio_gain=1.0 if sound is None else sound.gain,
    crops=crops,
    face_found=face_found,
    boxes=boxes,
    frame_size=size,
    notes=notes,
    cost=dict(cost),
  )


def _spool_sound(path, place, grid, channel):
  """Decodes a sound track into a file; returns the `audio_track.Sound` and its samples, mapped."""
  sound = audio_track.Sound(path, grid, channel=channel)
  with place.open('wb') as file:
    for piece in sound:
      file.write(piece.tobytes())
  # A sound shorter than one sample cannot be mapped.
  samples = np.memmap(place, np.int16, 'r') if place.stat().st_size else np.zeros(1, np.int16)
  return sound, samples


def _timed(video, cost) -> Iterator[np.ndarray | None]:
  """The frames of a video; the time that they take is 'decoding'."""
  frames = iter(video)
  while True:
    begin = time.perf_counter()
    try:
      frame = next(frames)
    except StopIteration:
      return
    finally:
      cost['decoding'] += time.perf_counter() - begin
    yield frame


def _length(recording, audio_end, video_end, one_file, grid) -> float:
  """Seconds; as `lengths.common_length`, but a file's sound may run on after its picture."""
  step = grid.step_seconds + LENGTH_SLACK_SECONDS
  if audio_end is None or video_end is None:
    return video_end if audio_end is None else audio_end
  if one_file and audio_end > video_end + step:
    return audio_end
  ends = {'sound': audio_end, 'picture': video_end}
  return lengths.common_length(recording.recording, None, grid.step_seconds, ends, one_file=one_file, grid=grid)


def _notes(sound, video, video_end, seconds, std, step):
  notes = []
  if sound is None:
    notes.append('no sound')
  elif not std:
    notes.append('the sound is digital silence')
  else:
    if sound.start > step:
      notes.append(f'sound starts at {sound.start:.2f} s')
    if sound.end < seconds - step:
      notes.append(f'sound ends at {sound.end:.2f} s')
  if video_end is None:
    notes.append('no picture')
  elif video_end < seconds - step:
    notes.append(f'picture ends at {video_end:.2f} s')
  if video is not None and video.start > step:
    notes.append(f'picture starts at {video.start:.2f} s')
  return notes
