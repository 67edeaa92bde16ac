"""One track of a file, packet by packet, as players read it."""

import heapq
import itertools

import av

from data_prep.core.errors import DataError
from data_prep.media import clock, containers, endings, joined

_LENGTH_HOLDS = ('mov', 'avi', 'flac')  # their declared length is exact: a shorter file was cut off, whole as it seems
_ONE_LENGTH = ('matroska', 'flv')  # formats that say one length for all tracks
MAX_LOST = 0.05  # share of a track's packets that cannot be decoded; more, and the file is refused
MAX_LOST_LEARNT = 0.01  # the same for a file that a network learns from, or is scored on
MAX_START_SECONDS = 600.0  # a track may start that long after the other
MAX_PADDING_SECONDS = 0.2  # codecs pad: a declared length may include that, and samples may go beyond it
_MAX_READ_FAILURES = 8  # in a row, of a file that cannot be read any further
MAX_REORDER = 17  # frames that wait for an earlier one, at most: H.264's limit and the frame itself


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

      track = tracks.Track(path, container, stream, max_lost=max_lost)
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
      container: from `containers.open_media`, not read yet.
      stream: of the container.
      max_lost: share of packets that may be lost, `MAX_LOST` or `MAX_LOST_LEARNT`.
    """
    self.notes: list[str] = []
    self.read = self.lost = 0
    self._why = None  # the first was lost
    self._path, self._container, self._stream, self._max_lost = path, container, stream, max_lost
    self._clock = clock.Clock(container, stream)

  def __iter__(self):
    """Yields (frame, seconds or None).

    Raises:
      DataError: too many packets are lost, or the file cannot be read to its end.
    """
    zero, time = clock.origin(self._container), 0.0
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
        time = time if pts is None else clock.seconds(pts, packet.stream) - zero
        yield frame, None if pts is None else time
    if self.lost:
      of_what = clock.WORDS[self._stream.type]
      words = f'{self.lost} of {self.read} packets of the {of_what} cannot be decoded ({self._why})'
      if self.lost > self._max_lost * self.read:
        raise DataError(f'{self._path}: {words}; at most {100 * self._max_lost:g} % are allowed: the file is damaged')
      self.notes.append(words)

  def _decoded(self):
    """Yields for every packet: it, its frames with their presentation times, and why it could not be decoded."""
    packets = self.packets()
    ahead = list(itertools.islice(packets, clock.LOOK_AHEAD)) if self._stream.type == 'video' else []
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
    if None in times or times != sorted(times) or not clock.reorders(self._path, self._stream.index):
      return None
    # Programs that copy from AVI write a time one picture later than the one of decoding.
    late = first.pts - round(clock.origin(self._container) / first.time_base)
    late = late if 0 < late <= (first.duration or 0) + 1 else 0  # Matroska rounds both to milliseconds
    return lambda packet: None if packet.pts is None else packet.pts - late

  def packets(self):
    """Yields the packets of the track, in the order of the file, on one clock.

    Raises:
      DataError: the file cannot be read to its end.
    """
    failures, packets = 0, self._container.demux(*self._clock.streams)
    late = clock.late_pictures(self._container) if self._stream.type == 'video' and not self._is_h264() else 0.0
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
            f'{self._path}: the {self._stream.type} track is damaged after {at:.2f} s ({_fault(e)}); copy it again'
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
    return max([clock.declared_end(self._container, self._stream) or 0.0, *others])

  def check_length(self, decoded: float) -> None:
    """Compares a length with what the container declares: a file that was cut off decodes without an error.

    Args:
      decoded: seconds, where the last frame ends.

    Raises:
      DataError: the file was cut off.
    """
    formats = self._container.format.name.split(',')
    if joined.is_followed(self._path, formats):
      raise DataError(
        f'{self._path}: several files joined byte by byte, which programs do not read to the end, or not rightly; join '
        'them by their times instead, or cut them apart'
      )
    declared = clock.declared_end(self._container, self._stream)
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


def _fault(error) -> str:
  """Why a packet cannot be read or decoded; an error without a code is −1, which PyAV takes for the system's EPERM."""
  return 'invalid data' if isinstance(error, PermissionError) else containers.reason(error)
