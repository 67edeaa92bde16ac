"""The BLSTM on hand-crafted features, a rival of the paper's speech network (Table III), by the same training loop.

    python -m data_prep.features --data=data/recola --sets=egemaps,compare
    python -m e2e_affect.main --config=configs/baselines/blstm.py:egemaps_ccc --workdir=runs/blstm_egemaps_ccc \
        --config.data.dir=data/recola

The argument names features and objective, `egemaps_ccc` or `compare_mse` for instance. Features: `egemaps`, `compare`,
`appearance`, `geometry`, or `early`: eGeMAPS, appearance and geometry side by side. Objectives: `ccc`, `mse`.
With `_demo` behind it (`egemaps_ccc_demo`) it is trained briefly, on the simulated corpus on two CPU cores.

NOTE(paper): the paper compares with a BLSTM on eGeMAPS and on ComParE, trained on MSE and on CCC, and leaves its sizes
unsaid. Ours: two layers of 64 cells in either direction, sequences of 24 s, sixteen a batch, Adam at 1e-3. A set of
more than 128 columns goes through a linear layer of 128 outputs first. The checkpoint is the best on validation.
"""

import itertools

import ml_collections

from e2e_affect.config import defaults

FEATURES = {
  'egemaps': ('egemaps',),
  'compare': ('compare',),
  'appearance': ('appearance',),
  'geometry': ('geometry',),
  'early': ('egemaps', 'appearance', 'geometry'),
}
LOSSES = ('ccc', 'mse')


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Our values; `arg` is what follows the colon of --config: features, loss and perhaps `demo`, joined by `_`.

  Without one, it is `egemaps_ccc`.
  """
  c = defaults.get_config()
  c.name = 'blstm'
  c.data.sequence_steps = 600  # 24 s
  c.data.cache = 'host'  # features of 40 ms are small; ComParE's of RECOLA take 3 GB
  c.batch_size = 16
  c.learning_rate = 1e-3
  c.model.features.project_to = 128
  c.model.recurrent.bidirectional = True
  c.model.recurrent.units = 64
  variants = {}
  for (name, sets), loss in itertools.product(FEATURES.items(), LOSSES):
    variants[f'{name}_{loss}'] = lambda c, sets=sets, loss=loss: _rival(c, sets, loss)
    variants[f'{name}_{loss}_demo'] = lambda c, sets=sets, loss=loss: _demo(c, sets, loss)
  defaults.apply_argument(c, arg or 'egemaps_ccc', **variants)
  return c


def _rival(c, sets, loss):
  c.model.modalities = sets
  c.loss = loss


def _demo(c, sets, loss):
  _rival(c, sets, loss)
  c.epochs = 8
