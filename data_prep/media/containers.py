"""Media files as containers: opened by a whitelist, their tracks, their clock and what they say of their length.

Files are opened by a whitelist of formats and protocols: a playlist that calls itself `.mp4` would otherwise make the
decoder open any other file of the machine.
"""

import collections
import functools
import heapq
import itertools
import os
import pathlib

import av

from data_prep.core.errors import DataError
from data_prep.media import endings
from data_prep.schema.grid import PAPER

FORMATS = (
  'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,'
  'wav,w64,aiff,caf,flac,ogg,mp3,aac,au,wv,ac3,eac3,dts,dv,amr,tta,ape,mxf,m4v,h264,hevc,ivf'
)
_DECLARES_LENGTH = ('mov', 'matroska', 'avi', 'flac')  # elsewhere the declared length may itself be an estimate
_LENGTH_HOLDS = (
  'mov',
  'avi',
  'flac',
)  # their declared length is exact: a file that is shorter was cut off, whole as it may seem
_ONE_LENGTH = ('matroska', 'flv')  # formats that say one length for all tracks
MAX_PIXELS = 4096 * 4096
MAX_LOST = 0.05  # share of a track's packets that cannot be decoded; more, and the file is refused
MAX_LOST_LEARNT = 0.01  # the same for a file that a network learns from, or is scored on
MAX_HOLE_SECONDS = 10.0  # a longer hole between two frames is believed if the next timestamp agrees
MAX_START_SECONDS = 600.0  # a track may start that long after the other
MAX_PADDING_SECONDS = 0.2  # codecs pad: a declared length may include that, and samples may go beyond it
_RESTART_SECONDS = 0.5  # a clock that goes back by more has started again; by less, its packets are out of order
_RESTARTS = ('mpegts', 'mpeg')  # formats that may be joined byte by byte: a jump of every track is such a joint
_MAX_READ_FAILURES = 8  # in a row, of a file that cannot be read any further
MAX_REORDER = 17  # frames that wait for an earlier one, at most: H.264's limit and the frame itself
_ROUNDED_SECONDS = 0.0015  # error of the difference of two times that are rounded to milliseconds
_LOOK_AHEAD = 64  # packets that tell whether a track has presentation times
_STILLS = ('mjpeg', 'png', 'bmp', 'gif', 'tiff', 'webp')  # codecs of single pictures
_WORDS = {'audio': 'sound', 'video': 'picture'}


