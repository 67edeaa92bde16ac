"""Output-associative RVM on hand-crafted features (Nicolaou et al., 2012; Huang et al., 2015).

    python -m e2e_affect.baseline --config=configs/baselines/oa_rvm.py:egemaps_geometry --workdir=runs/oa_rvm

What follows the colon names the features: egemaps, appearance, geometry, or egemaps_geometry, which sets the two side
by side; with _demo the search is small, for the simulated corpus.
Paper: this rival without the staircase has no row there.
Time, beside that of the features: the demo takes 70 s of one CPU core. Expected of it on eGeMAPS, test CCC raw: .906
arousal, .439 valence.
"""

import ml_collections

from e2e_affect.baselines import rvm_rivals

FEATURES = {
  'egemaps': ('egemaps',),
  'appearance': ('appearance',),
  'geometry': ('geometry',),
  'egemaps_geometry': ('egemaps', 'geometry'),
}


def get_config(arg: str = 'egemaps_geometry') -> ml_collections.ConfigDict:
  """The search; `arg` is what follows the colon of --config."""
  features = arg.removesuffix('_demo')
  if features not in FEATURES:
    raise ValueError(f'unknown config argument {arg!r}; known: {", ".join(FEATURES)}, each also with _demo')
  c = rvm_rivals.OARVMRival.get_config()
  c.name = f'oa_rvm_{features}'
  c.features = {name: {} for name in FEATURES[features]}
  if arg.endswith('_demo'):
    c.rvm.rbf_widths = (2.0, 4.0)
    c.rvm.basis = (100,)
    c.rvm.window_seconds = (4.0,)
    c.rvm.delay_seconds = (0.0, 0.4, 0.8, 1.6)
    c.oa_rvm.side_seconds = (0.0, 1.0, 4.0)
  return c.lock()
