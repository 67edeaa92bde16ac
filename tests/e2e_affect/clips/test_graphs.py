"""Networks as graphs for other programs, run there, against ours."""

import json
import pathlib
import re
import subprocess
import sys

import jax
import jax.export
import numpy as np
import onnx
import pytest
import soundfile

from data_prep.core.errors import UserError
from data_prep.streams.speech import statistics
from e2e_affect import export
from e2e_affect.clips import exported, graphs
from tests.e2e_affect.clips.test_network import crops, sound
from tests.networks import random_network, small_config, small_network

ROOT = pathlib.Path(__file__).resolve().parents[3]
STEPS = 1500  # 60 s

# Runs in a process without JAX. Chunks are of many lengths, one step among them: the state must carry all.
ELSEWHERE = """
import sys
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=['CPUExecutionProvider'])
given = dict(np.load(sys.argv[2]))
context, layers, units = given.pop('context'), given.pop('layers'), given.pop('units')
state = [np.zeros((layers, 1, units), np.float32)] * 2
rows, first, steps = [], 0, given.pop('steps')
lengths = [1, 7, 250, 40]
while first < steps:
  count = min(lengths[len(rows) % 4], steps - first)
  inputs = {'cell': state[0], 'hidden': state[1]}
  for name, values in given.items():
    wide = 2 * context if name in ('audio', 'valid') else 0
    inputs[name] = values[None, first : first + count + wide] if values.ndim else values[None]
  traces, *state = session.run(None, inputs)
  rows.append(traces[0])
  first += count
assert 'jax' not in sys.modules and 'e2e_affect' not in sys.modules
np.save(sys.argv[3], np.concatenate(rows))
"""


