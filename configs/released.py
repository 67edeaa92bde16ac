"""The authors' released network with their weights (their published code, not quite what the paper describes).

    python -m e2e_affect.import_weights model.ckpt-4129 --out=weights/released
    python -m e2e_affect.main --config=configs/released.py --workdir=runs/released --config.pretrained=weights/released

Evaluates the weights as they are; `--config.epochs=10` fine-tunes them. `configs/released.py:speech` and `:visual` are
their unimodal networks; `configs/released.py:demo` is the fused one from scratch, in the size that two CPU cores train.

The speech network sees 20 and 40 taps inside each step, with batch normalisation; the LSTM has peepholes and a clipped
cell and starts again every 150 steps of evaluation; samples and pixels come as they are decoded. In training, kernels
decay, and every frame has a crop and colours of its own. No result of theirs is known for these weights.
"""

import ml_collections

from e2e_affect.config import defaults


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """The authors' values; `arg` is what follows the colon of --config: '', 'speech', 'visual' or 'demo'."""
  c = defaults.get_config()
  c.name = 'released'
  c.batch_size = 2
  c.epochs = 0
  c.model.speech.variant = 'released'
  c.model.speech.taps = 20
  c.model.speech.long_taps = 40
  c.model.speech.normalise = 'none'
  c.model.recurrent.peepholes = True
  c.model.recurrent.cell_clip = 100.0
  c.model.recurrent.restart_steps = 150
  c.model.visual.batch_norm_momentum = 0.997
  c.weight_decay = 1e-4
  c.augment.tf1_resize = True
  c.augment.whole_face = True
  c.augment.per_frame = True
  c.augment.saturation_first = True
  defaults.apply_argument(c, arg, speech=_speech, visual=_visual, demo=_demo)
  return c


def _speech(c):
  c.model.modalities = ('speech',)


def _visual(c):
  c.model.modalities = ('visual',)


def _demo(c):
  defaults.small_visual(c)
  c.model.recurrent.restart_steps = 0  # it learns from warm states
  c.augment.tf1_resize = False  # theirs enlarges; the demo's faces are shrunk, and it would skip two pixels of three
  c.batch_size = 4
  c.epochs = 6
  c.average_decay = 0.98
