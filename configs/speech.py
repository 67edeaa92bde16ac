"""The speech network alone (paper, section III-B; Tables II to IV).

    python -m e2e_affect.main --config=configs/speech.py --workdir=runs/speech

Paper: CCC on RECOLA's test partition .699 arousal, .311 valence.
`configs/speech.py:demo` is the same network, trained briefly: what `make demo` runs on two CPU cores.
"""

import ml_collections

from e2e_affect.config import defaults


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The paper's values; `arg` is what follows the colon of --config: '' or 'demo'."""
  c = defaults.get_config()
  c.name = 'speech'
  c.model.modalities = ('speech',)
  defaults.apply_argument(c, arg, demo=_demo)
  return c


def _demo(c):
  c.batch_size = 4
  c.epochs = 3
  c.average_decay = 0.98
