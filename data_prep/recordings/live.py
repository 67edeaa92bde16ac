"""Sound and face of a container that is still coming in, step by step: the counterpart of `clip` for a pipe.

Pictures are placed on the grid and faces followed as in files: `FaceTracker` looks back alone. What differs, because
files are read to their end first:
* The sound is the mean of the channels of the first track, at its own level; a file's may be its loudest channel, and a
  very quiet one is amplified. Clocks that drift are not corrected: sound is placed anew where its times are off by more
  than `_OFF_SECONDS`.
* A picture that starts late by less than half a step is not waited for.
* Where one track falls behind the other by more than `_PATIENCE_SECONDS`, its silence, or the picture before, counts.
"""

from collections.abc import Iterator, Mapping
import dataclasses
import time
from typing import Any, BinaryIO

import av
from av.video.reformatter import VideoReformatter
import numpy as np
import soxr

from data_prep.core.errors import DataError
from data_prep.face import cropping, detectors, jpeg, people, tracker
from data_prep.media import audio_track, clock, containers, video_track
from data_prep.schema.grid import Grid

NAME = 'standard input'
ADVICE = 'send Matroska: ffmpeg -i FILE -f matroska - | …'
_OFF_SECONDS = 0.1
_PATIENCE_SECONDS = 1.0
_SILENCE = np.zeros(0, np.int16)
# How much FFmpeg reads before it says what tracks there are: nothing comes out until then.
_PROBE = {'probesize': str(1 << 17), 'analyzeduration': '500000', 'fpsprobesize': '0'}


@dataclasses.dataclass(frozen=True)
class Step:
  """What is heard and seen in a step.

  Attributes:
    samples: [S] int16, fewer in the step in which the sound ends, and none from there on; of a container without sound
      zeros.
    face: uint8 [size, size, 3] RGB, as `FaceTracker.step` gives it, behind JPEG as in files; None without a picture.
    found: confidence that there is a face.
    people: where everybody is wanted: number of the person -> face and confidence of all who are seen.
  """

  samples: np.ndarray
  face: np.ndarray | None = None
  found: float = 0.0
  people: Mapping[int, tuple[np.ndarray, float]] = dataclasses.field(default_factory=dict)


class Source:
  """Bytes that come in, with those that were read already put back in front; counts the time spent waiting.

  Attributes:
    waited: seconds.
  """

  def __init__(self, source: BinaryIO):
    self._source, self._head, self.waited = source, b'', 0.0
    # What is there: a whole buffer would have to be waited for.
    self._some = getattr(source, 'read1', source.read)

  def peek(self, count: int) -> bytes:
    """The next bytes, `count` unless the input ends before; they will be read again."""
    self._head += self._timed(self._source.read, count - len(self._head))
    return self._head

  def read(self, count: int) -> bytes:
    """The next bytes, at most `count`; none at the end of the input."""
    if self._head:
      data, self._head = self._head[:count], self._head[count:]
      return data
    return self._timed(self._some, count)

  def read_whole(self, count: int) -> bytes:
    """The next bytes, `count` unless the input ends before."""
    data = self.read(count)
    return data + self._timed(self._source.read, count - len(data)) if len(data) < count else data

  def _timed(self, read, count):
    began = time.perf_counter()
    try:
      return read(count)
    except OSError as e:
      raise DataError(f'{NAME} cannot be read ({e.strerror}); expected a container, or 16-bit PCM') from None
    finally:
      self.waited += time.perf_counter() - began


