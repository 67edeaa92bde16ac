"""Output-associative RVM on hand-crafted features (Nicolaou et al., 2012; Huang et al., 2015).

    python -m e2e_affect.baseline --config=configs/baselines/oa_rvm.py:egemaps_geometry --workdir=runs/oa_rvm

What follows the colon names the features: egemaps, appearance, geometry, or egemaps_geometry, which sets the two side
by side; with _demo the search is small, for the simulated corpus.
Paper: this rival without the staircase has no row there.
Time, beside that of the features: the demo takes 70 s of one CPU core. Expected of it on eGeMAPS, test CCC raw: .906
arousal, .439 valence.
"""

import ml_collections

from e2e_affect.baselines import base, rvm_rivals
from e2e_affect.experiments.baselines import rvm


def get_config(arg: str = 'egemaps_geometry') -> ml_collections.ConfigDict:
  """The search; `arg` is what follows the colon of --config."""
  return base.config_of_argument(rvm_rivals.OARVMRival, arg, rvm.FEATURES, _small)


def _small(c):
  rvm.small(c)
  c.oa_rvm.side_seconds = (0.0, 1.0, 4.0)
