"""The record: one second of one recording. Its schema, its encoder and the manifest beside it.

This file is the single source of truth for what lies in a shard: the writer (`shards.py`) and the
reader (`e2e_affect/input/pipeline.py`) both take names, shapes and types from here.

Time: label k (k = 1, 2, …) belongs to the interval [(k − 1)·40 ms, k·40 ms); the audio of that
interval and the frame shown during it make one *step*. A record holds 25 steps.
"""

import dataclasses

import numpy as np

from data_prep.core.errors import DataError

SAMPLE_RATE = 16_000  # Hz, mono
STEP_SECONDS = 0.04  # one label interval
SAMPLES_PER_STEP = 640  # SAMPLE_RATE · STEP_SECONDS
STEPS_PER_RECORD = 25  # one second
FACE_SIZE = 96  # pixels, square, RGB
JPEG_QUALITY = 95
RECORDS_PER_SHARD = 600  # a recording longer than ten minutes takes several shards


@dataclasses.dataclass(frozen=True)
class Record:
  """One second of one recording, decoded but for the faces.

  Attributes:
    recording: id of the recording.
    subject: id of the person; a subject belongs to one partition only.
    second: index of this record in its recording, from 0.
    audio: [25, 640] int16, 16 kHz mono, times `audio_gain`, not normalised.
    audio_mean: mean of the whole recording's samples as they are stored, in int16 units.
    audio_std: standard deviation of the whole recording's samples as they are stored, in int16 units.
    face: 25 JPEG byte strings, each a 96×96 RGB crop.
    face_found: [25] float32 in [0, 1], the detector's confidence; 0: the crop repeats the last good one.
    label: [25, K] float32, gold standard, scaled to [−1, 1].
    label_mask: [25] float32, 0 where there is no label.
    valid: [25] float32, 0 past the end of the recording.
    landmarks: [25, L, 2] float32, aligned geometric features, or None.
    audio_gain: a power of two, by which a very quiet or hot sound was brought into the range of int16; absent where 1.
  """

  recording: str
  subject: str
  second: int
  audio: np.ndarray
  audio_mean: float
  audio_std: float
  face: list[bytes]
  face_found: np.ndarray
  label: np.ndarray
  label_mask: np.ndarray
  valid: np.ndarray
  landmarks: np.ndarray | None = None
  audio_gain: float = 1.0


def features(num_targets: int, num_landmarks: int = 0):
  """The schema as a `tfds.features.FeaturesDict`; arrays are stored as raw little-endian bytes.

  `audio_gain` is not in it: few records have one, and the schema knows no default.
  """
  from data_prep.core.quiet_tf import tfds  # costs seconds of start-up; only writers and readers need it

  def array(shape, dtype):
    return tfds.features.Tensor(shape=shape, dtype=dtype, encoding=tfds.features.Encoding.BYTES)

  steps = STEPS_PER_RECORD
  spec = {
    'recording': tfds.features.Text(),
    'subject': tfds.features.Text(),
    'second': np.int64,
    'audio': array((steps, SAMPLES_PER_STEP), np.int16),
    'audio_mean': np.float32,
    'audio_std': np.float32,
    'face': tfds.features.Sequence(
      tfds.features.Image(shape=(FACE_SIZE, FACE_SIZE, 3), encoding_format='jpeg'), length=steps
    ),
    'face_found': array((steps,), np.float32),
    'label': array((steps, num_targets), np.float32),
    'label_mask': array((steps,), np.float32),
    'valid': array((steps,), np.float32),
  }
  if num_landmarks:
    spec['landmarks'] = array((steps, num_landmarks, 2), np.float32)
  return tfds.features.FeaturesDict(spec)


def encode(record: Record) -> bytes:
  """Serialises a record as the `tf.train.Example` that `features` describes.

  Args:
    record: shapes as in `Record`.

  Returns:
    The bytes of one TFRecord record. Equal records give equal bytes.

  Raises:
    DataError: an array has another shape or type than the schema says.
  """
  from data_prep.core.quiet_tf import tf

  def raw(name, shape, dtype):
    value = getattr(record, name)
    if value.shape != shape or value.dtype != dtype:
      raise DataError(
        f'{record.recording}, second {record.second}: {name} is {value.dtype}{list(value.shape)}, '
        f'expected {np.dtype(dtype).name}{list(shape)}'
      )
    little_endian = np.ascontiguousarray(value).astype(np.dtype(dtype).newbyteorder('<'))
    return _bytes(tf, [little_endian.tobytes()])

  steps = STEPS_PER_RECORD
  if len(record.face) != steps:
    raise DataError(f'{record.recording}, second {record.second}: {len(record.face)} faces, expected {steps}')
  fields = {
    'recording': _bytes(tf, [record.recording.encode()]),
    'subject': _bytes(tf, [record.subject.encode()]),
    'second': tf.train.Feature(int64_list=tf.train.Int64List(value=[record.second])),
    'audio': raw('audio', (steps, SAMPLES_PER_STEP), np.int16),
    'audio_mean': tf.train.Feature(float_list=tf.train.FloatList(value=[record.audio_mean])),
    'audio_std': tf.train.Feature(float_list=tf.train.FloatList(value=[record.audio_std])),
    'face': _bytes(tf, record.face),
    'face_found': raw('face_found', (steps,), np.float32),
    'label': raw('label', (steps, record.label.shape[1]), np.float32),
    'label_mask': raw('label_mask', (steps,), np.float32),
    'valid': raw('valid', (steps,), np.float32),
  }
  if record.audio_gain != 1:
    fields['audio_gain'] = tf.train.Feature(float_list=tf.train.FloatList(value=[record.audio_gain]))
  if record.landmarks is not None:
    fields['landmarks'] = raw('landmarks', (steps, *record.landmarks.shape[1:]), np.float32)
  example = tf.train.Example(features=tf.train.Features(feature=fields))
  return example.SerializeToString(deterministic=True)


def _bytes(tf, values):
  return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
