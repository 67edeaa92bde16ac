"""Shards -> batches, as a pure function of position: the only file of the trainer that imports TensorFlow.

The order of the training data depends on (seed, position) and on nothing else, so that the update is the only
state a checkpoint has to hold, and every number of hosts sees the same global batches.
"""

from collections.abc import Callable, Iterator
import dataclasses
import sys
from typing import Any

import ml_collections
import numpy as np
import tqdm

from data_prep.core.errors import DataError
from data_prep.core.quiet_tf import tf
from data_prep.schema import records
from data_prep.schema.fields import Field
from data_prep.schema.manifest import Manifest
from data_prep.shards import tfrecord, verify
from e2e_affect.input import corpus as corpora
from e2e_affect.input.recordings import records_per_chunk, records_per_sequence, StoredRecording, windows

tf.config.set_visible_devices([], 'GPU')  # the accelerator is JAX's
_ALWAYS = ('face_found',)  # traces tell it, whatever the network sees


@dataclasses.dataclass(frozen=True)
class Updates:
  """Which updates batches are for, and which part of a global batch this host makes.

  Attributes:
    first: update to begin with; 0 for a fresh run.
    last: update to end before.
    batch_size: sequences a global batch as the devices need it, at least `config.batch_size`; what is more is padding
      with mask 0.
    process_index: this host.
    process_count: number of hosts; each gets every process_count-th sequence.
  """

  first: int
  last: int
  batch_size: int
  process_index: int = 0
  process_count: int = 1

  @property
  def of_host(self) -> int:
    """Sequences of a batch that this host makes."""
    return self.batch_size // self.process_count


def train_batches(
  config: ml_collections.ConfigDict, manifest: Manifest, updates: Updates
) -> Iterator[dict[str, np.ndarray]]:
  """The batches of updates.

  Args:
    config: `data.*`, `seed`, `batch_size` and `model.modalities` are read.
    manifest: of `config.data.dir`.
    updates: which.

  Yields:
    `valid`, `mask` [b, T], `label` [b, T, K], `index` [b] place in the global batch, and the fields of the network's
    streams, [b, T, …] or, per recording, [b, …]; `face_found` always. b = batch_size / hosts. `label` and `mask` are
    those of `data.label_delay_steps` later; the mask is 0 where the recording has ended by then.
  """
  cut = windows(config, manifest)
  order = _order(config, len(cut), updates)
  length = records_per_sequence(config, manifest.grid)
  return _batches(config, manifest, order, cut, length, updates.of_host, config.data.label_delay_steps)


def cached_train_batches(
  config: ml_collections.ConfigDict, manifest: Manifest, corpus: dict[str, np.ndarray], updates: Updates
) -> Iterator[dict[str, np.ndarray]]:
  """What `train_batches` yields, from a corpus in memory."""
  for order in train_order(config, manifest, updates):
    yield {name: values[order['window']] for name, values in corpus.items()} | {'index': order['index']}


def read_corpus(config: ml_collections.ConfigDict, manifest: Manifest) -> dict[str, np.ndarray]:
  """All N sequences of the train partition, decoded, and a blank one: as `train_batches`, [N + 1, …], no `index`."""
  cut = windows(config, manifest)
  order = tf.data.Dataset.range(len(cut) + 1).map(lambda window: (window, window))
  length = records_per_sequence(config, manifest.grid)
  corpus: dict[str, np.ndarray] = {}
  for batch in tqdm.tqdm(
    _batches(config, manifest, order, cut, length, 1, config.data.label_delay_steps),
    total=len(cut) + 1,
    desc='reading the corpus',
    unit=' sequences',
    leave=False,
    disable=not sys.stderr.isatty(),
  ):
    place = batch.pop('index')[0]
    if not corpus:  # once: the corpus may be many gigabytes, and the allocator may fill them with zeros each time
      corpus = {name: np.zeros((len(cut) + 1, *values.shape[1:]), values.dtype) for name, values in batch.items()}
    for name, values in batch.items():
      corpus[name][place] = values[0]
  return corpus


