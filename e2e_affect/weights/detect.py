"""Detects what a weight file is, by its first bytes and then by the names in it, never by its own name."""

import pathlib

from data_prep.errors import DataError, UserError
from e2e_affect.weights import containers, end2you, huggingface, keras, released, slim, torch_file, torchvision
from e2e_affect.weights.tensors import Imported

_TF_MAGIC = bytes.fromhex('57fb808b247547db')  # the last bytes of a sorted string table, which TensorFlow writes
FORMATS = {
    'torch': (end2you, torchvision, huggingface),
    'safetensors': (torchvision, huggingface),
    'hdf5': (keras,),
    'tensorflow': (released, slim),
}
_READERS = {'torch': torch_file.read, 'safetensors': containers.read_safetensors,
            'hdf5': containers.read_keras_h5, 'tensorflow': containers.read_tf_checkpoint}
# Networks that look alike and are not ResNet-50, version 1: a name that only they have.
_OTHERS = {'emo_net_2.0.conv1.weight': 'EmoNet', 'emo_fc_2.0.weight': 'EmoNet',
           'root.conv.weight': 'BiT (ResNet version 2)', 'resnet/root_block/standardized_conv2d/kernel': 'BiT',
           'stages.0.blocks.0.conv1.weight': 'BiT or another ResNet version 2 of timm',
           'bit.embedder.convolution.weight': 'BiT', 'features.0.weight': 'VGG or AlexNet',
           'conv1.0.weight': 'ResNet-C or -D (three convolutions in the stem)', 'features.conv0.weight': 'DenseNet',
           'visual.conv1.weight': 'CLIP'}


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
  arrays = _READERS[container](path)
  for source in FORMATS[container]:
    if source.recognises(arrays):
      return source.convert(path, arrays)
  for name, words in _OTHERS.items():
    if any(key.removeprefix('model.') == name for key in arrays):
      raise DataError(f'{path}: {words}, expected ResNet-50 (version 1 or 1.5)')
  example = ', '.join(sorted(arrays)[:3]) or 'nothing'
  raise DataError(f'{path}: a {container} file of an unknown network ({len(arrays)} arrays: {example}, …), expected '
                  'ResNet-50 or the authors\' network; see the README for what can be imported')


def container_of(path) -> str:
  """'torch', 'safetensors', 'hdf5' or 'tensorflow', by the bytes of the file.

  Raises:
    UserError: it is not found.
    DataError: it is none of them.
  """
  path = pathlib.Path(path)
  prefix = containers.tf_prefix(path)
  if prefix.with_name(prefix.name + '.index').is_file():
    return 'tensorflow'
  try:
    with open(path, 'rb') as f:
      head = f.read(16)
      f.seek(max(path.stat().st_size - len(_TF_MAGIC), 0))
      tail = f.read()
  except OSError as e:
    raise UserError(f'{path}: cannot be read ({e.strerror}); expected a weight file') from None
  if head.startswith(b'PK\x03\x04') or head.startswith(torch_file.LEGACY_MAGIC[:len(head)]) and head:
    return 'torch'
  if head.startswith(b'\x89HDF\r\n\x1a\n'):
    return 'hdf5'
  if tail == _TF_MAGIC:
    return 'tensorflow'
  if head[8:9] == b'{':
    return 'safetensors'
  if head.startswith(b'\x80'):
    raise DataError(f'{path}: a pickle that PyTorch did not write; pickles can run programs and are never loaded')
  raise DataError(f'{path}: {len(head) and head[:4]!r} opens no known format; expected .pth, .safetensors, .h5 or a '
                  'TensorFlow checkpoint')
