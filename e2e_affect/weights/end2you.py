"""End2You's PyTorch checkpoints (`.pth.tar`): the visual network with a ResNet-50, an LSTM and a linear layer.

Its class RNN builds an LSTM or a GRU. The code published since 2020 asks for a GRU, which is refused by name. Only
checkpoints of older or changed code, which asks for 'lstm', can be loaded.

NOTE(paper): its speech network, emo16, is not loaded. It pads its two convolutions by 9 and 19 and shifts both pools.
It also reads [channel, time] memory as [time, channel] before the maximum over channels. No size of our network
computes that mixture of times.
"""

from data_prep.core.errors import DataError
from e2e_affect.weights import limits, resnet50, torch_lstm, torchvision
from e2e_affect.weights.tensors import COUNTERS, Imported, Tensors

FORMAT = "End2You's VisualRNNModel"
# Places of torchvision's parts in their nn.Sequential: 2 and 3, ReLU and pool, hold nothing.
_STEM, _FIRST_STAGE = ('visual_model.model.0', 'visual_model.model.1'), 4
_LAYERS = 2
_NOTES = (
  'the LSTM runs over time; where End2You was built without batch_first, its own ran over the batch',
  "the file does not say whether End2You normalised the frames: ImageNet's mean and deviation are used unless "
  '--config.model.visual.mean and .std say otherwise',
)


def recognises(names) -> bool:
  """Whether these are the names of one of End2You's recurrent networks."""
  return 'linear.weight' in names and any(name.startswith('rnn.rnn.') for name in names)


def convert(path, arrays) -> Imported:
  """Imports the network.

  Raises:
    DataError: it is one that cannot be loaded, with the reason, or not whole.
  """
  shapes = {name: stored.shape for name, stored in arrays.items()}
  if any(name.startswith('audio_model.') for name in shapes):
    raise DataError(
      f"{path}: End2You's speech network (emo16 pads, pools and orders its features in a way that ours "
      'does not), only its VisualRNNModel with a ResNet-50 can be loaded'
    )
  hidden = shapes.get('rnn.rnn.weight_hh_l0', (0, 0))
  units = hidden[-1] if len(hidden) == 2 else 0
  if units and hidden == (3 * units, units):
    raise DataError(
      f"{path}: End2You's network with a GRU of {units} units (its code asks for one since 2020), which "
      "is no LSTM and which no network of ours computes; expected one that was built with 'lstm'"
    )
  if not units or hidden != (4 * units, units):
    raise DataError(
      f'{path}: its recurrent part is no LSTM (weight_hh_l0 is {list(hidden)}, an LSTM has four times as '
      'many rows as columns), only LSTMs can be loaded'
    )
  targets = shapes['linear.weight'][0] if shapes['linear.weight'] else 1
  limits.check_recurrent(units, targets)
  stage_name = lambda stage: f'visual_model.model.{_FIRST_STAGE + stage - 1}'
  resnet50.refuse_relatives(
    path, shapes, lambda stage, unit: f'{stage_name(stage)}.{unit - 1}.', 'conv2.weight', 'conv3.weight'
  )
  tensors = Tensors(path, arrays)
  params, statistics = torchvision.fill(tensors, _STEM, stage_name)
  for layer in range(_LAYERS):
    torch_lstm.take(tensors, 'rnn.rnn', layer, units if layer else 2048, units, f'recurrent/lstm_{layer}', params)
  params['recurrent/head/kernel'] = tensors.take('linear.weight', (targets, units), 'recurrent/head/kernel').T.copy()
  params['recurrent/head/bias'] = tensors.take('linear.bias', (targets,), 'recurrent/head/bias')
  switches = {name: value for name, value in torchvision.SWITCHES.items() if name not in ('visual.mean', 'visual.std')}
  switches |= {
    'recurrent.layers': _LAYERS,
    'recurrent.units': units,
    'recurrent.peepholes': False,
    'recurrent.cell_clip': 0.0,
  }
  return tensors.finish(FORMAT, params, statistics, switches, ignored=COUNTERS, notes=_NOTES)
