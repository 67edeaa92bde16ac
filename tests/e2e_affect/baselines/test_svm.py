"""SVM against scikit-learn called plainly, what it may not see, and a whole run on a corpus of classes."""

import dataclasses
import importlib.util
import json

import numpy as np
import pytest
from scipy import special
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from configs.baselines import svm as svm_config
from data_prep.core.errors import DataError, UserError
from data_prep.features import store
from data_prep.schema.grid import Grid
from data_prep.schema.manifest import Manifest
from e2e_affect.baselines import base, registry, run, svm, svr
from e2e_affect.input import recordings
from e2e_affect.report import folds
from e2e_affect.traces import table
from tests import class_corpus

NAMES = ('calm', 'happy', 'sad', 'angry')
C = len(NAMES)


@dataclasses.dataclass(frozen=True)
class Made(base.Corpus):
  """Feature sets are arrays here: set -> recording -> [T, D]."""

  arrays: dict

  def features(self, name, options=None):
    columns = tuple(map(str, range(next(iter(self.arrays[name].values())).shape[1])))
    return store.Features(name, columns, np.zeros(1), np.ones(1), self.arrays[name])


@pytest.fixture
def corpus(monkeypatch):
  """48 recordings of 8 people of 3 to 8 steps, with some more of the first class; the class is the second label.

  The features of 'told' (D 6), 'shape' (D 3) and 'wide' (D 70) change from step to step; the first step of every
  recording has none.
  """
  sizes = {'told': 6, 'shape': 3, 'wide': 70}
  monkeypatch.setattr(base.store, 'FEATURES', {name: type('Set', (), {'defaults': {}}) for name in sizes})
  rng = np.random.default_rng(0)
  of: dict = {'train': [], 'validation': [], 'test': []}
  arrays: dict = {name: {} for name in sizes}
  means = {name: rng.normal(size=(C, size)) for name, size in sizes.items()}
  for i in range(48):
    person, label, steps = i % 8, max(i // 8 - 2, 0), 3 + i % 6
    partition = 'train' if person < 4 else 'validation' if person < 6 else 'test'
    for name, mean in means.items():
      scale = 10.0 ** (np.arange(mean.shape[1]) % 6)  # columns in units of their own
      noise = 10 ** (name == 'wide') * rng.normal(size=mean.shape[1])
      values = scale * (mean[label] + noise + 0.1 * rng.normal(size=(steps, mean.shape[1])))
      values[0] = np.nan
      arrays[name][f'r{i}'] = values.astype(np.float32)
    gold = np.tile(np.array([0.3, label], np.float32), (steps, 1))
    ones = np.ones(steps, np.float32)
    of[partition].append(base.Recording(f'r{i}', f's{person}', partition, gold, ones, ones))
  manifest = Manifest(['arousal', 'emotion'], Grid(), {}, {}, {}, [], classes={'emotion': NAMES})
  return Made(manifest, 'made', of, arrays)


def _config(*features):
  c = svm.SVM.get_config()
  c.features = {name: {} for name in features}
  c.svm.complexity = (1e-4, 1e-2, 1.0)
  return c.lock()


def _rows(corpus, partition, *features):
  """[N, D] means over the steps that have features, and labels [N]."""
  of = corpus.recordings[partition]
  x = [np.concatenate([corpus.arrays[f][r.name][1:].mean(axis=0, dtype=np.float64) for f in features]) for r in of]
  return np.array(x), np.array([int(r.gold[0, 1]) for r in of])


def _plain(complexity, dual=False):
  model = LinearSVC(C=complexity, class_weight='balanced', dual=dual, random_state=0)
  return make_pipeline(StandardScaler(), model)


@pytest.mark.parametrize('features, dual', [(('told', 'shape'), False), (('told', 'wide'), True)])
def test_predictions_are_those_of_scikit_learn(corpus, features, dual):
  predictor, record = svm.SVM(_config(*features)).fit(corpus)
  (search,) = record['searches']
  x, label = _rows(corpus, 'train', *features)
  heard, true = _rows(corpus, 'validation', *features)
  models = {complexity: _plain(complexity, dual).fit(x, label) for complexity in (1e-4, 1e-2, 1.0)}
  recalls = {complexity: balanced_accuracy_score(true, model.predict(heard)) for complexity, model in models.items()}
  assert [(tried['complexity'], tried['converged']) for tried in search['tried']] == [(c, True) for c in models]
  for tried in search['tried']:
    assert tried['uar'] == {'emotion': pytest.approx(recalls[tried['complexity']], rel=1e-12)}
  best = search['chosen']['emotion']['complexity']
  assert best == max(recalls, key=recalls.get) and len(set(recalls.values())) > 1  # of equals the first
  for partition in ('train', 'validation', 'test'):
    x, _ = _rows(corpus, partition, *features)
    said = predictor.predict(partition)
    for trace, row, predicted in zip(said, models[best].decision_function(x), models[best].predict(x), strict=True):
      assert trace.prediction.shape == (len(trace.gold), C) and trace.prediction[0].argmax() == predicted
      np.testing.assert_allclose(trace.prediction, np.tile(special.softmax(row), (len(trace.gold), 1)), atol=1e-6)


def test_validation_may_be_learnt_from_once_the_complexity_is_chosen(corpus):
  _, record = svm.SVM(_config('told')).fit(corpus)
  c = _config('told').unlock()
  c.data.train_on = ('train', 'validation')
  rival = svm.SVM(c)
  predictor, record_of_both = rival.fit(corpus)
  assert rival.learnt_from == ('train', 'validation') and record_of_both == record
  x, label = (np.concatenate(of) for of in zip(*(_rows(corpus, p, 'told') for p in rival.learnt_from)))
  model = _plain(record['searches'][0]['chosen']['emotion']['complexity']).fit(x, label)
  heard, _ = _rows(corpus, 'test', 'told')
  said = np.array([trace.prediction[0] for trace in predictor.predict('test')])
  np.testing.assert_allclose(said, special.softmax(model.decision_function(heard), axis=1), atol=1e-6)
  c.data.train_on = ('train', 'test')
  with pytest.raises(UserError, match=r"train_on = \('train', 'test'\), expected"):
    run.train_and_evaluate(c, 'never')


def test_neither_labels_nor_features_of_others_change_what_is_learnt_of_train(corpus):
  predictor, record = svm.SVM(_config('told')).fit(corpus)
  test = [dataclasses.replace(r, gold=np.roll(r.gold, 1) * 0) for r in corpus.recordings['test']]
  loud = {r.name: corpus.arrays['told'][r.name] * 100 for r in test}
  other = dataclasses.replace(
    corpus,
    recordings={**corpus.recordings, 'test': test},
    arrays={'told': {**corpus.arrays['told'], **loud}},
  )
  changed, record_of_changed = svm.SVM(_config('told')).fit(other)
  assert record == record_of_changed
  for partition in ('train', 'validation'):
    for a, b in zip(predictor.predict(partition), changed.predict(partition), strict=True):
      np.testing.assert_array_equal(a.prediction, b.prediction)


def test_a_recording_without_features_has_those_of_the_mean(corpus):
  first = corpus.recordings['test'][0].name
  silent = {**corpus.arrays['told'], first: np.full_like(corpus.arrays['told'][first], np.nan)}
  predictor, record = svm.SVM(_config('told')).fit(dataclasses.replace(corpus, arrays={'told': silent}))
  model = _plain(record['searches'][0]['chosen']['emotion']['complexity']).fit(*_rows(corpus, 'train', 'told'))
  np.testing.assert_allclose(
    predictor.predict('test')[0].prediction[0], special.softmax(model[-1].intercept_), atol=1e-6
  )


@pytest.mark.parametrize('kept', [(0, 1, 3), (1, 3)])
def test_a_class_that_train_lacks_has_probability_0(corpus, kept):
  of = {
    partition: [r for r in rs if int(r.gold[0, 1]) in kept or partition == 'test']
    for partition, rs in corpus.recordings.items()
  }
  few = dataclasses.replace(corpus, recordings=of)
  predictor, record = svm.SVM(_config('told')).fit(few)
  model = _plain(record['searches'][0]['chosen']['emotion']['complexity']).fit(*_rows(few, 'train', 'told'))
  x, _ = _rows(few, 'test', 'told')
  said = np.array([trace.prediction[0] for trace in predictor.predict('test')])
  np.testing.assert_array_equal(said.argmax(axis=1), model.predict(x))
  assert (said[:, [k for k in range(C) if k not in kept]] == 0).all()
  np.testing.assert_allclose(said.sum(axis=1), 1, atol=1e-6)
  alone = {partition: [r for r in rs if r.gold[0, 1] == 3] for partition, rs in corpus.recordings.items()}
  with pytest.raises(DataError, match='all of train is angry'):
    svm.SVM(_config('told')).fit(dataclasses.replace(corpus, recordings=alone))


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  return class_corpus.write_corpus(tmp_path_factory.mktemp('classes'))


def test_a_rival_of_other_labels_is_named_before_anything_is_done(data, tmp_path):
  c = svr.SVR.get_config()
  c.data.dir, c.features = data, {'egemaps': {}}
  with pytest.raises(UserError, match="emotion of the data is a class.*'regression' learns numbers.*--config=svm"):
    run.train_and_evaluate(c, str(tmp_path / 'svr'))
  assert not (tmp_path / 'svr' / 'config.json').exists()
  c.head = 'clip_classes'
  with pytest.raises(UserError, match="'clip_classes', expected regression, which the rival svr learns; .* are svm"):
    registry.of(c)


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('opensmile') is None, reason='openSMILE is not installed')
def test_a_run_on_each_fold_is_scored_and_reported_as_a_network(data, tmp_path):
  runs = {}
  for fold in '12':
    c = svm_config.get_config('egemaps').unlock()
    c.data.dir, c.data.fold, c.svm.complexity = data, fold, (1e-3, 1e-1)
    folder = runs[f'fold {fold}'] = tmp_path / 'folds_svm' / f'data.fold={fold}'
    found = run.train_and_evaluate(c, str(folder))
    assert json.loads((folder / 'results.json').read_text()) == found
    assert found['test']['raw']['uar']['emotion'] > 0.8  # three tones
    assert np.sum(found['test']['raw']['confusion']['counts']) == 12 and found['postprocessing']['temperature'] > 0

    # The probabilities again: features of the store, standardised and learnt by scikit-learn on train of this fold.
    manifest = recordings.read_manifest(data, fold)
    features = store.load(data, manifest, 'egemaps_whole')
    x, label = {}, {}
    for partition in ('train', 'test'):
      names = [r.name for r in recordings.recordings(manifest, data, partition)]
      x[partition] = np.array([features.raw(name)[0] for name in names], np.float64)
      label[partition] = [class_corpus.CLASSES['emotion'].index(name.split('_')[1]) for name in names]
    (search,) = json.loads((folder / 'search.json').read_text())['searches']
    model = _plain(search['chosen']['emotion']['complexity'], dual=True).fit(x['train'], label['train'])  # 24 rows
    written = table.read_csv(folder / 'predictions' / 'test.csv', class_corpus.CLASSES['emotion'])
    said = np.array([of[0] for of in written.values()])
    np.testing.assert_allclose(said, special.softmax(model.decision_function(x['test']), axis=1), atol=1e-6)

    page = (folder / 'report.html').read_text()
    for text in ('UAR on test, post-processed: emotion', 'SVM on egemaps_whole: 2 tried', 'UAR emotion', 'temperature'):
      assert text in page, text
    for name in ('test_confusion', 'test_reliability', 'validation_confusion'):
      assert (folder / 'figures' / f'{name}.png').exists(), name
  c.data.train_on = ('train', 'validation')  # of the second fold
  both = run.train_and_evaluate(c, str(tmp_path / 'both'))
  assert 'validation' not in both and both['postprocessing']['fitted_on'] is None
  assert [row[1] for row in folds.rows({'fold 2': tmp_path / 'both'})] == ['validation', '–']
  assert folds.of_sweep(tmp_path / 'folds_svm') == {'': runs}
  assert [row[0] for row in folds.rows(runs)][3:] == ['mean ± deviation', 'all tests together']
