"""The sound of a recording at 16 kHz mono, placed on the label grid by its timestamps.

Whatever the file's rate, step k (from 0) gets the sound of [k·40 ms, (k + 1)·40 ms). Time zero is where the container
starts.
"""

import dataclasses
import math
import pathlib
from collections.abc import Iterator

import numpy as np
import soxr

from data_prep import containers
from data_prep.containers import MAX_HOLE_SECONDS, MAX_START_SECONDS
from data_prep.errors import DataError
from data_prep.records import SAMPLE_RATE, STEP_SECONDS


@dataclasses.dataclass(frozen=True)
class Audio:
  """A recording's sound.

  Attributes:
    samples: [N] int16, 16 kHz mono from time zero; zeros before `start` and in holes.
    start, end: seconds, where the sound begins and ends.
    notes: what a person should know of the file.
  """

  samples: np.ndarray
  start: float
  end: float
  notes: list[str]


def has_audio(path) -> bool:
  """Whether the file carries a sound track."""
  with containers.open_media(path) as container:
    return bool(container.streams.audio)


def read_audio(path, *, max_lost: float = containers.MAX_LOST) -> Audio:
  """Decodes a whole sound track into memory; see `Sound`."""
  sound = Sound(path, max_lost=max_lost)
  samples = np.concatenate(list(sound))
  return Audio(samples=samples, start=sound.start, end=sound.end, notes=sound.notes)


class Sound:
  """The first sound track of a file at 16 kHz mono (mean of the channels), whatever its rate and format; iterate once.

  Pieces stream: memory does not grow with the length of the sound.

  Attributes:
    start, end: seconds, where the sound begins and ends, once iterated.
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
    self.start = 0.0
    self.end = 0.0

  def __iter__(self) -> Iterator[np.ndarray]:
    """Yields int16 [n] pieces from time zero on; zeros before `start` and in holes.

    Raises:
      DataError: not readable, cut off, no sound track, NaN or Inf, or samples far outside [−1, 1].
    """
    path = self.path
    with containers.open_media(path) as container:
      if not container.streams.audio:
        raise DataError(f'{path}: no sound track in it; expected one (leave the audio column empty for a silent '
                        'recording)')
      stream = container.streams.audio[0]
      if stream.codec_context is None:
        raise DataError(f'{path}: the sound track has an unknown codec; convert it, to wav for instance')
      _check_wav_length(path)
      declared = containers.declared_end(container, stream) or None  # codecs pad the last frame
      rate, cursor, written, resampler, start = None, 0, 0, None, None

      def resampled(samples, end, last=False):
        nonlocal written
        room = None if end is None else max(0, round(end * SAMPLE_RATE) - written)
        piece = _int16(resampler.resample_chunk(samples, last=last))[:room]
        written += len(piece)
        return piece

      track = containers.Track(path, container, stream, max_lost=self._max_lost)
      for frame, time in track:
        mono = _mono(path, frame)
        if rate is None:
          rate = frame.sample_rate
          resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype='float32', quality='HQ')
        elif frame.sample_rate != rate:
          raise DataError(f'{path}: the sample rate changes from {rate} to {frame.sample_rate} Hz on the way')
        position = cursor if time is None else round(time * rate)
        if start is None:
          start = self.start = max(0.0, position / rate)
          mono = mono[max(0, -position):]  # a codec's priming samples lie before time zero
        offset = max(0, position) - cursor
        if not -STEP_SECONDS <= offset / rate <= (MAX_HOLE_SECONDS if cursor else MAX_START_SECONDS):
          raise DataError(f'{path}: the sound jumps from {cursor / rate:.2f} s to {position / rate:.2f} s; '
                          'the file is damaged')
        # Containers round timestamps, so only offsets above half a step are holes; the start is always exact.
        if offset > 0 and (not cursor or offset > STEP_SECONDS / 2 * rate):
          yield resampled(np.zeros(offset, np.float32), declared)
          cursor += offset
        yield resampled(mono, declared)
        cursor += len(mono)
      if not cursor:
        raise DataError(f'{path}: the sound track holds no samples')
      track.check_length(cursor / rate)
      self.notes += track.notes
      self.end = min(cursor / rate, declared or math.inf)
      yield resampled(np.zeros(0, np.float32), self.end, last=True)


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


def _int16(samples) -> np.ndarray:
  """float32 in [−1, 1] -> int16, overwriting its argument."""
  samples *= 32768.0
  np.clip(np.rint(samples, out=samples), -32768, 32767, out=samples)
  return samples.astype(np.int16)


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
