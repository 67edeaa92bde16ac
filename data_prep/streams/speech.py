"""The sound of a recording."""

from collections.abc import Mapping
from typing import Any

from data_prep.schema.fields import Field
from data_prep.schema.grid import Grid


class Speech:
  """The waveform, mono, as it was recorded; mean and deviation, by which the device normalises it, beside it."""

  name = 'speech'

  def fields(self, grid: Grid, options: Mapping[str, Any]) -> tuple[Field, ...]:
    """See `Stream`."""
    return (
      Field('audio', (grid.samples_per_step,), 'int16'),
      Field('audio_mean', per='recording'),
      Field('audio_std', per='recording'),
      Field('audio_gain', per='recording', default=1.0),
    )
