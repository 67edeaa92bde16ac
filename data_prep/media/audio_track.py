"""The sound of a recording, mono and at the grid's rate, placed on the label grid by its timestamps.

Whatever the file's rate, step k (from 0) gets the sound of label interval k. Time zero is where the container starts.

A track is decoded twice: what is decided once for a whole recording (the channel, the gain, the clock) must be known
before its first sample is written, and memory must not grow with its length.
"""

import array
from collections.abc import Iterator
import dataclasses
import math

import av
import numpy as np
import soxr

from data_prep.core.errors import DataError
from data_prep.media import clock, containers, sound_clock, sound_levels, tracks, wav_header
from data_prep.media.clock import MAX_HOLE_SECONDS
from data_prep.media.tracks import MAX_START_SECONDS
from data_prep.schema.grid import Grid, PAPER

_ZEROS = 1 << 16  # of a hole at a time
_LONGEST_HOLE_SECONDS = 6 * 3600.0  # a longer one, or one that ends behind the file, is a damaged timestamp


@dataclasses.dataclass(frozen=True)
class Audio:
  """A recording's sound.

  Attributes:
    samples: [N] int16, mono at the grid's rate, from time zero, times `gain`; zeros before `start` and in holes.
    start, end: seconds, where the sound begins and ends.
    gain: a power of two; 1 unless the sound is very quiet or above full scale, see `sound_levels.gain`.
    notes: what a person should know of the file.
  """

  samples: np.ndarray
  start: float
  end: float
  gain: float
  notes: list[str]


def has_audio(path) -> bool:
  """Whether the file carries a sound track."""
  with containers.open_media(path) as container:
    return bool(container.streams.audio)


def read_audio(path, grid: Grid = PAPER, *, channel: int | None = None, max_lost: float = tracks.MAX_LOST) -> Audio:
  """Decodes a whole sound track into memory; see `Sound`."""
  sound = Sound(path, grid, channel=channel, max_lost=max_lost)
  samples = np.concatenate(list(sound))
  return Audio(samples=samples, start=sound.start, end=sound.end, gain=sound.gain, notes=sound.notes)


