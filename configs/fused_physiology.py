"""Speech, face and physiology; speech and visual features stay as they were trained.

    python -m e2e_affect.main --config=configs/fused_physiology.py --workdir=runs/fused_physiology \
        --config.init_from.speech=runs/fused --config.init_from.visual=runs/fused \
        --config.init_from.physiology=runs/physiology

NOTE(paper): the paper fuses no physiology; this is how it adds geometric features (configs/fused_geometric.py).
`configs/fused_physiology.py:demo` goes on from the network of `make demo` and `configs/physiology.py:demo`.
"""

import ml_collections

from e2e_affect.config import defaults


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The paper's values; `arg` is what follows the colon of --config: '' or 'demo'."""
  c = defaults.get_config()
  c.name = 'fused_physiology'
  c.model.modalities = ('speech', 'visual', 'physiology')
  c.model.frozen = ('speech', 'visual')
  c.batch_size = 2
  defaults.apply_argument(c, arg, demo=_demo)
  return c


def _demo(c):
  defaults.small_visual(c)
  c.batch_size = 4
  c.epochs = 6
  c.average_decay = 0.98
