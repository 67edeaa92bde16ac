"""What a browser plays beside the traces: the clip itself where it can, else a small copy that every browser plays."""

import fractions
import mimetypes
import os
import pathlib
import shutil

import av
import numpy as np

from data_prep.media import containers, video_track
from data_prep.schema.grid import Grid, PAPER

MAX_SIDE = 640  # pixels of the copy
_QUALITY = {'preset': 'veryfast', 'crf': '27'}
_VIDEO = {'mov': (('h264',), ('aac', 'mp3', 'mp3float'), '.mp4'), 'webm': (('vp8', 'vp9'), ('opus', 'vorbis'), '.webm')}
_SOUND = {
  'wav': (('pcm_s16le', 'pcm_u8'), '.wav'),
  'mp3': (('mp3', 'mp3float'), '.mp3'),
  'flac': (('flac',), '.flac'),
  'ogg': (('vorbis', 'opus'), '.ogg'),
  'mov': (('aac',), '.m4a'),
}


def playable_as(path) -> str | None:
  """The suffix under which every usual browser plays this file as it is, or None."""
  with containers.open_media(path) as container:
    formats = container.format.name.split(',')
    video, sound = containers.video_streams(container), container.streams.audio
    names = [stream.codec_context.name if stream.codec_context else '' for stream in [*video[:1], *sound[:1]]]
    # A browser's clock starts with the first track, ours where `clock.origin` says.
    starts = [float(s.start_time * s.time_base) for s in [*video, *sound] if s.start_time is not None and s.time_base]
    if not names or any(abs(start) > PAPER.step_seconds for start in starts):
      return None
    if len(sound) > 1 or (video and _is_mirrored(container, video[0])):
      return None  # browsers differ in which track they play, and in whether they mirror
    if not video:
      fits = [suffix for kind, (codecs, suffix) in _SOUND.items() if kind in formats and names[0] in codecs]
    else:
      if video[0].codec_context is None or video[0].codec_context.pix_fmt not in ('yuv420p', 'yuvj420p'):
        return None
      fits = [
        suffix
        for kind, (codecs, sounds, suffix) in _VIDEO.items()
        if kind in formats and names[0] in codecs and all(name in sounds for name in names[1:])
      ]
    if 'webm' in formats and pathlib.Path(path).suffix.lower() != '.webm':
      return None  # Matroska at large
    return fits[0] if fits else None


def mime_type(name: str) -> str:
  """Of a file that plays, by its suffix; systems differ in which they know."""
  ours = {'.m4a': 'audio/mp4', '.flac': 'audio/flac', '.webm': 'video/webm', '.wav': 'audio/x-wav'}
  return ours.get(pathlib.PurePath(name).suffix) or mimetypes.guess_type(name)[0] or 'application/octet-stream'


def _is_mirrored(container, stream) -> bool:
  """Whether the first frame's display matrix mirrors, as front cameras' do; browsers turn, and some mirror."""
  try:
    frame = next(container.decode(stream), None)
  except (av.error.FFmpegError, ValueError, IndexError):  # to be refused by whoever reads it whole
    return False
  if frame is None:
    return False
  a, b, c, d = video_track.display_matrix(frame)
  return a * d - b * c < 0


def link(source, target) -> None:
  """Puts a file at another place, without a second copy where the file system can.

  Raises:
    OSError: it cannot be written, or the source not be read.
  """
  source, target = pathlib.Path(source).resolve(), pathlib.Path(target)
  temporary = target.with_name(f'{target.name}.{os.getpid()}.tmp')
  target.parent.mkdir(parents=True, exist_ok=True)
  try:
    os.link(source, temporary)
  except OSError:  # another file system
    shutil.copyfile(source, temporary)
  target.unlink(missing_ok=True)  # renaming one of two links of a file over the other would do nothing
  temporary.replace(target)


class Copy:
  """Writes a small copy: call it with every frame on the label grid, then `finish` it with the sound."""

  def __init__(self, spool: pathlib.Path, grid: Grid = PAPER):
    """
    Args:
      spool: folder for the pictures until the sound is there.
      grid: of the frames and the sound.
    """
    self._grid = grid
    self._path = spool / 'pictures.mp4'
    self._container = self._stream = None
    self._blank = 0  # steps before the first picture

  def __call__(self, frame: np.ndarray | None) -> None:
    """Takes uint8 [H, W, 3] RGB, or None where nothing is shown yet."""
    if frame is None:
      self._blank += 1
      return
    if self._container is None:
      self._start(frame)
    self._encode(frame)

  @property
  def suffix(self) -> str:
    """'.mp4' with pictures and '.m4a' without."""
    return '.mp4' if self._container else '.m4a'

  def finish(self, samples: np.ndarray | None, target: pathlib.Path) -> pathlib.Path:
    """Writes pictures and sound together.

    Args:
      samples: [N] int16, mono at the grid's rate, or None.
      target: the file, without suffix.

    Returns:
      The file, with `suffix`.

    Raises:
      OSError, av.error.FFmpegError: it cannot be written.
    """
    target = target.with_name(target.name + self.suffix)
    temporary = target.with_name(f'{target.name}.{os.getpid()}.tmp')
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
      with av.open(str(temporary), 'w', format='mp4') as out:
        self._mux(out, samples)
      temporary.replace(target)
    finally:
      temporary.unlink(missing_ok=True)
    return target

  def _start(self, frame):
    height, width = frame.shape[:2]
    scale = min(1.0, MAX_SIDE / max(height, width))
    self._container = av.open(str(self._path), 'w')
    every = {'g': str(max(1, round(self._grid.steps_per_second)))}  # a key frame a second: seeking is quick
    self._stream = self._container.add_stream('libx264', rate=1 / self._grid.step, options=_QUALITY | every)
    self._stream.width, self._stream.height = (max(2, round(side * scale / 2) * 2) for side in (width, height))
    self._stream.pix_fmt = 'yuv420p'
    for _ in range(self._blank):
      self._encode(np.zeros_like(frame))

  def _encode(self, frame):
    picture = av.VideoFrame.from_ndarray(frame, format='rgb24')
    picture = picture.reformat(self._stream.width, self._stream.height, 'yuv420p', interpolation='AREA')
    self._container.mux(self._stream.encode(picture))

  def _mux(self, out, samples):
    pictures, sound, rate = None, None, self._grid.sample_rate
    if self._container:
      self._container.mux(self._stream.encode(None))
      self._container.close()
      pictures = av.open(str(self._path))
      stream = out.add_stream_from_template(pictures.streams.video[0])
    if samples is not None:
      sound = out.add_stream('aac', rate=rate, layout='mono')
      sound.bit_rate = 64_000
    done = 0

    def sound_until(seconds):
      nonlocal done
      while sound is not None and done < min(len(samples), seconds * rate):
        piece = np.ascontiguousarray(samples[done : done + rate])[None]
        frame = av.AudioFrame.from_ndarray(piece, format='s16', layout='mono')
        frame.sample_rate, frame.pts = rate, done
        frame.time_base = fractions.Fraction(1, rate)
        out.mux(sound.encode(frame))
        done += piece.shape[1]

    if pictures:
      for packet in pictures.demux(pictures.streams.video[0]):
        if packet.dts is not None:
          sound_until(float(packet.dts * packet.time_base))
          packet.stream = stream
          out.mux(packet)
      pictures.close()
    if sound is not None:
      sound_until(len(samples) / rate)
      out.mux(sound.encode(None))
