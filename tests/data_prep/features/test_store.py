"""The cache of features: what is made, what is kept, what is standardised."""

import dataclasses
from importlib import metadata

import numpy as np
import pytest

from data_prep import features
from data_prep.core.errors import DataError, UserError
from data_prep.features import store
from data_prep.schema.manifest import Manifest
from tests.conftest import make_data

RECORDINGS = [('a', 'train', 60), ('b', 'train', 31), ('c', 'test', 25)]


class Levels:
  """The sound's level, its double, and a constant; NaN in every seventh step."""

  name = 'levels'
  stream = 'speech'
  defaults = {'gain': 1.0}
  made = '1'

  def version(self):
    return f'levels {self.made}'

  def columns(self, manifest, options):
    return ('level', 'double', 'constant')

  def extract(self, fields, manifest, options):
    level = fields['audio'].astype(np.float32).mean(axis=1) * options['gain']
    values = np.stack([level, 2 * level, np.full_like(level, 3)], axis=1)
    values[6::7] = np.nan
    return values

  def fit(self, train):
    return None


@pytest.fixture
def in_this_process(monkeypatch):
  """Workers would not know a set that a test registers."""
  monkeypatch.setitem(features.FEATURES, 'levels', Levels())
  made = []

  def run(work, items, jobs):
    for item in list(items):
      made.append(item[0])
      yield item, work(item)

  monkeypatch.setattr(store.pool, 'run', run)
  return made


def test_what_is_missing_is_made_and_what_is_there_is_read(tmp_path, in_this_process, monkeypatch):
  folder = make_data(tmp_path, RECORDINGS)
  manifest = Manifest.read(folder)
  first = store.load(folder, manifest, 'levels')
  assert in_this_process == ['a', 'b', 'c']
  assert first.raw('b').shape == (31, 3) and first.columns == ('level', 'double', 'constant')
  again = store.load(folder, manifest, 'levels')
  assert in_this_process == ['a', 'b', 'c']
  np.testing.assert_array_equal(first.raw('a'), again.raw('a'))
  store.load(folder, manifest, 'levels', {'gain': 2.0})
  assert in_this_process == ['a', 'b', 'c'] * 2
  monkeypatch.setattr(Levels, 'made', '2')
  store.load(folder, manifest, 'levels')
  assert in_this_process == ['a', 'b', 'c'] * 3


def _cut(file):
  file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
  ('name', 'damage'),
  [
    ('a-*.npy', _cut),
    ('a-*.npy', lambda file: file.write_bytes(b'')),
    ('a-*.npy', lambda file: file.write_bytes(b'no array' * 99)),
    ('a-*.npy', lambda file: np.save(file, np.zeros((59, 3), np.float32))),
    ('a-*.npy', lambda file: file.unlink()),
    ('columns.json', lambda file: file.write_text('{"level":')),
    ('columns.json', lambda file: file.unlink()),
  ],
)
def test_what_is_damaged_in_the_cache_is_made_again(tmp_path, in_this_process, name, damage):
  folder = make_data(tmp_path, RECORDINGS)
  manifest = Manifest.read(folder)
  before = {r: np.array(store.load(folder, manifest, 'levels').raw(r)) for r in 'abc'}
  in_this_process.clear()
  (file,) = (tmp_path / store.FOLDER).glob(f'levels-*/{name}')
  damage(file)
  after = store.load(folder, manifest, 'levels')
  assert in_this_process == (['a'] if name.startswith('a') else ['a', 'b', 'c'])
  for recording, values in before.items():
    np.testing.assert_array_equal(after.raw(recording), values)


def test_changed_shards_alone_are_made_anew(tmp_path, in_this_process):
  store.load(make_data(tmp_path / 'one', RECORDINGS), Manifest.read(tmp_path / 'one'), 'levels')
  longer = [('a', 'train', 60), ('b', 'train', 40), ('c', 'test', 25)]
  folder = make_data(tmp_path / 'two', longer)
  (tmp_path / 'one' / store.FOLDER).rename(tmp_path / 'two' / store.FOLDER)
  in_this_process.clear()
  store.load(folder, Manifest.read(folder), 'levels')
  assert 'b' in in_this_process and 'a' not in in_this_process


def test_standardised_on_the_train_partition_alone(tmp_path, in_this_process):
  folder = make_data(tmp_path, RECORDINGS)
  found = store.load(folder, Manifest.read(folder), 'levels')
  # The sound of step k is k + 1, whatever the recording; every seventh step from the seventh on has no features.
  known = np.concatenate([[k + 1 for k in range(steps) if k % 7 != 6] for steps in (60, 31)]).astype(np.float64)
  np.testing.assert_allclose(found.mean, [known.mean(), 2 * known.mean(), 3], rtol=1e-6)
  np.testing.assert_allclose(found.deviation, [known.std(), 2 * known.std(), 0], rtol=1e-6)
  c = found.standardised('c')
  expected = [(k + 1 - known.mean()) / known.std() if k % 7 != 6 else 0 for k in range(25)]
  np.testing.assert_allclose(c[:, 0], expected, atol=1e-6)
  np.testing.assert_array_equal(c[:, 2], 0)
  np.testing.assert_array_equal(found.standardised('c', slice(4, 11)), c[4:11])


