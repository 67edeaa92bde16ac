"""What a record holds beside its ids and labels: the fields of its streams, described by data."""

from collections.abc import Iterator, Mapping
import dataclasses
import math
from typing import Any

from data_prep.schema.grid import Grid

DTYPES = ('int16', 'float32', 'jpeg')


@dataclasses.dataclass(frozen=True)
class Field:
  """An array of one stream, stored for every step or once for the whole recording.

  Attributes:
    name: in the record and in a batch.
    shape: of one step; of the whole where `per` is 'recording'. A jpeg's is that of its pixels.
    dtype: 'int16', 'float32', or 'jpeg': uint8 pixels, stored compressed.
    per: 'step', or 'recording': every record of a recording repeats the value, float32.
    default: the value of records without the field; None: every record has it.
  """

  name: str
  shape: tuple[int, ...] = ()
  dtype: str = 'float32'
  per: str = 'step'
  default: float | None = None

  @property
  def bytes_per_step(self) -> int:
    """Of an array; a picture's when it is decoded."""
    return math.prod(self.shape) * {'int16': 2, 'float32': 4, 'jpeg': 1}[self.dtype]

  @classmethod
  def parse(cls, content: Any) -> 'Field':
    """A field as JSON holds it.

    Raises:
      TypeError, ValueError: it is none.
    """
    field = cls(**(content | {'shape': tuple(content.get('shape', ()))}))
    sizes = all(type(size) is int and 0 < size < 2**31 for size in field.shape)
    if not isinstance(field.name, str) or not sizes or len(field.shape) > 8:
      raise TypeError(f'field {str(content)[:80]}')
    if field.dtype not in DTYPES or field.per not in ('step', 'recording'):
      raise ValueError(f'field {field.name[:50]!r}: dtype {str(field.dtype)[:30]!r}, per {str(field.per)[:30]!r}')
    if field.per == 'recording' and field.dtype != 'float32':
      raise ValueError(f'field {field.name[:50]!r}: {field.dtype} per recording, expected float32')
    if field.dtype == 'jpeg' and field.shape[2:] != (3,):
      raise ValueError(f'field {field.name[:50]!r}: a picture of {list(field.shape)}, expected [height, width, 3]')
    if field.default is not None and type(field.default) not in (int, float):
      raise TypeError(f'field {field.name[:50]!r}: default {str(field.default)[:30]!r}')
    return field


@dataclasses.dataclass(frozen=True)
class Layout:
  """What the records of a data folder hold.

  Attributes:
    targets: names of the label columns, in the order of the records' last axis.
    grid: of all recordings.
    streams: name of each stream in the records -> its fields, in the order of their concatenation.
    classes: categorical target -> names of its classes; its label column holds the index of one, as float32.

  Raises:
    ValueError: two fields have the same name, or classes are none of a target.
  """

  targets: list[str]
  grid: Grid
  streams: Mapping[str, tuple[Field, ...]]
  classes: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict, kw_only=True)

  def __post_init__(self):
    names = [field.name for field in self.fields()]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
      raise ValueError(f'fields of the same name: {", ".join(twice)}')
    for target, classes in self.classes.items():
      if target not in self.targets:
        raise ValueError(f'classes of {target!r}, which is none of the targets {", ".join(self.targets)}')
      if len(classes) < 2 or len(set(classes)) < len(classes):
        raise ValueError(f'classes of {target!r}: {", ".join(classes) or "none"}; expected two or more different names')

  def fields(self) -> Iterator[Field]:
    """The fields of all streams."""
    for fields in self.streams.values():
      yield from fields
