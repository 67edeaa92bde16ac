"""Linear SVR on hand-crafted features (Table III; Tables IV and V: the baseline of AVEC 2016).

    python -m e2e_affect.baseline --config=configs/baselines/svr.py:egemaps --workdir=runs/svr_egemaps

What follows the colon names the features: egemaps, compare, appearance, geometry, or early, which sets eGeMAPS,
appearance and geometry side by side; with _demo the search is small, for the simulated corpus.
Paper, RECOLA test CCC, arousal and valence. 46 subjects: eGeMAPS .318, .169; ComParE .366, .180. 27 subjects: eGeMAPS
.648, .375; appearance .343, .486; geometric .272, .507.
Simulated corpus, test CCC raw, arousal and valence: `egemaps_demo` .883, .413 in 15 s of one core, once the features
are there; `appearance_demo` .470, .808; `geometry_demo` of MTCNN's five points .245, .923.
"""

import ml_collections

from e2e_affect.baselines import base, svr

FEATURES = {
  'egemaps': ('egemaps',),
  'compare': ('compare',),
  'appearance': ('appearance',),
  'geometry': ('geometry',),
  'early': ('egemaps', 'appearance', 'geometry'),
}


def get_config(arg: str = 'egemaps') -> ml_collections.ConfigDict:
  """The search of AVEC; `arg` is what follows the colon of --config."""
  return base.config_of_argument(svr.SVR, arg, FEATURES, small)


def small(c: ml_collections.ConfigDict) -> None:
  """A search that two CPU cores do in a minute or two, once the features are there."""
  c.svr.complexity = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
  c.svr.window_seconds = (4.0,)
  c.svr.delay_seconds = (0.0, 0.4, 0.8, 1.6)
