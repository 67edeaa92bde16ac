"""The record: consecutive steps of one recording; its bytes, both ways.

What lies in a shard is said by a `Layout` and by nothing else: writers, readers and the schema for TensorFlow Datasets
take names, shapes and types from there.
"""

import dataclasses
import io
import math
from typing import Any

import numpy as np
from PIL import Image

from data_prep.core.errors import DataError
from data_prep.schema.fields import Field, Layout

RECORDS_PER_SHARD = 600  # a recording longer than ten minutes takes several shards


@dataclasses.dataclass(frozen=True)
class Record:
  """As many steps of one recording as a record of the grid has (R), decoded but for the pictures.

  Attributes:
    recording: id of the recording.
    subject: id of the person; a subject belongs to one partition only.
    index: of this record in its recording, from 0; files call it `second`, which it is on the paper's grid.
    label: [R, K] float32, gold standard: numbers in [−1, 1], or the index of a class.
    label_mask: [R] float32, 0 where there is no label.
    valid: [R] float32, 0 past the end of the recording.
    values: field of a stream -> what is stored. Per step: an array [R, …], or R JPEG byte strings; per recording: a
      number, or an array of the field's shape.
  """

  recording: str
  subject: str
  index: int
  label: np.ndarray
  label_mask: np.ndarray
  valid: np.ndarray
  values: dict[str, Any]


class Fault(ValueError):
  """Why bytes are no record of a layout."""


def _own_fields(layout: Layout) -> tuple[Field, ...]:
  """Labels and what is valid, described as fields are."""
  return Field('label', (len(layout.targets),)), Field('label_mask'), Field('valid')


def features(layout: Layout):
  """The schema as a `tfds.features.FeaturesDict`; arrays are stored as raw little-endian bytes.

  Fields with a default are not in it: few records have one, and the schema knows no default.
  """
  from data_prep.core.quiet_tf import tfds  # costs seconds of start-up; only writers and readers need it

  def feature(field):
    if field.per == 'recording':
      return tfds.features.Tensor(shape=field.shape, dtype=np.float32) if field.shape else np.float32
    if field.dtype == 'jpeg':
      image = tfds.features.Image(shape=field.shape, encoding_format='jpeg')
      return tfds.features.Sequence(image, length=layout.grid.steps_per_record)
    shape = (layout.grid.steps_per_record, *field.shape)
    return tfds.features.Tensor(shape=shape, dtype=np.dtype(field.dtype).type, encoding=tfds.features.Encoding.BYTES)

  ids = {'recording': tfds.features.Text(), 'subject': tfds.features.Text(), 'second': np.int64}
  fields = [field for field in (*_own_fields(layout), *layout.fields()) if field.default is None]
  return tfds.features.FeaturesDict(ids | {field.name: feature(field) for field in fields})


def encode(record: Record, layout: Layout) -> bytes:
  """Serialises a record as the `tf.train.Example` that `features` describes.

  Returns:
    The bytes of one TFRecord record. Equal records give equal bytes.

  Raises:
    DataError: a field is missing, or has another shape or type than the layout says.
  """
  example = {
    'recording': _bytes_list([record.recording.encode()]),
    'subject': _bytes_list([record.subject.encode()]),
    'second': _int64_list([record.index]),
  }
  where = f'{record.recording}, record {record.index}'
  own = {'label': record.label, 'label_mask': record.label_mask, 'valid': record.valid}
  for field in (*_own_fields(layout), *layout.fields()):
    value = (own | record.values).get(field.name, field.default)
    if value is None:
      raise DataError(f'{where}: no {field.name}')
    if field.per == 'recording':
      if field.default is None or value != field.default:
        example[field.name] = _float_list(value)
    elif field.dtype == 'jpeg':
      if len(value) != layout.grid.steps_per_record:
        raise DataError(f'{where}: {len(value)} {field.name}s, expected {layout.grid.steps_per_record}')
      example[field.name] = _bytes_list(value)
    else:
      shape, dtype = (layout.grid.steps_per_record, *field.shape), np.dtype(field.dtype)
      if value.shape != shape or value.dtype != dtype:
        raise DataError(
          f'{where}: {field.name} is {value.dtype}{list(value.shape)}, expected {dtype.name}{list(shape)}'
        )
      example[field.name] = _bytes_list([np.ascontiguousarray(value).astype(dtype.newbyteorder('<')).tobytes()])
  # An Example holds one message, Features, and that an entry for each name. They are in protobuf's order: that of the
  # names' bytes, but a name comes behind those that begin with it, 'audio' behind 'audio_mean'.
  names = sorted(example, key=lambda name: name.encode() + b'\xff')
  entries = (_field(1, name.encode()) + _field(2, example[name]) for name in names)
  return _field(1, b''.join(_field(1, entry) for entry in entries))


