"""Relevance vector machine on hand-crafted features (Tables IV and V; Huang et al., AVEC 2016).

    python -m e2e_affect.baseline --config=configs/baselines/rvm.py:egemaps --workdir=runs/rvm_egemaps

What follows the colon names the features: egemaps, appearance, geometry, or egemaps_geometry, which sets the two side
by side; with _demo the search is small, for the simulated corpus.
Paper: no test value; validation CCC .750 arousal and .396 valence on eGeMAPS, .467 and .571 on geometric features, .615
and .530 on appearance, on RECOLA's 27 subjects.
Time, beside that of the features: the demo takes about 30 s on eGeMAPS. Simulated corpus, test CCC raw, arousal and
valence: `egemaps_demo` .907, .431; `appearance_demo` .277, .569; `geometry_demo` .225, .923.
"""

import ml_collections

from e2e_affect.baselines import base, rvm_rivals

FEATURES = {
  'egemaps': ('egemaps',),
  'appearance': ('appearance',),
  'geometry': ('geometry',),
  'egemaps_geometry': ('egemaps', 'geometry'),
}


def get_config(arg: str = 'egemaps') -> ml_collections.ConfigDict:
  """The search; `arg` is what follows the colon of --config."""
  return base.config_of_argument(rvm_rivals.RVMRival, arg, FEATURES, small)


def small(c: ml_collections.ConfigDict) -> None:
  """A search that two CPU cores do in a minute or two, once the features are there."""
  c.rvm.rbf_widths = (2.0, 4.0)
  c.rvm.basis = (100,)
  c.rvm.window_seconds = (4.0,)
  c.rvm.delay_seconds = (0.0, 0.4, 0.8, 1.6)
