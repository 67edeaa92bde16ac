"""Shards -> batches, as a pure function of position: the only file of the trainer that imports TensorFlow.

The order of the training data depends on (seed, position) and on nothing else, so that the step is the only
state a checkpoint has to hold, and every number of hosts sees the same global batches.
"""

from collections.abc import Iterator
import dataclasses
import os
import pathlib
import sys

import ml_collections
import numpy as np
import tqdm

from data_prep import records
from data_prep.errors import DataError
from data_prep.quiet_tf import tf
from data_prep.records import Manifest, STEPS_PER_RECORD

tf.config.set_visible_devices([], 'GPU')  # the accelerator is JAX's


@dataclasses.dataclass(frozen=True)
class Recording:
  """Where the records of one recording lie: `files` in order, and their number."""

  name: str
  subject: str
  files: list[str]
  seconds: int
  steps: int


def read_manifest(folder: str) -> Manifest:
  """Reads the manifest and looks at every shard's size, without reading the shards.

  Raises:
    DataError: no manifest, or a shard that is missing, cut or grown: named, with bytes expected and found.
  """
  manifest = Manifest.read(folder)
  for shard in manifest.shards:
    path = pathlib.Path(folder) / shard.file
    found = os.path.getsize(path) if path.exists() else None
    if found != shard.bytes:
      what = 'not found' if found is None else f'{found} bytes found'
      raise DataError(f'{path}: {what}, {shard.bytes} bytes with {shard.records} records expected; make the shards '
                      'again with `python -m data_prep.prepare`')
  return manifest


def recordings(manifest: Manifest, folder: str, partition: str) -> list[Recording]:
  """The recordings of a partition, sorted by name."""
  found = {}
  for shard in sorted(manifest.shards, key=lambda s: (s.recording, s.first_second)):
    if shard.partition == partition:
      found.setdefault(shard.recording, []).append(shard)
  return [Recording(name, shards[0].subject, [str(pathlib.Path(folder) / s.file) for s in shards],
                    sum(s.records for s in shards), sum(s.steps for s in shards))
          for name, shards in found.items()]


def num_sequences(config: ml_collections.ConfigDict, manifest: Manifest) -> int:
  """N: sequences of T steps to train on; the last one of a recording may be partly masked."""
  _check_landmarks(config, manifest)
  return len(_train_windows(config, manifest))