def train_order(
  config: ml_collections.ConfigDict, manifest: Manifest, updates: Updates
) -> Iterator[dict[str, np.ndarray]]:
  """Which rows of `read_corpus` make the batches of `train_batches`: `window` [b] and, as there, `index` [b]."""
  order = _order(config, len(windows(config, manifest)), updates)
  order = order.map(lambda window, place: {'window': tf.cast(window, tf.int32), 'index': tf.cast(place, tf.int32)})
  return _untuned(order.batch(updates.of_host, drop_remainder=True)).as_numpy_iterator()


def _order(config, windows, updates):
  """Pairs of a window's number and its place in the global batch; number `windows` is the blank one."""
  count, batch_size = config.batch_size, updates.batch_size

  def window_at(position):
    # Epoch e visits every sequence once, in a permutation of its own; the stateless shuffle needs no buffer.
    # Slots of the batch past config.batch_size point at the blank window.
    step, place = position // batch_size, position % batch_size
    real = step * count + place
    epoch_seed = tf.stack([tf.constant(config.seed, tf.int64), real // windows])
    shuffled = tf.random.experimental.index_shuffle(real % windows, epoch_seed, windows - 1)
    return tf.where(place < count, shuffled, windows), place

  positions = tf.data.Dataset.range(updates.first * batch_size, updates.last * batch_size)
  return positions.shard(updates.process_count, updates.process_index).map(window_at)


def evaluation_batches(
  config: ml_collections.ConfigDict, manifest: Manifest, group: list[StoredRecording], size: int, context: int
) -> Iterator[dict[str, np.ndarray]]:
  """Recordings whole and in order, in chunks, side by side.

  Args:
    config: `data.*`, `evaluate_chunk_seconds`, `model.modalities` and `model.recurrent` are read.
    manifest: of `config.data.dir`.
    group: at most `size` recordings.
    size: b, rows of each batch; rows past the group's end are blank.
    context: steps before and after the chunk that come along, a whole number of records.

  Yields:
    Per chunk, as `train_batches`, T = steps of the chunk + 2 · context. Past the end of a recording everything is 0.
  """
  per_record = manifest.grid.steps_per_record
  chunk = records_per_chunk(config, manifest)
  around = context // per_record
  cut: list[tuple[StoredRecording, int]] = []
  order: list[tuple[int, int]] = []
  for start in range(0, max(r.records for r in group), chunk):
    for place in range(size):
      order.append((len(cut) if place < len(group) else -1, place))
      if place < len(group):
        cut.append((group[place], start - around))
  order = [(len(cut) if window < 0 else window, place) for window, place in order]
  positions = tf.data.Dataset.from_tensor_slices(np.asarray(order, np.int64)).map(lambda pair: (pair[0], pair[1]))
  return _batches(config, manifest, positions, cut, chunk + 2 * around, size)


def read_records(
  config: ml_collections.ConfigDict,
  manifest: Manifest,
  group: list[StoredRecording],
  names: list[str] | None,
  at_once: int,
) -> Iterator[dict[str, np.ndarray]]:
  """Every record of recordings, in order.

  Args:
    config: `data.*` and `model.modalities` are read.
    manifest: of `config.data.dir`.
    group: the recordings.
    names: fields to decode beside `valid` and `mask`; None: all that the network of the config takes.
    at_once: records that are decoded together.

  Yields:
    As `train_batches`, without the axis of sequences.

  Raises:
    DataError: a record is damaged, or lacks a field: named.
  """
  places = [(recording, index) for recording in group for index in range(recording.records)]
  stored = corpora.of_records(manifest)
  parse = _parser(stored, _fields(config, stored) if names is None else _named(stored, names))
  dataset = tf.data.TFRecordDataset([file for recording in group for file in recording.files]).batch(at_once)
  dataset = dataset.map(
    lambda serialized: parse(serialized, 0), num_parallel_calls=config.data.read_threads, deterministic=True
  )
  windows_of = lambda batch: places[batch * at_once : (batch + 1) * at_once]
  elements = _with_readable_errors(_untuned(dataset), config.data.dir, stored, windows_of, 1)
  for number, element in enumerate(elements):
    features = corpora.features_of(manifest, windows_of(number), 1)
    wanted = {name: of.reshape(-1, of.shape[2]) for name, of in features.items() if names is None or name in names}
    yield element | wanted


def _batches(config, manifest, positions, cut, length, batch_size, label_delay=0):
  """Reads `length` records per window of `cut`; batches of windows, with the labels of so many steps later."""
  stored = corpora.of_records(manifest)
  # Of the records behind the window the labels alone are decoded. Past the recording's end they are blank.
  behind = -(-label_delay // manifest.grid.steps_per_record)
  read_length = length + behind
  files, skip, blanks_before, present_records = _window_tables(cut, read_length)
  blank = records.encode(records.blank(stored), stored)

  def read(window, place):
    present = tf.data.TFRecordDataset(tf.strings.split(tf.gather(files, window), '\n'))
    present = present.skip(tf.gather(skip, window)).take(tf.gather(present_records, window))
    padded = tf.data.Dataset.from_tensors(blank).repeat(tf.gather(blanks_before, window))
    padded = padded.concatenate(present).concatenate(tf.data.Dataset.from_tensors(blank).repeat())
    return padded.take(read_length).batch(read_length).map(lambda serialized: (serialized, place, window))

  parse = _parser(stored, _fields(config, stored), behind, label_delay)
  threads = config.data.read_threads
  dataset = positions.interleave(
    read, cycle_length=max(threads, 1), block_length=1, num_parallel_calls=threads, deterministic=True
  )
  dataset = dataset.map(
    lambda serialized, place, window: parse(serialized, place) | {'window': window},
    num_parallel_calls=threads,
    deterministic=True,
  )
  dataset = dataset.batch(batch_size, drop_remainder=True).prefetch(2)
  options = tf.data.Options()
  options.threading.private_threadpool_size = threads

  def windows_of(batch):
    numbers = positions.skip(batch * batch_size).take(batch_size).map(lambda window, place: window)
    return [cut[k] for k in numbers.as_numpy_iterator() if k < len(cut)]

  dataset = _untuned(dataset.with_options(options))
  for batch in _with_readable_errors(dataset, config.data.dir, stored, windows_of, read_length):
    of_batch = [cut[k] if k < len(cut) else None for k in batch.pop('window')]
    yield batch | corpora.features_of(manifest, of_batch, length)


def _untuned(dataset):
  """Without TensorFlow's tuner: an iterator at its end now and then waits for it, for up to a minute."""
  options = tf.data.Options()
  options.autotune.enabled = False
  return dataset.with_options(options)


def _with_readable_errors(dataset, folder, manifest, windows_of, length):
  """Yields what the dataset yields; names the record that it fails at.

  Args:
    dataset, folder, manifest: what is read.
    windows_of: number of an element -> the windows that it is made of; the order of elements is fixed, so that the
      number of those that were yielded says where the fault lies.
    length: records of a window.

  Raises:
    DataError: shard, record, byte and place in the recording, and what is wrong there.
  """
  yielded = 0
  try:
    for element in dataset.as_numpy_iterator():
      yield element
      yielded += 1
  except (tf.errors.OpError, UnicodeDecodeError) as e:  # the latter where TensorFlow's message quotes the damage
    fault = _fault_in(folder, manifest, windows_of(yielded), length)
    if fault is None:  # open files, memory, a drive that was away for a moment
      reason = tfrecord.reason(e) if isinstance(e, tf.errors.OpError) else str(e)
      raise DataError(
        f'{folder}: a record cannot be read ({reason}), and `--verify` finds it sound; mend what is said '
        'there, then start the same command again'
      ) from None
    raise DataError(
      f'{fault}; make the shards again with `python -m data_prep.prepare`; `python -m data_prep.shards '
      f'--verify={folder}` lists all faults'
    ) from None


def _fault_in(folder, manifest, cut, length):
  """The first fault in the windows, found by the check of `--verify`; None: there is none."""
  for recording, start in cut:
    for shard in sorted((s for s in manifest.shards if s.recording == recording.name), key=lambda s: s.first):
      first = max(start - shard.first, 0)
      stop = min(start + length - shard.first, shard.records)
      fault = verify.first_fault(folder, manifest, shard, first, stop) if first < stop else None
      if fault:
        return fault
  return None


def _window_tables(cut, length):
  """Per window: its files, joined; records to skip in them; blanks to put before; records to take. Last, the blank."""
  files, skip, before, present = [], [], [], []
  for recording, start in cut:
    first = max(start, 0)
    stop = min(start + length, recording.records)
    shard = min(first // records.RECORDS_PER_SHARD, len(recording.files) - 1)
    files.append('\n'.join(recording.files[shard:]))
    skip.append(first - shard * records.RECORDS_PER_SHARD)
    before.append(first - start)
    present.append(max(stop - first, 0))
  files.append(files[0])
  return tf.constant(files), *(tf.constant(column + [0], tf.int64) for column in (skip, before, present))


def _fields(config, manifest) -> dict[str, Field]:
  """The fields of records that a network of the config takes, and those that are always read."""
  taken = [field for name in config.model.modalities if name in manifest.streams for field in manifest.streams[name]]
  return {field.name: field for field in taken} | _named(
    manifest, [f.name for f in manifest.fields() if f.name in _ALWAYS]
  )


def _named(manifest, names) -> dict[str, Field]:
  return {field.name: field for field in manifest.fields() if field.name in names}


def _parser(
  manifest: Manifest, fields: dict[str, Field], behind: int = 0, label_delay: int = 0
) -> Callable[[Any, Any], dict[str, Any]]:
  """Serialized records [n + behind] and a place -> one sequence of n; decodes these fields, labels, and nothing else.

  The labels and their mask are those of `label_delay` steps later.
  """
  steps = manifest.grid.steps_per_record
  text = tf.io.FixedLenFeature([], tf.string)

  def feature(field):
    if field.per == 'recording':
      return tf.io.FixedLenFeature(field.shape, tf.float32, default_value=field.default)
    return tf.io.FixedLenFeature([steps], tf.string) if field.dtype == 'jpeg' else text

  label_spec = dict.fromkeys(('label', 'label_mask', 'valid'), text)
  spec = label_spec | {name: feature(f) for name, f in fields.items()}

  def array(parsed, name, shape=(), dtype='float32'):
    """[n] strings -> [steps · n, …]; a string of another size is an error, and so is a number that is not finite."""
    values = tf.io.decode_raw(parsed[name], tf.as_dtype(dtype))
    if values.dtype.is_floating:
      values = tf.debugging.assert_all_finite(values, name)
    return tf.reshape(values, (steps * tf.shape(parsed[name])[0], *shape))

  def decode(jpeg, shape):
    header = tf.io.extract_jpeg_shape(jpeg)  # before the decoder: a size that lies would take its memory
    with tf.control_dependencies([tf.debugging.assert_equal(header[:2], shape[:2])]):
      jpeg = tf.identity(jpeg)
    # TensorFlow's default is another transform, 1.7 levels off in the mean: prediction decodes with OpenCV.
    return tf.ensure_shape(tf.io.decode_jpeg(jpeg, channels=3, dct_method='INTEGER_ACCURATE'), shape)

  def value(parsed, field, first):
    if field.per == 'recording':
      return tf.debugging.assert_all_finite(parsed[field.name], field.name)[first]
    if field.dtype == 'jpeg':
      flat = tf.reshape(parsed[field.name], [-1])
      return tf.map_fn(lambda jpeg: decode(jpeg, field.shape), flat, fn_output_signature=tf.uint8)
    return array(parsed, field.name, field.shape, field.dtype)

  def parse(serialized, place):
    records_of_sequence = tf.shape(serialized)[0] - behind
    parsed = tf.io.parse_example(serialized[:records_of_sequence], spec)
    valid = array(parsed, 'valid')
    rated = tf.io.parse_example(serialized, label_spec) if label_delay else parsed
    learnt = slice(label_delay, label_delay + steps * records_of_sequence)
    # What holds for the whole recording stands in every record but the blank ones, in which nothing is valid.
    first = tf.argmax(tf.reduce_max(tf.reshape(valid, [-1, steps]), axis=1))
    sequence = {
      'label': array(rated, 'label', (len(manifest.targets),))[learnt],
      'valid': valid,
      'mask': (array(rated, 'label_mask') * array(rated, 'valid'))[learnt] * valid,
      'index': tf.cast(place, tf.int32),
      **{name: tf.zeros_like(valid) for name in _ALWAYS},
    }
    return sequence | {name: value(parsed, field, first) for name, field in fields.items()}

  return parse