def test_the_mean_of_a_recording_is_that_of_the_steps_that_have_features(tmp_path, in_this_process, monkeypatch):
  folder = make_data(tmp_path, RECORDINGS)
  found = store.load(folder, Manifest.read(folder), 'levels')
  level = np.array([k + 1 for k in range(31) if k % 7 != 6], np.float64)
  np.testing.assert_allclose(found.mean_of('b'), [level.mean(), 2 * level.mean(), 3], rtol=1e-12)
  plain, values = Levels.extract, np.array([0.1, 1 / 3, 7], np.float32)
  monkeypatch.setattr(Levels, 'made', 'whole')
  monkeypatch.setattr(Levels, 'extract', lambda self, *of: plain(self, *of) * 0 + values)
  whole = store.load(folder, Manifest.read(folder), 'levels')
  np.testing.assert_array_equal(whole.mean_of('a'), values)  # of equal steps it is the step, to the last bit
  monkeypatch.setattr(Levels, 'made', 'none')
  monkeypatch.setattr(Levels, 'extract', lambda self, *of: plain(self, *of) * np.float32(np.nan))
  assert np.isnan(store.load(folder, Manifest.read(folder), 'levels').mean_of('a')).all()


def test_rows_that_hold_are_stored_once(tmp_path, in_this_process, monkeypatch):
  folder = make_data(tmp_path, RECORDINGS)
  manifest = Manifest.read(folder)
  plain = Levels.extract
  # Each value stands for three steps, the last for what is left: 60, 31 and 25 steps have 20, 11 and 9 of them.
  every_third = lambda self, *of: plain(self, *of)[np.arange(len(of[0]['valid'])) // 3 * 3]
  monkeypatch.setattr(Levels, 'extract', every_third)
  found = store.load(folder, manifest, 'levels')
  (at,) = (tmp_path / store.FOLDER).iterdir()
  stored = {len(np.load(file)) for file in at.glob('*.npy') if not file.name.endswith('.steps.npy')}
  assert stored == {20, 11, 9}
  levels = {
    name: np.array([k // 3 * 3 + 1 if k // 3 * 3 % 7 != 6 else np.nan for k in range(steps)], np.float64)
    for name, _, steps in RECORDINGS
  }
  train = np.concatenate([levels['a'], levels['b']])
  np.testing.assert_allclose(found.mean[:2], [np.nanmean(train), 2 * np.nanmean(train)], rtol=1e-6)
  np.testing.assert_allclose(found.deviation[:2], [np.nanstd(train), 2 * np.nanstd(train)], rtol=1e-6)
  np.testing.assert_array_equal(found.raw('b')[:, 0], levels['b'].astype(np.float32))
  np.testing.assert_array_equal(np.asarray(found.arrays['a'])[:, 1], 2 * levels['a'].astype(np.float32))
  np.testing.assert_array_equal(found.standardised('c', slice(4, 11)), found.standardised('c')[4:11])
  assert found.arrays['c'].shape == (25, 3) and len(found.arrays['c']) == 25


@pytest.mark.parametrize('name', ['egemaps', 'compare_lld'])
def test_without_opensmile_one_line_says_how_to_get_it(tmp_path, monkeypatch, name):
  def version(of):
    raise metadata.PackageNotFoundError(of)

  monkeypatch.setattr(metadata, 'version', version)
  folder = make_data(tmp_path, RECORDINGS)
  with pytest.raises(UserError, match=r"need openSMILE.*pip install 'e2e_affect\[features\]'.*research"):
    store.load(folder, Manifest.read(folder), name)
  assert not (tmp_path / store.FOLDER).exists()


def test_errors_say_what_there_is(tmp_path, in_this_process):
  folder = make_data(tmp_path, RECORDINGS)
  manifest = Manifest.read(folder)
  with pytest.raises(UserError, match="no feature set 'nothing'; expected one of egemaps"):
    store.load(folder, manifest, 'nothing')
  with pytest.raises(UserError, match='levels: no option window; it has gain'):
    store.load(folder, manifest, 'levels', {'window': 2})
  del manifest.streams['speech']
  with pytest.raises(DataError, match='no speech stream, of which levels is made'):
    store.load(folder, manifest, 'levels')


def test_a_fold_is_standardised_on_its_own_train(tmp_path, in_this_process):
  folder = make_data(tmp_path / 'data', RECORDINGS)
  folds = {'2': {'Sa': 'test', 'Sb': 'validation', 'Sc': 'train'}}
  manifest = dataclasses.replace(Manifest.read(folder), folds=folds)
  prepared, fold = store.load(folder, manifest, 'levels'), store.load(folder, manifest.of_fold('2'), 'levels')
  assert in_this_process == ['a', 'b', 'c']  # what is cached is the same in every fold
  level = np.arange(1, 26, dtype=np.float64)[np.arange(25) % 7 != 6]  # of c
  assert fold.mean[0] == pytest.approx(level.mean()) and fold.deviation[0] == pytest.approx(level.std())
  assert prepared.mean[0] > 1.5 * fold.mean[0]