class Sound:
  """The sound of a file, mono and at the grid's rate, whatever its own rate and format; iterate once.

  Of several tracks the default one is taken, as players do, unless it is digital silence and another is not. Of several
  channels the mean is taken, or the loudest where the mean is far below it.

  Pieces stream: memory does not grow with the length of the sound, but for a timestamp of each packet.

  Attributes:
    rate: of the pieces, Hz.
    start, end: seconds, where the sound begins and ends, once iterated.
    gain: of the samples, a power of two, once iterated.
    notes: what a person should know of the file, once iterated.
  """

  def __init__(self, path, grid: Grid = PAPER, *, channel: int | None = None, max_lost: float = tracks.MAX_LOST):
    """
    Args:
      path: of the file.
      grid: whose sample rate the sound gets.
      channel: which one to take, from 1; None: see above.
      max_lost: share of packets that may be lost, `tracks.MAX_LOST` or `MAX_LOST_LEARNT`.
    """
    self.path = path
    self.rate = grid.sample_rate
    self.start = 0.0
    self.end = 0.0
    self.gain = 1.0
    self.notes: list[str] = []
    self._channel = channel
    self._max_lost = max_lost

  def __iter__(self) -> Iterator[np.ndarray]:
    """Yields int16 [n] pieces from time zero on; zeros before `start` and in holes.

    Raises:
      DataError: not readable, cut off, no sound track or no such channel, NaN or Inf, or samples far outside [−1, 1].
    """
    survey = self._choose()
    rate = survey.rate
    self.start = max(0, survey.pieces[0].place) / rate
    self.end = min(survey.end / rate, survey.declared or math.inf)
    self.gain = sound_levels.gain(survey.peak)
    self.notes += survey.notes
    resampler = soxr.ResampleStream(rate, self.rate, 1, dtype='float32', quality='HQ')
    written = 0

    def resampled(samples, end, last=False):
      nonlocal written
      room = None if end is None else max(0, round(end * self.rate) - written)
      piece = to_int16(resampler.resample_chunk(samples, last=last), self.gain)[:room]
      written += len(piece)
      return piece

    for samples in self._placed(survey):
      yield resampled(samples, survey.declared)
    yield resampled(np.zeros(0, np.float32), self.end, last=True)

  def _choose(self) -> '_Survey':
    """Surveys the track that is used."""
    with containers.open_media(self.path) as container:
      wav_header.check(self.path)
      tracks = list(container.streams.audio)
      if not tracks:
        raise DataError(
          f'{self.path}: no sound track in it; expected one (leave the audio column empty for a silent recording)'
        )
      known = [track for track in tracks if track.codec_context is not None]
      if not known:
        raise DataError(f'{self.path}: the sound track has an unknown codec; convert it, to wav for instance')
      names = {track.index: _name(number, track) for number, track in enumerate(tracks, 1)}
      default = [track for track in known if track.disposition & av.stream.Disposition.default] or known
      order = [track.index for track in (default[0], *(t for t in known if t is not default[0]))]
    chosen = survey = self._survey(order[0])
    silent = order[:1] if survey.peak < sound_levels.SILENT else []
    for index in order[1:] if silent else ():
      try:
        survey = self._survey(index)
      except DataError:
        continue
      if survey.peak >= sound_levels.SILENT:
        chosen = survey
        break
    if len(names) > 1:
      others = ', '.join(name for index, name in names.items() if index != chosen.track)
      why = f'; track {names[order[0]]} is digital silence' if chosen.track != order[0] else ''
      chosen.notes.append(f'sound track {names[chosen.track]} of {len(names)} is used{why}; not used: {others}')
    return chosen

  def _survey(self, index) -> '_Survey':
    """Decodes a track for what must be known of the whole of it."""
    path, rate, count = self.path, None, 0
    levels: dict[int, sound_levels.Levels] = {}
    firsts, times = array.array('q'), array.array('d')
    with containers.open_media(path) as container:
      track = tracks.Track(path, container, container.streams[index], max_lost=self._max_lost)
      for frame, time in track:
        if rate is None:
          rate = frame.sample_rate
        elif frame.sample_rate != rate:
          raise DataError(
            f'{path}: the sample rate changes from {rate} to {frame.sample_rate} Hz on the way; convert it to one rate'
          )
        samples = channels_of(path, frame)
        if self._channel is not None and self._channel > len(samples):
          raise DataError(
            f'{path}: no channel {self._channel} in the sound, which has {len(samples)}; give another '
            '--channel, or none for the mean of all'
          )
        levels.setdefault(len(samples), sound_levels.Levels(len(samples))).add(samples, mono(samples, None))
        firsts.append(count)
        times.append(math.nan if time is None else time)
        count += samples.shape[1]
      if rate is None or not count:
        raise DataError(f'{path}: the sound track holds no samples')
      longest = min(container.duration / 1e6 if container.duration else math.inf, _LONGEST_HOLE_SECONDS)
      pieces, end, notes = sound_clock.pieces(
        path, rate, np.array(firsts), np.array(times), count, max(longest, MAX_HOLE_SECONDS)
      )
      if pieces[0].place > MAX_START_SECONDS * rate:
        raise DataError(f'{path}: the sound jumps from 0.00 s to {pieces[0].place / rate:.2f} s; the file is damaged')
      if end <= 0:
        raise DataError(f'{path}: the sound track holds no samples')
      track.check_length(end / rate)
      declared = clock.declared_end(container, container.streams[index])
      if declared is not None and not 0 < declared >= end / rate - tracks.MAX_PADDING_SECONDS:
        declared = None  # no codec pads so much: the number is wrong
      channels = {}
      for number, of in levels.items():
        channels[number] = None if self._channel is None else self._channel - 1
        if self._channel is not None:
          notes.append(f'channel {self._channel} of {number} is used, as was asked for')
        found = of.channel() if self._channel is None else None
        if found is not None:
          channels[number], why = found
          notes.append(f'channel {found[0] + 1} of {number} is used: {why}')
      peak = max(of.peak(channels[number]) for number, of in levels.items())
      if peak > sound_levels.MOST:
        raise DataError(
          f'{path}: float samples of up to {peak:.0f}; expected them within [−1, 1]: divide by full scale'
        )
      gain = sound_levels.gain(peak)
      if gain != 1:
        notes.append(f'the sound peaks at {20 * math.log10(peak):+.0f} dB of full scale: stored times {gain:g}')
      return _Survey(
        track=index,
        rate=rate,
        pieces=pieces,
        end=end,
        channels=channels,
        peak=peak,
        declared=declared,
        notes=notes + track.notes,
      )

  def _placed(self, survey) -> Iterator[np.ndarray]:
    """Yields float32 [n] at the file's rate, from time zero on."""
    cursor, skip, stretch = 0, 0, None

    def cut(samples):
      nonlocal cursor, skip
      dropped, samples = samples[:skip], samples[skip:]
      skip -= len(dropped)
      cursor += len(samples)
      return samples

    with containers.open_media(self.path) as container:
      track = tracks.Track(self.path, container, container.streams[survey.track], max_lost=self._max_lost)
      for number, (frame, _) in enumerate(track):
        samples = channels_of(self.path, frame)
        samples = mono(samples, survey.channels[len(samples)])
        piece = survey.pieces.get(number)
        if piece is not None:
          if stretch is not None:
            yield cut(stretch(samples[:0], last=True))
          skip = 0
          while cursor < piece.place:
            yield cut(np.zeros(min(_ZEROS, piece.place - cursor), np.float32))
          skip = cursor - piece.place  # before time zero lie a codec's priming samples, or a lead of the sound
          stretch = None if piece.knots is None else sound_clock.Stretch(piece.knots)
        yield cut(samples if stretch is None else stretch(samples))
      if stretch is not None:
        yield cut(stretch(samples[:0], last=True))


