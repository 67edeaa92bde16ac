"""What a network sees and hears: one file a stream.

The order of registration is the order in which features are concatenated, and so a contract of every checkpoint. The
counterpart in `data_prep.streams`, of the same name, says what the records hold.
"""

from collections.abc import Iterable
from typing import Any

from data_prep import streams as prepared
from data_prep.core import registry
from data_prep.features import FEATURES
from data_prep.schema.fields import Layout
from data_prep.schema.grid import PAPER
from e2e_affect.streams.base import Stream
from e2e_affect.streams.features import FeatureSet, FIRST_RUNS
from e2e_affect.streams.geometric import Geometric
from e2e_affect.streams.physiology import Physiology
from e2e_affect.streams.speech import Speech
from e2e_affect.streams.visual import Visual

STREAMS: dict[str, Stream] = {}


def register(stream: Stream) -> None:
  """Adds a stream behind those that there are.

  Raises:
    ValueError: there is one of that name.
  """
  registry.add(STREAMS, 'stream', stream.name, stream)


for _stream in (Speech(), Visual(), Geometric(), *map(FeatureSet, (*FEATURES, FIRST_RUNS)), Physiology()):
  register(_stream)


def of(model: Any) -> list[Stream]:
  """The streams of a network.

  Args:
    model: `config.model`.
  """
  return [STREAMS[name] for name in model.modalities]


def layout_of_paper(model: Any, targets: Iterable[str]) -> Layout:
  """What data on the paper's grid hold for a network, where no manifest is at hand."""
  options = {'landmarks': model.geometric.landmarks}
  return prepared.layout(targets, PAPER, model.modalities, options)


def parts(names: Iterable[str]) -> set[str]:
  """Those of these streams that the network has parameters of its own for."""
  return {name for name in names if STREAMS[name].part}
