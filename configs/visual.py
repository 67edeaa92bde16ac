"""The visual network alone (paper, section III-A; Tables II and V).

    python -m e2e_affect.import_weights resnet50.pth --out=weights/imagenet
    python -m e2e_affect.main --config=configs/visual.py --workdir=runs/visual --config.pretrained=weights/imagenet

Paper: CCC on AVEC 2016's test partition .435 arousal, .620 valence, from ImageNet's weights. With `pretrained`, batch
normalisation keeps their statistics ('frozen'); without it the network starts from scratch.
`configs/visual.py:demo` is a ResNet-50 of a quarter of the width on 32×32 faces: what `make demo` runs.
"""

import ml_collections

from e2e_affect.config import defaults


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The paper's values; `arg` is what follows the colon of --config: '' or 'demo'."""
  c = defaults.get_config()
  c.name = 'visual'
  c.model.modalities = ('visual',)
  c.batch_size = 2
  defaults.apply_argument(c, arg, demo=_demo)
  return c


def _demo(c):
  defaults.small_visual(c)
  c.epochs = 10
  c.average_decay = 0.98