@dataclasses.dataclass(frozen=True)
class _Survey:
  """What must be known of a track before its first sample is written.

  Attributes:
    track: its index in the file.
    rate: Hz.
    pieces, end: of `sound_clock.pieces`.
    channels: number of channels -> the one to take, from 0, or None: the mean.
    peak: of what is taken; full scale is 1.
    declared: seconds, where the container says that the track ends: codecs pad the last frame; or None.
    notes: what a person should know.
  """

  track: int
  rate: int
  pieces: dict[int, sound_clock.Piece]
  end: int
  channels: dict[int, int | None]
  peak: float
  declared: float | None
  notes: list[str]


def _name(number, track) -> str:
  """A track as a person would call it."""
  words = [word for word in (track.metadata.get('language'), track.metadata.get('title')) if word and word != 'und']
  return f'{number}' + (f' ({", ".join(words)})' if words else '')


def channels_of(path, frame) -> np.ndarray:
  """One decoded piece as float32 [C, n] in [−1, 1], or float64 where the file has it."""
  samples = frame.to_ndarray()
  if not frame.format.is_planar:
    samples = samples.reshape(-1, frame.layout.nb_channels).T
  if samples.dtype == np.uint8:
    samples = (samples.astype(np.float32) - 128) / 128
  elif samples.dtype.kind == 'i':
    samples = samples * np.float32(1 / 2 ** (8 * samples.dtype.itemsize - 1))
  if not np.isfinite(samples).all():
    raise DataError(f'{path}: NaN or Inf among the samples; expected finite sound')
  return samples


def mono(samples, channel: int | None) -> np.ndarray:
  """float32 [n] of [C, n]: one channel, or the mean of all."""
  one = samples.mean(axis=0, dtype=np.float64) if channel is None else samples[channel]
  return one.astype(np.float32)


def to_int16(samples, gain: float) -> np.ndarray:
  """float32 in [−1, 1] · gain -> int16, overwriting its argument."""
  samples *= 32768.0 * gain
  np.clip(np.rint(samples, out=samples), -32768, 32767, out=samples)
  return samples.astype(np.int16)
