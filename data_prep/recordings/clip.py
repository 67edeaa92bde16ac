"""One clip, from its files to what a network takes, in constant memory: the counterpart of `assemble` for prediction.

Sound, pictures, faces and lengths are those of `audio_track`, `video_track`, `tracker` and `lengths`, so that a network
sees at prediction what it saw in training; only the storage differs: records in shards there, two temporary files here.
"""

import array
import collections
from collections.abc import Callable, Iterable, Iterator
import dataclasses
import math
import pathlib
import time

import numpy as np

from data_prep.core.errors import DataError
from data_prep.corpora.recording import read_box, Recording
from data_prep.face import cropping, detectors, jpeg, people, tracker
from data_prep.media import audio_track, video_track
from data_prep.recordings import lengths, who
from data_prep.schema.grid import Grid, LENGTH_SLACK_SECONDS, PAPER
from data_prep.streams import speech

MIN_SEEN_SECONDS = 1.0  # a face that is seen for less is nobody: so long a false one of the cascade may be followed


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
    person: whose face it is, where there may be several people: a number, from 1 in the order of appearance.
    speaks: (begin, end) in seconds of all that is heard of this person; None: the sound is everybody's.
    people: where all are wanted, a clip for each, with a face and notes of its own; this one has no crops then.
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
  person: int | None = None
  speaks: list[tuple[float, float]] | None = None
  people: 'tuple[Clip, ...]' = ()

  @property
  def confidence(self) -> float | None:
    """Of the face, in the mean over all steps; None without a picture."""
    return None if self.crops is None else float(self.face_found.mean())

  @property
  def face_size(self) -> float:
    """Median side of the face's box, pixels; NaN without a face."""
    sides = self.boxes[:, 2]
    return float(np.median(sides[np.isfinite(sides)])) if np.isfinite(sides).any() else math.nan


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


class _Spool:
  """What is seen of a face, written while the clip is read."""

  def __init__(self, path, crop):
    self.crops = Crops(path, crop.size)
    self._data = jpeg.encode(cropping.grey(crop))
    self._found, self._boxes = array.array('f'), array.array('f')

  def add(self, data, confidence, box) -> None:
    """A step: crop, confidence and box of the face, or None where it is lost."""
    self._data = data
    self.crops.append(data)
    self._found.append(confidence)
    self._boxes.extend(box or (np.nan,) * 3)

  def lose(self, steps) -> None:
    """Steps up to this one without the face; the crop before is repeated."""
    while len(self.crops) < steps:
      self.add(self._data, 0.0, None)

  def arrays(self, steps) -> dict:
    """Fields of a `Clip` of so many steps."""
    self.lose(steps)
    found, boxes = np.frombuffer(self._found, np.float32), np.frombuffer(self._boxes, np.float32)
    return {'crops': self.crops, 'face_found': found[:steps], 'boxes': boxes.reshape(-1, 3)[:steps]}


