"""Strength modelling (Tables IV to VI; Han et al., 2017): an SVR that also sees what a first run said.

    python -m e2e_affect.baseline --config=configs/baselines/svr.py:egemaps --workdir=runs/svr_egemaps
    python -m e2e_affect.baseline --config=configs/baselines/strength.py:egemaps --workdir=runs/strength_egemaps

What follows the colon: egemaps, compare, appearance or geometry, after runs/svr_… of the same features; feature, which
is feature-level fusion after runs/svr_early; decision, which is decision-level fusion of the runs strength_egemaps,
strength_appearance and strength_geometry. With _demo the search is small. --config.strength.first="('runs/blstm',)"
names another first run; a network's needs its traces of train, by `python -m e2e_affect.main --mode=evaluate
--partition=train`.
Paper, quoting Han et al., who used other descriptors: RECOLA test CCC .610 arousal, .463 valence (Table VI).
Simulated corpus, raw, arousal and valence: `egemaps_demo` .882, .442; `appearance_demo` .472, .808.
"""

import ml_collections

from e2e_affect.baselines import strength
from e2e_affect.experiments.baselines import svr

_MODALITIES = ('egemaps', 'appearance', 'geometry')


def get_config(arg: str = 'egemaps') -> ml_collections.ConfigDict:
  """The search of the SVR; `arg` is what follows the colon of --config."""
  what, _, size = arg.partition('_')
  known = (*(name for name in svr.FEATURES if name != 'early'), 'feature', 'decision')
  if what not in known or size not in ('', 'demo'):
    raise ValueError(f'unknown config argument {arg!r}; known: {", ".join(known)}, each also with _demo')
  c = strength.Strength.get_config()
  c.name = f'strength_{what}'
  if what == 'decision':
    c.strength.first = tuple(f'runs/strength_{name}' for name in _MODALITIES)
  else:
    features = 'early' if what == 'feature' else what
    c.features = {name: {} for name in svr.FEATURES[features]}
    c.strength.first = (f'runs/svr_{features}',)
  if size:
    svr.small(c)
  return c.lock()
