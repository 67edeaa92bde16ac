"""Units that follow acoustic features: their states, how they are chosen, and the figure."""

from importlib import metadata

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_prep.core.errors import DataError, UserError
from data_prep.features import store
from data_prep.schema.manifest import Manifest
from e2e_affect.evaluate import chunks, predictor
from e2e_affect.models import devices
from e2e_affect.paper import trained, units
from e2e_affect.traces import figures
from tests.conftest import make_data
from tests.e2e_affect.paper.runs import write_run


def test_correlations_equal_numpys():
  rng = np.random.default_rng(0)
  states, features = rng.normal(size=(50, 4)).astype(np.float32) + 7, rng.normal(size=(50, 3)).astype(np.float32)
  states[:, 1] = 0.1
  found = units.correlations(states, features)
  for f in range(3):
    for h in (0, 2, 3):
      assert found[f, h] == pytest.approx(np.corrcoef(states[:, h], features[:, f])[0, 1], abs=1e-12)
  assert np.isnan(found[:, 1]).all()
  features[:, 2] = 3
  assert np.isnan(units.correlations(states, features)[2]).all()


def test_units_are_chosen_by_the_mean_over_recordings_and_none_twice():
  # Feature 0 follows unit 2 best and so does feature 1; unit 3 is nearly as good for feature 1, unit 0 is not for 0.
  rho = np.array([[[0.1, 0.0, 0.9, 0.2], [0.1, 0.0, 0.8, -0.7]]])
  # In another recording feature 1 is constant, and in it unit 1 alone follows feature 0, as in no other.
  other = np.array([[[0.1, 0.7, 0.5, 0.2], [np.nan] * 4]])
  chosen, turned = units.choose(np.concatenate([rho, other]))
  assert chosen.tolist() == [2, 3] and turned.tolist() == [False, True]
  with pytest.raises(DataError, match='constant in every validation recording'):
    units.choose(other)


def speech(small_config):
  small_config.model.modalities = ('speech',)
  small_config.data.label_delay_steps = 3
  return small_config


@pytest.mark.slow
def test_states_lead_to_the_predictions(tmp_path, small_config):
  """The head over the states is what the network says, whatever the chunks; a label delay moves no state."""
  config = speech(small_config)
  variables = write_run(tmp_path / 'run', config)
  run = trained.Run.read(tmp_path / 'run')
  found = units.hidden_states(run, 'validation')
  config.data.label_delay_steps = 0
  network = predictor.NetworkPredictor(
    devices.replicate(jax.tree.map(jnp.asarray, variables)),
    chunks.over_devices(config, run.manifest),
    config,
    run.manifest,
  )
  expected = network.predict('validation')
  head = variables['params']['recurrent']['head']
  assert len(found) == len(expected) == 1 and found[0].prediction.shape == (110, 8)
  for states, trace in zip(found, expected, strict=True):
    assert states.recording == trace.recording
    np.testing.assert_allclose(states.prediction @ head['kernel'] + head['bias'], trace.prediction, atol=1e-5)


@pytest.fixture
def two_of_each(tmp_path, small_config):
  """A run, and features that are made of its units, with noise."""
  config = speech(small_config)
  config.data.dir = make_data(
    tmp_path / 'data',
    [('A', 'train', 60), ('V', 'validation', 120), ('W', 'validation', 95), ('T', 'test', 110), ('U', 'test', 70)],
  )
  write_run(tmp_path / 'run', config)
  run = trained.Run.read(tmp_path / 'run')
  states = {t.recording: t.prediction for p in ('validation', 'test') for t in units.hidden_states(run, p)}
  return tmp_path / 'run', states


def made_features(states, noise_of=lambda recording: 0.3):
  """What `store.load` would give: energy falls with unit 5, loudness follows unit 2, and F0 unit 7."""
  columns = {'compare': ('other', units.FEATURES[0][2]), 'egemaps': (units.FEATURES[2][2], 'x', units.FEATURES[1][2])}
  of = {units.FEATURES[0][2]: (5, -1), units.FEATURES[1][2]: (2, 1), units.FEATURES[2][2]: (7, 1)}

  def load(folder, manifest, name):
    arrays = {}
    for recording in sorted({shard.recording for shard in manifest.shards}):
      rng = np.random.default_rng(ord(recording))
      own = states.get(recording, np.zeros((60, 8)))
      values = rng.normal(size=(len(own), len(columns[name])))
      for place, column in enumerate(columns[name]):
        if column in of:
          unit, sign = of[column]
          noise = noise_of(recording) * values[:, place]
          values[:, place] = 40 + 3 * sign * own[:, unit] / (own[:, unit].std() or 1) + 3 * noise
      arrays[recording] = values.astype(np.float32)
    width = len(columns[name])
    return store.Features(name, columns[name], np.zeros(width), np.ones(width), arrays)

  return load


