"""Emotions as classes, one for each recording; from the raw waveform, the faces, or both.

    python -m e2e_affect.main --config=configs/classes.py --config.data.dir=data/ravdess --config.data.fold=1
    python launch/sweep.py --config=configs/classes.py --out=runs/folds --set data.dir=data/ravdess \
        --set data.fold=1,2,3

`configs/classes.py:visual` reads the faces, `configs/classes.py:fused` both. The paper has no classes: the networks are
its own, and their outputs are averaged over a recording. docs/classes.md says what the numbers mean.
"""

import ml_collections

from e2e_affect.config import defaults


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The paper's networks; `arg` is what follows the colon of --config: '', 'visual' or 'fused'."""
  c = defaults.get_config()
  c.name = 'classes'
  c.head, c.loss = 'clip_classes', 'cross_entropy'
  c.data.sequence_steps = 150  # 6 s: RAVDESS's recordings are shorter, and a whole one is a sequence
  c.evaluate_chunk_seconds = 6
  c.model.modalities = ('speech',)
  defaults.apply_argument(c, arg, visual=_visual, fused=_fused)
  return c


def _visual(c):
  c.name = 'classes_visual'
  c.model.modalities = ('visual',)


def _fused(c):
  c.name = 'classes_fused'
  c.model.modalities = ('speech', 'visual')
