"""Landmarks of the face in the picture of a recording."""

from collections.abc import Mapping
from typing import Any

from data_prep.schema.fields import Field
from data_prep.schema.grid import Grid


class Geometric:
  """Deviations of the aligned landmarks from the mean shape; 0 where no face was found.

  The mean shape is that of all recordings to train on, so that no recording yields them by itself:
  `python -m data_prep.landmarks` adds them to a data folder.
  """

  name = 'geometric'

  def fields(self, grid: Grid, options: Mapping[str, Any]) -> tuple[Field, ...]:
    """See `Stream`; `options['landmarks']` is their number."""
    return (Field('landmarks', (options['landmarks'], 2)),)
