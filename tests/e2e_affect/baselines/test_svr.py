"""SVR against scikit-learn called plainly, its search, and what it may not see."""

import types

import numpy as np
import pytest
from sklearn.svm import LinearSVR

from e2e_affect.baselines import base, svr
from e2e_affect.traces import metrics
from tests.e2e_affect.baselines import made


@pytest.fixture(autouse=True)
def sets(monkeypatch):
  options = {'told': {'window_seconds': 5.0}, 'shape': {'frames': 2}}
  monkeypatch.setattr(
    base.store, 'FEATURES', {name: types.SimpleNamespace(defaults=of) for name, of in options.items()}
  )


def _config(*features):
  c = svr.SVR.get_config()
  c.features = {name: {} for name in features}
  c.train_every = 2
  c.svr.complexity = (1e-4, 1.0)
  c.svr.window_seconds = (2.0, 1.0)
  c.svr.delay_seconds = (0.0, 0.04 * made.DELAY_STEPS)
  return c.lock()


def test_predictions_are_those_of_scikit_learn():
  corpus = made.corpus()
  predictor, record = svr.SVR(_config('told', 'shape')).fit(corpus)
  (search,) = record['searches']
  told, shape = corpus.arrays['told', 1.0], corpus.arrays['shape', None]
  beside = {name: np.concatenate([told[name], shape[name]], axis=1) for name in told}
  # The less noisy window and the delay that the data were made with; one model a target.
  for k, target in enumerate(made.TARGETS):
    chosen = search['chosen'][target]
    assert (chosen['window_seconds'], chosen['delay_seconds']) == (1.0, 0.04 * made.DELAY_STEPS)
    rows, labels = [], []
    for recording in corpus.recordings['train']:
      for t in range(0, len(recording.mask) - made.DELAY_STEPS, 2):
        if recording.mask[t + made.DELAY_STEPS]:
          rows.append(beside[recording.name][t])
          labels.append(recording.gold[t + made.DELAY_STEPS, k])
    reference = LinearSVR(
      C=chosen['complexity'], epsilon=0.1, loss='squared_epsilon_insensitive', dual=False, random_state=0
    ).fit(np.array(rows), np.array(labels))
    for partition in ('validation', 'test'):
      (trace,) = predictor.predict(partition)
      said = reference.predict(beside[trace.recording]).astype(np.float32)
      np.testing.assert_array_equal(trace.prediction[made.DELAY_STEPS :, k], said[: -made.DELAY_STEPS])
      np.testing.assert_array_equal(trace.prediction[: made.DELAY_STEPS, k], said[0])
      assert metrics.ccc(trace.prediction[:, k], trace.gold[:, k]) > 0.5


def test_the_search_holds_every_candidate_with_its_score_on_validation():
  corpus = made.corpus()
  predictor, record = svr.SVR(_config('told')).fit(corpus)
  (search,) = record['searches']
  assert len(search['tried']) == 8  # 2 windows, 2 delays, 2 complexities
  (trace,) = predictor.predict('validation')
  for k, target in enumerate(made.TARGETS):
    best = max(search['tried'], key=lambda tried: tried['ccc'][target])
    assert {**search['chosen'][target], 'ccc': best['ccc']} == best
    ccc = metrics.ccc(trace.prediction[trace.scored, k], trace.gold[trace.scored, k])
    assert best['ccc'][target] == pytest.approx(ccc, abs=1e-5)  # the search multiplies all models at once


def test_sets_without_a_window_are_tried_once():
  _, record = svr.SVR(_config('shape')).fit(made.corpus())
  (search,) = record['searches']
  assert len(search['tried']) == 4 and {tried['window_seconds'] for tried in search['tried']} == {None}


def test_labels_of_test_change_neither_choice_nor_parameter():
  corpus = made.corpus()
  predictor, record = svr.SVR(_config('told')).fit(corpus)
  other, record_of_other = svr.SVR(_config('told')).fit(made.with_shuffled_test(corpus))
  assert record == record_of_other
  for partition in ('train', 'validation', 'test'):
    for a, b in zip(predictor.predict(partition), other.predict(partition), strict=True):
      np.testing.assert_array_equal(a.prediction, b.prediction)
  assert not np.array_equal(predictor.predict('test')[0].gold, other.predict('test')[0].gold)


def test_a_delay_that_leaves_no_label_is_told():
  c = _config('told').unlock()
  c.svr.delay_seconds = (0.0, 60.0)
  with pytest.raises(base.DataError, match='1500 steps later'):
    svr.SVR(c).fit(made.corpus())
