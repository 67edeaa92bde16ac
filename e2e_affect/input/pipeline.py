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

from data_prep.core.errors import DataError
from data_prep.core.quiet_tf import tf
from data_prep.schema import records
from data_prep.schema.manifest import Manifest
from data_prep.schema.records import STEPS_PER_RECORD
from data_prep.shards import verify, write

tf.config.set_visible_devices([], 'GPU')  # the accelerator is JAX's
_CHECKED_TOGETHER = 25  # records


@dataclasses.dataclass(frozen=True)
class Recording:
  """Where the records of one recording lie: `files` in order, and their number."""

  name: str
  subject: str
  files: list[str]
  seconds: int
  steps: int


def read_manifest(folder: str) -> Manifest:
  """Reads the manifest and looks at every shard's size and permission, without reading the shards.

  Raises:
    DataError: no manifest, or a shard that is missing, cut, grown or not to be read: named, with what was expected.
  """
  manifest = Manifest.read(folder)
  for shard in manifest.shards:
    path = pathlib.Path(folder) / shard.file
    found = os.path.getsize(path) if path.is_file() else None
    if found != shard.bytes:
      what = 'not found' if found is None else f'{found} bytes found'
      raise DataError(
        f'{path}: {what}, {shard.bytes} bytes with {shard.records} records expected; make the shards '
        'again with `python -m data_prep.prepare`'
      )
    if not os.access(path, os.R_OK):
      raise DataError(f'{path}: you may not read it; give yourself the permission (chmod u+r)')
  return manifest


def recordings(manifest: Manifest, folder: str, partition: str) -> list[Recording]:
  """The recordings of a partition, sorted by name."""
  found = {}
  for shard in sorted(manifest.shards, key=lambda s: (s.recording, s.first_second)):
    if shard.partition == partition:
      found.setdefault(shard.recording, []).append(shard)
  return [
    Recording(
      name,
      of[0].subject,
      [str(pathlib.Path(folder) / s.file) for s in of],
      sum(s.records for s in of),
      sum(s.steps for s in of),
    )
    for name, of in found.items()
  ]


def num_sequences(config: ml_collections.ConfigDict, manifest: Manifest) -> int:
  """N: sequences of T steps to train on; the last one of a recording may be partly masked."""
  _check_landmarks(config, manifest)
  return len(_train_windows(config, manifest))


def check_streams(config: ml_collections.ConfigDict, manifest: Manifest) -> None:
  """Looks for what the network learns from, up to the first record that has it: in ordinary data, that is one.

  Raises:
    DataError: the partitions to train on have no label, or no face, sound or landmarks for a network that sees them;
      or a record is damaged.
  """
  group = _train_recordings(config, manifest)
  seconds = [(recording, second) for recording in group for second in range(recording.seconds)]
  modalities = config.model.modalities
  text = tf.io.FixedLenFeature([], tf.string)
  spec = {'label_mask': text, 'valid': text}
  spec |= {'face_found': text} if 'visual' in modalities else {}
  spec |= {'audio_std': tf.io.FixedLenFeature([], tf.float32)} if 'speech' in modalities else {}
  spec |= {'landmarks': text} if 'geometric' in modalities else {}

  def parse(serialized):
    parsed = tf.io.parse_single_example(serialized, spec)
    of_steps = ('label_mask', 'valid', 'face_found')
    return parsed | {
      name: tf.reshape(tf.io.decode_raw(parsed[name], tf.float32), [STEPS_PER_RECORD])
      for name in of_steps
      if name in spec
    }

  dataset = tf.data.TFRecordDataset([file for recording in group for file in recording.files]).map(parse)
  missing = {'label_mask': 'label', 'face_found': 'face', 'audio_std': 'sound', 'landmarks': 'landmark'}
  missing = {name: word for name, word in missing.items() if name in spec}
  for record in _with_readable_errors(_untuned(dataset), config.data.dir, manifest, lambda k: seconds[k : k + 1], 1):
    for name in list(missing):
      if name == 'landmarks':
        found = any(record[name])  # a byte that is not 0: they are 0 where no point was found
      else:
        found = np.any(record[name] * (1 if name == 'audio_std' else record['valid']))
      if found:
        del missing[name]
    if not missing:
      return
  raise DataError(
    f'{config.data.dir}: {" and ".join(config.data.train_on)}, to train on, has no '
    f'{" and no ".join(missing.values())} in any of {len(seconds)} records, and a network of '
    f'{", ".join(modalities)} learns from it; prepare the recordings again with what is missing '
    '(`python -m data_prep.preview` shows what they hold), or train a network without it'
  )


def check_records(config: ml_collections.ConfigDict, manifest: Manifest, partition: str) -> None:
  """Reads a partition once as an evaluation will, so that no damage is found only after the training.

  Raises:
    DataError: a record is damaged, or lacks what the network needs: named.
  """
  group = recordings(manifest, config.data.dir, partition)
  seconds = [(recording, second) for recording in group for second in range(recording.seconds)]
  parse = _parser(config, len(manifest.targets))
  dataset = tf.data.TFRecordDataset([file for recording in group for file in recording.files]).batch(_CHECKED_TOGETHER)
  dataset = dataset.map(
    lambda serialized: parse(serialized, 0), num_parallel_calls=config.data.read_threads, deterministic=True
  )

  def windows_of(batch):
    return seconds[batch * _CHECKED_TOGETHER : (batch + 1) * _CHECKED_TOGETHER]

  for _ in _with_readable_errors(_untuned(dataset), config.data.dir, manifest, windows_of, 1):
    pass


