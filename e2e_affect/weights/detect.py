"""Detects what a weight file is, by its first bytes and then by the names in it, never by its own name."""

from collections.abc import Iterator
import dataclasses
import pathlib

from data_prep.core.errors import DataError, UserError
from e2e_affect.weights import (
  archive,
  emo_affectnet,
  emo_affectnet_temporal,
  end2you,
  hdf5_file,
  huggingface,
  keras,
  limits,
  released,
  safetensors_file,
  slim,
  tf_file,
  torch_file,
  torchvision,
)
from e2e_affect.weights.tensors import few, Imported, Stored

_TF_MAGIC = bytes.fromhex('57fb808b247547db')  # the last bytes of a sorted string table, which TensorFlow writes
FORMATS = {
  'torch': (end2you, torchvision, huggingface, emo_affectnet, emo_affectnet_temporal),
  'safetensors': (torchvision, huggingface, emo_affectnet, emo_affectnet_temporal),
  'hdf5': (keras, emo_affectnet),
  'keras': (keras, emo_affectnet),
  'tensorflow': (released, slim),
}
READERS = {
  'safetensors': safetensors_file.read,
  'hdf5': hdf5_file.read,
  'keras': hdf5_file.read_keras_archive,
  'tensorflow': tf_file.read,
}
# What training wraps a network of PyTorch in: DistributedDataParallel, a LightningModule, torch.compile.
_WRAPPERS = ('module', 'model', '_orig_mod', 'net', 'network', 'backbone', 'encoder')
_MOST_WRAPPERS = 4
# Networks that look alike and are not ResNet-50, version 1: a name that only they have.
_OTHERS = {
  'emo_net_2.0.conv1.weight': 'EmoNet',
  'emo_fc_2.0.weight': 'EmoNet',
  'root.conv.weight': 'BiT (ResNet version 2)',
  'resnet/root_block/standardized_conv2d/kernel': 'BiT',
  'stages.0.blocks.0.conv1.weight': 'BiT or another ResNet version 2 of timm',
  'bit.embedder.convolution.weight': 'BiT',
  'features.0.weight': 'VGG or AlexNet',
  'conv1.0.weight': 'ResNet-C or -D (three convolutions in the stem)',
  'features.conv0.weight': 'DenseNet',
  'visual.conv1.weight': 'CLIP',
}


def import_file(path) -> Imported:
  """Reads published weights.

  Args:
    path: the file; of a TensorFlow checkpoint, any of its files or their common beginning.

  Raises:
    UserError: it is not found.
    DataError: it is damaged, of no known format, or of another network.
  """
  path = pathlib.Path(path)
  container = container_of(path)
  notes: list[str] = []
  arrays = torch_file.read(path, notes) if container == 'torch' else READERS[container](path)
  try:
    limits.check_arrays({name: stored.shape for name, stored in arrays.items()})
    for names in _unwrapped(arrays) if container in ('torch', 'safetensors') else (arrays,):
      for source in FORMATS[container]:
        if source.recognises(names):
          imported = source.convert(path, names)
          return dataclasses.replace(imported, notes=(*notes, *imported.notes))
      for name, words in _OTHERS.items():
        if name in names:
          raise DataError(f'{path}: {words}, expected ResNet-50 (version 1 or 1.5)')
  except limits.Exceeded as e:
    raise limits.exceeded(path, e) from None
  raise DataError(
    f'{path}: a {container} file of an unknown network ({len(arrays)} arrays: '
    f"{few(sorted(arrays), 60) or 'nothing'}), expected ResNet-50 or the authors' network; "
    'docs/weights.md lists what can be imported'
  )


def _unwrapped(arrays: dict[str, Stored]) -> Iterator[dict[str, Stored]]:
  """Yields the arrays under their own names, then without their first part: one that all share, or a wrapper's."""
  yield arrays
  for _ in range(_MOST_WRAPPERS):
    heads = {name.partition('.')[0] for name in arrays if '.' in name}
    head = heads.pop() if len(heads) == 1 else next((wrapper for wrapper in _WRAPPERS if wrapper in heads), None)
    if head is None:
      return
    bare = {name.removeprefix(f'{head}.'): stored for name, stored in arrays.items()}
    if len(bare) != len(arrays):  # two arrays of one name: what is outside of the wrapper is of another network
      return
    arrays = bare
    yield arrays


def container_of(path) -> str:
  """'torch', 'safetensors', 'hdf5', 'keras' or 'tensorflow', by the bytes of the file.

  Raises:
    UserError: it is not found.
    DataError: it is none of them.
  """
  path = pathlib.Path(path)
  prefix = tf_file.prefix_of(path)
  if prefix.with_name(prefix.name + '.index').is_file():
    return 'tensorflow'
  if path.exists() and not path.is_file():
    raise UserError(f'{path}: no file, expected a weight file')  # opening a pipe would wait for its other end
  try:
    with open(path, 'rb') as f:
      head = f.read(16)
      f.seek(max(path.stat().st_size - len(_TF_MAGIC), 0))
      tail = f.read()
  except OSError as e:
    raise UserError(f'{path}: cannot be read ({e.strerror}); expected a weight file') from None
  if head.startswith(b'PK\x03\x04'):
    return 'keras' if _is_keras(path) else 'torch'
  if head.startswith(torch_file.LEGACY_MAGIC[: len(head)]) and head:
    return 'torch'
  if head.startswith(b'\x89HDF\r\n\x1a\n'):
    return 'hdf5'
  if tail == _TF_MAGIC:
    return 'tensorflow'
  if head[8:9] == b'{':
    return 'safetensors'
  if head.startswith(b'\x80'):
    raise DataError(f'{path}: a pickle that PyTorch did not write; pickles can run programs and are never loaded')
  raise DataError(
    f'{path}: {len(head) and head[:4]!r} opens no known format; expected .pth, .safetensors, .h5 or a '
    'TensorFlow checkpoint'
  )


def _is_keras(path):
  """Whether this zip file is a `.keras` one; one that cannot be opened is not, and its reader says why."""
  try:
    return {'config.json', 'metadata.json'} <= set(archive.Archive(path))
  except archive.ERRORS:
    return False
