"""ECG and EDA alone: what heart and skin tell of arousal.

    python -m e2e_affect.main --config=configs/physiology.py --workdir=runs/physiology

NOTE(paper): the paper has no physiology; AVEC 2016, whose people are a part of RECOLA's, has. Training is that of the
speech network. `configs/physiology.py:demo` trains briefly on the simulated corpus: see docs/physiology.md.
"""

import ml_collections

from e2e_affect.config import defaults


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Sizes of ours; `arg` is what follows the colon of --config: '' or 'demo'."""
  c = defaults.get_config()
  c.name = 'physiology'
  c.model.modalities = ('physiology',)
  defaults.apply_argument(c, arg, demo=_demo)
  return c


def _demo(c):
  c.batch_size = 4
  c.epochs = 10
  c.learning_rate = 1e-3
  c.average_decay = 0.98
