"""The pictures of a recording, placed on the label grid by their timestamps.

Whatever the file's rate, step k (from 0) gets the frame that is shown in the middle of label interval k; so
variable frame rates and tracks that start apart need no special case, and rounded timestamps (39.999 ms) cannot move a
frame to its neighbour's step. A step longer than the paper's is cut into `Grid.pictures_per_step` equal parts, and each
part gets the frame in its middle. Where the picture starts late by less than half a part, the middles are taken that
much later: otherwise a frame that rounding or a joint delays a little more would come a part late.

Time zero is where the container starts.
"""

from collections.abc import Iterator
import math

import av
from av.sidedata import sidedata
from av.video.reformatter import VideoReformatter
import cv2
import numpy as np

from data_prep.core.errors import DataError
from data_prep.media import clock, containers, tracks
from data_prep.media.clock import MAX_HOLE_SECONDS
from data_prep.media.containers import MAX_PIXELS
from data_prep.schema.grid import Grid, PAPER

MAX_HELD_SECONDS = 4 * 3600.0  # a time or duration that shows a picture for longer is a damaged number
MAX_PIXEL_ASPECT = 4.0  # of a pixel's sides; a larger ratio is a damaged number


def has_video(path) -> bool:
  """Whether the file carries a video track; the cover of a sound file is none."""
  with containers.open_media(path) as container:
    return bool(containers.video_streams(container))


def video_end(path, grid: Grid = PAPER) -> float:
  """`Video.end`, seconds, from the packets alone: nothing is decoded.

  Raises:
    DataError: not readable, no video track, or not one packet in it.
  """
  end = 0.0
  with containers.open_media(path) as container:
    stream = containers.video_stream(path, container)
    duration = float(1 / stream.average_rate) if stream.average_rate else grid.picture_seconds
    track = tracks.Track(path, container, stream)
    for packet in track.packets():
      shown = packet.dts if stream.start_time is None else packet.pts  # without a container FFmpeg counts decode times
      if shown is not None or stream.start_time is None and packet.size:  # H.264 alone has no times at all
        time = end if shown is None else clock.seconds(shown, packet) - clock.origin(container)
        end = max(end, time + (_showing(track, packet, time) or duration))
  if not end:
    raise DataError(f'{path}: the video track holds no frames; copy the file again')
  return end


class Video:
  """The frames of a file on the label grid; iterate once.

  Frames stream: memory does not grow with the length of the video. They are as a player shows them: upright, as the
  display matrix says, mirrored or turned, and with square pixels. All have the size of the first; where the size
  changes on the way, the later ones are scaled into it, black beside them.

  Attributes:
    fps: the mean frame rate, once iterated.
    start, end: seconds, where the first frame is shown and where the last one's showing ends, once iterated.
    size: (width, height) of the upright frames, once iterated.
    notes: what a person should know of the file, once iterated.
  """

  def __init__(self, path, grid: Grid = PAPER, *, max_lost: float = tracks.MAX_LOST):
    """
    Args:
      path: of the file.
      grid: whose steps the frames are placed on.
      max_lost: share of packets that may be lost, `tracks.MAX_LOST` or `MAX_LOST_LEARNT`.
    """
    self.path = path
    self.grid = grid
    self.notes: list[str] = []
    self._max_lost = max_lost
    self.fps = 0.0
    self.size = (0, 0)
    self.start = self.end = 0.0

  def __iter__(self) -> Iterator[np.ndarray | None]:
    """Yields RGB uint8 [H, W, 3] (or None before the first frame), `grid.pictures_per_step` per step it reaches.

    The same array object is yielded again while the same frame is shown.

    Raises:
      DataError: not readable, cut off, no video track, larger than 4096², or a jump in its times.
    """
    picture, shown, count, began, late, counted = 0, None, 0, 0.0, 0.0, False
    picture_seconds = self.grid.picture_seconds
    with containers.open_media(self.path) as container:
      stream = containers.video_stream(self.path, container)
      stream.codec_context.thread_count = 1  # preparation runs one process per core
      stream.codec_context.options = {'max_pixels': str(MAX_PIXELS)}
      duration, changed = float(1 / stream.average_rate) if stream.average_rate else picture_seconds, None
      track = tracks.Track(self.path, container, stream, max_lost=self._max_lost)
      to_rgb = VideoReformatter()
      for frame, time in track:
        # Where few pictures have a time, it may be that of decoding, which is before that of showing. A little less
        # than the count is its rounding, and sets it right.
        back = math.inf if time is None else (self.end - time) / duration
        time = self.end if time is None or counted and 0.5 < back <= tracks.MAX_REORDER else time
        counted = math.isinf(back)
        if not self.end - picture_seconds - duration <= time <= self.end + MAX_HELD_SECONDS:
          raise DataError(f'{self.path}: the picture jumps from {self.end:.2f} s to {time:.2f} s; the file is damaged')
        if count and time - began > MAX_HOLE_SECONDS:
          self.notes.append(f'one picture is shown from {began:.2f} to {time:.2f} s')
        began = time
        if not count:
          self.start, late = time, time if 0 < time < picture_seconds / 2 else 0.0
        # The frame before stays on the screen until this one comes.
        while (picture + 0.5) * picture_seconds < time - late:
          yield shown
          picture += 1
        shown = upright(self.path, frame, pixel_aspect(stream), to_rgb)
        if count and shown.shape[:2] != self.size[::-1]:
          changed = changed or f'the size of the picture changes at {time:.2f} s'
          shown = into(shown, self.size)
        self.size = (shown.shape[1], shown.shape[0])
        count += 1
        duration = _showing(track, frame, time) or duration
        self.end = time + duration
      if not count:
        raise DataError(f'{self.path}: the video track holds no frames; copy the file again')
      track.check_length(self.end)
      self.notes += track.notes
    if self.end - began > MAX_HOLE_SECONDS:
      self.notes.append(f'one picture is shown from {began:.2f} to {self.end:.2f} s')
    self.notes += [changed] if changed else []
    self.fps = count / max(self.end - self.start, duration)
    for _ in range(picture, self.grid.steps_begun(self.end) * self.grid.pictures_per_step):
      yield shown