def open_media(path):
  """An open `av` container; close it.

  Raises:
    DataError: absent, no regular file, empty, damaged, or none of `FORMATS`.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    what = (
      'a folder'
      if path.is_dir()
      else 'no regular file'
      if path.exists()
      else f'a broken link to {path.readlink()}'
      if path.is_symlink()
      else 'not found'
    )
    raise DataError(f'{path}: {what}; expected a video or sound file')
  if not path.stat().st_size:
    raise DataError(f'{path}: an empty file')
  try:
    container = av.open(
      _address(path), metadata_errors='ignore', options={'format_whitelist': FORMATS, 'protocol_whitelist': 'file'}
    )
  except (av.error.FFmpegError, ValueError) as e:
    raise DataError(
      f'{path}: not readable as audio or video ({reason(e)}); a damaged file, or none of the formats '
      f'{FORMATS.replace(",", " ")}'
    ) from None
  if container.format.name == 'flac' and not _begins_as_flac(path):
    container.close()
    raise DataError(
      f'{path}: FLAC without its header at the beginning, whose sound FFmpeg would put together wrongly; remove what '
      'stands before the bytes fLaC, or copy the file again'
    )
  return container


def _begins_as_flac(path):
  with open(path, 'rb') as file:
    file.seek(endings.behind_id3(file))
    return file.read(4) == b'fLaC'


def _address(path):
  """What `av` opens: the path or, where that is no UTF-8, which `av` does not take, the open file."""
  try:
    str(path).encode()
  except UnicodeEncodeError:
    return path.open('rb')
  return f'file:{path}'


def video_streams(container) -> list:
  """The video tracks, without the cover picture of a sound file."""
  return [s for s in container.streams.video if not _is_cover(container, s)]


def _is_cover(container, stream) -> bool:
  """Whether a track is a cover: the container says so, or it is a single still picture beside sound."""
  if stream.disposition & av.stream.Disposition.attached_pic:
    return True
  return (
    stream.type == 'video'
    and bool(container.streams.audio)
    and stream.codec_context is not None
    and stream.codec_context.name in _STILLS
    and (stream.frames == 1 or _is_single(*_file_of(container), stream.index))
  )


def _file_of(container) -> tuple[str, int, int]:
  """Path, size and time of change: as the key of a cache, so that a file that changes is read again."""
  path = container.name.removeprefix('file:')
  stat = os.stat(path)
  return path, stat.st_size, stat.st_mtime_ns


@functools.lru_cache(maxsize=8)
def _is_single(path, size, time, index) -> bool:
  """Whether a track holds one packet; most formats do not say so."""
  with open_media(path) as container:
    try:
      packets = (packet for packet in container.demux(container.streams[index]) if packet.size)
      return len(list(itertools.islice(packets, 2))) == 1
    except (av.error.FFmpegError, ValueError, IndexError):
      return False  # the reader will say so


def video_stream(path, container):
  """The first video track.

  Raises:
    DataError: there is none, or its frames are of an unknown codec or larger than 4096².
  """
  streams = video_streams(container)
  if not streams:
    raise DataError(f'{path}: no video track in it; expected one')
  if streams[0].codec_context is None:
    raise DataError(f'{path}: the video track has an unknown codec; convert it, to mp4 for instance')
  width, height = streams[0].codec_context.width, streams[0].codec_context.height
  if width * height > MAX_PIXELS or width * height == 0:
    raise DataError(f'{path}: frames of {width}×{height}; expected at least one pixel and at most 4096²')
  return streams[0]


class Track:
  """One track of an open container; iterate once, over (frame, seconds since time zero or None).

  The track is read packet by packet, as players read it:
  * A packet that cannot be decoded is left out, and the next one's time tells how long that was. A reader therefore
    fills what is between two frames (silence, the picture before), and `notes` says how much it was. Where more than
    `max_lost` of the packets are lost, the iteration ends in a DataError.
  * A clock that starts again (recordings that were joined byte by byte) goes on where it was, all tracks alike.
  * A jump that the next packet confirms is a hole, of whatever length. One that it does not is a damaged number: that
    packet's time is None, and it follows the one before.
  * Containers that store decode times alone (AVI, and what was copied from it), or none, give presentation times too.

  The reader of sound uses it as the reader of pictures does:

      track = containers.Track(path, container, stream, max_lost=max_lost)
      for frame, time in track: …
      track.check_length(end)  # seconds, where the last frame ends
      self.notes += track.notes  # complete only now

  Attributes:
    notes: what a person should know: packets that were lost, clocks that were joined, a length that is not held.
    read, lost: packets of the track, and those of them that could not be decoded.
  """

  def __init__(self, path, container, stream, *, max_lost: float = MAX_LOST):
    """
    Args:
      path: for messages.
      container: from `open_media`, not read yet.
      stream: of the container.
      max_lost: share of packets that may be lost, `MAX_LOST` or `MAX_LOST_LEARNT`.
    """
    self.notes: list[str] = []
    self.read = self.lost = 0
    self._why = None  # the first was lost
    self._path, self._container, self._stream, self._max_lost = path, container, stream, max_lost
    self._clock = _Clock(container, stream)

  def __iter__(self):
    """Yields (frame, seconds or None).

    Raises:
      DataError: too many packets are lost, or the file cannot be read to its end.
    """
    zero, time = origin(self._container), 0.0
    # The sound of AVI is counted, not timed: its times follow from bytes, and some writers leave nonsense there.
    counted, anew = self._is_avi() and self._stream.type == 'audio', True
    for packet, frames, error in self._decoded():
      self.read += packet.size > 0
      if error is not None:
        self.lost += 1
        anew = True
        self._why = self._why or f'the first after {time:.2f} s: {error}'
      if packet.pts is None and packet.dts is None and self._stream.type == 'audio':
        self._clock.extend(self._stream, sum(frame.samples / frame.sample_rate for frame, _ in frames))
      for frame, pts in frames:
        pts = None if counted and not anew else pts
        anew = False
        time = time if pts is None else float(pts * packet.stream.time_base) - zero
        yield frame, None if pts is None else time
    if self.lost:
      words = f'{self.lost} of {self.read} packets of the {_WORDS[self._stream.type]} cannot be decoded ({self._why})'
      if self.lost > self._max_lost * self.read:
        raise DataError(f'{self._path}: {words}; at most {100 * self._max_lost:g} % are allowed: the file is damaged')
      self.notes.append(words)

  def _decoded(self):
    """Yields for every packet: it, its frames with their presentation times, and why it could not be decoded."""
    packets = self.packets()
    ahead = list(itertools.islice(packets, _LOOK_AHEAD)) if self._stream.type == 'video' else []
    placed = self._decode_times(ahead)
    waiting = None if placed is None else []
    for packet in itertools.chain(ahead, packets):
      time = placed(packet) if placed is not None else None
      if time is not None:
        heapq.heappush(waiting, time)
      try:
        frames = packet.decode()
      except (av.error.FFmpegError, ValueError) as e:
        if time is not None and time in waiting:
          waiting.remove(time)
          heapq.heapify(waiting)
        yield packet, [], _fault(e)
        continue
      # Frames come in the order of presentation, so each has the earliest time that is left.
      yield (
        packet,
        [(f, f.pts if waiting is None else heapq.heappop(waiting) if waiting else None) for f in frames],
        None,
      )
      while waiting and len(waiting) > MAX_REORDER:  # packets that gave no frame
        heapq.heappop(waiting)

  def _is_avi(self):
    return 'avi' in self._container.format.name.split(',')

  def _is_h264(self):
    return self._stream.codec_context is not None and self._stream.codec_context.name == 'h264'

  def _decode_times(self, ahead):
    """A function packet -> time for a video track that stores decode times alone; None where it stores the others."""
    first = ahead[0] if ahead else None
    if first is None or first.dts is None and first.pts is None:
      return None
    if self._is_avi() or self._stream.start_time is None:  # the latter: a bare stream, whose times FFmpeg counts
      return lambda packet: packet.dts if packet.dts is not None else packet.pts
    times = [packet.pts for packet in ahead if packet.size]
    if None in times or times != sorted(times) or not _reorders(self._path, self._stream.index):
      return None
    # Programs that copy from AVI write a time one picture later than the one of decoding.
    late = first.pts - round(origin(self._container) / first.time_base)
    late = late if 0 < late <= (first.duration or 0) + 1 else 0  # Matroska rounds both to milliseconds
    return lambda packet: None if packet.pts is None else packet.pts - late

  def packets(self):
    """Yields the packets of the track, in the order of the file, on one clock.

    Raises:
      DataError: the file cannot be read to its end.
    """
    failures, packets = 0, self._container.demux(*self._clock.streams)
    late = _late(self._container) if self._stream.type == 'video' and not self._is_h264() else 0.0
    while True:
      try:
        packet = next(packets, None)
      except (av.error.FFmpegError, ValueError) as e:  # the next call reads behind the damage
        failures += 1
        self.lost += 1
        self.read += 1
        at = self._clock.ends.get(self._stream.index, 0.0)
        self._why = self._why or f'the first after {at:.2f} s: {_fault(e)}'
        if failures == _MAX_READ_FAILURES:
          raise DataError(
            f'{self._path}: the {self._stream.type} track is damaged after {at:.2f} s ({_fault(e)})'
          ) from None
        packets = self._container.demux(*self._clock.streams)
        continue
      except IndexError:  # PyAV's at the end of a file with a track that began on the way; all others have been read
        packet = None
      else:
        failures = 0
      if packet is None:
        break
      for ready in self._clock.place(packet):
        if ready.stream.index == self._stream.index:
          if late and ready.pts is not None:
            ready.pts -= round(late / ready.time_base)
          yield ready
    self.notes += self._clock.notes

  def reach(self) -> float:
    """Length that the file declares or another track reaches, in seconds: a picture may be shown until then."""
    others = [end for index, end in self._clock.ends.items() if index != self._stream.index]
    return max([declared_end(self._container, self._stream) or 0.0, *others])

  def check_length(self, decoded: float) -> None:
    """Compares a length with what the container declares: a file that was cut off decodes without an error.

    Args:
      decoded: seconds, where the last frame ends.

    Raises:
      DataError: the file was cut off.
    """
    formats = self._container.format.name.split(',')
    if endings.is_followed(self._path, formats):
      raise DataError(
        f'{self._path}: several files joined byte by byte, which programs do not read to the end, or not rightly; join '
        'them by their times instead, or cut them apart'
      )
    declared = declared_end(self._container, self._stream)
    if declared is None and self._container.duration and endings.tells_length(self._path, formats):
      declared = self._container.duration / 1e6
    if any(name in _ONE_LENGTH for name in formats):  # that of the longest track
      decoded = max([decoded, *self._clock.ends.values()])
    short = declared is not None and declared - decoded > MAX_PADDING_SECONDS
    broken = endings.break_off(self._path, formats)
    words = f'the {self._stream.type} track declares {declared:.2f} s and holds {decoded:.2f} s' if short else ''
    if short and (broken or any(name in _LENGTH_HOLDS for name in formats)):
      raise DataError(f'{self._path}: {words}; the file was cut off: copy it again')
    # A length alone may have been written by a clock on the wall, or by the program that cut the rest away.
    self.notes += [words] if short else []
    self.notes += [f'the file breaks off: {broken}'] if broken else []


class _Clock:
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
      or (s.type in ('audio', 'video') and s.codec_context is not None and not _is_cover(container, s))
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
    if None not in (packet.pts, packet.dts) and (packet.dts - packet.pts) * packet.time_base > _RESTART_SECONDS:
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
      self.notes.append(f'a damaged timestamp at {at:.2f} s of the {_WORDS[packet.stream.type]}')
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
      self.ends[track] = max(self.ends.get(track, shown), shown + float((packet.duration or 0) * packet.time_base))
      if shift:
        ticks = round(shift / packet.time_base)
        packet.pts, packet.dts = (None if t is None else t + ticks for t in (packet.pts, packet.dts))
    return packet


def _time(packet, first='dts') -> float | None:
  """Seconds as the file has them: the decode time, or with 'pts' that of presentation; the other if it is absent."""
  times = (packet.dts, packet.pts) if first == 'dts' else (packet.pts, packet.dts)
  ticks = next((t for t in times if t is not None), None)
  return None if ticks is None else float(ticks * packet.time_base)


def _reorders(path, index) -> bool:
  """Whether the times of a track's first pictures go back in the order in which they are shown."""
  with open_media(path) as container:
    if not container.streams[index].codec_context.has_b_frames:
      return False
    newest = None
    try:
      for packet in itertools.islice(container.demux(container.streams[index]), _LOOK_AHEAD):
        for frame in packet.decode():
          if newest is not None and frame.pts is not None and frame.pts < newest:
            return True
          newest = frame.pts if frame.pts is not None else newest
    except (av.error.FFmpegError, ValueError, IndexError):
      return False  # the reader will say so
  return False


