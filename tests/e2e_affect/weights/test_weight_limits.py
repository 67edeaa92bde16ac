"""Weight files that ask for the world, and damaged ones: one line each, at once, and little memory."""

import io
import json
import os
import pathlib
import pickle
import random
import re
import signal
import struct
import subprocess
import sys
import time
import zipfile

import h5py
import numpy as np
import pytest
from safetensors.numpy import save_file

from data_prep.core.errors import UserError
from e2e_affect.weights import archive, detect, end2you, limits, released, store, torch_file, torch_pickle
from e2e_affect.weights.tensors import Stored
from tests import reference_networks as reference
from tests.e2e_affect.weights.test_weight_files import refused, tiny, zip_of
from tests.e2e_affect.weights.test_weights import huggingface_names, weights
from tests.fuzz import kinds

# Of a processor, where an attack would take minutes and a refusal takes less than one; and for all files together.
SECONDS, MEGABYTES = 20, 200
NAME = b'X\x01\x00\x00\x00a'  # the pickle of 'a'
# A tuple of twice the tuple before, sixty times: to hash or to print it takes longer than anyone has.
NEST = b')' + b''.join(b'q%ch%c\x86' % (i, i) for i in range(60))
BIG = b'\x8b' + struct.pack('<I', 4 << 20) + b'\x7f' * (4 << 20)  # a number of ten million digits
LONG = b'X' + struct.pack('<I', 2 << 20) + b'a' * (2 << 20)


def storage(key=b'X\x01\x00\x00\x000', numel=b'K\x04'):
  return b'(X\x07\x00\x00\x00storagectorch\nFloatStorage\n' + key + b'X\x03\x00\x00\x00cpu' + numel + b'tQ'


def tensor(shape, strides=b'K\x01\x85', of=None):
  of = of or storage()
  return b'ctorch._utils\n_rebuild_tensor_v2\n(' + of + b'K\x00' + shape + strides + b'\x89}tR'


PICKLES = {  # name -> (its program, what is said)
  'a nest as a key': (b'}' + NEST + b'K\x01s', 'no tensors'),
  'a nest as the name of a tensor': (b'}' + NEST + tensor(b'K\x04\x85') + b's', 'no tensors'),
  'a nest as a storage': (NEST + b'Q', 'a storage of an unknown kind'),
  'a nest as the key of a storage': (storage(key=NEST), 'a storage of an impossible name'),
  'a nest as a length': (storage(numel=NEST), 'impossible size'),
  'a nest as a module': (NEST + NAME + b'\x93)R', 'a name that is no text'),
  'a nest that is called': (NEST + b')R', 'calls what is no name'),
  'a nest as a key of an OrderedDict': (b'ccollections\nOrderedDict\n](' + NEST + b'K\x01\x86e\x85R', 'no tensors'),
  'a nest alone': (NEST, 'holds a tuple'),
  'one long number as a key, again and again': (
    b'}' + BIG + b'q\x01K\x01s(' + b'h\x01K\x01' * 100_000 + b'u',
    'no tensors',
  ),
  'two long equal texts as keys, in turns': (
    b'}(' + LONG + b'q\x01K\x01' + LONG + b'q\x02K\x01' + b'h\x01K\x01h\x02K\x01' * 50_000 + b'u',
    'no tensors',
  ),
  'a list copied again and again': (
    b']('
    + NAME
    + b'K\x01\x86q\x01'
    + b'h\x01' * 100_000
    + b'eq\x02ccollections\nOrderedDict\nq\x03'
    + b'h\x03h\x02\x85R' * 50_000,
    'more than 250,000 instructions',
  ),
  'many marks above a high stack': (b')' * 60_000 + b'(t' * 60_000, 'holds a tuple'),
  'many instructions': (b'}' * (4 << 20), 'more than 250,000 instructions'),
  'tuples in tuples': (b')' + b'\x85' * 200_000, 'holds a tuple'),
  'dictionaries in dictionaries': (b'}X\x05\x00\x00\x00modelq\x01}' + b'h\x01}' * 50_000 + b's' * 50_001, 'damaged'),
  'a shape of many dimensions': (
    b'}' + NAME + b'(' + b'K\x01' * 100_000 + b'tq\x05' + tensor(b'h\x05', b'h\x05') + b's',
    '100000 dimensions',
  ),
  'huge strides': (
    b'}' + NAME + tensor(b'K\x02\x85', b'\x8a\x09' + b'\xff' * 8 + b'\x00\x85') + b's',
    'impossible size',
  ),
  'a huge shape': (b'}' + NAME + tensor(BIG + b'\x85') + b's', 'impossible size'),
  'a huge storage': (b'}' + NAME + tensor(b'K\x04\x85', of=storage(numel=BIG)) + b's', 'impossible size'),
  'a long name': (b'}' + LONG + tensor(b'K\x04\x85') + b's', 'name has 2,097,152 characters'),
  'a name of two lines': (b'}X\x03\x00\x00\x00a\nb' + tensor(b'K\x04\x85') + b's', r"an array named 'a\\nb'"),
  'a long name of a function': (b'c' + b'a' * (1 << 20) + b'\nb\n)R', 'asks for a+…'),
  'a text of a terabyte': (b'\x8d' + struct.pack('<Q', 1 << 40) + b'aaa', 'damaged'),
}