def train_batches(
  config: ml_collections.ConfigDict,
  manifest: Manifest,
  first_step: int,
  last_step: int,
  *,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
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
    `audio` [b, T, S] int16, `audio_mean`, `audio_std`, `audio_gain` [b], `face` [b, T, 96, 96, 3] uint8, `face_found`,
    `valid`, `mask` [b, T], `landmarks` [b, T, L, 2], `label` [b, T, K], `index` [b] place in the global batch;
    b = batch_size / hosts.
    `audio`, `face` or `landmarks` is absent where the network has no such modality.
  """
  windows = _train_windows(config, manifest)
  order = _train_order(config, len(windows), first_step, last_step, batch_size, process_index, process_count)
  seconds = config.data.sequence_steps // STEPS_PER_RECORD
  return _batches(config, manifest, order, windows, seconds, batch_size // process_count)


def cached_train_batches(
  config: ml_collections.ConfigDict,
  manifest: Manifest,
  corpus: dict[str, np.ndarray],
  first_step: int,
  last_step: int,
  **place: int,
) -> Iterator[dict[str, np.ndarray]]:
  """What `train_batches` yields, from a corpus in memory."""
  for order in train_order(config, manifest, first_step, last_step, **place):
    yield {name: values[order['window']] for name, values in corpus.items()} | {'index': order['index']}


def read_corpus(config: ml_collections.ConfigDict, manifest: Manifest) -> dict[str, np.ndarray]:
  """All N sequences of the train partition, decoded, and a blank one: as `train_batches`, [N + 1, …], no `index`."""
  windows = _train_windows(config, manifest)
  order = tf.data.Dataset.range(len(windows) + 1).map(lambda window: (window, window))
  seconds = config.data.sequence_steps // STEPS_PER_RECORD
  corpus = {}
  for batch in tqdm.tqdm(
    _batches(config, manifest, order, windows, seconds, 1),
    total=len(windows) + 1,
    desc='reading the corpus',
    unit=' sequences',
    leave=False,
    disable=not sys.stderr.isatty(),
  ):
    place = batch.pop('index')[0]
    if not corpus:  # once: the corpus may be many gigabytes, and the allocator may fill them with zeros each time
      corpus = {name: np.zeros((len(windows) + 1, *values.shape[1:]), values.dtype) for name, values in batch.items()}
    for name, values in batch.items():
      corpus[name][place] = values[0]
  return corpus


def train_order(
  config: ml_collections.ConfigDict,
  manifest: Manifest,
  first_step: int,
  last_step: int,
  *,
  batch_size: int,
  process_index: int = 0,
  process_count: int = 1,
) -> Iterator[dict[str, np.ndarray]]:
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


def evaluation_batches(
  config: ml_collections.ConfigDict, manifest: Manifest, group: list[Recording], size: int, context_seconds: int
) -> Iterator[dict[str, np.ndarray]]:
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


def _train_recordings(config, manifest):
  group = [r for partition in config.data.train_on for r in recordings(manifest, config.data.dir, partition)]
  if not group:
    raise DataError(f'{config.data.dir}: no recordings to train on in {" and ".join(config.data.train_on)}')
  return group


def _train_windows(config, manifest):
  """(recording, first second) of every sequence of the partitions to train on."""
  seconds = config.data.sequence_steps // STEPS_PER_RECORD
  return [(r, start) for r in _train_recordings(config, manifest) for start in range(0, r.seconds, seconds)]


def _batches(config, manifest, positions, windows, seconds, batch_size):
  """Reads `seconds` records per window; batches of windows."""
  _check_landmarks(config, manifest)
  files, skip, blanks_before, length = _window_tables(windows, seconds)
  num_targets = len(manifest.targets)
  blank = records.encode(records.blank(manifest), manifest)

  def read(window, place):
    present = tf.data.TFRecordDataset(tf.strings.split(tf.gather(files, window), '\n'))
    present = present.skip(tf.gather(skip, window)).take(tf.gather(length, window))
    padded = tf.data.Dataset.from_tensors(blank).repeat(tf.gather(blanks_before, window))
    padded = padded.concatenate(present).concatenate(tf.data.Dataset.from_tensors(blank).repeat())
    return padded.take(seconds).batch(seconds).map(lambda serialized: (serialized, place))

  parse = _parser(config, num_targets)
  threads = config.data.read_threads
  dataset = positions.interleave(
    read, cycle_length=max(threads, 1), block_length=1, num_parallel_calls=threads, deterministic=True
  )
  dataset = dataset.map(parse, num_parallel_calls=threads, deterministic=True)
  dataset = dataset.batch(batch_size, drop_remainder=True).prefetch(2)
  options = tf.data.Options()
  options.threading.private_threadpool_size = threads

  def windows_of(batch):
    numbers = positions.skip(batch * batch_size).take(batch_size).map(lambda window, place: window)
    return [windows[k] for k in numbers.as_numpy_iterator() if k < len(windows)]

  dataset = _untuned(dataset.with_options(options))
  return _with_readable_errors(dataset, config.data.dir, manifest, windows_of, seconds)


def _untuned(dataset):
  """Without TensorFlow's tuner: an iterator at its end now and then waits for it, for up to a minute."""
  options = tf.data.Options()
  options.autotune.enabled = False
  return dataset.with_options(options)


def _with_readable_errors(dataset, folder, manifest, windows_of, seconds):
  """What the dataset yields; the record that it fails at is named.

  Args:
    dataset, folder, manifest: what is read.
    windows_of: number of an element -> the windows that it is made of; the order of elements is fixed, so that the
      number of those that were yielded says where the fault lies.
    seconds: of a window.

  Raises:
    DataError: shard, record, byte and second of the recording, and what is wrong there.
  """
  yielded = 0
  try:
    for element in dataset.as_numpy_iterator():
      yield element
      yielded += 1
  except (tf.errors.OpError, UnicodeDecodeError) as e:  # the latter where TensorFlow's message quotes the damage
    fault = _fault_in(folder, manifest, windows_of(yielded), seconds)
    if fault is None:  # open files, memory, a drive that was away for a moment
      reason = write.reason(e) if isinstance(e, tf.errors.OpError) else str(e)
      raise DataError(
        f'{folder}: a record cannot be read ({reason}), and `--verify` finds it sound; mend what is said '
        'there, then start the same command again'
      ) from None
    raise DataError(
      f'{fault}; make the shards again with `python -m data_prep.prepare`; `python -m data_prep.shards '
      f'--verify={folder}` lists all faults'
    ) from None


def _fault_in(folder, manifest, windows, seconds):
  """The first fault in the windows, found by the check of `--verify`; None: there is none."""
  for recording, start in windows:
    for shard in sorted((s for s in manifest.shards if s.recording == recording.name), key=lambda s: s.first_second):
      first = max(start - shard.first_second, 0)
      stop = min(start + seconds - shard.first_second, shard.records)
      fault = verify.first_fault(folder, manifest, shard, first, stop) if first < stop else None
      if fault:
        return fault
  return None


def _check_landmarks(config, manifest):
  found, wanted = manifest.num_landmarks, config.model.geometric.landmarks
  if 'geometric' in config.model.modalities and found != wanted:
    raise DataError(
      f'{config.data.dir}: its records have {found or "no"} landmarks, config.model.geometric.landmarks '
      f'is {wanted}; '
      + (
        f'set it to {found}'
        if found
        else 'add them with `python -m data_prep.landmarks`, and train on what that writes'
      )
    )


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


def _parser(config, num_targets):
  """Serialized seconds [n] and a place -> one sequence; decodes what the network uses and nothing else."""
  steps, modalities = STEPS_PER_RECORD, config.model.modalities
  text = tf.io.FixedLenFeature([], tf.string)
  number = tf.io.FixedLenFeature([], tf.float32)
  spec = dict.fromkeys(('face_found', 'label', 'label_mask', 'valid'), text)
  if 'speech' in modalities:
    spec |= {
      'audio': text,
      'audio_mean': number,
      'audio_std': number,
      'audio_gain': tf.io.FixedLenFeature([], tf.float32, default_value=1.0),
    }
  if 'visual' in modalities:
    spec['face'] = tf.io.FixedLenFeature([steps], tf.string)
  if 'geometric' in modalities:
    spec['landmarks'] = text

  def floats(parsed, name, shape=()):
    """[n] strings -> [25 · n, …]; a string of another size is an error, and so is a number that is not finite."""
    values = tf.debugging.assert_all_finite(tf.io.decode_raw(parsed[name], tf.float32), name)
    return tf.reshape(values, (steps * tf.shape(parsed[name])[0], *shape))

  size = records.FACE_SIZE

  def decode(jpeg):
    header = tf.io.extract_jpeg_shape(jpeg)  # before the decoder: a size that lies would take its memory
    with tf.control_dependencies([tf.debugging.assert_equal(header[:2], (size, size))]):
      jpeg = tf.identity(jpeg)
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
      sequence['audio'] = tf.reshape(
        tf.io.decode_raw(parsed['audio'], tf.int16), (steps * tf.shape(serialized)[0], records.SAMPLES_PER_STEP)
      )
      # The mean, deviation and gain of the recording stand in every record; blank ones hold 0.
      present = tf.argmax(parsed['audio_std'])
      for name in ('audio_mean', 'audio_std', 'audio_gain'):
        sequence[name] = tf.debugging.assert_all_finite(parsed[name], name)[present]
    if 'visual' in modalities:
      sequence['face'] = tf.map_fn(decode, tf.reshape(parsed['face'], [-1]), fn_output_signature=tf.uint8)
    if 'geometric' in modalities:
      sequence['landmarks'] = floats(parsed, 'landmarks', (config.model.geometric.landmarks, 2))
    return sequence

  return parse