def origin(container) -> float:
  """Where the container starts, in its own seconds; every track of the file is placed against this."""
  starts = {
    s.type: float(s.start_time * s.time_base)
    for s in reversed(container.streams)
    if s.type in ('audio', 'video') and s.start_time is not None and not _is_cover(container, s)
  }
  if not starts:
    return 0.0
  if 'video' in starts:
    starts['video'] -= _late(container)
  # Encoders let the sound lead the picture by the priming of the codec. Were that taken for the start, every frame
  # would be shown a part of a step late and the first step would have none. A lead of less than half a step moves no
  # frame to another step, so no sound is cut off for it. The steps are the paper's, whatever the grid: no codec primes
  # for longer.
  longest = PAPER.step_seconds
  if 'video' in starts and longest / 2 - 0.002 <= starts['video'] - min(starts.values()) < longest:
    return starts['video']
  return min(starts.values())


def _late(container) -> float:
  """Seconds by which the pictures of a copy from AVI come after their sound: one picture, or 0 for other files.

  AVI stores decode times alone. Programs that copy MPEG-4 or H.264 with B-frames out of it store them as
  presentation times, or derive those from them, with the first one picture after the start.
  """
  pictures, sounds = video_streams(container), container.streams.audio
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
  return late if codec == 'mpeg4' or _has_decode_times(*_file_of(container), stream.index) else 0.0