def masked_crc32c(data):
  """The checksum of TensorFlow's blocks."""
  crc = 0xFFFFFFFF
  for byte in data:
    crc ^= byte
    for _ in range(8):
      crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
  crc ^= 0xFFFFFFFF
  return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def varint(number):
  out = bytearray()
  while number > 127:
    out.append(number & 127 | 128)
    number >>= 7
  return bytes(out + bytes([number]))


def entry(key, value, shared=0):
  return varint(shared) + varint(len(key)) + varint(len(value)) + key + value


def table(entries, place=None, index=None):
  """A sorted string table with right checksums, whose index says `place` and whose footer says `index`."""
  out = b''

  def block(content):
    nonlocal out
    start = len(out)
    content += struct.pack('<II', 0, 1) + b'\0'
    out += content + struct.pack('<I', masked_crc32c(content))
    return varint(start) + varint(len(content) - 1)

  data, meta = block(entries), block(b'')
  root = block(entry(b'\xff', place or data))
  return out + (meta + (index or root)).ljust(40, b'\0') + bytes.fromhex('57fb808b247547db')


def part(number, content):
  return varint(number << 3 | 2) + varint(len(content)) + content


def bundle(shape=(4,), kind=1, rest=b''):
  """What a checkpoint of TensorFlow says of an array."""
  dims = b''.join(part(2, b'\x08' + varint(size & (1 << 64) - 1)) for size in shape)
  return b'\x08' + varint(kind) + part(2, dims) + rest


HEADER = entry(b'', b'\x08\x01\x1a\x02\x08\x01')
TABLES = {
  'a footer that points to a terabyte': (table(HEADER, index=b'\0' + varint(1 << 40)), '1,099,511,627,776 bytes'),
  'a footer that points beyond 64 bits': (table(HEADER, index=b'\0' + varint((1 << 64) - 8)), 'damaged: a block of'),
  'an index that points to a terabyte': (table(HEADER, place=b'\0' + varint(1 << 40)), '1,099,511,627,776 bytes'),
  'names that share half a megabyte': (
    table(
      HEADER + entry(b'a' * 100_000, bundle()) + b''.join(entry(b'%06d' % i, bundle(), 100_000) for i in range(3000))
    ),
    'one longer than 512',
  ),
  'many names': (table(HEADER + b''.join(entry(b'%06d' % i, bundle()) for i in range(10_500))), 'more than 10,000'),
  'sizes below 0': (table(HEADER + entry(b'a', bundle((-4,)))), 'impossible size'),
  'more dimensions than TensorFlow has': (table(HEADER + entry(b'a', bundle((1,) * 300))), 'more than 8 dimensions'),
  'a size that overflows': (table(HEADER + entry(b'a', bundle((1 << 62, 1 << 62)))), 'impossible size'),
  'a type that there is not': (table(HEADER + entry(b'a', bundle(kind=9999))), r'unknown type \(9999\)'),
  'a slice that overflows': (
    table(HEADER + entry(b'a', bundle(rest=part(7, part(1, b'\x08' + varint(1 << 62) + b'\x10' + varint(1 << 62)))))),
    'impossible size',
  ),
  'bytes that are no message': (table(HEADER + entry(b'a', b'\xff' * 300)), 'damaged: a number of more than 64 bits'),
}


def h5_names(f):
  f[b'conv1_conv/\xff\xfe'] = np.zeros(3)


def h5_deep(f):
  for _ in range(5000):
    f = f.create_group('a')


def h5_wide(f):
  for i in range(20_000):
    f[str(i)] = h5py.SoftLink('/x')


def h5_cycle(f):
  for i in range(8):
    f[f'g{i}'] = f['/']


def keras_kernel(**options):
  def fill(f):
    f['conv1_bn/gamma'] = np.zeros(64, np.float32)
    f.create_dataset('conv1_conv/kernel', **options)

  return fill


