"""From shards to batches of decoded sequences, against one Example a frame as the authors' released code reads it.

    python -m benchmarks.input --out=benchmarks/results

Needs TensorFlow. The shards are made here: JPEG faces, 3 to 7 KB each, and sound.
"""

import itertools
import pathlib
import tempfile

import cv2
import numpy as np

from benchmarks import measure
from configs import fused
from data_prep import streams
from data_prep.face import cropping, jpeg
from data_prep.schema import records
from data_prep.schema.grid import PAPER
from data_prep.shards import write
from e2e_affect.input import pipeline, recordings

_SEQUENCES = 24  # in each timing
_AHEAD = 8  # read first and not timed: more than a side reads ahead while the other one is timed
_STEPS = 150
_AUTHORS = 'one Example a frame, serial, augmented in TensorFlow'
_STREAMED = 'face and sound'


def make_records(seconds: int) -> list[records.Record]:
  """One recording; its faces are smoothed noise that takes as many bytes as faces do."""
  rng = np.random.default_rng(0)
  steps, size = PAPER.steps_per_record, cropping.FACE_SIZE
  rows, ones = [], np.ones(steps, np.float32)
  for second in range(seconds):
    noise = [cv2.GaussianBlur(rng.integers(0, 256, (size, size, 3), np.uint8), (0, 0), 2) for _ in range(steps)]
    faces = [jpeg.encode(cv2.normalize(face, None, 40, 220, cv2.NORM_MINMAX)) for face in noise]
    rows.append(
      records.Record(
        recording='A',
        subject='A',
        index=second,
        values={
          'audio': rng.integers(-999, 999, (steps, PAPER.samples_per_step)).astype(np.int16),
          'audio_mean': 0.0,
          'audio_std': 500.0,
          'face': faces,
          'face_found': ones,
        },
        valid=ones,
        label_mask=ones,
        label=rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
      )
    )
  return rows


def our_shards(folder, rows):
  """Writes the records as the data folder of one train recording."""
  targets = ['arousal', 'valence']
  layout = streams.layout(targets, PAPER, ('speech', 'visual'))
  written = write.write_recording(folder, rows, layout, partition='train')
  write.finish(folder, written, layout, label_scale={t: [1.0, 0.0] for t in targets}, preparation={})


def our_side(folder, modalities=('speech', 'visual'), cache=''):
  """The pipeline as in training, one sequence a batch."""
  config = fused.get_config()
  config.data.dir, config.batch_size, config.model.modalities = str(folder), 1, modalities
  manifest = recordings.read_manifest(config.data.dir)
  updates = pipeline.Updates(0, 10**6, batch_size=1)
  if cache:
    batches = pipeline.cached_train_batches(config, manifest, pipeline.read_corpus(config, manifest), updates)
  else:
    batches = pipeline.train_batches(config, manifest, updates)
  return _side('ours', batches)


def authors_side(path, rows):
  """One Example a frame, parsed one by one, augmented in TensorFlow, 150 frames a batch."""
  import tensorflow as tf

  with tf.io.TFRecordWriter(str(path)) as writer:
    for row in rows:
      for k in range(PAPER.steps_per_record):
        raw = lambda value: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        writer.write(
          tf.train.Example(
            features=tf.train.Features(
              feature={
                'audio': raw(row.values['audio'][k].astype(np.float32).tobytes()),
                'label': raw(row.label[k].tobytes()),
                'frame': raw(row.values['face'][k]),
              }
            )
          ).SerializeToString()
        )
  text = tf.io.FixedLenFeature([], tf.string)

  def parse(serialized):
    parsed = tf.io.parse_single_example(serialized, {'audio': text, 'label': text, 'frame': text})
    face = tf.image.resize(tf.io.decode_jpeg(parsed['frame'], channels=3), (110, 110))
    face = tf.image.random_crop(face, (cropping.FACE_SIZE, cropping.FACE_SIZE, 3))
    face = tf.image.random_brightness(tf.image.random_saturation(face, 0.5, 1.5), 32 / 255)
    return face, tf.io.decode_raw(parsed['audio'], tf.float32), tf.io.decode_raw(parsed['label'], tf.float32)

  batches = iter(tf.data.TFRecordDataset(str(path)).repeat().map(parse).batch(_STEPS).prefetch(1).as_numpy_iterator())
  return _side(_AUTHORS, batches, 3)


def _side(name, batches, repeats=None):
  take = lambda count: sum(1 for _ in itertools.islice(batches, count))
  return measure.Side(name, lambda: take(_SEQUENCES), repeats, before=lambda: take(_AHEAD))


def main(out, repeats, quick):
  """Writes `out/input.json` of so many repeats; `quick` takes tiny sizes, to see that it runs."""
  rows = []
  with tempfile.TemporaryDirectory() as folder:
    content = make_records(6 if quick else 120)
    size = np.mean([len(face) for row in content for face in row.values['face']])
    our_shards(pathlib.Path(folder) / 'ours', content)
    peer = authors_side(pathlib.Path(folder) / 'authors.tfrecord', content)
    for what, options in (
      (_STREAMED, {}),
      (f'{_STREAMED}, cache=host', {'cache': 'host'}),
      ('sound alone', {'modalities': ('speech',)}),
    ):
      sides = [our_side(pathlib.Path(folder) / 'ours', **options), peer]
      rows.append(
        measure.row(
          f'input, {what}, {_SEQUENCES} sequences of {_STEPS} steps',
          measure.alternate(sides if 'face' in what else sides[:1], repeats),
          items=(_SEQUENCES, 'sequences'),
          goal=(_AUTHORS, 8.0) if what == _STREAMED else None,
          jpeg_bytes=round(float(size)),
        )
      )
  measure.write(out, 'input', rows, measure.peak(quick))


if __name__ == '__main__':
  measure.run(main)
