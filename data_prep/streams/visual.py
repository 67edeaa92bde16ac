"""The face in the picture of a recording."""

from collections.abc import Mapping
from typing import Any

from data_prep.schema.fields import Field
from data_prep.schema.grid import Grid

FACE_SIZE = 96  # pixels, square, RGB


class Visual:
  """The crop of the face that is shown during a step, and the confidence of its detector."""

  name = 'visual'

  def fields(self, grid: Grid, options: Mapping[str, Any]) -> tuple[Field, ...]:
    """See `Stream`."""
    return Field('face', (FACE_SIZE, FACE_SIZE, 3), 'jpeg'), Field('face_found')
