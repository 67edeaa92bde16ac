"""Weight files that are damaged, lie, or are programs: one line each, nothing run, nothing half imported."""

import argparse
import collections
import enum
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from configs import fused, visual
from data_prep.core.errors import DataError, UserError
from e2e_affect.run import workdir
from e2e_affect.train import init_from
from e2e_affect.weights import detect, store, torch_file, torch_pickle
from e2e_affect.weights.tensors import Imported
from tests import reference_networks as reference
from tests.e2e_affect.weights.test_weights import weights


def refused(path, said, kind=DataError):
  with pytest.raises(kind, match=said) as e:
    detect.import_file(path)
  assert '\n' not in str(e.value) and len(str(e.value)) < 500, e.value
  return str(e.value)


class Payload:
  """Runs a command where a pickle is loaded."""

  def __init__(self, path):
    self.path = path

  def __reduce__(self):
    return os.system, (f'touch {self.path}',)


def zip_of(path, data, **more):
  with zipfile.ZipFile(path, 'w') as f:
    f.writestr('archive/data.pkl', data)
    for name, content in more.items():
      f.writestr(f'archive/{name}', content)
  return path


@pytest.mark.parametrize(
  'name',
  [
    'builtins eval',
    'torch load',
    'torch._utils _rebuild_sparse_tensor',
    'os getcwd',
    'collections Counter',
    'torch.storage _load_from_bytes',
    'numpy fromfile',
  ],
)
def test_only_tensors_are_rebuilt(tmp_path, name):
  refused(
    zip_of(tmp_path / 'x.pth', b'\x80\x02c' + name.replace(' ', '\n').encode() + b'\n)R.'),
    'asks for ' + name.replace(' ', r'\.'),
  )


@pytest.mark.parametrize(
  'code, said',
  [
    (b'\x80\x02cos\nsystem\n.', 'asks for os.system'),
    (b'\x80\x02(ios\nsystem\n.', 'instruction INST'),
    (b'\x80\x02K\x01)\x81.', 'no class'),
    (b'\x80\x02\x82\x01.', 'instruction EXT1'),
    (b'\x80\x02}', 'damaged|cut off'),
    (b'', 'damaged|cut off'),
    (b'\x80\x02.', 'damaged'),
    (b'\x80\x02u.', 'damaged'),
    (b'\x80\x02h\x05.', 'damaged'),
    (b'\x80\x02]}\x85Q.', 'damaged|storage'),
    (b'\x80\x02K\x01K\x02R.', 'calls'),
  ],
)
def test_broken_pickles(tmp_path, code, said):
  refused(zip_of(tmp_path / 'x.pth', code), said)


class Mode(enum.Enum):
  TRAIN = 'train'


class Settings(dict):
  """As EasyDict, Lightning's AttributeDict and the like: a dictionary of a class of its own."""


def arguments(**more):
  """What a training script saves of its command line, and worse."""
  return argparse.Namespace(
    lr=0.1,
    epochs=90,
    output=pathlib.Path('/runs'),
    mode=Mode.TRAIN,
    betas=(0.9, 0.999),
    model=Settings(depth=50, nested=argparse.Namespace(a=[1, {2: 3}])),
    amp=None,
    tags={'a'},
    milestones=collections.Counter([3, 6]),
    kinds=collections.defaultdict(list, x=[1]),
    score=np.float64(0.5),
    scores=np.arange(3.0),
    **more,
  )


