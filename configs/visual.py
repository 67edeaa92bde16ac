"""The visual network alone (paper, section III-A; Tables II and V).

    python -m e2e_affect.main --config=configs/visual.py --workdir=runs/visual

Paper: CCC on AVEC 2016's test partition .435 arousal, .620 valence, from ImageNet's weights.
`configs/visual.py:demo` is a ResNet-50 of a quarter of the width on 48×48 faces: what `make demo` runs.
"""

import ml_collections

from configs import common


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  c = common.get_config()
  c.name = 'visual'
  c.model.modalities = ('visual',)
  c.batch_size = 2
  common.apply_argument(c, arg, demo=_demo)
  return c


def _demo(c):
  common.small_visual(c)
  c.batch_size = 4
  c.epochs = 8
  c.learning_rate = 1e-4