@pytest.mark.slow
def test_figure(two_of_each, tmp_path, monkeypatch):
  run, states = two_of_each
  monkeypatch.setattr(store, 'load', made_features(states))
  drawn = []
  monkeypatch.setattr(figures, 'png', lambda figure, real=figures.png: drawn.append(figure) or real(figure))
  said = units.figure(run, tmp_path / 'figures' / 'figure_2.png')
  assert said['recording'] == 'T'
  assert (
    'windows of 4 s that end at the step: a window of compare every 1 s, a window of egemaps every 0.2 s'
    in said['caption']
  )
  assert [(row['unit'], row['turned_over']) for row in said['units']] == [(5, True), (2, False), (7, False)]
  assert [row['feature'] for row in said['units']] == ['Range of RMS energy', 'Loudness', 'Mean F0']
  load = made_features(states)
  manifest = Manifest.read(two_of_each[0].parent / 'data')
  for k, (row, axes) in enumerate(zip(said['units'], drawn[0].axes, strict=True)):
    title, name, column = units.FEATURES[k]
    loaded = load('', manifest, name)
    sign = -1 if row['turned_over'] else 1
    rho = {
      r: np.corrcoef(loaded.raw(r)[:, loaded.columns.index(column)], sign * states[r][:, row['unit']])[0, 1]
      for r in states
    }
    assert row['rho'] == pytest.approx(rho['T'], abs=1e-3)
    assert row['rho_validation'] == pytest.approx((rho['V'] + rho['W']) / 2, abs=1e-3)
    assert row['rho_test'] == pytest.approx((rho['T'] + rho['U']) / 2, abs=1e-3)
    assert row['rho'] > 0.9
    assert axes.get_title(loc='left').startswith(f'{title}, unit {row["unit"]}')
    assert f'ρ = {row["rho"]:.2f}' in axes.get_title(loc='left')
    feature, unit = (line.get_ydata() for line in axes.lines)
    np.testing.assert_allclose([feature.mean(), feature.std(), unit.mean(), unit.std()], [0, 1, 0, 1], atol=1e-9)
    assert np.mean(feature * unit) == pytest.approx(row['rho'], abs=1e-3)
    np.testing.assert_allclose(axes.lines[0].get_xdata()[[1, -1]], [0.04, 109 * 0.04])
  assert cv2.imread(str(tmp_path / 'figures' / 'figure_2.png')).shape[1] == 900


@pytest.mark.slow
def test_test_recordings_change_no_choice(two_of_each, tmp_path, monkeypatch):
  run, states = two_of_each
  shuffled = {r: values[:, ::-1] if r in 'TU' else values for r, values in states.items()}
  monkeypatch.setattr(store, 'load', made_features(shuffled))
  said = units.figure(run, tmp_path / 'figure_2.png')
  assert [row['unit'] for row in said['units']] == [5, 2, 7]


def test_without_opensmile_it_is_refused_in_a_line(tmp_path, small_config, monkeypatch):
  write_run(tmp_path / 'run', speech(small_config))

  def absent(name):
    raise metadata.PackageNotFoundError(name)

  monkeypatch.setattr(metadata, 'version', absent)
  monkeypatch.setattr(units, 'hidden_states', None)  # minutes, which would be for nothing
  with pytest.raises(UserError, match='acoustic features need openSMILE; install it with'):
    units.figure(tmp_path / 'run', tmp_path / 'figure_2.png')
  assert not (tmp_path / 'figure_2.png').exists()


@pytest.mark.slow
def test_a_silent_recording_has_no_rho(two_of_each, tmp_path, monkeypatch):
  run, states = two_of_each
  monkeypatch.setattr(store, 'load', made_features(states, lambda recording: np.nan if recording == 'T' else 0.3))
  said = units.figure(run, tmp_path / 'figure_2.png')
  assert [row['rho'] for row in said['units']] == [None] * 3
  assert all(row['rho_test'] > 0.9 for row in said['units'])
