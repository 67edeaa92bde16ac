"""Acoustic features by openSMILE (Eyben et al. 2010), whose licence allows research only.

`egemaps` and `compare` are functionals over a window that ends at the step: 88 of eGeMAPSv02 (Eyben et al. 2016), 6373
of ComParE_2016 (Schuller et al. 2016). `egemaps_whole` and `compare_whole` are the same functionals over the whole
recording, which are those of openSMILE called on its samples. `egemaps_lld` and `compare_lld` are the low-level
descriptors, 25 and 65, each the mean of the frames that begin in the step.

Functionals of all windows come out of one pass over the recording: descriptors are computed once, and openSMILE's
`frameMode` cuts them. The tests hold them against the descriptors that openSMILE gives by itself. They are not the
functionals of the same samples alone: the descriptors at a window's edges see the sound around it, the levels have
numbers of frames of their own there, and jitter, shimmer, logHNR and the RASTA filter remember the sound before it
(`docs/features.md` has the numbers).
"""

import functools
from importlib import metadata
import pathlib
import tempfile

import numpy as np

from data_prep.core.errors import DataError, UserError
from data_prep.features import base

_FULL_SCALE = 32768
_FRAME_SECONDS = 0.05  # what the longest frame reaches past the 10 ms that it stands for
_FRAME_HOP = 0.01  # seconds


class _OfSound:
  """What the sets share.

  Attributes:
    feature_set: openSMILE's name of it.
  """

  stream = 'speech'
  defaults: base.Options = {}
  level: str

  def __init__(self, name: str, feature_set: str):
    self.name, self.feature_set = name, feature_set

  def version(self) -> str:
    """See `FeatureSet`; nothing is loaded, see `store`."""
    try:
      return f'opensmile {metadata.version("opensmile")}'
    except metadata.PackageNotFoundError:
      raise UserError(
        "acoustic features need openSMILE; install it with `pip install 'e2e_affect[features]'`: its licence allows "
        'research only'
      ) from None

  def columns(self, manifest, options) -> tuple[str, ...]:
    """See `FeatureSet`."""
    return tuple(_plain(self.feature_set, self.level).feature_names)

  def extract(self, fields, manifest, options) -> np.ndarray:
    """See `FeatureSet`."""
    steps = len(fields['valid'])
    if not np.any(fields['audio']):
      return np.full((steps, len(self.columns(manifest, options))), np.nan, np.float32)
    return self._of_steps(fields, steps, manifest.grid, options)

  def _of_steps(self, fields, steps, grid, options) -> np.ndarray:
    """[T, D] float32 of a recording with sound."""
    raise NotImplementedError

  def fit(self, train):
    """See `FeatureSet`."""
    return None


class Functionals(_OfSound):
  """Functionals over a window that ends at the step.

  Options: `window_seconds`; `hop_seconds` between two windows: a step takes the newest window that has ended, and
  before the first whole window the first one.
  """

  level = 'Functionals'

  def __init__(self, name: str, feature_set: str, hop_seconds: float):
    super().__init__(name, feature_set)
    self.defaults = {'window_seconds': 4.0, 'hop_seconds': hop_seconds}

  def _of_steps(self, fields, steps, grid, options):
    signal, rate = waveform(fields), grid.sample_rate
    window = min(options['window_seconds'], len(signal) / rate - 2 * _FRAME_SECONDS)
    if window <= 2 * _FRAME_SECONDS:
      raise _too_short(signal, rate)
    values = self.windows(signal, rate, window, options['hop_seconds'])
    rows = base.window_of_step(steps, grid, window, options['hop_seconds'], len(values), beyond=_FRAME_SECONDS)
    return values[rows]

  def windows(self, signal: np.ndarray, rate: int, window: float, hop: float) -> np.ndarray:
    """[N, D] float32 of every whole window: one begins every `hop` seconds."""
    with tempfile.TemporaryDirectory() as folder:
      cut = pathlib.Path(folder) / 'windows.conf.inc'
      cut.write_text(f'\nframeMode = fixed\nframeSize = {window}\nframeStep = {hop}\nframeCenterSpecial = left\n\n')
      smile = _smile(self.feature_set, self.level, frameModeFunctionalsConf=str(cut))
      return _finite(smile.process_signal(signal, rate).to_numpy(np.float32))


class WholeFunctionals(_OfSound):
  """Functionals over the whole recording, the same in every step."""

  level = 'Functionals'

  def _of_steps(self, fields, steps, grid, options):
    signal, rate = recorded(fields), grid.sample_rate
    if len(signal) <= 2 * _FRAME_SECONDS * rate:
      raise _too_short(signal, rate)
    values = _plain(self.feature_set, self.level).process_signal(signal, rate).to_numpy(np.float32)
    return np.repeat(_finite(values), steps, axis=0)


class Descriptors(_OfSound):
  """Low-level descriptors: the mean of the frames that begin in the step."""

  level = 'LowLevelDescriptors'

  def _of_steps(self, fields, steps, grid, options):
    values = _plain(self.feature_set, self.level).process_signal(waveform(fields), grid.sample_rate)
    frames = _finite(values.to_numpy(np.float64))
    of_frame = ((np.arange(len(frames)) * _FRAME_HOP + 1e-6) / grid.step_seconds).astype(int)
    kept = of_frame < steps
    total, count = np.zeros((steps, frames.shape[1])), np.zeros(steps)
    np.add.at(total, of_frame[kept], frames[kept])
    np.add.at(count, of_frame[kept], 1)
    # The frames at the end lack samples: the last steps take those of the last step that has one.
    filled = np.maximum.accumulate(np.where(count > 0, np.arange(steps), 0))
    return (total / np.maximum(count, 1)[:, None])[filled].astype(np.float32)


def waveform(fields) -> np.ndarray:
  """[N] float32 in [−1, 1] of a recording's sound, as loud as it was recorded."""
  samples = np.asarray(fields['audio']).reshape(-1) / (float(fields['audio_gain']) * _FULL_SCALE)
  return np.clip(samples, -1, 1 - 1 / _FULL_SCALE).astype(np.float32)  # openSMILE's int16 has no 1


def recorded(fields) -> np.ndarray:
  """[N] float32: the waveform without the silence behind the recording's last sample, which fills the last step.

  Records do not say N, but their mean and deviation are of the N samples alone: N is the sum of the squares over the
  mean square. To the sample in recordings of minutes; no sound is cut off, whatever the statistics say.
  """
  samples = np.asarray(fields['audio'], np.float64).reshape(-1)
  mean_square = float(fields['audio_std']) ** 2 + float(fields['audio_mean']) ** 2
  count = round(min((samples**2).sum() / max(mean_square, 1e-12), len(samples)))
  heard = int(np.flatnonzero(samples)[-1]) + 1
  return waveform(fields)[: max(count, heard)]


@functools.cache  # a worker needs it for every recording, and openSMILE takes its time to read a configuration
def _plain(feature_set, level):
  return _smile(feature_set, level)


def _smile(feature_set, level, **options):
  import opensmile  # in workers alone, see `store`

  return opensmile.Smile(
    getattr(opensmile.FeatureSet, feature_set), getattr(opensmile.FeatureLevel, level), options=options
  )


def _too_short(signal, rate):
  return DataError(f'{len(signal) / rate:.2f} s of sound: too short for openSMILE; leave the recording out')


def _finite(values):
  """openSMILE gives NaN and Inf for some ratios of silence: 0 there."""
  return np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