def _showing(track, of, time) -> float:
  """Seconds for which the frame or packet says that its picture is shown, as far as they are believed; 0: unknown."""
  seconds = clock.seconds(of.duration, of) if of.duration else 0.0
  return seconds if seconds <= MAX_HOLE_SECONDS else min(seconds, max(MAX_HOLE_SECONDS, track.reach() - time))


def pixel_aspect(stream) -> float:
  """Width of a pixel over its height, as the container or else the codec says."""
  for of in (stream, stream.codec_context):
    aspect = of.sample_aspect_ratio
    if aspect and 1 / MAX_PIXEL_ASPECT <= aspect <= MAX_PIXEL_ASPECT:
      return float(aspect)
  return 1.0


def upright(path, frame, pixel_aspect, to_rgb: VideoReformatter) -> np.ndarray:
  """A frame as uint8 [H, W, 3] RGB with square pixels, turned and mirrored as its display matrix says.

  Args:
    path: of its file, for errors.
    frame: of PyAV.
    pixel_aspect: see `pixel_aspect`.
    to_rgb: for all frames of a track. A frame's own makes its tables anew, which takes longer than to use them.
  """
  width, height = frame.width, frame.height
  if pixel_aspect > 1:  # the longer side of the pixel decides, so that no line is lost
    width = round(width * pixel_aspect)
  else:
    height = round(height / pixel_aspect)
  size = {} if (width, height) == (frame.width, frame.height) else {'width': width, 'height': height}
  try:
    if width * height > MAX_PIXELS:
      raise ValueError(f'{width}×{height} with square pixels, above 4096²')
    image = to_rgb.reformat(frame, format='rgb24', threads=1, **size).to_ndarray()
  except (av.error.FFmpegError, ValueError) as e:
    raise DataError(f'{path}: a frame of format {frame.format.name} cannot be shown ({containers.reason(e)})') from None
  a, b, c, d = display_matrix(frame)
  if abs(b) + abs(c) > abs(a) + abs(d):
    image, a, d = image.transpose(1, 0, 2), c, b
  return np.ascontiguousarray(image[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def display_matrix(frame) -> tuple[float, float, float, float]:
  """How a frame is to be shown, (a, b, c, d): x' = a·x + c·y, y' = b·x + d·y, up to a scale.

  Telephones store how they were held, and front cameras that they mirror.
  """
  try:
    # `frame.side_data` would tie the frame into a cycle, which lives until the garbage collector comes.
    matrix = sidedata.SideDataContainer(frame).get(  # type: ignore[call-arg]  # PyAV's stub leaves the frame out
      sidedata.Type.DISPLAYMATRIX
    )
  except ValueError:  # the frame also has data that PyAV has no name for, as EXIF: the angle can still be read
    cosine, sine = (f(math.radians(frame.rotation)) for f in (math.cos, math.sin))
    return cosine, -sine, sine, cosine
  if matrix is None:
    return 1.0, 0.0, 0.0, 1.0
  a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].astype(float)
  return a, b, c, d


def into(image, size) -> np.ndarray:
  """An image scaled into (width, height), in its middle, its geometry kept; black beside it."""
  width, height = size
  scale = min(width / image.shape[1], height / image.shape[0])
  inner = [max(1, round(scale * side)) for side in (image.shape[1], image.shape[0])]
  result = np.zeros((height, width, 3), np.uint8)
  left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
  method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
  result[top : top + inner[1], left : left + inner[0]] = cv2.resize(image, inner, interpolation=method)
  return result