# What follows is protobuf's wire format of a tf.train.Example, without TensorFlow: see `data_prep.shards.tfrecord`.


def _varint(number: int) -> bytes:
  """A number of 64 bits, seven a byte, the lowest first; the high bit says that more follow."""
  number, octets = int(number) % 2**64, []
  while number >= 128:
    octets.append(number % 128 | 128)
    number //= 128
  return bytes([*octets, number])


def _field(number: int, content: bytes) -> bytes:
  """A field whose content has a length: a message, a string, or numbers in a row."""
  return _varint(number << 3 | 2) + _varint(len(content)) + content


def _bytes_list(values) -> bytes:
  """A Feature of bytes, the first of its three kinds."""
  return _field(1, b''.join(_field(1, value) for value in values))


def _float_list(values) -> bytes:
  """A Feature of float32 numbers, the second kind."""
  return _field(2, _field(1, np.ravel(values).astype('<f4').tobytes()))


def _int64_list(values) -> bytes:
  """A Feature of whole numbers, the third kind."""
  return _field(3, _field(1, b''.join(map(_varint, values))))


def decode(data: bytes, layout: Layout) -> Record:
  """The record in the bytes of one TFRecord record; every picture of it is looked at.

  Raises:
    Fault: they are none of this layout; the message is the reason.
  """
  from data_prep.core.quiet_tf import tf

  try:
    feature = tf.train.Example.FromString(data).features.feature
    for name in ('recording', 'subject', 'second'):
      if name not in feature:
        raise Fault(f'has no {name}')
    fields = (*_own_fields(layout), *layout.fields())
    values = {field.name: _value(feature, field, layout.grid.steps_per_record) for field in fields}
    recording, subject = (
      b''.join(feature[name].bytes_list.value).decode(errors='replace') for name in ('recording', 'subject')
    )
    (index,) = feature['second'].int64_list.value
  except Fault:
    raise
  except Exception as e:  # protobuf's errors: DecodeError, UnicodeDecodeError, …
    raise Fault(f'not an Example ({" ".join(str(e).split())})') from None
  own = {name: values.pop(name) for name in ('label', 'label_mask', 'valid')}
  return Record(recording, subject, index, **own, values=values)


def _value(feature, field, steps):
  """What the features of an Example hold of a field."""
  name = field.name
  if name not in feature:
    if field.default is None:
      raise Fault(f'has no {name}')
    return field.default
  if field.per == 'recording':
    value = list(feature[name].float_list.value)
    if len(value) != math.prod(field.shape) or not np.isfinite(value).all():
      raise Fault(f'{name} is {value}, expected {math.prod(field.shape)} finite number(s)')
    return np.array(value, np.float32).reshape(field.shape) if field.shape else value[0]
  value = list(feature[name].bytes_list.value)
  if field.dtype == 'jpeg':
    if len(value) != steps:
      raise Fault(f'{len(value)} {name}s, expected {steps}')
    for k, jpeg in enumerate(value):
      if not _is_picture(jpeg, field.shape[1::-1]):
        raise Fault(f'{name} {k} is no {field.shape[1]}×{field.shape[0]} JPEG')
    return value
  size = steps * field.bytes_per_step
  if len(value) != 1 or len(value[0]) != size:
    raise Fault(f'{name} holds {sum(map(len, value))} bytes, expected {size}')
  array = np.frombuffer(value[0], np.dtype(field.dtype).newbyteorder('<')).astype(field.dtype)
  if not np.isfinite(array).all():
    raise Fault(f'{name} holds NaN or Inf')
  return array.reshape(steps, *field.shape)


def _is_picture(data, size) -> bool:
  try:
    with Image.open(io.BytesIO(data), formats=['JPEG']) as image:  # reads the header: a size that lies takes no memory
      if image.size != tuple(size):
        return False
      image.load()  # OpenCV takes a picture that is cut off, TensorFlow does not
  except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
    return False
  return True


def blank(layout: Layout) -> Record:
  """A record of no recording: nothing in it is valid, its arrays are 0, its pictures black."""
  steps = layout.grid.steps_per_record

  def value(field):
    if field.per == 'recording':
      return np.zeros(field.shape, np.float32) if field.shape else field.default or 0.0
    if field.dtype == 'jpeg':
      black = io.BytesIO()
      Image.new('RGB', field.shape[1::-1]).save(black, 'jpeg')
      return [black.getvalue()] * steps
    return np.zeros((steps, *field.shape), field.dtype)

  own = {field.name: value(field) for field in _own_fields(layout)}
  values = {field.name: value(field) for field in layout.fields()}
  return Record(recording='', subject='', index=0, **own, values=values)
