"""torchvision's and timm's ResNet-50: `layer1.0.conv1.weight`."""

from e2e_affect.weights import resnet50
from e2e_affect.weights.tensors import COUNTERS, Imported, Tensors

FORMAT = 'ResNet-50 of torchvision or timm'
# The classifier, counters, and the weights of classes in the loss that a LightningModule saves with the network.
IGNORED = (r'fc\.(weight|bias)', r'(criterion|loss|loss_fn|loss_func|loss_function)\.(pos_)?weight', *COUNTERS)
SWITCHES = {
  'visual.stride_on': '3x3',
  'visual.stem_padding': 'SYMMETRIC',
  'visual.stem_pool_padding': 'SYMMETRIC',
  'visual.batch_norm_epsilon': 1e-5,
  'visual.mean': resnet50.IMAGENET_MEAN,
  'visual.std': resnet50.IMAGENET_STD,
}


def recognises(names) -> bool:
  """Whether these are the names of any of torchvision's residual networks."""
  return {'conv1.weight', 'bn1.weight', 'layer1.0.conv1.weight'} <= set(names)


def convert(path, arrays) -> Imported:
  """Imports the network.

  Raises:
    DataError: it is not ResNet-50, or not whole.
  """
  resnet50.refuse_relatives(
    path,
    {name: stored.shape for name, stored in arrays.items()},
    lambda stage, unit: f'layer{stage}.{unit - 1}.',
    'conv2.weight',
    'conv3.weight',
  )
  tensors = Tensors(path, arrays)
  params, statistics = fill(tensors)
  return tensors.finish(FORMAT, params, statistics, SWITCHES, ignored=IGNORED)


def fill(tensors: Tensors, stem=('conv1', 'bn1'), stage_name='layer{}'.format):
  """Takes the network by torchvision's names; `stem` and `stage_name` differ in networks that contain it."""

  def name_of(stage, unit, part):
    if stage == 0:
      conv, norm = stem
    elif part == 'shortcut':
      conv, norm = (f'{stage_name(stage)}.{unit - 1}.downsample.{i}' for i in (0, 1))
    else:
      conv, norm = (f'{stage_name(stage)}.{unit - 1}.{kind}{part}' for kind in ('conv', 'bn'))
    return {'kernel': f'{conv}.weight', **torch_norm(norm)}

  return resnet50.fill(tensors, name_of, torch_kernels=True)


def torch_norm(prefix: str) -> dict[str, str]:
  """Names of a BatchNorm2d's arrays."""
  return {
    'scale': f'{prefix}.weight',
    'bias': f'{prefix}.bias',
    'mean': f'{prefix}.running_mean',
    'var': f'{prefix}.running_var',
  }