def checkpoints(torch, state):
  """Name -> what a trainer saves around these weights."""
  optimizer = {
    'state': {0: {'step': torch.tensor(3.0), 'exp_avg': torch.ones(2)}},
    'param_groups': [{'lr': 1e-4, 'betas': (0.9, 0.999), 'params': [0]}],
  }
  prefixed = lambda prefix: collections.OrderedDict((prefix + name, value) for name, value in state.items())
  other = {name: value * 0 for name, value in state.items()}
  args = arguments(device=torch.device('cpu'), dtype=torch.float16, shape=torch.Size([3]))
  return {
    'timm': {
      'epoch': 3,
      'arch': 'resnet50',
      'state_dict': state,
      'optimizer': optimizer,
      'version': 2,
      'args': args,
      'metric': np.float64(0.7),
    },
    'torchvision': {
      'model': state,
      'optimizer': optimizer,
      'lr_scheduler': {'last_epoch': 3, '_last_lr': [0.1]},
      'epoch': 3,
      'args': args,
      'scaler': {},
    },
    'torchvision, averaged': {
      'model': other,
      'args': args,
      'model_ema': {'n_averaged': torch.tensor(5), **prefixed('module.')},
    },
    'timm, averaged': {'state_dict': other, 'state_dict_ema': state, 'args': args},
    'Lightning': {
      'state_dict': prefixed('model.'),
      'pytorch-lightning_version': '2.4.0',
      'loops': {},
      'hyper_parameters': Settings(args=args),
      'callbacks': {'ModelCheckpoint{}': {'best': None}},
      'optimizer_states': [optimizer],
    },
    'Lightning, with weights of classes': {'state_dict': {'criterion.weight': torch.ones(8), **prefixed('net.')}},
    'DistributedDataParallel and torch.compile': {'model': prefixed('module._orig_mod.')},
    'a nest in a nest': {'args': args, 'model': {'epoch': 3, 'state_dict': prefixed('backbone.')}},
    'a plain state dict': prefixed('encoder.resnet.'),
  }


@pytest.mark.parametrize(
  'kind',
  [
    'timm',
    'torchvision',
    'torchvision, averaged',
    'timm, averaged',
    'Lightning',
    'Lightning, with weights of classes',
    'DistributedDataParallel and torch.compile',
    'a nest in a nest',
    'a plain state dict',
  ],
)
def test_a_checkpoint_is_read_for_its_weights_whatever_stands_beside_them(tmp_path, torch, kind):
  state = {name: torch.from_numpy(np.asarray(value)).half() for name, value in weights().items()}
  torch.save(checkpoints(torch, state)[kind], tmp_path / 'checkpoint.pth')
  imported = detect.import_file(tmp_path / 'checkpoint.pth')
  assert 'torchvision or timm' in imported.format
  assert any('averaged weights' in note for note in imported.notes) == ('averaged' in kind)
  for ours, theirs in (
    (('conv1', 'kernel'), 'conv1.weight'),
    (('stage4_unit3', 'conv2', 'kernel'), 'layer4.2.conv2.weight'),
  ):
    found = imported.params['visual'][ours[0]]
    for part in ours[1:]:
      found = found[part]
    np.testing.assert_array_equal(found, state[theirs].float().numpy().transpose(2, 3, 1, 0))


@pytest.mark.parametrize('protocol', [2, 3, 4, 5])
def test_objects_beside_the_weights_are_never_made(tmp_path, torch, protocol):
  made = tmp_path / 'made'
  for args in (argparse.Namespace(deep=[{'x': Payload(made)}]), Payload(made)):
    torch.save({'model': {'a': torch.zeros(2)}, 'args': args}, tmp_path / 'x.pth', pickle_protocol=protocol)
    assert '.system, expected tensors and plain values' in refused(tmp_path / 'x.pth', 'asks for')
  torch.save({'model': {'a': torch.zeros(2)}, 'args': arguments()}, tmp_path / 'x.pth', pickle_protocol=protocol)
  np.testing.assert_array_equal(torch_file.read(tmp_path / 'x.pth')['a'].read(), [0, 0])
  assert not made.exists()


def test_a_whole_network_and_torchscript_are_refused_with_what_to_save_instead(tmp_path, torch):
  torch.save(torch.nn.Conv2d(3, 5, 2), tmp_path / 'x.pth')
  refused(tmp_path / 'x.pth', r'asks for torch\.nn\.modules\.conv\.Conv2d, expected a state dict: torch\.save\(model')
  torch.jit.script(torch.nn.Conv2d(3, 5, 2)).save(tmp_path / 'y.pth')
  refused(tmp_path / 'y.pth', 'TorchScript, a program with its weights; expected a state dict')


def test_a_prefix_is_taken_off_in_safetensors_too(tmp_path):
  half = {f'model.{name}': value.astype(np.float16) for name, value in weights().items() if value.dtype.kind == 'f'}
  save_file(half, tmp_path / 'x.safetensors')
  kernel = detect.import_file(tmp_path / 'x.safetensors').params['visual']['conv1']['kernel']
  np.testing.assert_array_equal(kernel, half['model.conv1.weight'].transpose(2, 3, 1, 0))


