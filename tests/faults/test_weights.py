"""Rows 20 to 22: weight files of strangers. `tests/e2e_affect/weights/test_weight_limits.py` has more of them."""

import json
import pickle
import struct

import numpy as np
import pytest

from data_prep.core.errors import DataError
from e2e_affect.weights import torchvision
from e2e_affect.weights.tensors import Stored
from tests.e2e_affect.weights.test_weight_files import Payload, refused, zip_of
from tests.e2e_affect.weights.test_weights import weights


@pytest.mark.parametrize(
  'change, said',
  [
    (lambda w: w['layer2.1.bn2.bias'].__setitem__(3, np.nan), r'wrong: layer2\.1\.bn2\.bias holds NaN or Inf'),
    (lambda w: w['layer2.1.conv2.weight'].__setitem__(0, np.inf), r'wrong: layer2\.1\.conv2\.weight holds NaN or Inf'),
    (
      lambda w: w.update({'layer3.2.conv3.weight': np.zeros((7, 256, 1, 1), np.float32)}),
      r'wrong: layer3\.2\.conv3\.weight is \[7, 256, 1, 1\], expected \[1024, 256, 1, 1\]',
    ),
    (lambda w: w.pop('layer4.2.bn3.running_var'), r'missing: layer4\.2\.bn3\.running_var;'),
    (lambda w: w.update({'layer4.2.extra.weight': np.zeros(3, np.float32)}), r'left over: layer4\.2\.extra\.weight;'),
    (lambda w: w.update({'bn1.bias': np.zeros(64, np.int64)}), r'wrong: bn1\.bias holds int64'),
    (lambda w: w['bn1.running_var'].__setitem__(0, -1.0), r'wrong: bn1\.running_var holds variances below 0'),
    (lambda w: [w.pop(name) for name in list(w) if name.startswith('layer3.5')], 'a network of .* units'),
  ],
)
def test_row_20_arrays_that_are_missing_left_over_or_wrong_are_named(change, said):
  arrays = {name: value.copy() for name, value in weights().items()}
  change(arrays)
  with pytest.raises(DataError, match=said) as e:
    torchvision.convert('x.pth', {name: Stored(v.shape, lambda v=v: v) for name, v in arrays.items()})
  assert '\n' not in str(e.value) and str(e.value).startswith('x.pth: ')


@pytest.mark.parametrize('protocol', [0, 1, 2, 3, 4, 5])
def test_row_21_a_payload_in_any_kind_of_pytorch_file_is_refused_and_not_run(tmp_path, protocol):
  touched = tmp_path / 'touched'
  payload = pickle.dumps({'conv1.weight': Payload(touched)}, protocol)  # 0 and 1 build with instructions of their own
  # In a zip, behind a legacy header, in the place of each of the legacy header's own pickles, and bare.
  refused(zip_of(tmp_path / 'zip.pth', payload), 'asks for')
  header = [pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), pickle.dumps({'little_endian': True}, 2)]
  for place in (1, 2, 3):
    path = tmp_path / f'legacy{place}.pth'
    path.write_bytes(b''.join(header[:place]) + payload)
    message = refused(path, 'asks for')
    assert protocol < 2 or '.system' in message
  bare = tmp_path / 'bare.pth'
  bare.write_bytes(payload)
  refused(bare, 'never loaded' if protocol >= 2 else 'opens no known format')
  assert not touched.exists()
  pickle.loads(payload)  # the payload is a real one
  assert touched.exists()


def lying(tmp_path, header):
  path = tmp_path / 'x.safetensors'
  text = json.dumps(header).encode()
  path.write_bytes(struct.pack('<Q', len(text)) + text + bytes(64))
  return path


@pytest.mark.parametrize(
  'header',
  [
    {'conv1.weight': {'dtype': 'F32', 'shape': [10**6, 10**6], 'data_offsets': [0, 64]}},
    {'conv1.weight': {'dtype': 'F32', 'shape': [16], 'data_offsets': [0, 10**15]}},
    {'conv1.weight': {'dtype': 'F32', 'shape': [8], 'data_offsets': [32, 64]}},
    {
      'a': {'dtype': 'F32', 'shape': [16], 'data_offsets': [0, 64]},
      'b': {'dtype': 'F32', 'shape': [16], 'data_offsets': [0, 64]},
    },
    {'conv1.weight': {'dtype': 'F99', 'shape': [16], 'data_offsets': [0, 64]}},
  ],
)
def test_row_22_headers_that_lie_are_refused(tmp_path, header):
  refused(lying(tmp_path, header), 'damaged')


def test_row_22_a_header_longer_than_its_file_is_refused(tmp_path):
  path = tmp_path / 'x.safetensors'
  path.write_bytes(struct.pack('<Q', 10**15) + b'{' + bytes(99))
  refused(path, 'damaged')
