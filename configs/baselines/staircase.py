"""OA RVM-SR: staircase regression in the output-associative frame (Table VI; Huang et al., AVEC 2016).

    python -m e2e_affect.baseline --config=configs/baselines/staircase.py:egemaps_geometry --workdir=runs/staircase

What follows the colon names the features: egemaps, appearance, geometry, or egemaps_geometry, which sets the two side
by side; with _demo the search is small, for the simulated corpus.
Paper: CCC on test (validation) .770 (.855) arousal and .545 (.642) valence on eGeMAPS and geometric features, on
RECOLA's 27 subjects.
Time, beside that of the features: the demo takes 45 s of one CPU core. Expected of it on eGeMAPS, test CCC raw: .893
arousal, .437 valence.
"""

import ml_collections

from e2e_affect.baselines import base, rvm_rivals
from e2e_affect.experiments.baselines import rvm


def get_config(arg: str = 'egemaps_geometry') -> ml_collections.ConfigDict:
  """The search; `arg` is what follows the colon of --config."""
  return base.config_of_argument(rvm_rivals.StaircaseRival, arg, rvm.FEATURES, _small)


def _small(c):
  rvm.small(c)
  c.rvm.basis = (50,)
  c.oa_rvm.side_seconds = (1.0, 4.0)