def read(
  recording: Recording,
  spool: pathlib.Path,
  *,
  picture: bool,
  grid: Grid = PAPER,
  crop: cropping.Crop = cropping.STORED,
  channel: int | None = None,
  watch: Callable[[np.ndarray | None], None] | None = None,
  wanted: who.Wanted = who.Wanted(),  # noqa: B008, it is frozen
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
    wanted: whose face, found by what, and who speaks.

  Raises:
    DataError: a file is bad, neither sound nor picture is in it, the lengths of two files differ, no step is begun, or
      the person that is wanted is not there.
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

  video, spools, size, video_end = None, None, None, None
  if video_path is not None and picture:
    video = video_track.Video(video_path, grid)
    begin, other = time.perf_counter(), sum(cost.values())
    spools = _follow(_watched(_timed(video, cost), cost, watch, grid), recording, spool, grid, crop, wanted)
    cost['faces'] += time.perf_counter() - begin - (sum(cost.values()) - other)
    video_end, size = video.end, video.size
  elif video_path is not None:
    video_end = video_track.video_end(video_path, grid)

  seconds = _length(recording, sound and sound.end, video_end, one_file, grid)
  steps = grid.steps_begun(seconds)
  lengths.check_begun(str(recording.video or recording.audio), seconds, steps)
  mean = std = 0.0
  if samples is not None:
    samples = samples[: grid.samples(seconds)]
    mean, std = speech.statistics(samples)
  notes = _notes(sound, video, video_end, seconds, std, grid.step_seconds)
  clip = Clip(
    grid=grid,
    steps=steps,
    seconds=seconds,
    samples=samples,
    audio_mean=mean,
    audio_std=std,
    audio_gain=1.0 if sound is None else sound.gain,
    crops=None,
    face_found=np.zeros(steps, np.float32),
    boxes=np.full((steps, 3), np.nan, np.float32),
    frame_size=size,
    notes=notes,
    cost=dict(cost),
  )
  if spools is not None:
    clip = _with_faces(clip, spools, recording, spool, crop, wanted)
  elif wanted.speakers is not None or wanted.faces not in (who.LARGEST, who.ALL):
    raise DataError(f'{recording.video}: no picture, so that nobody is found in it; leave out --faces and --speakers')
  for track in (sound, video):
    notes += [] if track is None else [note for note in track.notes if note not in notes]
  return clip


def _follow(frames, recording, spool, grid, crop, wanted) -> dict[int, _Spool]:
  """Person -> spool, in the order of appearance; of the largest face alone it is one."""
  first_box = read_box(recording.boxes) if recording.boxes else None
  detector = wanted.detector or detectors.CASCADE
  if wanted.faces == who.LARGEST:
    spools = {1: _Spool(spool / 'crops', crop)}
    for _, data, confidence, box in tracker.follow(frames, first_box, grid, crop, detector):
      spools[1].add(data, confidence, box)
    return spools
  spools = {}
  for step, (_, seen) in enumerate(people.follow(frames, grid, crop, detector)):
    for sighting, data in seen:
      number = sighting.person
      if number not in spools:
        spools[number] = _Spool(spool / f'crops{number}', crop)
      spools[number].lose(step)
      spools[number].add(data, sighting.confidence, sighting.box)
  return spools


def _with_faces(clip, spools, recording, spool, crop, wanted) -> Clip:
  """The clip with the face that is wanted, or with all people."""
  if wanted.faces == who.LARGEST:
    return _with_face(clip, spools[1])
  enough = min(MIN_SEEN_SECONDS, clip.seconds / 2)
  everybody: list[Clip] = []
  for spooled in spools.values():
    one = dataclasses.replace(clip, **spooled.arrays(clip.steps), notes=[], person=len(everybody) + 1)
    if np.count_nonzero(one.face_found) * clip.grid.step_seconds >= enough:
      everybody.append(one)
    else:
      spooled.crops.close()
  if len(everybody) < len(spools):
    clip.notes.append(f'faces seen for less than {enough:g} s, left out: {len(spools) - len(everybody)}')
  if recording.boxes:
    clip.notes.append(f'the box of {recording.boxes.name} is not used: --faces says whose faces are')
  if wanted.speakers is not None:
    everybody = _with_speakers(clip, everybody, recording, spool, wanted.speakers)
  if wanted.faces != who.ALL:
    picked = _picked(everybody, recording, wanted.faces)
    for one in everybody:
      if one is not picked and one.crops is not None:
        one.crops.close()
    clip.notes.extend(picked.notes)
    return dataclasses.replace(picked, notes=clip.notes)
  if not everybody:
    return _with_face(clip, _Spool(spool / 'crops', crop))
  return dataclasses.replace(clip, people=tuple(everybody))


def _with_face(clip, spool):
  return dataclasses.replace(clip, **spool.arrays(clip.steps))


def _picked(everybody, recording, faces):
  """The person of a number, or whose first box overlaps most with the given one."""
  first = {one.person: one.boxes[np.flatnonzero(one.face_found)[0]] for one in everybody}
  if isinstance(faces, int):
    chosen = faces if faces in first else None
  else:
    x, y, width, height = faces
    given = np.array([x + width / 2, y + height / 2, (width + height) / 2])
    common = {
      number: tracker.overlap([x + side / 2, y + side / 2, side], given) for number, (x, y, side) in first.items()
    }
    chosen = max(common, key=lambda number: common[number], default=None)
    chosen = chosen if chosen is not None and common[chosen] > 0 else None
  if chosen is None:
    text = faces if isinstance(faces, int) else ','.join(f'{value:g}' for value in faces)
    known = '; '.join(f'{number} at {",".join(f"{v:.0f}" for v in (*box, box[2]))}' for number, box in first.items())
    raise DataError(f'{recording.video}: nobody is --faces={text}; the people in it: {known or "none"}')
  return everybody[chosen - 1]


def _with_speakers(clip, everybody, recording, spool, path):
  """People who are heard in their own turns alone."""
  turns = who.turns(path, recording.video.stem)
  spoken: dict[int, list] = {one.person: [] for one in everybody}
  strangers = []
  for name, spans in turns.items():
    number = who.number_of(name)
    if number in spoken:
      spoken[number] += spans
    else:
      strangers.append(name)
  if strangers and len(strangers) == len(turns):
    known = ', '.join(map(str, spoken)) or 'nobody'
    raise DataError(
      f'{path}: speakers {", ".join(strangers[:5])}; expected numbers of the people in the picture: {known}'
    )
  if strangers:
    clip.notes.append(f'{path.name}: not in the picture: {", ".join(strangers)}')
  heard = []
  for one in everybody:
    spans = sorted((begin, min(end, clip.seconds)) for begin, end in spoken[one.person] if begin < clip.seconds)
    if not spans:
      one.notes.append(f'{path.name}: never speaks')
    sound = {}
    if clip.samples is not None:
      own = np.memmap(spool / f'sound{one.person}', np.int16, 'w+', shape=clip.samples.shape)
      for first, last in ((round(clip.grid.sample_rate * t) for t in span) for span in spans):
        own[first:last] = clip.samples[first:last]
      mean, std = speech.statistics(own)
      sound = {'samples': own, 'audio_mean': mean, 'audio_std': std}
    heard.append(dataclasses.replace(one, speaks=spans, **sound))
  return heard


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


def _watched(frames: Iterable, cost, watch, grid) -> Iterator[np.ndarray | None]:
  """The same frames; that of each step is shown to `watch`, whose time is 'preview'."""
  for i, frame in enumerate(frames):
    if watch is not None and i % grid.pictures_per_step == grid.pictures_per_step // 2:
      begin = time.perf_counter()
      watch(frame)
      cost['preview'] += time.perf_counter() - begin
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
