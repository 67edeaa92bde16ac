"""Speech, face and geometric features; all but the recurrent part stays as it was trained (paper, section V-D).

    python -m data_prep.landmarks --data=data/recola --out=data/recola_geometric
    python -m e2e_affect.main --config=configs/fused_geometric.py --workdir=runs/fused_geometric \
        --config.data.dir=data/recola_geometric --config.model.geometric.landmarks=5 \
        --config.init_from.speech=runs/fused --config.init_from.visual=runs/fused

Paper: CCC on AVEC 2016's test partition .788 arousal, .732 valence, with landmarks of its authors' own
aligner; the paper does not say how many.
`configs/fused_geometric.py:demo` goes on from the network of `make demo`, with MTCNN's five landmarks.
"""

import ml_collections

from e2e_affect.config import defaults


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The paper's values; `arg` is what follows the colon of --config: '' or 'demo'."""
  c = defaults.get_config()
  c.name = 'fused_geometric'
  c.data.dir = 'data/simulated_geometric'
  c.model.modalities = ('speech', 'visual', 'geometric')
  c.model.frozen = ('speech', 'visual')
  c.batch_size = 2
  defaults.apply_argument(c, arg, demo=_demo)
  return c


def _demo(c):
  defaults.small_visual(c)
  c.model.geometric.landmarks = 5
  c.batch_size = 4
  c.epochs = 6
  c.average_decay = 0.98
