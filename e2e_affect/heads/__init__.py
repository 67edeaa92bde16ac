"""What a network predicts of the labels: one file a head."""

from typing import Any

from data_prep.core import registry
from e2e_affect.heads.base import Head
from e2e_affect.heads.regression import Regression

HEADS: dict[str, Head] = {}


def register(head: Head) -> None:
  """Adds a head to those that `config.head` may name.

  Raises:
    ValueError: there is one of that name.
  """
  registry.add(HEADS, 'head', head.name, head)


register(Regression())


def of(config: Any) -> Head:
  """The head of a network.

  Args:
    config: the whole config.
  """
  return HEADS[config.head]
