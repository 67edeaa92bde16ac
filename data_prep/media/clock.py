"""The clock of a file: where it begins, how its tracks lie on it, and what it says of their length."""

import collections
import functools
import itertools

import av

from data_prep.media import containers
from data_prep.schema.grid import PAPER

_DECLARES_LENGTH = ('mov', 'matroska', 'avi', 'flac')  # elsewhere the declared length may itself be an estimate
MAX_HOLE_SECONDS = 10.0  # a longer hole between two frames is believed if the next timestamp agrees
_RESTART_SECONDS = 0.5  # a clock that goes back by more has started again; by less, its packets are out of order
_RESTARTS = ('mpegts', 'mpeg')  # formats that may be joined byte by byte: a jump of every track is such a joint
_ROUNDED_SECONDS = 0.0015  # error of the difference of two times that are rounded to milliseconds
LOOK_AHEAD = 64  # packets that tell whether a track has presentation times
WORDS = {'audio': 'sound', 'video': 'picture'}


class Clock:
  """Puts the packets of all tracks of a file, in its order, on one clock.

  Attributes:
    streams: the tracks.
    ends: of every track so far, seconds since time zero.
    notes: of joints and damaged numbers.
  """

  def __init__(self, container, stream):
    self.streams = [
      s
      for s in container.streams
      if s.index == stream.index
      or (s.type in ('audio', 'video') and s.codec_context is not None and not containers.is_cover(container, s))
    ]
    self.ends = {}
    self.notes = []
    self._zero = origin(container)
    self._joinable = any(name in _RESTARTS for name in container.format.name.split(','))
    self._last = {}  # track -> time of its newest packet, as the file has it
    self._held = {}  # track -> a packet after a jump, which waits for the next one to confirm it
    self._shifts = [0.0]  # of the pieces that the file was joined from
    self._piece = collections.Counter()  # track -> the piece it is in

  def place(self, packet):
    """Takes the next packet of the file; returns those that have their place now."""
    if None not in (packet.pts, packet.dts) and seconds(packet.dts - packet.pts, packet) > _RESTART_SECONDS:
      packet.dts = packet.pts  # FFmpeg counted on over a joint: no packet is decoded after its picture is shown
    track, time = packet.stream.index, _time(packet)
    ready = []
    if track in self._held:
      ready.append(self._settle(self._held.pop(track), time))
    if time is None or self._follows(self._last.get(track, time), time):
      ready.append(self._advance(packet, time))
    else:
      self._held[track] = packet
    return ready

  def extend(self, stream, seconds: float) -> None:
    """Adds the length of a packet's sound that has no time, as the last of a FLAC file that another file follows."""
    if stream.index in self.ends:
      self.ends[stream.index] += seconds

  def _follows(self, last, time):
    return -_RESTART_SECONDS <= time - last <= MAX_HOLE_SECONDS

  def _settle(self, packet, following):
    """A packet after a jump: a joint, a hole or a damaged number."""
    track, time = packet.stream.index, _time(packet)
    last = self._last[track]
    at = self.ends[track]
    if following is None:  # the track ends with it: a hole, if any track reaches that far
      believed = last < time <= max(self.ends.values()) + self._zero - self._shifts[-1] + MAX_HOLE_SECONDS
    else:
      believed = self._follows(time, following)
    if not believed:
      self.notes.append(f'a damaged timestamp at {at:.2f} s of the {WORDS[packet.stream.type]}')
      packet.pts = packet.dts = None
      return packet
    everywhere = self._joinable and time - self._zero + self._shift(track) - max(self.ends.values()) > MAX_HOLE_SECONDS
    if time < last or everywhere:
      self._piece[track] += 1
      if self._piece[track] == len(self._shifts):
        self._shifts.append(max(self.ends.values()) + self._zero - _time(packet, 'pts'))
        self.notes.append(
          f'the clock starts again at {max(self.ends.values()):.2f} s: several recordings in one file, joined here'
        )
    return self._advance(packet, time)

  def _shift(self, track):
    return self._shifts[self._piece[track]]

  def _advance(self, packet, time):
    track = packet.stream.index
    if time is not None:
      self._last[track] = time
      shift = self._shift(track)
      shown = _time(packet, 'pts') + shift - self._zero
      self.ends[track] = max(self.ends.get(track, shown), shown + seconds(packet.duration or 0, packet))
      if shift:
        ticks = round(shift / packet.time_base)
        packet.pts, packet.dts = (None if t is None else t + ticks for t in (packet.pts, packet.dts))
    return packet


