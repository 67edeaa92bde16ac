"""The rivals by name: `config.rival` is one of these."""

import ml_collections

from data_prep.core import registry
from data_prep.core.errors import UserError
from e2e_affect.baselines import base, rvm_rivals, strength, svr

RIVALS: dict[str, type[base.Rival]] = {}


def register(name: str, rival: type[base.Rival]) -> None:
  """Adds a rival; `config.rival` may then be its name.

  Raises:
    ValueError: there is one of that name.
  """
  registry.add(RIVALS, 'rival', name, rival)


def fields() -> ml_collections.ConfigDict:
  """All fields that any rival's config has."""
  known = ml_collections.ConfigDict()
  for rival in RIVALS.values():
    known.update(rival.get_config())
  return known


def of(config: ml_collections.ConfigDict) -> base.Rival:
  """The rival of a config.

  Raises:
    UserError: there is none of that name.
  """
  if config.rival not in RIVALS:
    raise UserError(f'config.rival = {config.rival!r}, expected one of {", ".join(RIVALS)}')
  return RIVALS[config.rival](config)


register('svr', svr.SVR)
register('rvm', rvm_rivals.RVMRival)
register('oa_rvm', rvm_rivals.OARVMRival)
register('staircase', rvm_rivals.StaircaseRival)
register('strength', strength.Strength)
