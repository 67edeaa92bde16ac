"""Media files as containers: opened by a whitelist, their tracks, their clock and what they say of their length.

Files are opened by a whitelist of formats and protocols: a playlist that calls itself `.mp4` would otherwise make the
decoder open any other file of the machine.
"""

import pathlib

import av

from data_prep.errors import DataError
from data_prep.records import STEP_SECONDS

FORMATS = ('mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,'
           'wav,w64,aiff,caf,flac,ogg,mp3,aac')
_DECLARES_LENGTH = ('mov', 'matroska', 'avi', 'flac')  # elsewhere the declared length is itself an estimate
MAX_PIXELS = 4096 * 4096
MAX_HOLE_SECONDS = 10.0  # a longer hole between two frames is damage, not a variable frame rate
MAX_START_SECONDS = 600.0  # a track may start that long after the other


def open_media(path):
  """An open `av` container; close it.

  Raises:
    DataError: absent, no regular file, empty, damaged, or none of `FORMATS`.
  """
  path = pathlib.Path(path)
  if not path.is_file():
    what = 'a folder' if path.is_dir() else 'no regular file' if path.exists() else 'not found'
    raise DataError(f'{path}: {what}; expected a video or sound file')
  if not path.stat().st_size:
    raise DataError(f'{path}: an empty file')
  try:
    return av.open(f'file:{path}', metadata_errors='ignore',
                   options={'format_whitelist': FORMATS, 'protocol_whitelist': 'file'})
  except (av.error.FFmpegError, ValueError) as e:
    raise DataError(f'{path}: not readable as audio or video ({reason(e)}); a damaged file, or none of the formats '
                    f'{FORMATS.replace(",", " ")}') from None


def video_streams(container) -> list:
  """The video tracks, without the cover picture of a sound file."""
  return [s for s in container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]


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


def decode(path, container, stream):
  """Yields (frame, seconds since time zero or None)."""
  zero = origin(container)
  time = None
  try:
    for frame in container.decode(stream):
      time = None if frame.pts is None else float(frame.pts * frame.time_base) - zero
      yield frame, time
  except (av.error.FFmpegError, ValueError) as e:
    raise DataError(f'{path}: the {stream.type} track is damaged after {time or 0:.2f} s ({reason(e)})') from None


def packets(path, container, stream):
  """Yields the packets of a track, in the order of the file."""
  try:
    yield from container.demux(stream)
  except (av.error.FFmpegError, ValueError) as e:
    raise DataError(f'{path}: the {stream.type} track is damaged ({reason(e)})') from None


def origin(container) -> float:
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


def declared_end(container, stream) -> float | None:
  """Where the container says a track ends, seconds since time zero; None where that is unknown or an estimate."""
  if not any(name in container.format.name.split(',') for name in _DECLARES_LENGTH):
    return None
  if stream.duration is not None:
    return float(((stream.start_time or 0) + stream.duration) * stream.time_base) - origin(container)
  if container.duration is not None and (stream.type == 'video' or not container.streams.video):
    return container.duration / 1e6  # Matroska declares one length for all tracks
  return None


def check_declared_length(path, container, stream, decoded: float) -> None:
  """A file that was cut off decodes without an error: its header still tells."""
  declared = declared_end(container, stream)
  if declared is not None and declared - decoded > 5 * STEP_SECONDS:  # codecs may declare their padding
    raise DataError(f'{path}: the {stream.type} track declares {declared:.2f} s and holds {decoded:.2f} s; '
                    'the file was cut off: copy it again')


def reason(error) -> str:
  """An FFmpeg error in words."""
  return getattr(error, 'strerror', None) or str(error) or type(error).__name__
