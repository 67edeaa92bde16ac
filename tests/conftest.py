"""Eight simulated devices for every test, and one cache of compiled code; set before JAX is imported anywhere."""

import os
import shutil
import tempfile

os.environ['XLA_FLAGS'] = os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')
# Workers and the children that they start compile the same small networks over and over.
_CACHE = None
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  _CACHE = os.environ['JAX_COMPILATION_CACHE_DIR'] = tempfile.mkdtemp(prefix='compiled-')
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0.3'

import io

import cv2
import numpy as np
from PIL import Image
import pytest

from configs import fused
from data_prep import streams
from data_prep.face import detectors
from data_prep.schema import records
from data_prep.schema.grid import PAPER
from data_prep.shards import write
from e2e_affect.layers import resnet
from tests import trainings


def pytest_collection_modifyitems(items):
  """The longest test comes first, so that no worker waits for it at the end."""
  items.sort(key=lambda item: item.name != 'test_the_commands_of_the_pages_run')


def pytest_unconfigure():
  """Removes the cache, in the process that made it."""
  if _CACHE:
    shutil.rmtree(_CACHE, ignore_errors=True)


def make_data(out, recordings, num_targets=2, seed=0):
  """Writes a data folder with the project's own writer.

  Args:
    out: folder.
    recordings: (name, partition, steps) each; the face of step k of any recording is a flat picture of level
      k % 251, its sound a constant k % 1000 + 1, so that a reader's order shows.
    num_targets: K.
    seed: of the labels.
  """
  rng = np.random.default_rng(seed)
  targets = ['arousal', 'valence', 'liking'][:num_targets]
  layout = streams.layout(targets, PAPER, ('speech', 'visual'))
  written = []
  for name, partition, steps in recordings:
    seconds = -(-steps // 25)
    label = np.cumsum(rng.normal(0, 0.1, (seconds * 25, num_targets)), 0).clip(-1, 1).astype(np.float32)
    rows = []
    for second in range(seconds):
      k = np.arange(25 * second, 25 * (second + 1))
      valid = (k < steps).astype(np.float32)
      rows.append(
        records.Record(
          recording=name,
          subject='S' + name,
          index=second,
          label=label[k] * valid[:, None],
          label_mask=valid * (k % 7 != 0),
          valid=valid,
          values={
            'audio': np.repeat((k % 1000 + 1)[:, None] * valid[:, None], 640, 1).astype(np.int16),
            'audio_mean': 0.0,
            'audio_std': 500.0,
            'face': [_flat(i % 251) for i in k],
            'face_found': valid,
          },
        )
      )
    written += write.write_recording(out, rows, layout, partition=partition)
  write.finish(out, written, layout, label_scale={t: [1.0, 0.0] for t in targets}, preparation={})
  return str(out)


def _flat(level):
  buffer = io.BytesIO()
  Image.fromarray(np.full((96, 96, 3), level, np.uint8)).save(buffer, 'jpeg', quality=95)
  return buffer.getvalue()


@pytest.fixture(scope='session')
def data_dir(tmp_path_factory):
  """Five recordings of 2 to 5 seconds, with partly filled last records."""
  return make_data(
    tmp_path_factory.mktemp('data'),
    [('A', 'train', 100), ('B', 'train', 60), ('C', 'train', 49), ('D', 'validation', 110), ('E', 'test', 70)],
  )


@pytest.fixture
def small_config(data_dir):
  """The published fused config, shrunk by overrides: every part is there, every size is another."""
  c = fused.get_config()
  c.data.dir = data_dir
  c.data.sequence_steps = 50
  c.batch_size = 3
  c.learning_rate = 1e-3
  c.epochs = 2
  c.evaluate_chunk_seconds = 2
  c.model.speech.filters = 10
  c.model.speech.taps = 9
  c.model.speech.long_taps = 400
  c.model.speech.pool_channels = 5
  c.model.visual.width = 4
  c.model.visual.image_size = 32
  c.model.recurrent.units = 8
  return c


@pytest.fixture(scope='session')
def uninterrupted(tmp_path_factory, data_dir):
  """A speech run of 9 updates; 5 sequences in batches of 3: an epoch is 1.67 updates, rounded to 2.

  Its workdir, log and command; whoever changes the workdir takes a copy.
  """
  workdir = tmp_path_factory.mktemp('whole') / 'run'
  arguments = trainings.command('speech.py', workdir, data_dir, total_steps=9)
  done = trainings.run(arguments)
  assert done.returncode == 0, done.stderr[-3000:]
  return workdir, done.stderr, arguments


@pytest.fixture
def copy(small_config, tmp_path):
  shutil.copytree(small_config.data.dir, tmp_path / 'data')
  small_config.data.dir = str(tmp_path / 'data')
  return tmp_path / 'data'


@pytest.fixture
def shallow(monkeypatch):
  """One unit in each of two stages: compiling fifty layers takes most of a test's time and shows nothing more."""
  monkeypatch.setattr(resnet, '_BLOCKS', (1, 1))


@pytest.fixture(scope='module')
def face():
  """A textured oval with eyes, brows, nose and mouth that the cascade takes for a face; 130 pixels wide."""
  image = np.full((400, 400, 3), 90, np.float32)
  yy, xx = np.mgrid[:400, :400]

  def oval(x, y, a, b, colour):
    inside = ((xx - x) / a) ** 2 + ((yy - y) / b) ** 2 < 1
    image[inside] = colour

  oval(200, 200, 110, 145, (205, 160, 130))
  for side in (-1, 1):
    oval(200 + side * 45, 170, 24, 11, (240, 240, 240))
    oval(200 + side * 45, 170, 10, 10, (30, 30, 40))
    oval(200 + side * 45, 142, 32, 7, (50, 35, 30))
  oval(200, 215, 13, 9, (165, 115, 95))
  oval(200, 262, 42, 12, (140, 50, 60))
  image += np.random.default_rng(0).normal(0, 6, image.shape[:2])[..., None]
  image = cv2.GaussianBlur(image, (0, 0), 2.5)
  return cv2.resize(image.clip(0, 255).astype(np.uint8), (236, 236), interpolation=cv2.INTER_AREA)


@pytest.fixture
def fixed_detector(monkeypatch):
  """The name of a detector that finds the same box everywhere: centre (70, 60), side 80, in the grey picture."""

  class Fixed:
    def find(self, frame, grey, near=None):
      return [np.array([70.0, 60.0, 80.0])], [True]

  monkeypatch.setattr(detectors, 'DETECTORS', dict(detectors.DETECTORS))
  detectors.register('fixed', lambda min_face: Fixed())
  return 'fixed'
