"""A trained network as a callable: chunks that change nothing, arrays that do not fit, folders that travel."""

import copy
import json
import pathlib
import subprocess
import sys

import jax
import numpy as np
import pytest
from scipy import ndimage

from data_prep.core.errors import CheckpointError, UserError, WorkdirError
from data_prep.streams.speech import statistics
import e2e_affect
from e2e_affect.clips import exported
from e2e_affect.clips import network as networks
from e2e_affect.clips.online import OnlineNetwork
from e2e_affect.clips.signals import ClipSignals
from e2e_affect.streams.speech import InSteps
from tests import networks as networks_of_tests
from tests.networks import small_network


@pytest.fixture(scope='module')
def speech():
  return small_network('speech')


@pytest.fixture(scope='module')
def fused():
  return small_network('speech', 'visual')


def sound(steps, seed=1):
  rng = np.random.default_rng(seed)
  return (3000 * rng.normal(size=640 * steps) * np.abs(np.sin(np.arange(640 * steps) / 7000))).astype(np.int16)


def crops(steps, seed=2):
  return np.random.default_rng(seed).integers(0, 256, (steps, 96, 96, 3), dtype=np.uint8)


def recording(steps, samples, faces=None, found=None):
  values = {
    'audio': InSteps(samples, 640),
    'audio_mean': float(samples.mean()),
    'audio_std': float(samples.std()),
    'audio_gain': 1.0,
  }
  return ClipSignals(steps, values if faces is None else values | {'face': faces, 'face_found': found})


def test_traces_do_not_depend_on_the_chunks(speech):
  clip = recording(180, sound(180)[:-123])
  whole = speech.predict(clip, chunk_seconds=8)
  assert whole.shape == (180, 2) and whole.std(axis=0).min() > 1e-3
  for seconds in (1, 3, 5):
    np.testing.assert_allclose(speech.predict(clip, chunk_seconds=seconds), whole, atol=1e-5)


@pytest.mark.slow
def test_fused_traces_do_not_depend_on_the_chunks(fused):
  found = (np.arange(90) % 30 > 3).astype(np.float32)
  clip = recording(90, sound(90), crops(90), found)
  whole = fused.predict(clip, chunk_seconds=4)
  np.testing.assert_allclose(fused.predict(clip, chunk_seconds=1), whole, atol=1e-5)
  # A crop without a face is masked: what it shows changes nothing.
  other = clip.values['face'].copy()
  other[found == 0] = 255
  np.testing.assert_array_equal(fused.predict(recording(90, sound(90), other, found), chunk_seconds=4), whole)
  # Either modality alone.
  for alone in (fused(audio=sound(40)), fused(faces=crops(40))):
    assert all(np.isfinite(values).all() and values.shape == (40,) for values in alone.values())


def test_the_call(speech):
  samples = sound(33)[:-639]  # the last step has one sample
  traces = speech(audio=samples)
  assert list(traces) == ['time', 'arousal', 'valence', 'arousal_post', 'valence_post']
  assert all(values.shape == (33,) and np.isfinite(values).all() for values in traces.values())
  np.testing.assert_allclose(traces['time'], 0.04 * np.arange(33), atol=1e-12)
  # Post-processing by other means: median of 11, a bias, five steps later.
  expected = ndimage.median_filter(traces['valence'].astype(float), 11, mode='reflect') - 0.25
  np.testing.assert_allclose(traces['valence_post'], expected[np.maximum(np.arange(33) - 5, 0)], atol=1e-6)
  # Floats in [−1, 1] are the same sound.
  np.testing.assert_array_equal(speech(audio=samples / 32768)['arousal'], traces['arousal'])
  # Louder by 6 dB is the same sound, too: zero mean and unit variance.
  np.testing.assert_allclose(speech(audio=2 * samples)['arousal'], traces['arousal'], atol=1e-5)
  # Digital silence is masked: finite.
  assert np.isfinite(speech(audio=np.zeros(9999, np.int16))['arousal']).all()


@pytest.mark.parametrize(
  'arguments, message',
  [
    ({}, 'audio missing: this is a speech network'),
    ({'audio': np.zeros((5, 2), np.int16)}, r'expected \[N\] samples'),
    ({'audio': np.zeros(0, np.int16)}, r'expected \[N\] samples'),
    ({'audio': np.full(700, 17.5)}, r'from 17.5 to 17.5, expected int16, or finite float'),
    ({'audio': np.full(700, np.nan)}, 'finite float'),
    ({'audio': np.zeros(700, np.int32)}, 'audio is int32'),
    ({'audio': np.array(['a', 'b'])}, 'audio is <U1, expected int16'),
    ({'audio': np.array([1.0, None])}, 'audio is object, expected int16'),
    ({'audio': np.zeros(9, 'datetime64[s]')}, r'audio is datetime64\[s\], expected int16'),
    ({'audio': [[1, 2], [3]]}, 'audio is no array: ragged.*expected rows of the same length'),
    ({'audio': sound(2), 'faces': crops(2)}, 'has no visual part'),
    (
      {'audio': sound(2), 'face_found': np.ones(2)},
      'face_found given to a network of speech, which has no visual part',
    ),
  ],
)
def test_arrays_that_do_not_fit(speech, arguments, message):
  with pytest.raises(ValueError, match=message):
    speech(**arguments)


