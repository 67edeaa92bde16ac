"""A small corpus of classes: people who hum in one of three voices; no test of its own.

Voices differ in their tone and in which half of the wave is cut off: a filter with a ReLU hears that after few updates.
"""

import numpy as np

from configs import classes
from data_prep import streams
from data_prep.schema import records
from data_prep.schema.grid import PAPER
from data_prep.shards import write

CLASSES = {'emotion': ('calm', 'happy', 'angry')}
TONES = (150, 400, 900)  # Hz
PEOPLE = tuple(f's{i}' for i in range(8))
PARTITIONS = dict(zip(PEOPLE, ('train',) * 4 + ('validation',) * 2 + ('test',) * 2))
# Each person is tested once in the two of them.
FOLDS = {
  '1': PARTITIONS,
  '2': dict(zip(PEOPLE, ('test',) * 2 + ('validation',) * 2 + ('train',) * 4)),
}


def write_corpus(folder, *, per_class=2, changes=False, numbers=False, lacking=None):
  """Writes it with the project's own writer.

  Args:
    folder: to write to.
    per_class: recordings of a person and class, of 1 to 3 s.
    changes: whether the tone, and with it the label, changes in the middle.
    numbers: labels are arousal and valence, one for each recording, not classes.
    lacking: (partition, class): people of this partition do not have it.

  Returns:
    The folder, as `config.data.dir`.
  """
  rng = np.random.default_rng(0)
  targets = ['arousal', 'valence'] if numbers else ['emotion']
  layout = streams.layout(targets, PAPER, ['speech'], classes=None if numbers else CLASSES)
  shards = []
  for person, partition in PARTITIONS.items():
    for kind in range(3):
      for take in range(per_class):
        if lacking == (partition, CLASSES['emotion'][kind]):
          continue
        steps = int(rng.integers(25, 75))
        of_step = np.where(np.arange(75) < steps // 2, kind, (kind + 1) % 3) if changes else np.full(75, kind)
        tone = np.array(TONES)[np.repeat(of_step, 640)] * rng.uniform(0.95, 1.05)
        wave = np.sin(2 * np.pi * np.cumsum(tone) / 16000)
        low, high = np.array([(0, 1), (-1, 1), (-1, 0)]).T[:, np.repeat(of_step, 640)]
        sound = 3000 * np.clip(wave, low, high) + 100 * rng.normal(size=len(wave))
        valid = (np.arange(75) < steps).astype(np.float32)
        sound = (sound.reshape(75, 640) * valid[:, None]).astype(np.int16)
        label = np.array([(-0.8, 0.2), (0.1, 0.9), (0.7, -0.6)])[of_step] if numbers else of_step[:, None]
        heard = sound[:steps].astype(np.float64)
        rows = [
          records.Record(
            f'{person}_{CLASSES["emotion"][kind]}_{take}',
            person,
            second,
            label[of].astype(np.float32),
            valid[of],
            valid[of],
            {'audio': sound[of], 'audio_mean': float(heard.mean()), 'audio_std': float(heard.std())},
          )
          for second in range(-(-steps // 25))
          for of in [slice(25 * second, 25 * second + 25)]
        ]
        shards += write.write_recording(folder, rows, layout, partition=partition)
  scale = {target: [1.0, 0.0] for target in targets}
  write.finish(folder, shards, layout, label_scale=scale, preparation={}, folds=FOLDS)
  return str(folder)


def small_config(folder, arg=''):
  """configs/classes.py with the paper's networks, shrunk, and without what makes few people more."""
  c = classes.get_config(arg)
  c.data.dir, c.data.sequence_steps, c.data.fold = str(folder), 75, ''
  c.batch_size, c.learning_rate, c.epochs, c.log_every_steps = 6, 0.003, 8, 1
  c.evaluate_chunk_seconds, c.evaluate_every_epochs, c.seed = 3, 8.0, 1
  c.model.speech.variant, c.model.speech.normalise = 'paper', 'recording'
  c.model.speech.filters, c.model.speech.pool_channels = 8, 2
  c.model.speech.taps, c.model.speech.long_taps = 80, 40
  c.model.speech.dropout = 0.0
  c.model.recurrent.units, c.model.recurrent.layers, c.model.recurrent.pool = 8, 1, False
  c.augment.speed, c.augment.time_mask = 0.0, 0
  c.average_decay, c.label_smoothing, c.data.cache = 0.0, 0.0, ''
  return c