def numbered_keras(path, group, step, kinds=('conv2d', 'batch_normalization', 'dense')):
  """ResNet50 as Keras 2.12 (group '_layer_checkpoint_dependencies', every second number) and 2.13 to 3.5 write it."""
  import h5py

  arrays = {}
  with h5py.File(path, 'w') as f:
    f.create_group('vars')
    place = 0
    for stage, units in enumerate(reference.UNITS, 1):
      for unit in range(units):
        layers = [f'layer{stage}.{unit}.{kind}{{}}' for kind in ('conv', 'bn')]
        shortcut = [f'layer{stage}.{unit}.downsample.{i}' for i in (0, 1)]
        order = [
          (layers[0].format(1), layers[1].format(1)),
          (layers[0].format(2), layers[1].format(2)),
          shortcut,
          (layers[0].format(3), layers[1].format(3)),
        ]
        for conv, norm in [('conv1', 'bn1')] * (place == 0) + (order if unit == 0 else order[:2] + order[3:]):
          number = f'_{place * step}' if place else ''
          kernel = weights()[f'{conv}.weight'].transpose(2, 3, 1, 0).astype(np.float16)
          arrays[conv] = kernel
          f[f'{group}/{kinds[0]}{number}/vars/0'] = kernel
          f[f'{group}/{kinds[0]}{number}/vars/1'] = np.full(kernel.shape[3], place, np.float16)
          for i, leaf in enumerate(('weight', 'bias', 'running_mean', 'running_var')):
            f[f'{group}/{kinds[1]}{number}/vars/{i}'] = weights()[f'{norm}.{leaf}'].astype(np.float16)
          place += 1
    f[f'{group}/{kinds[2]}/vars/0'] = np.zeros((2048, 7), np.float16)
    f[f'{group}/{kinds[2]}/vars/1'] = np.zeros(7, np.float16)
    f.create_group(f'{group}/activation/vars')
    f['optimizer/vars/0'] = np.array(5)
  return arrays


@pytest.mark.parametrize(
  'group, step, zipped', [('_layer_checkpoint_dependencies', 2, False), ('layers', 1, False), ('layers', 1, True)]
)
def test_keras_weights_without_names_of_layers_are_told_by_their_order(tmp_path, group, step, zipped):
  path = tmp_path / 'x.weights.h5'
  kernels = numbered_keras(path, group, step)
  if zipped:
    with zipfile.ZipFile(tmp_path / 'x.keras', 'w') as f:
      for name in ('metadata.json', 'config.json'):
        f.writestr(name, '{}')
      f.write(path, 'model.weights.h5')
    path = tmp_path / 'x.keras'
  imported = detect.import_file(path)
  assert 'Keras' in imported.format and imported.ignored == ['predictions/bias', 'predictions/kernel']
  ours = imported.params['visual']
  np.testing.assert_array_equal(ours['conv1']['kernel'][:, :, ::-1], kernels['conv1'])
  np.testing.assert_array_equal(ours['stage1_unit1']['conv3']['kernel'], kernels['layer1.0.conv3'])
  np.testing.assert_array_equal(ours['stage1_unit1']['shortcut']['kernel'], kernels['layer1.0.downsample.0'])
  np.testing.assert_array_equal(ours['stage4_unit3']['conv2']['kernel'], kernels['layer4.2.conv2'])
  mean = weights()['layer4.2.bn2.running_mean'].astype(np.float16).astype(np.float32)
  np.testing.assert_allclose(imported.batch_stats['visual']['stage4_unit3']['norm2']['mean'], mean - 51, rtol=1e-6)


def test_other_networks_of_keras_are_refused_in_its_own_words(tmp_path):
  import h5py

  path = tmp_path / 'x.weights.h5'
  with h5py.File(path, 'w') as f:
    for i in range(3):
      f[f'layers/conv2d{f"_{i}" * bool(i)}/vars/0'] = np.zeros((1, 1, 2, 3), np.float32)
    for i in range(4):
      f[f'layers/batch_normalization/vars/{i}'] = np.zeros(3, np.float32)
  refused(path, r'a network of Keras of 3 convolutions, expected the 53 of keras\.applications\.ResNet50')
  with zipfile.ZipFile(tmp_path / 'x.keras', 'w') as f:
    for name in ('metadata.json', 'config.json', 'model.weights.json', 'model_00000.weights.h5'):
      f.writestr(name, '{}')
  refused(tmp_path / 'x.keras', r'weights lie in several pieces, expected model\.weights\.h5 in it')
  with zipfile.ZipFile(tmp_path / 'y.keras', 'w', zipfile.ZIP_DEFLATED) as f:
    for name in ('metadata.json', 'config.json', 'model.weights.h5'):
      f.writestr(name, bytes(1 << 20))
  refused(tmp_path / 'y.keras', 'compressed inside')