@pytest.mark.parametrize(
  'arguments, message',
  [
    ({}, 'neither audio nor faces'),
    ({'faces': crops(2).astype(np.float32)}, 'faces are float32'),
    ({'faces': crops(2)[:, :48]}, r'expected uint8\[T, 96, 96, 3\]'),
    ({'faces': crops(2), 'face_found': np.ones(3)}, r'face_found is \[3\], expected \[2\]'),
    ({'faces': crops(2), 'face_found': [0, np.nan]}, r'face_found is float64 from nan to nan, expected .*\[0, 1\]'),
    ({'faces': crops(2), 'face_found': [1, 2]}, 'face_found is int64 from 1 to 2'),
    ({'faces': crops(2), 'face_found': [-1.0, 0]}, 'face_found is float64 from -1 to 0'),
    ({'faces': crops(2), 'face_found': ['a', 'b']}, 'face_found is <U1'),
    ({'faces': [crops(2)[0], crops(1)[0, 1:]]}, 'faces is no array'),
    ({'audio': sound(3), 'faces': crops(2)}, '1920 samples and 2 faces, expected at most 2 steps of each, 640 samples'),
    ({'audio': sound(3), 'face_found': np.ones(3)}, 'face_found given without faces'),
  ],
)
def test_arrays_that_do_not_fit_the_fused(fused, arguments, message):
  with pytest.raises(ValueError, match=message):
    fused(**arguments)


@pytest.fixture
def folder(speech, tmp_path):
  exported.save(speech, tmp_path / 'net')
  return tmp_path / 'net'


def test_a_folder_travels(speech, folder):
  loaded = e2e_affect.load(folder)
  for a, b in zip(jax.tree.leaves(speech.variables), jax.tree.leaves(loaded.variables), strict=True):
    np.testing.assert_array_equal(a, b)
  np.testing.assert_array_equal(loaded(audio=sound(30))['arousal_post'], speech(audio=sound(30))['arousal_post'])
  card = (folder / 'README.md').read_text()
  for words in (
    'simulated corpus',
    'says nothing about people',
    '| train | 3 | 2 | 0.5 |',
    'Limits',
    'Licence',
    'valence: own scale = (output − 0.25) / 0.5',
    'Median filter over 0.44 s',
    'e2e_affect.load',
  ):
    assert words in card, words
  assert 'Uncertainty' not in card  # a run of before there were bands


def test_a_band_travels(tmp_path):
  network = networks_of_tests.network_with_band('speech')
  exported.save(network, tmp_path / 'net')
  loaded = e2e_affect.load(tmp_path / 'net')
  traces = loaded(audio=sound(30))
  for target, half in networks_of_tests.BAND['half_width'].items():
    np.testing.assert_allclose(traces[f'{target}_low'], traces[f'{target}_post'] - half, atol=1e-6)
    np.testing.assert_allclose(traces[f'{target}_high'], traces[f'{target}_post'] + half, atol=1e-6)
  still = np.zeros((3, 2), np.float32)
  assert loaded.unlike(-50.0, None, np.nan, still) and not loaded.unlike(-30.0, None, np.nan, still)
  card = (tmp_path / 'net' / 'README.md').read_text()
  for words in (
    'The 90 % band is arousal ±0.250 and valence ±0.500 around the post-processed values.',
    'from 81 to 91 % of the steps',
    '* arousal: 50 % as wide as the band of always saying the mean, ±0.500.',
    '* valence: wider than the band of always saying the mean, ±0.400: of a single moment nothing is known.',
  ):
    assert words in card, words


