"""What of a recording is stored, stream by stream.

A stream is registered under its name; the order of registration is the order in which features are concatenated, and so
a contract of every checkpoint.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from data_prep.core import registry
from data_prep.core.errors import UserError
from data_prep.corpora.recording import Recording
from data_prep.corpora.settings import Settings
from data_prep.schema.fields import Field, Layout
from data_prep.schema.grid import Grid
from data_prep.streams.geometric import Geometric
from data_prep.streams.physiology import Physiology
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


class Track(Protocol):
  """A stream of one recording, read to its end.

  Attributes:
    start, end: seconds, where it begins and ends.
    notes: what a person should know of the file.
  """

  start: float
  end: float
  notes: list[str]


@runtime_checkable
class RecordedStream(Stream, Protocol):
  """A stream that each recording yields by itself.

  Attributes:
    word: what its track is called in messages.
    absent: the note where a recording has none.
    ends_early: whether it may end before the recording does, as what is missing then is masked. The ends of the others
      must agree, see `recordings.lengths`.
  """

  word: str
  absent: str
  ends_early: bool

  def read(self, recording: Recording, settings: Settings) -> Any:
    """The recording's `Track`, or None where it has none.

    Raises:
      DataError: a file is bad.
    """
    ...

  def cut(self, recording: Recording, track: Any, seconds: float, settings: Settings) -> dict[str, Any]:
    """What is stored of the track, or of its absence (None): field -> value, see `Record.values`.

    Args:
      recording: for messages.
      track: of `read`.
      seconds: of the recording; of fields per step there are as many steps as begin until then.
      settings: of the preparation.

    Raises:
      DataError: nothing can be learnt from it.
    """
    ...


STREAMS: dict[str, Stream] = {}


def register(stream: Stream) -> None:
  """Adds a stream behind those that there are.

  Raises:
    ValueError: there is one of that name.
  """
  registry.add(STREAMS, 'stream', stream.name, stream)


for _stream in (Speech(), Visual(), Geometric(), Physiology()):
  register(_stream)


def recorded(names: Iterable[str]) -> list[RecordedStream]:
  """The streams of these names, in the order of their registration.

  Raises:
    UserError: one is none that recordings yield.
  """
  known = {name: stream for name, stream in STREAMS.items() if isinstance(stream, RecordedStream)}
  unknown = sorted(set(names) - set(known))
  if unknown:
    raise UserError(f'recordings yield no stream {", ".join(unknown)}; expected some of {", ".join(known)}')
  return [stream for name, stream in known.items() if name in set(names)]


def layout(
  targets: Iterable[str],
  grid: Grid,
  names: Iterable[str],
  options: Mapping[str, Any] | None = None,
  classes: Mapping[str, tuple[str, ...]] | None = None,
) -> Layout:
  """What records of these streams hold; see `Stream.fields`."""
  chosen = set(names)
  fields = {name: stream.fields(grid, options or {}) for name, stream in STREAMS.items() if name in chosen}
  return Layout(list(targets), grid, fields, classes=classes or {})
