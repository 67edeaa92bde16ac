"""End2You's checkpoints: what is loaded equals PyTorch's modules, what is not is refused with the reason."""

import collections

import numpy as np
import pytest

from data_prep.core.errors import DataError
from e2e_affect.layers.recurrent import RecurrentNetwork
from e2e_affect.weights import detect
from tests import reference_networks as reference
from tests.e2e_affect.weights.test_weights import assert_equal, IMAGENET, pixels

UNITS, STEPS = 24, 7  # End2You's own are 256 or 512


def checkpoint(torch, recurrent, resnet=None):
  """As its trainer saves it, with counters and a score beside the weights, trained on several GPUs."""
  state = collections.OrderedDict()
  names = {'conv1': '0', 'bn1': '1', 'layer1': '4', 'layer2': '5', 'layer3': '6', 'layer4': '7'}
  for name, value in (resnet or reference.random_resnet50(4)).items():
    first, _, rest = name.partition('.')
    if first != 'fc':
      state[f'visual_model.model.{names[first]}.{rest}'] = torch.from_numpy(np.asarray(value))
  head = torch.nn.Linear(UNITS, 2)
  for prefix, module in (('rnn.rnn', recurrent), ('linear', head)):
    state |= {f'{prefix}.{name}': value for name, value in module.state_dict().items()}
  state = {f'module.{name}': value for name, value in state.items()}
  return head, {
    'epoch': 3,
    'state_dict': state,
    'validation_score': np.float64(0.4),
    'metric_name': 'CCC',
    'optim_dict': {'state': {}, 'param_groups': [{'lr': 1e-4, 'betas': (0.9, 0.999)}]},
  }


@pytest.mark.slow
def test_visual_network(tmp_path, torch):
  torch.manual_seed(1)
  lstm = torch.nn.LSTM(2048, UNITS, 2, batch_first=True)
  head, content = checkpoint(torch, lstm)
  torch.save(content, tmp_path / 'best.pth.tar')
  imported = detect.import_file(tmp_path / 'best.pth.tar')
  images = pixels((1, 75, 83))
  expected = reference.torch_resnet50(reference.random_resnet50(4), IMAGENET(images))[1:]
  assert_equal(imported, images, expected)
  assert 'visual.mean' not in imported.switches and any('normalised' in note for note in imported.notes)

  features = np.random.default_rng(0).normal(0, 1, (1, STEPS, 2048)).astype(np.float32)
  with torch.no_grad():
    expected = head(lstm(torch.from_numpy(features))[0]).numpy()
  network = RecurrentNetwork(2, imported.switches['recurrent.layers'], imported.switches['recurrent.units'])
  predicted, _ = network.apply({'params': imported.params['recurrent']}, features)
  np.testing.assert_allclose(predicted, expected, atol=1e-5)


@pytest.mark.parametrize(
  'make, said',
  [
    (lambda torch: torch.nn.GRU(2048, UNITS, 2, batch_first=True), r'a GRU of 24 units \(its code asks for one since '),
    (lambda torch: torch.nn.RNN(2048, UNITS, 2), 'is no LSTM'),
    (lambda torch: torch.nn.LSTM(2048, UNITS, 1), r'missing: rnn\.rnn\.weight_ih_l1'),
    (lambda torch: torch.nn.LSTM(2048, UNITS, 3), r'left over: rnn\.rnn\.bias_hh_l2'),
  ],
)
def test_other_recurrent_parts_are_refused(tmp_path, torch, make, said):
  torch.save(checkpoint(torch, make(torch))[1], tmp_path / 'best.pth.tar')
  with pytest.raises(DataError, match=said):
    detect.import_file(tmp_path / 'best.pth.tar')


def test_speech_networks_are_refused(tmp_path, torch):
  state = {
    'audio_model.conv1.weight': torch.zeros(40, 1, 20),
    'linear.weight': torch.zeros(2, UNITS),
    'rnn.rnn.weight_hh_l0': torch.zeros(4 * UNITS, UNITS),
  }
  torch.save({'state_dict': state}, tmp_path / 'best.pth.tar')
  with pytest.raises(DataError, match='emo16 pads'):
    detect.import_file(tmp_path / 'best.pth.tar')
