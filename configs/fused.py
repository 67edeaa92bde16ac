"""Speech and face together (paper, sections III-D and V-D; Table VI).

    python -m e2e_affect.main --config=configs/fused.py --workdir=runs/fused \
        --config.init_from.speech=runs/speech --config.init_from.visual=runs/visual

Paper: CCC on AVEC 2016's test partition .789 arousal, .691 valence.
`configs/fused.py:demo` fuses the two networks of `make demo`.
"""

import ml_collections

from e2e_affect.config import defaults


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The paper's values; `arg` is what follows the colon of --config: '' or 'demo'."""
  c = defaults.get_config()
  c.batch_size = 2
  defaults.apply_argument(c, arg, demo=_demo)
  return c


def _demo(c):
  defaults.small_visual(c)
  c.epochs = 4
  c.average_decay = 0.98
