"""Emotions as classes, one for each recording; from the raw waveform, the faces, or both.

    python -m e2e_affect.main --config=configs/classes.py --config.data.dir=data/ravdess --config.data.fold=1
    python launch/sweep.py --config=configs/classes.py --out=runs/folds --set data.dir=data/ravdess \
        --set data.fold=1,2,3

The paper has no classes. Its speech network asks for more speakers than such corpora have, so this one begins as a
spectrogram; docs/classes.md says what it is made of, and what the numbers mean. RAVDESS, folds 1 to 3: UAR .604 on
average (chance .125). `configs/classes.py:visual` reads the faces, `configs/classes.py:fused` both, with the paper's
networks; neither was trained to the end here.
"""

import ml_collections

from e2e_affect.config import defaults


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """`arg` is what follows the colon of --config: '' for the sound, 'visual' or 'fused'."""
  c = defaults.get_config()
  c.name = 'classes'
  c.head, c.loss = 'clip_classes', 'cross_entropy'
  c.data.sequence_steps = 150  # 6 s: RAVDESS's recordings are shorter, and a whole one is a sequence
  c.evaluate_chunk_seconds = 6
  c.label_smoothing = 0.1
  c.model.modalities = ('speech',)
  if not arg:
    _few_speakers(c)
  defaults.apply_argument(c, arg, visual=_visual, fused=_fused)
  return c


def _few_speakers(c):
  """What made RAVDESS's 20 actors enough; docs/classes.md tells of each."""
  c.data.cache = 'host'  # RAVDESS: 0.2 GB
  c.batch_size = 32
  c.epochs = 80
  c.learning_rate = 3e-3
  c.average_decay = 0.98
  c.model.speech.variant = 'filterbank'
  c.model.speech.normalise = 'none'  # how loud somebody speaks tells much
  c.model.speech.dropout = 0.3
  c.model.speech.mask_bands = 8
  c.model.recurrent.layers = 0
  c.model.recurrent.units = 96  # as many as the network's channels
  c.model.recurrent.pool = True
  c.augment.speed = 0.1
  c.augment.time_mask = 10


def _visual(c):
  c.name = 'classes_visual'
  c.model.modalities = ('visual',)


def _fused(c):
  c.name = 'classes_fused'
  c.model.modalities = ('speech', 'visual')