class Live:
  """The steps of a container; iterate once.

  Attributes:
    hears, sees: whether it has a sound track, and a picture that is wanted.
    lost: packets that could not be decoded, so far; silence, or the picture before, takes their place.
  """

  def __init__(
    self,
    source: Source,
    kind: str,
    grid: Grid,
    *,
    picture: bool,
    crop: cropping.Crop = cropping.STORED,
    detector: str = detectors.CASCADE,
    everybody: bool = False,
  ):
    """
    Args:
      source: of the container's bytes.
      kind: as what they begin, 'a Matroska or WebM' for instance.
      grid: of the steps.
      picture: whether faces are wanted.
      crop: of the faces.
      detector: of the faces.
      everybody: whether all faces are wanted, as `people.follow` follows them, and not the largest alone.

    Raises:
      DataError: it is no container that can be read while it comes in, or has neither sound nor, if it is wanted, a
        picture.
    """
    self._grid, self.lost = grid, 0
    options = {'format_whitelist': containers.FORMATS, 'protocol_whitelist': 'pipe', **_PROBE}
    try:
      self._container = av.open(source, metadata_errors='ignore', options=options)
    except (av.error.FFmpegError, ValueError) as e:
      raise DataError(
        f'{NAME} begins as {kind} file, not readable as it comes in ({containers.reason(e)}); {ADVICE}'
      ) from None
    attached = av.stream.Disposition.attached_pic
    first = lambda tracks: next(
      (t for t in tracks if t.codec_context is not None and not t.disposition & attached), None
    )
    tracks = self._container.streams
    self._sound, self._picture = first(tracks.audio), first(tracks.video) if picture else None
    self.hears, self.sees = self._sound is not None, self._picture is not None
    if not self.hears and not self.sees:
      raise DataError(f'{NAME} is {kind} file with no sound and no picture that is wanted in it; expected one')
    starts = {s.type: float(s.start_time * s.time_base) for s in self._tracks() if s.start_time is not None}
    self._origin = clock.common_origin(starts)
    self._ear: Any = _Ear(grid) if self.hears else None
    eye = _EyeForAll if everybody else _Eye
    self._eye: Any = eye(grid, crop, detector, self._picture) if self.sees else None

  def _tracks(self):
    return [stream for stream in (self._sound, self._picture) if stream is not None]

  def __iter__(self) -> Iterator[Step]:
    """Yields every step that sound or picture begins, as soon as both have passed it.

    Raises:
      DataError: the tracks end without a sample or a frame, or a frame is larger than 4096².
    """
    with self._container:
      done = 0
      for stream, frame in self._frames():
        at = None if frame.pts is None else clock.seconds(frame.pts, frame) - self._origin
        if stream is self._sound:
          self._ear.hear(frame, at)
        else:
          self._eye.see(frame, at)
        done = yield from self._passed(done)
    for sense in self._senses():
      sense.end()
    end = max(sense.seconds for sense in self._senses())
    if not end:
      raise DataError(f'{NAME}: nothing in its tracks can be read as it comes in; {ADVICE}')
    for step in range(done, self._grid.steps_begun(end)):
      yield self._step(step)

  def _senses(self) -> list[Any]:
    return [sense for sense in (self._ear, self._eye) if sense is not None]

  def _frames(self):
    """Decoded frames of the tracks, in the order in which they come."""
    packets = self._container.demux(self._tracks())
    while True:
      try:
        packet = next(packets)
      except StopIteration:
        return
      except av.error.FFmpegError:  # what comes is cut off
        self.lost += 1
        return
      try:
        for frame in packet.decode():
          yield packet.stream, frame
      except av.error.FFmpegError:
        self.lost += 1

  def _passed(self, done):
    """Yields the steps from `done` on that are complete; returns how many have been."""
    ends = [sense.seconds for sense in self._senses()]
    # 1e-9: 0.04 · 3 is more than 0.12.
    until = max(min(ends), max(ends) - _PATIENCE_SECONDS) + 1e-9
    while (done + 1) * self._grid.step_seconds <= until:
      yield self._step(done)
      done += 1
    return done

  def _step(self, step):
    samples = self._ear.take(step) if self._ear else np.zeros(self._grid.samples_per_step, np.int16)
    return dataclasses.replace(self._eye.take(step), samples=samples) if self._eye else Step(samples)


