"""Linear SVM on openSMILE's functionals of the whole recording, for corpora of classes.

    python -m e2e_affect.baseline --config=configs/baselines/svm.py:egemaps --config.data.dir=data/ravdess \
        --config.data.fold=1
    python launch/sweep.py --command=baseline --config=configs/baselines/svm.py:egemaps --out=runs/folds_svm \
        --set data.dir=data/ravdess --set data.fold=1,2,3

What follows the colon names the features: `egemaps`, the 88 of eGeMAPSv02, or `compare`, the 6373 of ComParE 2016.
The paper has no classes. docs/classes.md has the numbers on RAVDESS.
"""

import ml_collections

from e2e_affect.baselines import svm

FEATURES = {'egemaps': ('egemaps_whole',), 'compare': ('compare_whole',)}


def get_config(arg: str = 'egemaps') -> ml_collections.ConfigDict:
  """The search; `arg` is what follows the colon of --config."""
  if arg not in FEATURES:
    raise ValueError(f'unknown config argument {arg!r}; known: {", ".join(FEATURES)}')
  c = svm.SVM.get_config()
  c.name = f'svm_{arg}'
  c.features = {name: {} for name in FEATURES[arg]}
  return c.lock()
