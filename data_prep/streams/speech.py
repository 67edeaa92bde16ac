"""The sound of a recording."""

from collections.abc import Mapping
import math
from typing import Any

import numpy as np

from data_prep.corpora.recording import Recording
from data_prep.corpora.settings import Settings
from data_prep.media import audio_track, tracks
from data_prep.schema.fields import Field
from data_prep.schema.grid import Grid


class Speech:
  """The waveform, mono, as it was recorded; mean and deviation, by which the device normalises it, beside it."""

  name = 'speech'
  word = 'sound'
  absent = 'no sound: silence'
  ends_early = False

  def fields(self, grid: Grid, options: Mapping[str, Any]) -> tuple[Field, ...]:
    """See `Stream`.

    `audio_gain` is a power of two, by which a very quiet or hot sound was brought into the range of int16. Mean and
    deviation are those of the whole recording's samples as they are stored.
    """
    return (
      Field('audio', (grid.samples_per_step,), 'int16'),
      Field('audio_mean', per='recording'),
      Field('audio_std', per='recording'),
      Field('audio_gain', per='recording', default=1.0),
    )

  def read(self, recording: Recording, settings: Settings) -> audio_track.Audio | None:
    """The sound file or, where there is none, the sound track of the video."""
    path = recording.video if recording.audio is None else recording.audio
    silent = recording.frames is not None or path is None  # pictures of a folder have no sound track
    if recording.audio is None and (silent or not audio_track.has_audio(path)):
      return None
    return audio_track.read_audio(path, settings.grid, channel=settings.channel, max_lost=tracks.MAX_LOST_LEARNT)

  def cut(
    self, recording: Recording, track: audio_track.Audio | None, seconds: float, settings: Settings
  ) -> dict[str, Any]:
    """See `Stream`: the samples up to `seconds`, silence after them."""
    grid = settings.grid
    samples = track.samples[: grid.samples(seconds)] if track is not None else np.zeros(1, np.int16)
    padded = np.zeros(grid.steps_begun(seconds) * grid.samples_per_step, np.int16)
    padded[: len(samples)] = samples
    mean, std = statistics(samples)
    return {
      'audio': padded.reshape(-1, grid.samples_per_step),
      'audio_mean': mean,
      'audio_std': std,
      'audio_gain': 1.0 if track is None else track.gain,
    }


def statistics(samples: np.ndarray) -> tuple[float, float]:
  """Mean and standard deviation of int16 [N], exact, in constant memory."""
  total = squares = 0
  for first in range(0, len(samples), 1 << 20):
    piece = samples[first : first + (1 << 20)].astype(np.int64)
    total += int(piece.sum())
    squares += int((piece * piece).sum())
  count = len(samples)
  return total / count, math.sqrt((count * squares - total * total) / count**2)


def loudness(std: float, gain: float) -> float:
  """Decibel below full scale, as a negative number, of the sound as it was recorded; NaN of digital silence.

  Args:
    std: of the samples as they are stored, int16 units.
    gain: that they were multiplied by before.
  """
  return 20 * math.log10(std / (32768 * gain)) if std > 0 else math.nan
