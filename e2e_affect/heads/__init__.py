"""What a network predicts of the labels: one file a head."""

from typing import Any

from data_prep.core import registry
from e2e_affect.heads.base import Head, Targets
from e2e_affect.heads.clip_classes import ClipClasses
from e2e_affect.heads.clip_regression import ClipRegression
from e2e_affect.heads.regression import Regression
from e2e_affect.heads.step_classes import StepClasses

__all__ = ['HEADS', 'Head', 'Targets', 'of', 'register']
HEADS: dict[str, Head] = {}


def register(head: Head) -> None:
  """Adds a head to those that `config.head` may name.

  Raises:
    ValueError: there is one of that name.
  """
  registry.add(HEADS, 'head', head.name, head)


register(Regression())
register(ClipClasses())
register(StepClasses())
register(ClipRegression())


def of(config: Any) -> Head:
  """The head of a network.

  Args:
    config: the whole config.
  """
  return HEADS[config.head]
