"""What sensors on the body of a recording measured: its heart (ECG) and its skin (EDA)."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from data_prep.core.errors import DataError
from data_prep.corpora.recording import Recording
from data_prep.corpora.settings import Settings
from data_prep.physiology import conditioning, signal_files
from data_prep.physiology.signal_files import Signal
from data_prep.schema.fields import Field
from data_prep.schema.grid import Grid

# Hz, about: a step has a whole number of samples. R waves last 40 ms; skin responses rise within a second.
_RATES = {'ecg': 250, 'eda': 25}


@dataclasses.dataclass(frozen=True)
class Sensors:
  """The signals of a recording; see `Track`.

  Attributes:
    start, end: seconds, of the first and the last sample of any.
    notes: what a person should know.
    signals: 'ecg', 'eda' or both.
  """

  start: float
  end: float
  notes: list[str]
  signals: Mapping[str, Signal]


class Physiology:
  """ECG and EDA at about 250 and 25 Hz, normalised over the recording; 0 where a sensor gave nothing."""

  name = 'physiology'
  word = 'physiology'
  absent = 'no physiology: masked'
  ends_early = True

  def fields(self, grid: Grid, options: Mapping[str, Any]) -> tuple[Field, ...]:
    """See `Stream`; `physiology_found` is 1 where all samples of a step are there, of ECG and of EDA."""
    signals = [Field(name, (samples_per_step(name, grid),)) for name in _RATES]
    return *signals, Field('physiology_found', (len(_RATES),))

  def read(self, recording: Recording, settings: Settings) -> Sensors | None:
    """The signals of all of its files; of several that have the same one, the first counts."""
    signals: dict[str, Signal] = {}
    for file in recording.sensors:
      found = (file.parse or signal_files.read)(file.path)
      lacking = [name for name in file.signals if name not in found]
      if lacking:
        raise DataError(f'{file.path}: has no {" and no ".join(lacking)}, but {" and ".join(found)}')
      for name in file.signals or found:
        signals.setdefault(name, found[name])
    if not signals:
      return None
    notes = [f'no {name.upper()}: masked' for name in _RATES if name not in signals]
    for name, signal in signals.items():
      if conditioning.is_constant(signal):
        notes.append(f'{name.upper()} is constant: masked')
      elif hole := conditioning.hole_seconds(signal):
        notes.append(f'{name.upper()} has holes of {hole:.2f} s in all: masked')
    return Sensors(
      start=min(float(signal.times[0]) for signal in signals.values()),
      end=max(float(signal.times[-1]) + _interval(signal) for signal in signals.values()),
      notes=notes,
      signals=signals,
    )

  def cut(self, recording: Recording, track: Sensors | None, seconds: float, settings: Settings) -> dict[str, Any]:
    """See `Stream`."""
    steps = settings.grid.steps_begun(seconds)
    values, found = {}, np.zeros((steps, len(_RATES)), np.float32)
    for k, name in enumerate(_RATES):
      size = samples_per_step(name, settings.grid)
      values[name] = np.zeros((steps, size), np.float32)
      signal = track.signals.get(name) if track is not None else None
      if signal is None or conditioning.is_constant(signal):
        continue
      rate = float(size / settings.grid.step)
      on_grid, there = conditioning.on_grid(signal, rate, steps * size)
      normal = conditioning.heart(on_grid, there, rate) if name == 'ecg' else conditioning.skin(on_grid, there)
      found[:, k] = there.reshape(steps, size).all(axis=1)
      values[name] = (normal.reshape(steps, size) * found[:, k : k + 1]).astype(np.float32)
    return {**values, 'physiology_found': found}


def samples_per_step(name: str, grid: Grid) -> int:
  """How many samples of 'ecg' or 'eda' a step has, at least one."""
  return max(1, round(_RATES[name] * grid.step))


def _interval(signal) -> float:
  return float(np.median(np.diff(signal.times)))