@functools.lru_cache(maxsize=8)
def _has_decode_times(path, size, time, index) -> bool:
  """Whether the times of a track are in the order of decoding, and its pictures are not."""
  with open_media(path) as container:
    try:
      ahead = itertools.islice(container.demux(container.streams[index]), _LOOK_AHEAD)
      times = [packet.pts for packet in ahead if packet.size]
    except (av.error.FFmpegError, ValueError, IndexError):
      return False  # the reader will say so
  return None not in times and times == sorted(times) and _reorders(path, index)


def declared_end(container, stream) -> float | None:
  """Where the container says a track ends, seconds since time zero; None where that is unknown or an estimate."""
  if not any(name in container.format.name.split(',') for name in _DECLARES_LENGTH):
    return None
  if stream.duration is not None:
    return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin(container)
  if container.duration is not None and (stream.type == 'video' or not container.streams.video):
    return container.duration / 1e6  # Matroska declares one length for all tracks
  return None


def _fault(error) -> str:
  """Why a packet cannot be read or decoded; an error without a code is −1, which PyAV takes for the system's EPERM."""
  return 'invalid data' if isinstance(error, PermissionError) else reason(error)


def reason(error) -> str:
  """An FFmpeg error in words."""
  return getattr(error, 'strerror', None) or str(error) or type(error).__name__