def test_tensors_that_leave_their_storage(tmp_path, torch):
  torch.save({'a': torch.zeros(64)}, tmp_path / 'x.pth')
  with zipfile.ZipFile(tmp_path / 'x.pth') as f:
    files = {info.filename: f.read(info) for info in f.infolist()}
  with zipfile.ZipFile(tmp_path / 'x.pth', 'w') as f:
    for name, content in files.items():  # 64 numbers become 127
      f.writestr(name, content.replace(b'K@', b'K\x7f') if name.endswith('data.pkl') else content)
  with pytest.raises(DataError, match='storage 0 has 256 bytes, 127 float32 are said'):
    torch_file.read(tmp_path / 'x.pth')['a'].read()
  storage = torch_pickle.Storage('0', np.dtype(np.float32), 6)
  for offset, shape, strides in (
    (4, (3,), (1,)),
    (0, (2, 3), (4, 1)),
    (-1, (2,), (1,)),
    (0, (2,), (-1,)),
    (0, (10**9, 10**9), (0, 0)),
  ):
    with pytest.raises(torch_pickle.Refused, match='a tensor reaches'):
      torch_file._materialise(torch_pickle.Tensor(storage, offset, shape, strides), lambda _: bytes(24))


def test_layouts_and_types_of_tensors(tmp_path, torch):
  """Transposed views, shared storages, half precision, parameters: as torch.load reads them."""
  base = torch.arange(24.0).reshape(4, 6)
  content = {
    't': base.T,
    'view': base[1:, ::2],
    'half': base.half(),
    'bf': base.bfloat16(),
    'double': base.double(),
    'int': base.long(),
    'scalar': torch.tensor(3.0),
    'empty': torch.zeros(0, 2),
    'parameter': torch.nn.Parameter(base[2]),
  }
  for zipped in (True, False):
    torch.save(content, tmp_path / 'x.pth', _use_new_zipfile_serialization=zipped)
    for name, stored in torch_file.read(tmp_path / 'x.pth').items():
      expected = content[name].detach().float().numpy()
      np.testing.assert_array_equal(np.asarray(stored.read(), np.float32), expected)
      assert stored.shape == expected.shape


