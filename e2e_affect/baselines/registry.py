"""The rivals by name: `config.rival` is one of these."""

import ml_collections

from data_prep.core import registry
from data_prep.core.errors import UserError
from e2e_affect.baselines import base, rvm_rivals, strength, svm, svr

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
    UserError: there is none of that name, or it does not learn what `config.head` says.
  """
  if config.rival not in RIVALS:
    raise UserError(f'config.rival = {config.rival!r}, expected one of {", ".join(RIVALS)}')
  rival = RIVALS[config.rival]
  if config.head not in rival.heads:
    others = [name for name, of in RIVALS.items() if config.head in of.heads]
    raise UserError(
      f'config.head = {config.head!r}, expected {" or ".join(rival.heads)}, which the rival {config.rival} learns; '
      f'rivals of {config.head} are {", ".join(others) or "none"}'
    )
  return rival(config)


register('svr', svr.SVR)
register('rvm', rvm_rivals.RVMRival)
register('oa_rvm', rvm_rivals.OARVMRival)
register('staircase', rvm_rivals.StaircaseRival)
register('strength', strength.Strength)
register('svm', svm.SVM)