def recording(network, steps, seed=3):
  """Arrays of a network's call, and the same as the graph takes them; without a face for a while."""
  samples, faces = sound(steps, seed)[:-217], crops(steps)
  found = np.where((np.arange(steps) // 40) % 3 == 1, 0, 0.9).astype(np.float32)
  # 600 taps at 8 kHz after the middle and 4 at 16 kHz: 1204 samples of steps of 640. Of the paper's sizes 4040.
  context = {1200: 2, 4000: 7}[network.config.model.speech.long_taps] if 'speech' in network.modalities else 0
  around = np.zeros((steps + 2 * context, 640), np.int16)
  around.reshape(-1)[context * 640 :][: len(samples)] = samples
  valid = np.pad(np.ones(steps, np.float32), context)
  mean, std = np.float32(statistics(samples))
  call, given = {}, {}
  if 'speech' in network.modalities:
    call['audio'] = samples
    given |= {'audio': around, 'audio_mean': mean, 'audio_std': std, 'valid': valid}
  if 'visual' in network.modalities:
    call |= {'faces': faces, 'face_found': found}
    given |= {'face': faces, 'face_found': found}
  options = network.config.model.recurrent
  return call, given | {'context': context, 'layers': options.layers, 'units': options.units, 'steps': steps}


def traces_of(network, call):
  traces = network(**call)
  return np.stack([traces[target] for target in network.targets], axis=1)


def run_elsewhere(folder, given):
  np.savez(folder / 'given.npz', **given)
  done = subprocess.run(
    [sys.executable, '-c', ELSEWHERE, folder / 'network.onnx', folder / 'given.npz', folder / 'traces.npy'],
    cwd=folder,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr[-2000:]
  return np.load(folder / 'traces.npy')


@pytest.mark.slow
@pytest.mark.parametrize('modalities', [('speech',), ('visual',), ('speech', 'visual')])
def test_onnx_says_the_same_for_a_minute_in_a_process_without_jax(modalities, tmp_path):
  network = small_network(*modalities)
  assert graphs.save(network, tmp_path, 'onnx') < graphs.CLOSE
  call, given = recording(network, STEPS)
  ours = traces_of(network, call)
  assert ours.std(axis=0).min() > 1e-3
  np.testing.assert_allclose(run_elsewhere(tmp_path, given), ours, atol=graphs.CLOSE)


@pytest.mark.slow
def test_the_4000_taps_stay(tmp_path):
  config = small_config('speech')
  config.model.speech.update(filters=40, pool_channels=10, taps=80, long_taps=4000)
  config.evaluate_chunk_seconds = 20  # each chunk transforms all taps
  network = random_network(config)
  graphs.save(network, tmp_path, 'onnx')
  constants = onnx.load(tmp_path / 'network.onnx').graph.initializer
  assert [4000, 40 * 40] in [list(constant.dims) for constant in constants]
  call, given = recording(network, STEPS)
  np.testing.assert_allclose(run_elsewhere(tmp_path, given), traces_of(network, call), atol=graphs.CLOSE)


# `save` runs what it wrote and refuses what says something else.
@pytest.mark.slow
@pytest.mark.parametrize(
  'visual',
  [
    {'image_size': 29, 'stem_padding': 'SAME', 'stem_pool_padding': 'SYMMETRIC', 'stride_on': '3x3'},
    {'image_size': 28, 'stem_padding': 'SAME', 'stem_pool_padding': 'VALID', 'batch_norm_epsilon': 1e-3},
  ],
)
def test_what_published_weights_need(visual, tmp_path):
  config = small_config('visual')
  config.model.visual.update(visual)
  config.model.recurrent.update(peepholes=True, layers=1)
  with config.unlocked():
    config.augment.whole_face = visual['image_size'] == 28
    config.augment.tf1_resize = visual['image_size'] == 28
  assert graphs.save(random_network(config), tmp_path, 'onnx') < graphs.CLOSE


@pytest.mark.slow
def test_stablehlo_is_read_back_and_says_the_same(tmp_path):
  network = small_network('speech', 'visual')
  graphs.save(network, tmp_path, 'stablehlo')
  read = jax.export.deserialize(bytearray((tmp_path / 'network.stablehlo').read_bytes()))
  assert read.platforms == ('cpu', 'cuda', 'tpu')
  about = json.loads((tmp_path / 'graph.json').read_text())
  assert about['fixed'] == {'batch': 1, 'steps': 25} and about['simulated']
  call, given = recording(network, STEPS)
  state = [np.zeros((2, 1, 8), np.float32)] * 2
  rows = []
  for first in range(0, STEPS, 25):
    inputs = [
      given[name][None, first : first + 25 + (4 if name in ('audio', 'valid') else 0)]
      if given[name].ndim
      else given[name][None]
      for name in list(about['inputs'])[:-2]
    ]
    traces, *state = read.call(*inputs, *state)
    rows.append(traces[0])
  np.testing.assert_allclose(np.concatenate(rows), traces_of(network, call), atol=graphs.CLOSE)


@pytest.mark.slow
def test_the_example_analyses_a_wav_with_three_libraries(tmp_path):
  example = ROOT / 'docs' / 'onnx_example.py'
  imports = [line.split()[1] for line in example.read_text().splitlines() if line.startswith(('import', 'from'))]
  assert imports == ['json', 'pathlib', 'sys', 'numpy', 'onnxruntime', 'soundfile']
  network = small_network('speech', 'visual')
  graphs.save(network, tmp_path, 'onnx')
  samples = sound(603)[:-217]
  soundfile.write(tmp_path / 'sound.wav', samples, 16_000, subtype='PCM_16')
  run = lambda path: subprocess.run(
    [sys.executable, example, tmp_path, path], cwd=tmp_path, capture_output=True, text=True, check=False
  )
  done = run(tmp_path / 'sound.wav')
  assert done.returncode == 0, done.stderr[-2000:]
  head, *rows = done.stdout.splitlines()
  said = np.array([[float(value) for value in row.split(',')] for row in rows])
  assert head == 'time,arousal,valence'
  np.testing.assert_allclose(said[:, 0], 0.04 * np.arange(603), atol=1e-9)
  np.testing.assert_allclose(said[:, 1:], traces_of(network, {'audio': samples}), atol=graphs.CLOSE)
  soundfile.write(tmp_path / 'other.wav', samples, 8_000, subtype='PCM_16')
  done = run(tmp_path / 'other.wav')
  assert done.returncode == 1 and '8000 Hz, expected 16000' in done.stderr


@pytest.mark.parametrize(
  'modalities, field, value, said',
  [
    (('speech',), 'head', 'clip_regression', "config.head = 'clip_regression'"),
    (('speech', 'geometric'), '', None, 'the network reads geometric, and --to=onnx takes networks of speech, visual'),
    (('speech',), 'model.speech.variant', 'released', "config.model.speech.variant = 'released'"),
    (('visual',), 'model.recurrent.cell_clip', 100.0, 'config.model.recurrent.cell_clip = 100.0'),
    (('visual',), 'model.recurrent.restart_steps', 150, 'config.model.recurrent.restart_steps = 150'),
    (('visual',), 'model.recurrent.layers', 0, 'config.model.recurrent.layers = 0'),
  ],
)
def test_what_cannot_be_written_is_refused_before_its_checkpoint_is_read(modalities, field, value, said, tmp_path):
  config = small_config(*modalities)
  if field:
    config.update_from_flattened_dict({field: value})
  (tmp_path / 'config.json').write_text(config.to_json())
  with pytest.raises(UserError, match=f'^{re.escape(said)}'):
    export.export_graph(str(tmp_path), str(tmp_path / 'out'), 'onnx')
  assert not (tmp_path / 'out').exists()


def test_a_folder_for_others_is_no_exported_network(tmp_path):
  (tmp_path / graphs.ABOUT_FILE).write_text('{}')
  with pytest.raises(UserError, match='network.json: not found'):
    exported.load(tmp_path)


def test_a_graph_that_says_something_else_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(graphs, '_difference', lambda *_: float('nan'))
  with pytest.raises(UserError, match='network.onnx: says up to nan else than the network, expected at most 0.0001'):
    graphs.save(small_network('speech'), tmp_path, 'onnx')
  assert not (tmp_path / graphs.ABOUT_FILE).exists()
