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
  c = rvm_rivals.StaircaseRival.get_config()
  c.name = f'staircase_{features}'
  c.features = {name: {} for name in FEATURES[features]}
  if arg.endswith('_demo'):
    c.rvm.rbf_widths = (2.0, 4.0)
    c.rvm.basis = (50,)
    c.rvm.window_seconds = (4.0,)
    c.rvm.delay_seconds = (0.0, 0.4, 0.8, 1.6)
    c.oa_rvm.side_seconds = (1.0, 4.0)
    c.staircase.heights = (3, 5)
  return c.lock()
