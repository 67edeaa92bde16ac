"""What of a recording is stored, stream by stream.

A stream is registered under its name; the order of registration is the order in which features are concatenated, and so
a contract of every checkpoint.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from data_prep.schema.fields import Field, Layout
from data_prep.schema.grid import Grid
from data_prep.streams.geometric import Geometric
from data_prep.streams.speech import Speech
from data_prep.streams.visual import Visual


class Stream(Protocol):
  """One kind of signal that a recording has.

  Attributes:
    name: as in `config.model.modalities`.
  """

  name: str

  def fields(self, grid: Grid, options: Mapping[str, Any]) -> tuple[Field, ...]:
    """What a record holds of it.

    Args:
      grid: of the recordings.
      options: of the preparation; each stream reads its own.
    """
    ...


STREAMS: dict[str, Stream] = {}


def register(stream: Stream) -> None:
  """Adds a stream behind those that there are.

  Raises:
    ValueError: there is one of that name.
  """
  if stream.name in STREAMS:
    raise ValueError(f'a stream {stream.name!r} is registered already')
  STREAMS[stream.name] = stream


for _stream in (Speech(), Visual(), Geometric()):
  register(_stream)


def layout(
  targets: Iterable[str], grid: Grid, names: Iterable[str], options: Mapping[str, Any] | None = None
) -> Layout:
  """What records of these streams hold; see `Stream.fields`."""
  chosen = set(names)
  fields = {name: stream.fields(grid, options or {}) for name, stream in STREAMS.items() if name in chosen}
  return Layout(list(targets), grid, fields)
