"""Small media files for tests, made with PyAV; no test of its own."""

from fractions import Fraction

import av
import numpy as np


def tone(seconds, rate, hertz=440.0, amplitude=0.5):
  """[N] float64."""
  return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def counted_frames(count, height=64, width=80):
  """Frames whose brightness tells their number: 10 + 2·i."""
  return [np.full((height, width, 3), 10 + 2 * i, np.uint8) for i in range(count)]


def write_clip(
  path,
  frames=(),
  times=None,
  sound=None,
  rate=44_100,
  sound_start=0.0,
  options=None,
  codec='ffv1',
  sound_codec='pcm_s16le',
):
  """Writes a clip; lossless unless told otherwise.

  Args:
    path: the container follows from its suffix.
    frames: uint8 [H, W, 3] each.
    times: seconds of each frame, multiples of a millisecond; default: 25 per second.
    sound: [N] or [channels, N] float in [−1, 1], or None.
    rate: of the sound, Hz.
    sound_start: seconds.
    options: of the container.
    codec, sound_codec: names.
  """
  times = [i * 0.04 for i in range(len(frames))] if times is None else times
  with av.open(str(path), 'w', options=options or {}) as container:
    packets = []
    if len(frames):
      video = container.add_stream(codec, rate=25)
      video.height, video.width = frames[0].shape[:2]
      video.pix_fmt = 'bgr0' if codec == 'ffv1' else 'yuv420p'
      video.codec_context.time_base = Fraction(1, 1000)
    if sound is not None:
      sound = np.atleast_2d(sound)
      audio = container.add_stream(sound_codec, rate=rate)
      audio.layout = 'stereo' if len(sound) == 2 else 'mono'
      for first in range(0, sound.shape[1], 1024):
        piece = np.ascontiguousarray(sound[:, first : first + 1024].astype(np.float32))
        frame = av.AudioFrame.from_ndarray(piece, format='fltp', layout=audio.layout.name)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = first + round(sound_start * rate)
        for ready in av.AudioResampler(format=audio.format.name).resample(frame):
          packets += audio.encode(ready)
      packets += audio.encode(None)
    for image, time in zip(frames, times):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
      packets += video.encode(frame)
    if len(frames):
      packets += video.encode(None)
    for packet in sorted(packets, key=lambda p: p.dts * p.time_base):
      container.mux(packet)