SHAPE = (7, 7, 3, 64)
H5 = {
  'a name that is no UTF-8': (h5_names, r"the name b'\\xff\\xfe', expected UTF-8"),
  'groups in groups': (h5_deep, 'groups more than 16 deep'),
  'many links': (h5_wide, 'more than 10,000 groups'),
  'groups that hold themselves': (h5_cycle, 'more than 10,000 groups'),
  'a long name': (lambda f: f.create_group('a' * 60_000).create_dataset('b', data=1.0), "the name 'a+', expected"),
  'a name of two lines': (lambda f: f.create_dataset('a\nb/c', data=1.0), r"an array named 'a\\nb/c'"),
  'numbers of a megabyte each': (keras_kernel(shape=SHAPE, dtype='V1000000'), 'conv1_conv/kernel holds .V1000000'),
  'texts for numbers': (keras_kernel(shape=SHAPE, dtype=h5py.string_dtype()), 'holds object, expected numbers'),
  'numbers that only a default fills': (keras_kernel(shape=SHAPE, dtype='f4', fillvalue=1.0), 'has 0 of 37632 bytes'),
  'compressed numbers': (
    keras_kernel(data=np.zeros(SHAPE, 'f4'), compression='gzip'),
    'conv1_conv/kernel is compressed',
  ),
  'no numbers': (keras_kernel(data=h5py.Empty('f4')), r'conv1_conv/kernel is \[\]'),
}


def safetensors_of(path, header, size=0):
  text = header if isinstance(header, bytes) else json.dumps(header).encode()
  path.write_bytes(struct.pack('<Q', len(text)) + text + bytes(size))


ARRAY = {'dtype': 'F32', 'shape': [1], 'data_offsets': [0, 4]}
SAFETENSORS = {
  'a long header': ({'a' * (5 << 20): ARRAY}, 'header claims 5,242,'),
  'JSON in JSON': (b'{"__metadata__":' + b'{"a":' * 500_000 + b'1' + b'}' * 500_001, 'damaged'),
  'many arrays': (
    {'b': ARRAY, **{f'a{i}': ARRAY | {'shape': [0], 'data_offsets': [0, 0]} for i in range(19_999)}},
    '20,000 arrays',
  ),
  'many dimensions': ({'a': ARRAY | {'shape': [1] * 500_000}}, 'a has 500000 dimensions'),
  'a long name': ({'a' * 100_000: ARRAY}, 'an array named a+…'),
  'a name of two lines': ({'a\nb': ARRAY}, r"an array named 'a\\nb'"),
}


def hostile(folder):
  """Writes them; returns {name: (path, what is said)}."""
  files = {}

  def path(name, said, suffix):
    files[f'{suffix}: {name}'] = folder / f'{len(files)}.{suffix}', said
    return folder / f'{len(files) - 1}.{suffix}'

  header = torch_file.LEGACY_MAGIC + pickle.dumps(1001, 2) + pickle.dumps({'little_endian': True}, 2)
  for name, (code, said) in PICKLES.items():
    zip_of(path(name, said, 'zip'), b'\x80\x04' + code + b'.')
    path(name, f'{said}|damaged', 'legacy').write_bytes(header + b'\x80\x04' + code + b'.' + pickle.dumps([], 2))
  for name, (content, said) in TABLES.items():
    path(name, said, 'index').write_bytes(content)
  for name, (fill, said) in H5.items():
    with h5py.File(path(name, said, 'h5'), 'w', libver='latest') as f:
      fill(f)
  for name, (content, said) in SAFETENSORS.items():
    safetensors_of(path(name, said, 'safetensors'), content, 4)
  with zipfile.ZipFile(path('a long directory', 'bytes of directory, expected at most', 'pth'), 'w') as f:
    f.writestr('archive/data.pkl', b'\x80\x02}.')
    for i in range(60_000):
      f.writestr(f'archive/data/{i:020}', b'')
  with zipfile.ZipFile(path('a gigabyte of zeros', 'compressed inside', 'pth'), 'w', zipfile.ZIP_DEFLATED) as f:
    with f.open('archive/data.pkl', 'w') as member:
      for _ in range(256):
        member.write(bytes(1 << 20))
  return files


CHILD = """
import json, resource, sys, time
from data_prep.core.errors import UserError
from e2e_affect.weights import detect
memory = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, found = memory(), {}
for path in json.load(sys.stdin):
  start = time.process_time()
  try:
    detect.import_file(path)
    said = 'imported'
  except UserError as e:
    said = str(e)
  found[path] = said, time.process_time() - start
print(json.dumps([found, memory() - before, 'tensorflow' in sys.modules]))
"""


