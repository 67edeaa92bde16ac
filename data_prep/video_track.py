"""The pictures of a recording, placed on the label grid by their timestamps.

Whatever the file's rate, step k (from 0) gets the frame that is shown in the middle of [k·40 ms, (k + 1)·40 ms); so
variable frame rates and tracks that start apart need no special case, and rounded timestamps (39.999 ms) cannot move a
frame to its neighbour's step.

Time zero is where the container starts.
"""

import math
from collections.abc import Iterator

import av
import numpy as np

from data_prep import containers
from data_prep.containers import MAX_HOLE_SECONDS, MAX_PIXELS, MAX_START_SECONDS
from data_prep.errors import DataError
from data_prep.records import STEP_SECONDS

LENGTH_SLACK_SECONDS = 0.002  # timestamps are rounded to milliseconds in some containers: no step begins for that


def num_steps(seconds: float) -> int:
  """Steps begun within `seconds`; the last may be short."""
  return max(0, math.ceil((seconds - LENGTH_SLACK_SECONDS) / STEP_SECONDS))


def has_video(path) -> bool:
  """Whether the file carries a video track; the cover of a sound file is none."""
  with containers.open_media(path) as container:
    return bool(containers.video_streams(container))


def video_end(path) -> float:
  """`Video.end`, seconds, from the packets alone: nothing is decoded.

  Raises:
    DataError: not readable, no video track, or not one packet in it.
  """
  end = 0.0
  with containers.open_media(path) as container:
    stream = containers.video_stream(path, container)
    duration = float(1 / stream.average_rate) if stream.average_rate else STEP_SECONDS
    for packet in containers.Track(path, container, stream).packets():
      if packet.pts is not None:
        time = float(packet.pts * packet.time_base) - containers.origin(container)
        shown = min(float(packet.duration * packet.time_base), MAX_HOLE_SECONDS) if packet.duration else duration
        end = max(end, time + shown)
  if not end:
    raise DataError(f'{path}: the video track holds no frames')
  return end


class Video:
  """The frames of a file on the label grid; iterate once.

  Frames stream: memory does not grow with the length of the video.

  Attributes:
    fps: the mean frame rate, once iterated.
    end: seconds, where the last frame's showing ends, once iterated.
    size: (width, height) of the upright frames, once iterated.
    notes: what a person should know of the file, once iterated.
  """

  def __init__(self, path, *, max_lost: float = containers.MAX_LOST):
    """
    Args:
      path: of the file.
      max_lost: share of packets that may be lost, `containers.MAX_LOST` or `MAX_LOST_LEARNT`.
    """
    self.path = path
    self.notes = []
    self._max_lost = max_lost
    self.fps = 0.0
    self.size = (0, 0)
    self.end = 0.0

  def __iter__(self) -> Iterator[np.ndarray | None]:
    """Yields one RGB uint8 [H, W, 3] (or None before the first frame) per step that the video reaches.

    The same array object is yielded again while the same frame is shown.

    Raises:
      DataError: not readable, cut off, no video track, larger than 4096², or a hole of over ten seconds.
    """
    step, shown, count, first = 0, None, 0, None
    with containers.open_media(self.path) as container:
      stream = containers.video_stream(self.path, container)
      stream.codec_context.thread_count = 1  # preparation runs one process per core
      stream.codec_context.options = {'max_pixels': str(MAX_PIXELS)}
      duration = float(1 / stream.average_rate) if stream.average_rate else STEP_SECONDS
      track = containers.Track(self.path, container, stream, max_lost=self._max_lost)
      for frame, time in track:
        time = self.end if time is None else time
        longest = MAX_START_SECONDS if first is None else MAX_HOLE_SECONDS
        if not self.end - STEP_SECONDS - duration <= time <= self.end + longest:
          raise DataError(f'{self.path}: the picture jumps from {self.end:.2f} s to {time:.2f} s; the file is damaged')
        first = time if first is None else first
        # The frame before stays on the screen until this one comes.
        while (step + 0.5) * STEP_SECONDS < time:
          yield shown
          step += 1
        shown = _rgb(self.path, frame)
        count += 1
        if frame.duration:
          duration = min(float(frame.duration * frame.time_base), MAX_HOLE_SECONDS)
        self.end = time + duration
      if not count:
        raise DataError(f'{self.path}: the video track holds no frames')
      track.check_length(self.end)
      self.notes += track.notes
    self.size = (shown.shape[1], shown.shape[0])
    self.fps = count / max(self.end - first, duration)
    for _ in range(step, num_steps(self.end)):
      yield shown


def _rgb(path, frame) -> np.ndarray:
  try:
    image = frame.to_ndarray(format='rgb24')
  except (av.error.FFmpegError, ValueError) as e:
    raise DataError(f'{path}: a frame of format {frame.format.name} cannot be shown ({containers.reason(e)})') from None
  quarter_turns = round(frame.rotation / 90) % 4  # telephones store how they were held
  return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image
