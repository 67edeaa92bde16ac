"""Speech, face and eGeMAPS functionals as a third stream: whether hand-crafted features still add something.

    python -m data_prep.features --data=data/recola --sets=egemaps
    python -m e2e_affect.main --config=configs/fused_acoustic.py --workdir=runs/fused_acoustic \
        --config.data.dir=data/recola --config.init_from.speech=runs/fused --config.init_from.visual=runs/fused

NOTE(paper): the paper fuses no acoustic features; it adds geometric ones alone (configs/fused_geometric.py).
`configs/fused_acoustic.py:demo` goes on from the network of `make demo`.
"""

import ml_collections

from e2e_affect.config import defaults


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The paper's values; `arg` is what follows the colon of --config: '' or 'demo'."""
  c = defaults.get_config()
  c.name = 'fused_acoustic'
  c.model.modalities = ('speech', 'visual', 'egemaps')
  c.model.frozen = ('speech', 'visual')
  c.batch_size = 2
  defaults.apply_argument(c, arg, demo=_demo)
  return c


def _demo(c):
  defaults.small_visual(c)
  c.batch_size = 4
  c.epochs = 6
  c.average_decay = 0.98
