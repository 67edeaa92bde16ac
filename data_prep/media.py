"""Sound and pictures of a recording, placed on the label grid by their timestamps.

Whatever the file's rates, step k (from 0) gets the sound of [k·40 ms, (k + 1)·40 ms) at 16 kHz and the frame that is
shown in the middle of that interval; so variable frame rates and tracks that start apart need no special case, and
rounded timestamps (39.999 ms) cannot move a frame to its neighbour's step.

Time zero is where the container starts. Files are opened by a whitelist of formats and protocols: a playlist that
calls itself `.mp4` would otherwise make the decoder open any other file of the machine.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator

import av
import numpy as np
import soxr

from data_prep.errors import DataError
from data_prep.records import SAMPLE_RATE, STEP_SECONDS

FORMATS = ('mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,'
           'wav,w64,aiff,caf,flac,ogg,mp3,aac')
_DECLARES_LENGTH = ('mov', 'matroska', 'avi', 'flac')  # elsewhere the declared length is itself an estimate
MAX_PIXELS = 4096 * 4096
MAX_HOLE_SECONDS = 10.0  # a longer hole between two frames is damage, not a variable frame rate
MAX_START_SECONDS = 600.0  # a track may start that long after the other
LENGTH_SLACK_SECONDS = 0.002  # timestamps are rounded to milliseconds in some containers: no step begins for that


@dataclasses.dataclass(frozen=True)
class Audio:
  """A recording's sound.

  Attributes:
    samples: [N] int16, 16 kHz mono from time zero; zeros before `start` and in holes.
    start, end: seconds, where the sound begins and ends.
  """

  samples: np.ndarray
  start: float
  end: float


def num_steps(seconds: float) -> int:
  """Steps begun within `seconds`; the last may be short."""
  return max(0, math.ceil((seconds - LENGTH_SLACK_SECONDS) / STEP_SECONDS))


def has_audio(path) -> bool:
  """Whether the file carries a sound track."""
  with _open(path) as container:
    return bool(container.streams.audio)


def read_audio(path) -> Audio:
  """Decodes the first sound track to 16 kHz mono (mean of the channels), whatever its rate and sample format.

  Raises:
    DataError: not readable, cut off, no sound track, NaN or Inf, or samples far outside [−1, 1].
  """
  with _open(path) as container:
    if not container.streams.audio:
      raise DataError(f'{path}: no sound track in it; expected one (leave the audio column empty for a silent '
                      'recording)')
    stream = container.streams.audio[0]
    if stream.codec_context is None:
      raise DataError(f'{path}: the sound track has an unknown codec; convert it, to wav for instance')
    _check_wav_length(path)
    rate, cursor, pieces, resampler, start = None, 0, [], None, None
    for frame, time in _decode(path, container, stream):
      mono = _mono(path, frame)
      if rate is None:
        rate = frame.sample_rate
        resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype='float32', quality='HQ')
      elif frame.sample_rate != rate:
        raise DataError(f'{path}: the sample rate changes from {rate} to {frame.sample_rate} Hz on the way')
      position = cursor if time is None else round(time * rate)
      if start is None:
        start = max(0.0, position / rate)
        mono = mono[max(0, -position):]  # a codec's priming samples lie before time zero
      offset = max(0, position) - cursor
      if not -STEP_SECONDS <= offset / rate <= (MAX_HOLE_SECONDS if cursor else MAX_START_SECONDS):
        raise DataError(f'{path}: the sound jumps from {cursor / rate:.2f} s to {position / rate:.2f} s; '
                        'the file is damaged')
      # Containers round timestamps, so only offsets above half a step are holes; the start is always exact.
      if offset > 0 and (not cursor or offset > STEP_SECONDS / 2 * rate):
        pieces.append(resampler.resample_chunk(np.zeros(offset, np.float32)))
        cursor += offset
      pieces.append(resampler.resample_chunk(mono))
      cursor += len(mono)
    if not cursor:
      raise DataError(f'{path}: the sound track holds no samples')
    _check_declared_length(path, container, stream, cursor / rate)
    pieces.append(resampler.resample_chunk(np.zeros(0, np.float32), last=True))
    end = min(cursor / rate, _declared_end(container, stream) or math.inf)  # codecs pad the last frame
  scaled = np.concatenate(pieces)[:round(end * SAMPLE_RATE)] * 32768.0
  np.clip(np.rint(scaled, out=scaled), -32768, 32767, out=scaled)
  return Audio(samples=scaled.astype(np.int16), start=start, end=end)


class Video:
  """The frames of a file on the label grid; iterate once.

  Frames stream: memory does not grow with the length of the video.

  Attributes:
    fps: the mean frame rate, once iterated.
    end: seconds, where the last frame's showing ends, once iterated.
  """

  def __init__(self, path):
    self.path = path
    self.fps = 0.0
    self.end = 0.0

  def __iter__(self) -> Iterator[np.ndarray | None]:
    """Yields one RGB uint8 [H, W, 3] (or None before the first frame) per step that the video reaches.

    The same array object is yielded again while the same frame is shown.

    Raises:
      DataError: not readable, cut off, no video track, larger than 4096², or a hole of over ten seconds.
    """
    step, shown, count, first = 0, None, 0, None
    with _open(self.path) as container:
      stream = _video_stream(self.path, container)
      stream.codec_context.thread_count = 1  # preparation runs one process per core
      stream.codec_context.options = {'max_pixels': str(MAX_PIXELS)}
      duration = float(1 / stream.average_rate) if stream.average_rate else STEP_SECONDS
      for frame, time in _decode(self.path, container, stream):
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
      _check_declared_length(self.path, container, stream, self.end)
    self.fps = count / max(self.end - first, duration)
    for _ in range(step, num_steps(self.end)):
      yield shown


def _open(path):
  path = pathlib.Path(path)
  if not path.is_file():
    raise DataError(f'{path}: not found')
  if not path.stat().st_size:
    raise DataError(f'{path}: an empty file')
  try:
    return av.open(f'file:{path}', metadata_errors='ignore',
                   options={'format_whitelist': FORMATS, 'protocol_whitelist': 'file'})
  except (av.error.FFmpegError, ValueError) as e:
    raise DataError(f'{path}: not readable as audio or video ({_reason(e)}); a damaged file, or none of the formats '
                    f'{FORMATS.replace(",", " ")}') from None


def _video_stream(path, container):
  streams = [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
  if not streams:
    raise DataError(f'{path}: no video track in it; expected one')
  if streams[0].codec_context is None:
    raise DataError(f'{path}: the video track has an unknown codec; convert it, to mp4 for instance')
  width, height = streams[0].codec_context.width, streams[0].codec_context.height
  if width * height > MAX_PIXELS or width * height == 0:
    raise DataError(f'{path}: frames of {width}×{height}; expected at least one pixel and at most 4096²')
  return streams[0]


def _decode(path, container, stream):
  """Yields (frame, seconds since time zero or None)."""
  origin = _origin(container)
  time = None
  try:
    for frame in container.decode(stream):
      time = None if frame.pts is None else float(frame.pts * frame.time_base) - origin
      yield frame, time
  except (av.error.FFmpegError, ValueError) as e:
    raise DataError(f'{path}: the {stream.type} track is damaged after {time or 0:.2f} s ({_reason(e)})') from None


def _origin(container) -> float:
  """Where the container starts, in its own seconds; every track of the file is placed against this."""
  starts = {s.type: float(s.start_time * s.time_base)
            for s in reversed(container.streams) if s.type in ('audio', 'video') and s.start_time is not None}
  if not starts:
    return 0.0
  # Encoders let the sound lead the picture by the priming of the codec. Were that taken for the start, every frame
  # would be shown a part of a step late and the first step would have none.
  if 'video' in starts and abs(starts['video'] - min(starts.values())) < STEP_SECONDS:
    return starts['video']
  return min(starts.values())


def _mono(path, frame) -> np.ndarray:
  """One decoded piece as float32 [N] in [−1, 1]."""
  samples = frame.to_ndarray()
  if not frame.format.is_planar:
    samples = samples.reshape(-1, frame.layout.nb_channels).T
  if samples.dtype == np.uint8:
    samples = (samples.astype(np.float32) - 128) / 128
  elif samples.dtype.kind == 'i':
    samples = samples * np.float32(1 / 2**(8 * samples.dtype.itemsize - 1))
  mono = samples.mean(axis=0, dtype=np.float64).astype(np.float32)
  if not np.isfinite(mono).all():
    raise DataError(f'{path}: NaN or Inf among the samples; expected finite sound')
  peak = np.abs(mono).max(initial=0)
  if peak > 16:
    raise DataError(f'{path}: float samples of up to {peak:.0f}; expected them within [−1, 1]: divide by full scale')
  return mono


def _rgb(path, frame) -> np.ndarray:
  try:
    image = frame.to_ndarray(format='rgb24')
  except (av.error.FFmpegError, ValueError) as e:
    raise DataError(f'{path}: a frame of format {frame.format.name} cannot be shown ({_reason(e)})') from None
  quarter_turns = round(frame.rotation / 90) % 4  # telephones store how they were held
  return np.ascontiguousarray(np.rot90(image, quarter_turns)) if quarter_turns else image


def _declared_end(container, stream) -> float | None:
  """Where the container says a track ends, seconds since time zero; None where that is unknown or an estimate."""
  if not any(name in container.format.name.split(',') for name in _DECLARES_LENGTH):
    return None
  if stream.duration is not None:
    return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - _origin(container)
  if container.duration is not None and (stream.type == 'video' or not container.streams.video):
    return container.duration / 1e6  # Matroska declares one length for all tracks
  return None


def _check_declared_length(path, container, stream, decoded: float) -> None:
  """A file that was cut off decodes without an error: its header still tells."""
  declared = _declared_end(container, stream)
  if declared is not None and declared - decoded > 5 * STEP_SECONDS:  # codecs may declare their padding
    raise DataError(f'{path}: the {stream.type} track declares {declared:.2f} s and holds {decoded:.2f} s; '
                    'the file was cut off: copy it again')


def _check_wav_length(path) -> None:
  """FFmpeg takes a wav file's length from its size, so the header is asked here."""
  size = pathlib.Path(path).stat().st_size
  with open(path, 'rb') as f:
    head = f.read(8)
  declared = int.from_bytes(head[4:8], 'little') + 8
  # Programs that write to a pipe leave 0 or the largest number there: unknown.
  if head[:4] == b'RIFF' and size + 1 < declared < 0xFFFFFFFF - 0x1000:
    raise DataError(f'{path}: the header declares {declared} bytes and the file has {size}; it was cut off: '
                    'copy it again')


def _reason(error) -> str:
  return getattr(error, 'strerror', None) or str(error) or type(error).__name__