@pytest.fixture(scope='module')
def outcomes(tmp_path_factory):
  files = hostile(tmp_path_factory.mktemp('hostile'))
  done = subprocess.run(
    [sys.executable, '-c', CHILD],
    input=json.dumps([str(path) for path, _ in files.values()]),
    capture_output=True,
    text=True,
    check=False,
    timeout=120,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  found, memory, tensorflow = json.loads(done.stdout)
  return {name: (said, *found[str(path)]) for name, (path, said) in files.items()}, memory, tensorflow


NAMES = (
  [f'{kind}: {name}' for name in PICKLES for kind in ('zip', 'legacy')]
  + [f'{kind}: {name}' for kind, of in (('index', TABLES), ('h5', H5), ('safetensors', SAFETENSORS)) for name in of]
  + ['pth: a long directory', 'pth: a gigabyte of zeros']
)


@pytest.mark.parametrize('name', NAMES)
def test_what_asks_for_the_world_is_refused_in_a_line_at_once(outcomes, name):
  expected, said, seconds = outcomes[0][name]
  assert re.search(expected, said), said
  assert '\n' not in said and len(said) < 500
  assert seconds < SECONDS


def test_refusals_take_little_memory_and_no_tensorflow(outcomes):
  found, memory, tensorflow = outcomes
  assert sorted(found) == sorted(NAMES)
  assert memory < MEGABYTES and not tensorflow


@pytest.mark.slow
def test_an_unpickler_with_a_list_of_names_hangs_and_crashes(tmp_path):
  """Why `torch_pickle` has a machine of its own: it never hashes a key that is no text; `pickle` hashes every key in C.

  A guard that reads the instructions beforehand cannot see what becomes a key without following the stack.
  """

  def load(code, timeout):
    """(what a process that unpickles ends with, what it prints); None where it does not end in time."""
    (tmp_path / 'data.pkl').write_bytes(b'\x80\x04' + code + b'.')
    command = [sys.executable, pathlib.Path(__file__).with_name('unpickler.py')]
    try:
      done = subprocess.run(
        [*command, tmp_path / 'data.pkl'], capture_output=True, text=True, check=False, timeout=timeout
      )
    except subprocess.TimeoutExpired:
      return None
    return done.returncode, done.stdout

  nest, deep = b'}' + NEST + b'K\x01s', b'}' + b')' + b'\x85' * 200_000 + b'K\x01s'
  assert load(b'}' + NAME + tensor(b'K\x04\x85') + b's', 60) == (0, 'a: tensor (4,)\n')
  assert len(nest) < 500 and load(nest, 5) is None
  assert load(deep, 60)[0] == -signal.SIGSEGV
  for code in (nest, deep):
    start = time.thread_time()  # other tests leave threads behind
    assert torch_pickle.Machine().run(io.BytesIO(b'\x80\x04' + code + b'.')) == {}
    assert time.thread_time() - start < SECONDS


def test_many_views_of_one_storage_read_it_once(tmp_path, monkeypatch):
  """Ten thousand names of a storage of 4 MB would be 40 GB to read."""
  code = b'\x80\x02}(' + b'X\x01\x00\x00\x000' + tensor(b'K\x04\x85', of=storage(numel=b'J\x00\x00\x10\x00')) + b'q\x01'
  code += b''.join(b'X\x05\x00\x00\x00%05dh\x01' % i for i in range(300)) + b'u.'
  zip_of(tmp_path / 'x.pth', code, **{'data/0': bytes(4 << 20)})
  reads = []
  whole = archive.Archive.read
  monkeypatch.setattr(archive.Archive, 'read', lambda self, name: reads.append(name) or whole(self, name))
  assert sum(float(stored.read().sum()) for stored in torch_file.read(tmp_path / 'x.pth').values()) == 0
  assert reads.count('archive/data/0') == 1


def test_sizes_of_recurrent_layers_have_a_limit_before_any_is_made():
  absent = lambda shape: Stored(shape, lambda: pytest.fail('was read'))
  with pytest.raises(limits.Exceeded, match='1,000,000 recurrent units'):
    end2you.convert('x', {'rnn.rnn.weight_hh_l0': absent((4_000_000, 1_000_000)), 'linear.weight': absent((2, 3))})
  with pytest.raises(limits.Exceeded, match='1,000,000,000 targets'):
    end2you.convert('x', {'rnn.rnn.weight_hh_l0': absent((40, 10)), 'linear.weight': absent((10**9, 10))})
  with pytest.raises(limits.Exceeded, match='2,500,000 recurrent units'):
    released.convert('x', {'rnn/cell_0/lstm_cell/bias': absent((10**7,))})


def test_settings_beside_weights_have_limits(tmp_path):
  """A config.json beside a file of Hugging Face, and the header of weights that were imported."""
  deep = '[' * 100_000
  save_file(
    {name: v.astype(np.float16) for name, v in huggingface_names(weights()).items() if v.dtype.kind == 'f'},
    tmp_path / 'x.safetensors',
  )
  for text, said in (
    (deep, 'nested too deep'),
    (' ' * (2 << 20), '1,048,577 bytes of JSON'),
    (json.dumps({'model_type': 'x' * 9999}), "model_type is 'x+…, expected 'resnet'"),
  ):
    (tmp_path / 'config.json').write_text(text)
    refused(tmp_path / 'x.safetensors', said)
  for header, said in ((deep, 'nested too deep'), (json.dumps({'version': 'x' * 9999}), "version 'x+…, this program")):
    save_file({'x': np.zeros(3, np.float32)}, tmp_path / 'y.safetensors', metadata={'e2e_affect': header})
    with pytest.raises(UserError, match=said):
      store.read_header(tmp_path / 'y.safetensors')


def test_a_pipe_is_no_file(tmp_path):
  os.mkfifo(tmp_path / 'x.pth')
  with pytest.raises(UserError, match='no file, expected a weight file'):
    detect.import_file(tmp_path / 'x.pth')


def bases(folder, torch):
  """Small whole files of each format, as {name: path}."""
  arrays = {f'layer{i}.weight': np.random.default_rng(i).normal(size=(i, 3)).astype(np.float32) for i in range(1, 6)}
  state = {name: torch.from_numpy(value) for name, value in arrays.items()}
  for name, zipped in (('zip.pth', True), ('legacy.pth', False)):
    torch.save(
      {'model': state, 'args': {'lr': 0.1, 'names': ['a', 'b']}, 'score': np.float64(1)},
      folder / name,
      _use_new_zipfile_serialization=zipped,
    )
  save_file(arrays, folder / 'x.safetensors')
  for name, keys in (
    ('whole.h5', [f'model_weights/conv{i}/kernel:0' for i in range(5)]),
    ('x.weights.h5', [f'layers/conv2d_{i}/vars/0' for i in range(5)]),
  ):
    with h5py.File(folder / name, 'w') as f:
      for key in keys:
        f[key] = np.ones((2, 3), np.float32)
        f[key].parent.attrs['name'] = 'some layer'
  with zipfile.ZipFile(folder / 'x.keras', 'w') as f:
    f.writestr('config.json', '{}')
    f.writestr('metadata.json', '{}')
    f.write(folder / 'x.weights.h5', 'model.weights.h5')
  for version in (1, 2):
    reference.write_tf_checkpoint(folder / f'v{version}.ckpt', arrays, version)
  store.write(folder / 'stored', tiny(), 'x')
  names = (
    'zip.pth',
    'legacy.pth',
    'x.safetensors',
    'whole.h5',
    'x.weights.h5',
    'x.keras',
    'v1.ckpt',
    'v2.ckpt.index',
    'v2.ckpt.data-00000-of-00001',
    'stored/weights.safetensors',
  )
  return {name: folder / name for name in names}


def read_whole(path):
  """Reads every array of a file, as an import would that wanted it."""
  container = detect.container_of(path)
  arrays = torch_file.read(path) if container == 'torch' else detect.READERS[container](path)
  for stored in arrays.values():
    if np.prod(stored.shape, dtype=float) < 10_000:
      stored.read()


@pytest.mark.parametrize(
  'name',
  [
    'zip.pth',
    'legacy.pth',
    'x.safetensors',
    'whole.h5',
    'x.weights.h5',
    'x.keras',
    'v1.ckpt',
    'v2.ckpt.index',
    'v2.ckpt.data-00000-of-00001',
    'stored/weights.safetensors',
  ],
)
def test_damaged_weight_files_are_one_line(tmp_path, torch, name, count=150, seed=1):
  path = bases(tmp_path, torch)[name]
  whole = path.read_bytes()
  rng = random.Random(seed)
  seen = 0
  for _ in range(count):
    path.write_bytes(kinds.of_bytes(whole, rng))
    for look in (read_whole, detect.import_file, *([store.read] if name.startswith('stored') else [])):
      try:
        look(path)
      except UserError as e:
        assert '\n' not in str(e) and len(str(e)) < 600, e
        seen += look is read_whole
  assert seen > count / 20 or name.endswith('.safetensors')
