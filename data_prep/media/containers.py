"""Media files as containers: which are opened, and which of their tracks are sound and picture.

Files are opened by a whitelist of formats and protocols: a playlist that calls itself `.mp4` would otherwise make the
decoder open any other file of the machine.
"""

import functools
import itertools
import os
import pathlib

import av

from data_prep.core.errors import DataError
from data_prep.media import endings

FORMATS = (
  'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,'
  'wav,w64,aiff,caf,flac,ogg,mp3,aac,au,wv,ac3,eac3,dts,dv,amr,tta,ape,mxf,m4v,h264,hevc,ivf'
)
MAX_PIXELS = 4096 * 4096
# Bytes in which FFmpeg looks for DTS that hides in PCM; it decodes 5 MB otherwise, 14 ms of every opening.
_WAVE_PROBE = str(1 << 16)
_STILLS = ('mjpeg', 'png', 'bmp', 'gif', 'tiff', 'webp')  # codecs of single pictures


def open_media(path):
  """An open `av` container; close it.

  Raises:
    DataError: absent, no regular file, empty, damaged, or none of `FORMATS`.
  """
  path = pathlib.Path(path)
  try:
    is_file = path.is_file()
    if is_file:
      with path.open('rb') as file:
        head = file.read(12)
  except OSError as e:  # it may not be read, its folder may not be entered, a drive is away
    raise DataError(f'{path}: cannot be opened ({e.strerror}); expected a video or sound file') from None
  if not is_file:
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
    raise DataError(f'{path}: an empty file; copy it again')
  options = {'format_whitelist': FORMATS, 'protocol_whitelist': 'file'}
  if head[8:] == b'WAVE':
    options['probesize'] = _WAVE_PROBE
  try:
    container = av.open(_address(path), metadata_errors='ignore', options=options)
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
  return [s for s in container.streams.video if not is_cover(container, s)]


def is_cover(container, stream) -> bool:
  """Whether a track is a cover: the container says so, or it is a single still picture beside sound."""
  if stream.disposition & av.stream.Disposition.attached_pic:
    return True
  return (
    stream.type == 'video'
    and bool(container.streams.audio)
    and stream.codec_context is not None
    and stream.codec_context.name in _STILLS
    and (stream.frames == 1 or _is_single(*file_of(container), stream.index))
  )


def file_of(container) -> tuple[str, int, int]:
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


def reason(error) -> str:
  """An FFmpeg error in words."""
  return getattr(error, 'strerror', None) or str(error) or type(error).__name__