def test_loading_takes_three_lines_and_no_tensorflow(folder):
  code = (
    f'import numpy, sys, e2e_affect\nnetwork = e2e_affect.load({str(folder)!r})\n'
    'traces = network(audio=numpy.ones(6400, numpy.int16))\n'
    'print(len(traces["arousal"]), {"tensorflow", "orbax", "tensorflow_datasets"} & set(sys.modules))'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert done.stdout == '10 set()\n'


def test_a_folder_of_an_earlier_version_loads(folder, speech):
  config = json.loads((folder / 'config.json').read_text())
  del config['learning_rate'], config['model']['recurrent']['cell_clip']  # as if they had come later
  (folder / 'config.json').write_text(json.dumps(config))
  loaded = e2e_affect.load(folder)
  assert loaded.config.model.recurrent.cell_clip == 0 and loaded.config.learning_rate == 1e-4
  np.testing.assert_array_equal(loaded(audio=sound(9))['arousal'], speech(audio=sound(9))['arousal'])


def change(folder, **fields):
  about = json.loads((folder / 'network.json').read_text())
  (folder / 'network.json').write_text(json.dumps(about | fields))


def fitted_with(step, **numbers):
  fitted = copy.deepcopy(networks_of_tests.POSTPROCESSING)
  for of in fitted['targets'].values():
    of[step] |= {'kept': True, **numbers}
  return fitted


def flip(path):
  data = bytearray(path.read_bytes())
  data[-5] ^= 1
  path.write_bytes(bytes(data))


@pytest.mark.parametrize(
  'damage, error, message',
  [
    (lambda f: (f / 'network.json').unlink(), UserError, 'network.json: not found; expected a folder that'),
    (lambda f: (f / 'network.json').write_text('{'), CheckpointError, 'network.json: damaged'),
    (lambda f: (f / 'network.json').write_text('[]'), CheckpointError, r"holds '\[\]', expected an object"),
    (lambda f: (f / 'network.json').write_text('null'), CheckpointError, "holds 'None', expected an object"),
    (lambda f: change(f, targets=None), CheckpointError, "targets is 'None', expected a list"),
    (lambda f: change(f, postprocessing=[]), CheckpointError, r"postprocessing is '\[\]', expected a dict"),
    (
      lambda f: change(f, postprocessing={'fitted_on': 'validation'}),
      CheckpointError,
      'its postprocessing or results cannot be applied .KeyError: .targets',
    ),
    (
      lambda f: change(f, postprocessing={**networks_of_tests.POSTPROCESSING, 'band': {'level': 0.9}}),
      CheckpointError,
      'its postprocessing or results cannot be applied .KeyError: .half_width',
    ),
    (
      lambda f: change(f, postprocessing=fitted_with('time_shift', steps=1.5)),
      CheckpointError,
      'its postprocessing or results cannot be applied .IndexError: arrays used as indices',
    ),
    (
      lambda f: change(f, postprocessing={**networks_of_tests.POSTPROCESSING, 'targets': {'a' * 9000: {}, 'b': {}}}),
      CheckpointError,
      'its postprocessing or results cannot be applied .{1,230}; export the run again$',
    ),
    (
      lambda f: change(f, results={'validation': {'seen': {'loudness': 3}}}),
      CheckpointError,
      'its postprocessing or results cannot be applied .TypeError',
    ),
    (lambda f: (f / 'network.json').write_text('{"format_version": 99}'), UserError, 'format version 99'),
    (lambda f: flip(f / 'parameters.safetensors'), CheckpointError, 'SHA-256'),
    (lambda f: (f / 'parameters.safetensors').unlink(), CheckpointError, 'cannot be read'),
    (
      lambda f: (f / 'config.json').write_text((f / 'config.json').read_text().replace('"units": 8', '"units": 9')),
      CheckpointError,
      r'recurrent/head/kernel is float32\[8, 2\], config.json wants float32\[9, 2\]',
    ),
  ],
)
def test_damaged_folders_are_named(folder, damage, error, message):
  damage(folder)
  with pytest.raises(error, match=message):
    e2e_affect.load(folder)


@pytest.mark.parametrize('name', ['file', 'loop', 300 * 'a'])
def test_a_folder_that_cannot_be_made_is_named(speech, tmp_path, name):
  (tmp_path / 'file').touch()
  (tmp_path / 'loop').symlink_to('loop')
  with pytest.raises(WorkdirError, match=f'{name}.*: cannot be written'):
    exported.save(speech, tmp_path / name)


def test_a_run_is_no_exported_folder(tmp_path):
  (tmp_path / 'checkpoints').mkdir()
  with pytest.raises(UserError, match='give it as --workdir'):
    e2e_affect.load(pathlib.Path(tmp_path))


LONG = 20 * 25 + 7  # steps


@pytest.mark.slow
@pytest.mark.parametrize(
  'fields',
  [
    pytest.param({'speech.long_taps': 80_000}, marks=pytest.mark.long),
    pytest.param({'speech.long_taps': 80_000, 'speech.taps': 10_000}, marks=pytest.mark.long),
    {'speech.long_taps': 16_001},
    {'speech.long_taps': 15_999, 'speech.taps': 80},
    {'speech.long_taps': 1, 'speech.taps': 1},
    {'speech.long_taps': 1, 'speech.taps': 10_000},
    {'speech.variant': 'released', 'speech.taps': 20, 'speech.long_taps': 80_000},
    {'speech.variant': 'filterbank', 'speech.filters': 12, 'speech.normalise': 'none'},
    {'speech.variant': 'filterbank', 'speech.filters': 12, 'recurrent.layers': 0},
    {'recurrent.peepholes': True, 'recurrent.cell_clip': 0.5, 'recurrent.layers': 3, 'recurrent.warm_up': 5},
  ],
)
def test_prediction_does_not_depend_on_the_chunk_whatever_the_filters(fields):
  config = networks_of_tests.small_config('speech')
  config.update_from_flattened_dict(
    {'model.speech.filters': 2, 'model.speech.pool_channels': 2}
    | {f'model.{field}': value for field, value in fields.items()}
  )
  network = networks_of_tests.random_network(config)
  # Loud in places: what a chunk must see of its neighbours shows.
  samples = (sound(LONG) * np.repeat(np.linspace(0, 1, LONG) % 0.1 * 10, 640)).astype(np.int16)
  of = recording(LONG, samples)
  whole = network.predict(of, chunk_seconds=21)
  assert whole.std(axis=0).min() > 1e-3
  for seconds in (1, 2, 8):
    np.testing.assert_allclose(network.predict(of, chunk_seconds=seconds), whole, atol=2e-5)
  if (
    config.model.speech.variant == 'paper'
    and 1 < config.model.speech.taps <= 640
    and (config.model.speech.long_taps < 20_000)
  ):  # a minute, there
    online = OnlineNetwork(network, statistics(samples))
    ahead = [online(piece) for piece in [*samples.reshape(-1, 640), *[None] * online.ahead]]
    np.testing.assert_allclose([prediction for prediction in ahead if prediction is not None], whole, atol=2e-5)


def test_postprocessing_goes_by_the_names_of_the_targets(speech):
  about = json.loads(json.dumps(speech.about))
  about['postprocessing']['targets'] = dict(reversed(about['postprocessing']['targets'].items()))
  raw = np.random.default_rng(3).normal(size=(40, 2)).astype(np.float32)
  other = networks.Network(speech.config, speech.variables, about)
  np.testing.assert_array_equal(other.postprocess(raw), speech.postprocess(raw))


def ccc(x, y):
  return 2 * np.cov(x, y, ddof=0)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


@pytest.mark.parametrize('decibel', [-80, 20])
def test_very_quiet_and_hot_floats_give_the_same_traces(speech, decibel):
  samples = sound(60) / 32768
  traces, other = speech(audio=samples), speech(audio=(samples * 10 ** (decibel / 20)).astype(np.float32))
  for target in ('arousal', 'valence'):
    assert ccc(traces[target], other[target]) > 0.9999


def test_a_gain_is_taken_back_where_samples_are_not_normalised():
  config = networks_of_tests.small_config('speech')
  config.model.speech.normalise = 'none'
  network = networks_of_tests.random_network(config)
  quiet = sound(30) // 256 * 256  # exact in int16 at either level
  level = {'audio_mean': 0.0, 'audio_std': 1.0}
  samples = ClipSignals(30, {'audio': InSteps(quiet, 640), 'audio_gain': 256.0, **level})
  stored = ClipSignals(30, {'audio': InSteps(quiet // 256, 640), **level})  # without a gain: 1
  np.testing.assert_allclose(network.predict(samples), network.predict(stored), atol=1e-6)
  hot = 8.0 * sound(30) / 32768  # peaks above full scale
  traces = network(audio=hot / 2)
  assert np.abs(traces['arousal'] - network(audio=hot / 16)['arousal']).max() > 1e-3  # the level counts here


def test_restarts_of_the_lstm_stand_at_fixed_steps_of_the_recording(speech):
  """As the authors evaluate, in pieces of 150 steps; here of 40, which no chunk divides."""
  config = speech.config.copy_and_resolve_references()
  config.model.recurrent.restart_steps = 40
  restarting = networks.Network(config, speech.variables, speech.about)
  clip = recording(130, sound(130))
  found = [restarting.predict(clip, chunk_seconds=seconds) for seconds in (1, 2, 8)]
  for other in found[1:]:
    np.testing.assert_allclose(other, found[0], atol=1e-5)
  forever = speech.predict(clip, chunk_seconds=8)
  np.testing.assert_allclose(found[0][:40], forever[:40], atol=1e-5)
  assert (np.abs(found[0] - forever).max(1)[40:] > 1e-5).mean() > 0.9
