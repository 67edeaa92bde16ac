"""Landmarks of the face, as they are stored (paper, section V-D)."""

from data_prep.core.errors import DataError
from e2e_affect.streams.base import Stream


class Geometric(Stream):
  """Aligned landmarks [B, T, L, 2] are features already: [B, T, 2L]."""

  name = 'geometric'
  part = False
  evidence = 'landmarks'
  lack = 'landmark'
  phrase = 'landmarks'

  def check(self, found, config):
    """See `Stream`."""
    there, wanted = found[0].shape[0] if found else 0, config.model.geometric.landmarks
    if there != wanted:
      mend = 'add them with `python -m data_prep.landmarks`, and train on what that writes'
      raise DataError(
        f'{config.data.dir}: its records have {there or "no"} landmarks, config.model.geometric.landmarks is '
        f'{wanted}; {f"set it to {there}" if there else mend}'
      )

  def inputs(self, batch, model, augment, keys):
    """See `Stream`."""
    return {'landmarks': batch['landmarks']}

  def features(self, inputs, model, *, core, norm, dtype, train, keys):
    """See `Stream`."""
    x = inputs['landmarks']
    return x.reshape(*x.shape[:2], -1).astype(dtype)
