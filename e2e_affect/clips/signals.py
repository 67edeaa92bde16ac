"""What a network reads of a clip, whatever its streams are."""

from collections.abc import Mapping
import dataclasses
from typing import Any

import numpy as np

from data_prep.schema.fields import Field


@dataclasses.dataclass(frozen=True)
class ClipSignals:
  """The fields of a clip's streams; whatever is long may be mapped from a file.

  Attributes:
    steps: T.
    values: field -> what is read, as `Stream.of_clip` returns it; T steps or fewer, and 0 is read after the last. The
      fields of a stream that the clip lacks are absent.
  """

  steps: int
  values: Mapping[str, Any]

  def of_steps(self, field: Field, first: int, end: int) -> np.ndarray:
    """[end − first, …] of a field per step, 0 outside of the recording."""
    rows = np.zeros((end - first, *field.shape), 'uint8' if field.dtype == 'jpeg' else field.dtype)
    inside = slice(max(0, first), min(end, self.steps))
    if field.name in self.values and inside.start < inside.stop:
      piece = self.values[field.name][inside]
      rows[inside.start - first :][: len(piece)] = piece
    return rows

  def of_recording(self, field: Field) -> np.ndarray:
    """[…] float32 of a field per recording; its default, or 0, where the clip lacks its stream."""
    return np.full(field.shape, self.values.get(field.name, field.default or 0.0), np.float32)