def train_batches(config: ml_collections.ConfigDict, manifest: Manifest, first_step: int, last_step: int, *,
                  batch_size: int, process_index: int = 0, process_count: int = 1) -> Iterator[dict[str, np.ndarray]]:
  """The batches of updates first_step … last_step − 1.

  Args:
    config: `data.*`, `seed`, `batch_size` and `model.modalities` are read.
    manifest: of `config.data.dir`.
    first_step: update to begin with; 0 for a fresh run.
    last_step: update to end before.
    batch_size: sequences per global batch as the devices need it, at least `config.batch_size`; what is more
      is padding with mask 0.
    process_index: this host.
    process_count: number of hosts; each gets every process_count-th sequence.

  Yields:
    `audio` [b, T, S] int16, `audio_mean`, `audio_std` [b], `face` [b, T, 96, 96, 3] uint8, `face_found`,
    `valid`, `mask` [b, T], `landmarks` [b, T, L, 2], `label` [b, T, K], `index` [b] place in the global batch;
    b = batch_size / hosts.
    `audio`, `face` or `landmarks` is absent where the network has no such modality.
  """
  windows = _train_windows(config, manifest)
  order = _train_order(config, len(windows), first_step, last_step, batch_size, process_index, process_count)
  seconds = config.data.sequence_steps // STEPS_PER_RECORD
  return _batches(config, manifest, order, windows, seconds, batch_size // process_count)


def cached_train_batches(config: ml_collections.ConfigDict, manifest: Manifest, corpus: dict[str, np.ndarray],
                         first_step: int, last_step: int, **place: int) -> Iterator[dict[str, np.ndarray]]:
  """What `train_batches` yields, from a corpus in memory."""
  for order in train_order(config, manifest, first_step, last_step, **place):
    yield {name: values[order['window']] for name, values in corpus.items()} | {'index': order['index']}


def read_corpus(config: ml_collections.ConfigDict, manifest: Manifest) -> dict[str, np.ndarray]:
  """All N sequences of the train partition, decoded, and a blank one: as `train_batches`, [N + 1, …], no `index`."""
  windows = _train_windows(config, manifest)
  order = tf.data.Dataset.range(len(windows) + 1).map(lambda window: (window, window))
  seconds = config.data.sequence_steps // STEPS_PER_RECORD
  corpus = {}
  for batch in tqdm.tqdm(_batches(config, manifest, order, windows, seconds, 1), total=len(windows) + 1,
                         desc='reading the corpus', unit=' sequences', leave=False, disable=not sys.stderr.isatty()):
    place = batch.pop('index')[0]
    if not corpus:  # once: the corpus may be many gigabytes, and the allocator may fill them with zeros each time
      corpus = {name: np.zeros((len(windows) + 1, *values.shape[1:]), values.dtype) for name, values in batch.items()}
    for name, values in batch.items():
      corpus[name][place] = values[0]
  return corpus


def train_order(config: ml_collections.ConfigDict, manifest: Manifest, first_step: int, last_step: int, *,
                batch_size: int, process_index: int = 0, process_count: int = 1) -> Iterator[dict[str, np.ndarray]]:
  """Which rows of `read_corpus` make the batches of `train_batches`: `window` [b] and, as there, `index` [b]."""
  windows = num_sequences(config, manifest)
  order = _train_order(config, windows, first_step, last_step, batch_size, process_index, process_count)
  order = order.map(lambda window, place: {'window': tf.cast(window, tf.int32), 'index': tf.cast(place, tf.int32)})
  return _untuned(order.batch(batch_size // process_count, drop_remainder=True)).as_numpy_iterator()


def _train_order(config, windows, first_step, last_step, batch_size, process_index, process_count):
  """Pairs of a window, `windows` of which is the blank one, and its place in the global batch."""
  count = config.batch_size

  def window_at(position):
    # Epoch e visits every sequence once, in a permutation of its own; the stateless shuffle needs no buffer.
    # Slots of the batch past config.batch_size point at the blank window.
    step, place = position // batch_size, position % batch_size
    real = step * count + place
    epoch_seed = tf.stack([tf.constant(config.seed, tf.int64), real // windows])
    shuffled = tf.random.experimental.index_shuffle(real % windows, epoch_seed, windows - 1)
    return tf.where(place < count, shuffled, windows), place

  positions = tf.data.Dataset.range(first_step * batch_size, last_step * batch_size)
  return positions.shard(process_count, process_index).map(window_at)


def evaluation_batches(config: ml_collections.ConfigDict, manifest: Manifest, group: list[Recording], size: int,
                       context_seconds: int) -> Iterator[dict[str, np.ndarray]]:
  """Recordings whole and in order, in chunks, side by side.

  Args:
    config: `data.*`, `evaluate_chunk_seconds` and `model.modalities` are read.
    manifest: of `config.data.dir`.
    group: at most `size` recordings.
    size: b, rows of each batch; rows past the group's end are blank.
    context_seconds: seconds before and after the chunk that come along, for the long filter.

  Yields:
    Per chunk, as `train_batches`, T = 25 · (chunk + 2 · context). Past the end of a recording everything is 0.
  """
  chunk = config.evaluate_chunk_seconds
  windows, order = [], []
  for start in range(0, max(r.seconds for r in group), chunk):
    for place in range(size):
      order.append((len(windows) if place < len(group) else -1, place))
      if place < len(group):
        windows.append((group[place], start - context_seconds))
  order = [(len(windows) if window < 0 else window, place) for window, place in order]
  positions = tf.data.Dataset.from_tensor_slices(np.asarray(order, np.int64)).map(lambda pair: (pair[0], pair[1]))
  return _batches(config, manifest, positions, windows, chunk + 2 * context_seconds, size)


def _train_windows(config, manifest):
  """(recording, first second) of every sequence of the partitions to train on."""
  group = [r for partition in config.data.train_on for r in recordings(manifest, config.data.dir, partition)]
  seconds = config.data.sequence_steps // STEPS_PER_RECORD
  windows = [(r, start) for r in group for start in range(0, r.seconds, seconds)]
  if not windows:
    raise DataError(f'{config.data.dir}: no recordings to train on in {" and ".join(config.data.train_on)}')
  return windows


def _batches(config, manifest, positions, windows, seconds, batch_size):
  """Reads `seconds` records per window; batches of windows."""
  _check_landmarks(config, manifest)
  files, skip, blanks_before, length = _window_tables(windows, seconds)
  num_targets = len(manifest.targets)
  blank = records.encode(_blank_record(num_targets, manifest.num_landmarks))

  def read(window, place):
    present = tf.data.TFRecordDataset(tf.strings.split(tf.gather(files, window), '\n'))
    present = present.skip(tf.gather(skip, window)).take(tf.gather(length, window))
    padded = tf.data.Dataset.from_tensors(blank).repeat(tf.gather(blanks_before, window))
    padded = padded.concatenate(present).concatenate(tf.data.Dataset.from_tensors(blank).repeat())
    return padded.take(seconds).batch(seconds).map(lambda serialized: (serialized, place))

  parse = _parser(config, num_targets)
  threads = config.data.read_threads
  dataset = positions.interleave(read, cycle_length=max(threads, 1), block_length=1, num_parallel_calls=threads,
                                 deterministic=True)
  dataset = dataset.map(parse, num_parallel_calls=threads, deterministic=True)
  dataset = dataset.batch(batch_size, drop_remainder=True).prefetch(2)
  options = tf.data.Options()
  options.threading.private_threadpool_size = threads
  return _with_readable_errors(_untuned(dataset.with_options(options)), config.data.dir)


def _untuned(dataset):
  """Without TensorFlow's tuner: an iterator at its end now and then waits for it, for up to a minute."""
  options = tf.data.Options()
  options.autotune.enabled = False
  return dataset.with_options(options)


def _with_readable_errors(dataset, folder):
  try:
    yield from dataset.as_numpy_iterator()
  except (tf.errors.DataLossError, tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as e:
    reason = str(e).split('[Op:')[0].split('\n')[0]
    raise DataError(f'{folder}: a record is damaged ({reason}); find it with '
                    f'`python -m data_prep.shards --verify {folder}`') from None


def _check_landmarks(config, manifest):
  found, wanted = manifest.num_landmarks, config.model.geometric.landmarks
  if 'geometric' in config.model.modalities and found != wanted:
    raise DataError(f'{config.data.dir}: its records have {found or "no"} landmarks, config.model.geometric.landmarks '
                    f'is {wanted}; ' + (f'set it to {found}' if found else 'add them with `python -m '
                                        'data_prep.landmarks`, and train on what that writes'))


def _window_tables(windows, seconds):
  """Per window: its files, joined; records to skip in them; blanks to put before; records to take. One blank more."""
  files, skip, before, length = [], [], [], []
  for recording, start in windows:
    first = max(start, 0)
    stop = min(start + seconds, recording.seconds)
    shard = min(first // records.RECORDS_PER_SHARD, len(recording.files) - 1)
    files.append('\n'.join(recording.files[shard:]))
    skip.append(first - shard * records.RECORDS_PER_SHARD)
    before.append(first - start)
    length.append(max(stop - first, 0))
  files.append(files[0])
  return tf.constant(files), *(tf.constant(column + [0], tf.int64) for column in (skip, before, length))


def _blank_record(num_targets, num_landmarks):
  steps = STEPS_PER_RECORD
  zeros = np.zeros(steps, np.float32)
  return records.Record(
      recording='', subject='', second=0, audio=np.zeros((steps, records.SAMPLES_PER_STEP), np.int16),
      audio_mean=0.0, audio_std=0.0, face=[b''] * steps, face_found=zeros,
      label=np.zeros((steps, num_targets), np.float32), label_mask=zeros, valid=zeros,
      landmarks=np.zeros((steps, num_landmarks, 2), np.float32) if num_landmarks else None)


def _parser(config, num_targets):
  """Serialized seconds [n] and a place -> one sequence; decodes what the network uses and nothing else."""
  steps, modalities = STEPS_PER_RECORD, config.model.modalities
  text = tf.io.FixedLenFeature([], tf.string)
  number = tf.io.FixedLenFeature([], tf.float32)
  spec = {name: text for name in ('face_found', 'label', 'label_mask', 'valid')}
  if 'speech' in modalities:
    spec |= {'audio': text, 'audio_mean': number, 'audio_std': number}
  if 'visual' in modalities:
    spec['face'] = tf.io.FixedLenFeature([steps], tf.string)
  if 'geometric' in modalities:
    spec['landmarks'] = text

  def floats(parsed, name, shape=()):
    """[n] strings -> [25 · n, …]."""
    return tf.reshape(tf.io.decode_raw(parsed[name], tf.float32), (-1, *shape))

  size = records.FACE_SIZE
  black = tf.io.encode_jpeg(tf.zeros((size, size, 3), tf.uint8))

  def decode(jpeg):
    # TensorFlow's default is another transform, 1.7 levels off in the mean: prediction decodes with OpenCV.
    return tf.ensure_shape(tf.io.decode_jpeg(jpeg, channels=3, dct_method='INTEGER_ACCURATE'), (size, size, 3))

  def parse(serialized, place):
    parsed = tf.io.parse_example(serialized, spec)
    valid = floats(parsed, 'valid')
    sequence = {
        'label': floats(parsed, 'label', (num_targets,)),
        'valid': valid,
        'mask': floats(parsed, 'label_mask') * valid,
        'face_found': floats(parsed, 'face_found'),
        'index': tf.cast(place, tf.int32),
    }
    if 'speech' in modalities:
      sequence['audio'] = tf.reshape(tf.io.decode_raw(parsed['audio'], tf.int16), (-1, records.SAMPLES_PER_STEP))
      # The mean and deviation of the recording stand in every record; blank ones hold 0.
      present = tf.argmax(parsed['audio_std'])
      sequence |= {name: parsed[name][present] for name in ('audio_mean', 'audio_std')}
    if 'visual' in modalities:
      faces = tf.reshape(parsed['face'], [-1])
      faces = tf.where(tf.strings.length(faces) > 0, faces, black)
      sequence['face'] = tf.map_fn(decode, faces, fn_output_signature=tf.uint8)
    if 'geometric' in modalities:
      sequence['landmarks'] = floats(parsed, 'landmarks', (config.model.geometric.landmarks, 2))
    return sequence

  return parse