def _time(packet, first='dts') -> float | None:
  """Seconds as the file has them: the decode time, or with 'pts' that of presentation; the other if it is absent."""
  times = (packet.dts, packet.pts) if first == 'dts' else (packet.pts, packet.dts)
  ticks = next((t for t in times if t is not None), None)
  return None if ticks is None else seconds(ticks, packet)


def seconds(ticks: int, of) -> float:
  """Ticks of a packet's, a frame's or a stream's clock in seconds, rounded once, as the fraction itself would be.

  Fractions that are multiplied took a sixth of the time that the sound of an hour took.
  """
  base = of.time_base
  return ticks * base.numerator / base.denominator


def origin(container) -> float:
  """Where the container starts, in its own seconds; every track of the file is placed against this."""
  starts = {
    s.type: float(s.start_time * s.time_base)
    for s in reversed(container.streams)
    if s.type in ('audio', 'video') and s.start_time is not None and not containers.is_cover(container, s)
  }
  if 'video' in starts:
    starts['video'] -= late_pictures(container)
  return common_origin(starts)


def common_origin(starts: dict[str, float]) -> float:
  """Where sound and picture that start then ('audio', 'video' -> seconds) count from."""
  if not starts:
    return 0.0
  # Encoders let the sound lead the picture by the priming of the codec. Were that taken for the start, every frame
  # would be shown a part of a step late and the first step would have none. A lead of less than half a step moves no
  # frame to another step, so no sound is cut off for it. The steps are the paper's, whatever the grid: no codec primes
  # for longer.
  longest = PAPER.step_seconds
  if 'video' in starts and longest / 2 - 0.002 <= starts['video'] - min(starts.values()) < longest:
    return starts['video']
  return min(starts.values())


def late_pictures(container) -> float:
  """Seconds by which the pictures of a copy from AVI come after their sound: one picture, or 0 for other files.

  AVI stores decode times alone. Programs that copy MPEG-4 or H.264 with B-frames out of it store them as
  presentation times, or derive those from them, with the first one picture after the start.
  """
  pictures, sounds = containers.video_streams(container), container.streams.audio
  stream = pictures[0] if pictures else None
  if stream is None or stream.codec_context is None or not stream.codec_context.has_b_frames:
    return 0.0
  codec, starts = (
    stream.codec_context.name,
    [float(s.start_time * s.time_base) for s in sounds if s.start_time is not None],
  )
  if codec not in ('mpeg4', 'h264') or not starts or stream.start_time is None or not stream.base_rate:
    return 0.0
  late = float(stream.start_time * stream.time_base) - min(starts)
  if abs(late - float(1 / stream.base_rate)) > _ROUNDED_SECONDS:
    return 0.0
  return late if codec == 'mpeg4' or _has_decode_times(*containers.file_of(container), stream.index) else 0.0


@functools.lru_cache(maxsize=8)
def _has_decode_times(path, size, time, index) -> bool:
  """Whether the times of a track are in the order of decoding, and its pictures are not."""
  with containers.open_media(path) as container:
    try:
      ahead = itertools.islice(container.demux(container.streams[index]), LOOK_AHEAD)
      times = [packet.pts for packet in ahead if packet.size]
    except (av.error.FFmpegError, ValueError, IndexError):
      return False  # the reader will say so
  return None not in times and times == sorted(times) and reorders(path, index)


def reorders(path, index) -> bool:
  """Whether the times of a track's first pictures go back in the order in which they are shown."""
  with containers.open_media(path) as container:
    if not container.streams[index].codec_context.has_b_frames:
      return False
    newest = None
    try:
      for packet in itertools.islice(container.demux(container.streams[index]), LOOK_AHEAD):
        for frame in packet.decode():
          if newest is not None and frame.pts is not None and frame.pts < newest:
            return True
          newest = frame.pts if frame.pts is not None else newest
    except (av.error.FFmpegError, ValueError, IndexError):
      return False  # the reader will say so
  return False


def declared_end(container, stream) -> float | None:
  """Where the container says a track ends, seconds since time zero; None where that is unknown or an estimate."""
  if not any(name in container.format.name.split(',') for name in _DECLARES_LENGTH):
    return None
  if stream.duration is not None:
    return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin(container)
  if container.duration is not None and (stream.type == 'video' or not container.streams.video):
    return container.duration / 1e6  # Matroska declares one length for all tracks
  return None