class _Ear:
  """Sound, placed by its times.

  Attributes:
    seconds: that were heard.
  """

  def __init__(self, grid):
    self._grid, self._resampler, self._rate = grid, None, 0
    self._cursor = 0  # samples so far, at the sound's own rate
    self._taken = 0  # steps
    self._waiting = np.zeros(0, np.int16)
    self._late = 0  # samples that will come for steps which have been taken
    self._ended = False

  @property
  def seconds(self):
    beyond = len(self._waiting) - self._late
    return self._taken * self._grid.step_seconds + beyond / self._grid.sample_rate

  def hear(self, frame, at):
    """Takes a frame that begins `at` seconds, or None: behind the one before."""
    if self._resampler is None:
      self._rate = frame.sample_rate
      self._resampler = soxr.ResampleStream(self._rate, self._grid.sample_rate, 1, dtype='float32', quality='HQ')
    if frame.sample_rate != self._rate:
      raise DataError(f'{NAME}: the sample rate changes from {self._rate} to {frame.sample_rate} Hz on the way')
    samples = audio_track.mono(audio_track.channels_of(NAME, frame), None)
    place = self._cursor if at is None else round(at * self._rate)
    # The first sound is placed exactly; later on small differences are rounding.
    off = place - self._cursor
    if self._cursor and abs(off) <= _OFF_SECONDS * self._rate:
      off = 0
    if off > 0:
      samples = np.concatenate([np.zeros(off, np.float32), samples])
    elif off < 0:  # a codec's priming samples, or sound that comes twice
      samples = samples[-off:]
    self._cursor += len(samples)
    self._add(self._resampler.resample_chunk(samples))

  def end(self):
    """Nothing follows."""
    self._ended = True
    if self._resampler is not None:
      self._add(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))

  def _add(self, samples):
    late = min(self._late, len(samples))
    self._late -= late
    self._waiting = np.concatenate([self._waiting, audio_track.to_int16(samples[late:], 1.0)])

  def take(self, step):
    """The samples of a step, each step in turn; silence where none came, and fewer, or none, after the end."""
    count = self._grid.samples_per_step
    samples, self._waiting = self._waiting[:count], self._waiting[count:]
    self._taken = step + 1
    if self._ended:
      return samples
    self._late += count - len(samples)
    return np.pad(samples, (0, count - len(samples)))


class _Eye:
  """Pictures, placed by their times, and the face in them.

  Attributes:
    seconds: that were seen: where the last picture begins, and at the end, where it ends.
  """

  def __init__(self, grid, crop, detector, stream):
    stream.codec_context.options = {'max_pixels': str(containers.MAX_PIXELS)}
    self._grid, self._crop, self._stream = grid, crop, stream
    self._tracker = self._tracker_of(crop, detector)
    self._to_rgb = VideoReformatter()
    self._frame = None
    self._size = (0, 0)
    self._pictures = 0  # that the tracker took
    self._seen: dict[int, Step] = {}  # without sound
    self._last: tuple[np.ndarray | None, np.ndarray | None] = (None, None)  # a crop, and the same behind JPEG
    self.seconds = 0.0

  def see(self, frame, at):
    """Takes a frame that is shown from `at` seconds on, or None: behind the one before."""
    duration = clock.seconds(frame.duration, frame) if frame.duration else self._grid.picture_seconds
    at = self.seconds + duration if at is None else at
    self._show_until(at)
    picture = video_track.upright(NAME, frame, video_track.pixel_aspect(self._stream), self._to_rgb)
    if self._frame is not None and picture.shape[:2] != self._size[::-1]:
      picture = video_track.into(picture, self._size)
    self._frame, self._size, self._duration = picture, (picture.shape[1], picture.shape[0]), duration
    self.seconds = max(self.seconds, at)

  def end(self):
    """Nothing follows."""
    if self._frame is not None:
      self.seconds += self._duration
      self._show_until(self.seconds)

  def _show_until(self, seconds):
    """The frame before stays on the screen until then."""
    while (self._pictures + 0.5) * self._grid.picture_seconds < seconds:
      self._show()

  def _show(self):
    tracked = self._tracker.step(self._frame)
    step, picture = divmod(self._pictures, self._grid.pictures_per_step)
    if picture == self._grid.pictures_per_step // 2:
      self._seen[step] = self._step(tracked)
    self._pictures += 1

  def take(self, step):
    """A step without its sound, each step in turn; the picture before where none came."""
    while step not in self._seen:
      self._show()
    return self._seen.pop(step)

  def _tracker_of(self, crop, detector):
    return tracker.FaceTracker(crop=crop, detector=detector)

  def _step(self, tracked):
    face, found, _ = tracked
    if face is not self._last[0]:
      self._last = face, jpeg.decode(jpeg.encode(face))
    return Step(_SILENCE, self._last[1], found)


class _EyeForAll(_Eye):
  """The same, of all faces."""

  def _tracker_of(self, crop, detector):
    return people.PeopleTracker(detector)

  def _step(self, tracked):
    seen = {}
    for sighting in tracked:
      x, y, side = sighting.box
      face = cropping.cut(self._frame, x + side / 2, y + side / 2, side, self._crop)
      seen[sighting.person] = jpeg.decode(jpeg.encode(face)), sighting.confidence
    return Step(_SILENCE, people=seen)