@pytest.mark.parametrize('zipped', [True, False])
def test_truncated_torch_files(tmp_path, torch, zipped):
  path = tmp_path / 'x.pth'
  torch.save({f'layer{i}': torch.zeros(5, i) for i in range(9)}, path, _use_new_zipfile_serialization=zipped)
  whole = path.read_bytes()
  for cut in (1, len(whole) // 2, len(whole) - 40):
    path.write_bytes(whole[:-cut])
    refused(path, 'damaged|cut off')


def test_half_precision_is_taken(tmp_path):
  half = {name: v.astype(np.float16) if v.dtype.kind == 'f' else v for name, v in weights().items()}
  save_file(half, tmp_path / 'x.safetensors')
  kernel = detect.import_file(tmp_path / 'x.safetensors').params['visual']['conv1']['kernel']
  np.testing.assert_array_equal(kernel, half['conv1.weight'].transpose(2, 3, 1, 0).astype(np.float32))


def test_hdf5_files(tmp_path):
  import h5py

  path = tmp_path / 'x.h5'
  with h5py.File(path, 'w') as f:
    f['conv1_conv/conv1_conv/kernel:0'] = np.zeros((7, 7, 3, 64), np.float32)
  whole = path.read_bytes()
  refused(path, r'expected keras\.applications\.ResNet50')
  path.write_bytes(whole[: len(whole) // 2])
  refused(path, 'damaged')
  with h5py.File(path, 'w') as f:  # the numbers lie in a file of the reader's own
    f.create_dataset('conv1_conv/conv1_conv/kernel:0', (7, 7, 3, 64), 'f4', external=[('/etc/hostname', 0, 37632)])
  refused(path, 'lies in another file')
  with h5py.File(path, 'w') as f:  # claims a terabyte and is a kilobyte
    f['conv1_bn/conv1_bn/gamma:0'] = np.ones(64, np.float32)
    f.create_dataset('conv1_conv/conv1_conv/kernel:0', (7, 7, 3, 10**10), 'f4', chunks=(7, 7, 3, 64))
  refused(path, 'conv1_conv/kernel is .*10000000000')


def test_tensorflow_checkpoints(tmp_path):
  reference.write_tf_checkpoint(tmp_path / 'model.ckpt', {'resnet_v1_101/conv1/weights': np.zeros(3, np.float32)})
  refused(tmp_path / 'model.ckpt', r'resnet_v1_101, expected resnet_v1_50')
  data = tmp_path / 'model.ckpt.data-00000-of-00001'
  reference.write_tf_checkpoint(tmp_path / 'model.ckpt', reference.random_authors_network(('speech',)))
  whole = data.read_bytes()
  data.write_bytes(whole[: len(whole) // 2])
  refused(tmp_path / 'model.ckpt', 'damaged')
  data.unlink()
  refused(tmp_path / 'model.ckpt.index', 'damaged')
  reference.write_tf_checkpoint(tmp_path / 'v1.ckpt', reference.random_authors_network(('speech',)), version=1)
  whole = (tmp_path / 'v1.ckpt').read_bytes()
  (tmp_path / 'v1.ckpt').write_bytes(whole[: len(whole) // 2])
  refused(tmp_path / 'v1.ckpt', 'opens no known format')


def test_other_files(tmp_path):
  for content, said in ((b'', 'no known format'), (b'GIF89a' * 9, 'no known format')):
    (tmp_path / 'x').write_bytes(content)
    refused(tmp_path / 'x', said)
  refused(tmp_path / 'absent', 'cannot be read', UserError)
  with zipfile.ZipFile(tmp_path / 'x', 'w') as f:
    f.writestr('a.txt', 'hello')
  refused(tmp_path / 'x', r'without a data\.pkl')
  save_file({'emo_fc_2.0.weight': np.zeros(3, np.float32)}, tmp_path / 'x')
  refused(tmp_path / 'x', 'EmoNet, expected ResNet-50')


def tiny(**switches):
  leaf = lambda shape: np.full(shape, 2.0, np.float32)
  return Imported(
    'a test',
    {'visual': {'conv1': {'kernel': leaf((7, 7, 3, 64))}}},
    {'visual': {'norm1': {'mean': leaf((64,))}}},
    {'visual.stride_on': '3x3', **switches},
    [],
    [],
  )


def test_stored_weights_come_back_and_damage_shows(tmp_path):
  path = store.write(tmp_path, tiny(**{'visual.mean': (0.1, 0.2, 0.3)}), 'some/where/resnet.pth')
  assert store.read_header(tmp_path)['switches'] == {'visual.stride_on': '3x3', 'visual.mean': (0.1, 0.2, 0.3)}
  assert store.read_header(path)['source'] == 'resnet.pth'
  params, statistics = store.read(tmp_path)
  np.testing.assert_array_equal(params['visual']['conv1']['kernel'], 2.0)
  np.testing.assert_array_equal(statistics['visual']['norm1']['mean'], 2.0)
  whole = path.read_bytes()
  path.write_bytes(whole[:-9] + b'x' + whole[-8:])
  with pytest.raises(DataError, match='SHA-256'):
    store.read(tmp_path)
  path.write_bytes(whole[:-9])
  with pytest.raises(UserError, match='no imported weights'):
    store.read(tmp_path)
  with pytest.raises(UserError, match='not found; expected what'):
    store.read_header(tmp_path / 'absent')
  save_file({'x': np.zeros(3, np.float32)}, tmp_path / 'x.safetensors')
  save_file({'x': np.zeros(3, np.float32)}, tmp_path / 'y.safetensors', metadata={'e2e_affect': '{"version": 1}'})
  with pytest.raises(UserError, match='header damaged'):
    store.read_header(tmp_path / 'y.safetensors')
  with pytest.raises(UserError, match='of another program'):
    store.read_header(tmp_path / 'x.safetensors')


def config_from(tmp_path, **switches):
  store.write(tmp_path, tiny(**switches), 'resnet.pth')
  config = visual.get_config()
  config.pretrained = str(tmp_path)
  return config


def test_switches_follow_the_weights(tmp_path):
  settled = init_from.settle(config_from(tmp_path, **{'visual.std': (0.5, 0.5, 0.5)})).model.visual
  assert (settled.stride_on, settled.std, settled.batch_norm) == ('3x3', (0.5, 0.5, 0.5), 'frozen')
  assert (settled.stem_pool_padding, settled.batch_norm_epsilon) == ('SAME', 1e-5)  # of nobody's asking: the defaults
  fresh = init_from.settle(visual.get_config()).model.visual
  assert (fresh.stride_on, fresh.batch_norm, fresh.std) == ('1x1', 'train', (0.229, 0.224, 0.225))
  config = config_from(tmp_path)
  config.model.visual.batch_norm = 'train'  # a choice, no contradiction
  assert init_from.settle(config).model.visual.batch_norm == 'train'


@pytest.mark.parametrize(
  'field, value',
  [
    ('stride_on', '1x1'),
    ('stem_pool_padding', 'SAME'),
    ('batch_norm_epsilon', 1e-5),
    ('mean', (0.0, 0.0, 0.0)),
    ('std', (1.0, 1.0, 1.0)),
  ],
)
def test_a_config_that_contradicts_the_weights_is_refused(tmp_path, field, value):
  config = config_from(
    tmp_path,
    **{
      'visual.stem_pool_padding': 'SYMMETRIC',
      'visual.batch_norm_epsilon': 1.001e-5,
      'visual.mean': (0.1, 0.2, 0.3),
      'visual.std': (0.5, 0.5, 0.5),
    },
  )
  config.model.visual[field] = value
  with pytest.raises(UserError, match=rf'config\.model\.visual\.{field} = .* needs .* leave it on auto'):
    init_from.settle(config)


@pytest.mark.slow
def test_the_command(tmp_path):
  path = tmp_path / 'resnet.safetensors'
  save_file(weights(), path)
  run = lambda *arguments: subprocess.run(
    [sys.executable, '-m', 'e2e_affect.import_weights', *map(str, arguments)],
    capture_output=True,
    text=True,
    check=False,
    env={**os.environ, 'XLA_FLAGS': ''},
  )
  done = run(path, f'--out={tmp_path / "out"}')
  assert done.returncode == 0, done.stderr
  for said in (
    'ResNet-50 of torchvision or timm',
    'visual: 265 arrays',
    "config.model.visual.stride_on = '3x3'",
    'conv1.weight [64, 3, 7, 7] -> visual/conv1/kernel',
    'check: features [1, 2048]',
    'written: ',
  ):
    assert said in done.stdout, done.stdout
  assert len(load_file(tmp_path / 'out' / store.FILE)) == 265
  path.write_bytes(path.read_bytes()[:-5])
  done = run(path, f'--out={tmp_path / "other"}')
  assert done.returncode == 65 and done.stderr.count('\n') == 1 and done.stderr.startswith('error: ')
  assert not pathlib.Path(tmp_path / 'other').exists()
  done = run(f'--out={tmp_path / "other"}')
  assert done.returncode == 64 and 'expected one weight file' in done.stderr


def test_the_fused_network_follows_the_run_it_starts_from(tmp_path):
  """Features strided elsewhere have the same shapes and other numbers: they must not be taken for each other."""
  (tmp_path / 'run').mkdir()
  workdir.write_config(tmp_path / 'run', init_from.settle(config_from(tmp_path / 'weights')))
  config = fused.get_config()
  config.init_from.visual = str(tmp_path / 'run')
  settled = init_from.settle(config).model.visual
  assert (settled.stride_on, settled.batch_norm) == ('3x3', 'frozen')
  config.model.visual.stride_on = '1x1'
  with pytest.raises(UserError, match="stride_on = '1x1', but .*run/visual needs '3x3'"):
    init_from.settle(config)
  config.pretrained = str(tmp_path / 'weights')
  with pytest.raises(UserError, match=r'both --config\.pretrained and --config\.init_from\.visual'):
    init_from.settle(config)
