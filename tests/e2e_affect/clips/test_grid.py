"""Clips analysed by networks of another grid than the paper's: a step of half a second, sound at 8 kHz."""

import base64
import csv
import io
import json

import av
import jax
import numpy as np
import pytest
import soundfile

from data_prep.core.errors import DataError
from data_prep.schema.grid import Grid
from data_prep.streams.speech import statistics
from e2e_affect.clips import analyse, exported, stream
from e2e_affect.clips.clip_files import PAGE_MARK
from e2e_affect.clips.online import OnlineNetwork
from e2e_affect.models import affect
from tests import clips
from tests.data_prep.recordings.test_clip import portrait
from tests.networks import random_network, small_config

GRID = Grid(0.5, 8000, 2)
SAMPLES = 8000 * 8 + 801  # of 8.1 s: 17 steps are begun


@pytest.fixture(scope='module')
def network(tmp_path_factory):
  """A fused network that has been exported and loaded again."""
  folder = tmp_path_factory.mktemp('exported')
  made = random_network(small_config('speech', 'visual'), GRID)
  exported.save(made, folder)
  assert 'Each step of 500 ms' in (folder / 'README.md').read_text()
  return exported.load(folder)


def rows(path):
  with open(path, encoding='utf-8', newline='') as f:
    return list(csv.DictReader(f))


def page_data(path):
  return json.loads(path.read_text().split(PAGE_MARK)[1].split('</script>')[0])


@pytest.mark.slow
def test_a_sound(network, tmp_path):
  samples = (np.random.default_rng(0).normal(size=SAMPLES) * 3000).astype(np.int16)
  soundfile.write(tmp_path / 'a.wav', samples, 8000)
  analyse.analyse(network, [str(tmp_path / 'a.wav')], tmp_path / 'out')
  table = rows(tmp_path / 'out' / 'a.csv')
  assert [row['time'] for row in table] == [f'{k // 2}.{k % 2 * 50:02d}' for k in range(17)]
  content = json.loads((tmp_path / 'out' / 'a.json').read_text())
  assert (content['steps'], content['step_seconds'], content['seconds']) == (17, 0.5, 8.1)
  # 11 and 5 steps of the post-processing are 5.5 and 2.5 s here.
  assert 'shorter than twice the median filter of 5.50 s: trust the raw arousal' in content['notes']
  data = page_data(tmp_path / 'out' / 'a.html')
  assert (data['steps'], data['step_seconds'], data['wave']['seconds']) == (17, 0.5, 8.100125)
  assert '17 steps of 500 ms' in (tmp_path / 'out' / 'a.html').read_text()

  # The network in one piece, without chunks.
  padded = np.pad(samples, (0, 17 * 4000 - SAMPLES)).reshape(1, 17, 4000)
  batch = {
    'audio': padded,
    'audio_mean': np.float32([samples.mean()]),
    'audio_std': np.float32([samples.std()]),
    'audio_gain': np.ones(1, np.float32),
    'face': np.zeros((1, 17, 96, 96, 3), np.uint8),
    'face_found': np.zeros((1, 17), np.float32),
    'valid': np.ones((1, 17), np.float32),
  }
  model = affect.make_model(network.config, network.layout, axis_name=None)

  @jax.jit
  def whole(batch):
    inputs = affect.inputs_of(batch, model.config, network.config.augment, keys=None)
    return model.apply(network.variables, inputs, train=False)[0][0]

  expected = np.asarray(whole(batch))
  assert expected.std(axis=0).min() > 1e-3
  for k, target in enumerate(network.targets):
    np.testing.assert_allclose([float(row[target]) for row in table], expected[:, k], atol=1e-5)
  traces = network(audio=samples)
  np.testing.assert_array_equal(traces['time'], 0.5 * np.arange(17))
  np.testing.assert_allclose(traces['arousal'], expected[:, 0], atol=1e-5)


@pytest.mark.slow
def test_a_stream(network):
  samples = (np.random.default_rng(1).normal(size=SAMPLES) * 3000).astype(np.int16)
  online = OnlineNetwork(network, statistics(samples))
  found = list(stream.predictions(online, io.BytesIO(samples.tobytes()), []))
  traces = network(audio=samples)
  np.testing.assert_allclose(found, np.stack([traces['arousal'], traces['valence']], axis=1), atol=1e-5)
  said = io.StringIO()
  stream.run(network, io.BytesIO(samples.tobytes()), said)
  assert [line.split(',')[0] for line in said.getvalue().splitlines()[:4]] == ['time', '0.00', '0.50', '1.00']
  with pytest.raises(DataError, match='expected a container, or 16-bit PCM: 8 kHz, mono'):
    stream.run(network, io.BytesIO(), said)


def test_a_video(network, tmp_path):
  noise = np.random.default_rng(0).normal(0, 0.1, 48_000)
  (tmp_path / 'box.csv').write_text('x,y,width,height\n40,30,50,54\n')
  clips.write_clip(tmp_path / 'v.mp4', portrait(1) * 75, sound=noise, rate=16_000, codec='mpeg4', sound_codec='aac')
  (tmp_path / 'list.csv').write_text('recording,video,boxes\nv,v.mp4,box.csv\n')
  analyse.analyse(network, [str(tmp_path / 'list.csv')], tmp_path / 'out')
  table = rows(tmp_path / 'out' / 'v.csv')
  assert [row['time'] for row in table] == ['0.00', '0.50', '1.00', '1.50', '2.00', '2.50']
  # The box holds no face: looked for in picture 0 and in every fifth, 38 ms apart, it loses a fifth each time and is
  # given up below a quarter, in picture 15. The first step's own picture is number 6, the second's number 19.
  assert [float(row['face_found']) for row in table] == pytest.approx([0.6, 0, 0, 0, 0, 0])
  data = page_data(tmp_path / 'out' / 'v.html')
  assert (data['steps'], data['step_seconds']) == (6, 0.5)
  (seen,) = data['people']
  sizes = [len(base64.b64decode(seen[name]['data'])) for name in ('found', 'boxes')]
  assert sizes == [2 * 6, 2 * 3 * 6] and len(seen['crops']['index']) == 6
  # What browsers do not play is copied: a picture every step, as long as the clip.
  with av.open(str(tmp_path / 'out' / 'media' / 'v.mp4')) as container:
    times = [frame.time for frame in container.decode(video=0)]
    assert times == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5] and container.streams.audio[0].rate == 8000
