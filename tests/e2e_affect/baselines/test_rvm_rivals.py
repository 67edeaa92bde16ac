"""The rivals of RVMs: their searches, what they may not see, and that they are the models called plainly."""

import types

import numpy as np
import pytest

from e2e_affect.baselines import base, registry, rvm_rivals
from e2e_affect.baselines.oa_rvm import FirstStage, OutputAssociativeRVM
from e2e_affect.baselines.rvm import Kernel, RVM
from e2e_affect.baselines.staircase import Staircase
from e2e_affect.traces import metrics
from tests.e2e_affect.baselines import made

DELAY = 0.04 * made.DELAY_STEPS


@pytest.fixture(autouse=True)
def sets(monkeypatch):
  options = {'told': {'window_seconds': 5.0}, 'shape': {'frames': 2}}
  monkeypatch.setattr(
    base.store, 'FEATURES', {name: types.SimpleNamespace(defaults=of) for name, of in options.items()}
  )


def _config(rival, *features):
  c = registry.RIVALS[rival].get_config()
  c.features = {name: {} for name in features}
  c.train_every = 2
  c.rvm.rbf_widths = (3.0,)
  c.rvm.basis = (10, 20)
  c.rvm.window_seconds = (2.0, 1.0)
  c.rvm.delay_seconds = (0.0, DELAY)
  if rival != 'rvm':
    c.rvm.basis = (20,)
    c.rvm.window_seconds = (1.0,)
    c.oa_rvm.side_seconds = (0.0, 0.4)
    c.oa_rvm.points = 2
    c.oa_rvm.folds = 3
  if rival == 'staircase':
    c.staircase.heights = (2, 3)
  return c.lock()


def _small(rival, *features):
  """The last of everything that is tried: one candidate each."""
  c = _config(rival, *features).unlock()
  for of in (c[name] for name in ('rvm', 'oa_rvm', 'staircase') if name in c):
    for name, tried in of.items():
      if isinstance(tried, tuple):
        of[name] = tried[-1:]
  return c.lock()


def _train(corpus, features, delay):
  """Rows of every second step with a label, features of all steps, labels, lengths, subjects: written plainly."""
  x, y, rows, lengths, subjects, first = [], [], [], [], [], 0
  for recording in corpus.recordings['train']:
    steps = len(recording.gold)
    for t in range(0, steps - delay, 2):
      if recording.mask[t + delay]:
        rows.append(first + t)
    later = np.minimum(np.arange(steps) + delay, steps - 1)
    x.append(features[recording.name])
    y.append(recording.gold[later])
    lengths.append(steps)
    subjects += [recording.subject] * steps
    first += steps
  return np.concatenate(x), np.concatenate(y), np.array(rows), lengths, np.array(subjects)


def _later(values, steps):
  return np.concatenate([np.repeat(values[:1], steps, axis=0), values])[: len(values)]


def _kernel(candidate):
  return Kernel(candidate['kernel'], candidate['width'] or 1.0)


def test_an_rvm_a_target_is_the_best_candidate_fitted_plainly():
  corpus = made.corpus()
  predictor, record = rvm_rivals.RVMRival(_config('rvm', 'told')).fit(corpus)
  (search,) = record['searches']
  assert len(search['tried']) == 16  # 2 windows, 2 delays, 2 kernels, 2 sizes of the basis
  (trace,) = predictor.predict('test')
  for k, target in enumerate(made.TARGETS):
    chosen = search['chosen'][target]
    best = max(search['tried'], key=lambda tried: tried['ccc'][target])
    assert {**chosen, 'ccc': best['ccc']} == best
    assert (chosen['window_seconds'], chosen['delay_seconds']) == (1.0, DELAY)
    features = corpus.arrays['told', 1.0]
    x, y, rows, _, _ = _train(corpus, features, made.DELAY_STEPS)
    direct = RVM(kernels=(_kernel(chosen),), basis=chosen['basis']).fit(x[rows], y[rows])
    assert chosen['relevance_vectors'] == ', '.join(map(str, direct.relevant()))
    said = _later(direct.predict(features[trace.recording])[:, k], made.DELAY_STEPS)
    np.testing.assert_allclose(trace.prediction[:, k], said, rtol=0, atol=1e-6)
    assert metrics.ccc(trace.prediction[:, k], trace.gold[:, k]) > 0.5
    (validation,) = predictor.predict('validation')
    ccc = metrics.ccc(validation.prediction[validation.scored, k], validation.gold[validation.scored, k])
    assert best['ccc'][target] == pytest.approx(ccc, abs=1e-5)  # a trace is float32


@pytest.mark.parametrize('rival', ['oa_rvm', 'staircase'])
def test_two_stages_are_the_models_called_plainly(rival):
  corpus = made.corpus()
  predictor, record = registry.of(_config(rival, 'told', 'shape')).fit(corpus)
  of_first, of_second = record['searches']
  # 2 delays, 2 kernels; then 2 sides, 2 kernels (and 2 numbers of heights).
  assert len(of_first['tried']) == 4 and len(of_second['tried']) == (4 if rival == 'oa_rvm' else 8)
  chosen = of_first['chosen']['all targets']
  best = max(of_first['tried'], key=lambda tried: sum(tried['ccc'].values()))
  assert {**chosen, 'ccc': best['ccc']} == best

  told, shape = corpus.arrays['told', chosen['window_seconds']], corpus.arrays['shape', None]
  features = {name: np.concatenate([told[name], shape[name]], axis=1) for name in told}
  delay = round(chosen['delay_seconds'] / 0.04)
  x, y, rows, lengths, subjects = _train(corpus, features, delay)
  machine = RVM(kernels=(_kernel(chosen),), basis=20)
  (trace,) = predictor.predict('test')
  for k, target in enumerate(made.TARGETS):
    second = of_second['chosen'][target]
    side = {0.0: 0, 0.4: 10}[second['side_seconds']]  # 0.4 s are 10 steps, of which two points read every fifth
    estimator = Staircase(partial=machine, heights=second['heights']) if rival == 'staircase' else machine
    direct = OutputAssociativeRVM(
      first=FirstStage.fit(estimator, x, y, rows, subjects, 3),
      kernel=_kernel(chosen),
      output_kernel=Kernel(second['kernel'], second['width'] or 1.0),
      side=side,
      hop=5 if side else 1,
      basis=20,
    ).fit(x, y, lengths=lengths, rows=rows)
    said = _later(direct.predict(features['e'], lengths=[90])[:, k], delay)
    np.testing.assert_allclose(trace.prediction[:, k], said, rtol=0, atol=1e-6)
    assert metrics.ccc(trace.prediction[:, k], trace.gold[:, k]) > 0.5


@pytest.mark.parametrize('rival', ['rvm', 'oa_rvm', 'staircase'])
def test_labels_of_test_change_neither_choice_nor_prediction(rival):
  corpus = made.corpus()
  predictor, record = registry.of(_small(rival, 'told')).fit(corpus)
  other, record_of_other = registry.of(_small(rival, 'told')).fit(made.with_shuffled_test(corpus))
  assert record == record_of_other
  for partition in ('train', 'validation', 'test'):
    for a, b in zip(predictor.predict(partition), other.predict(partition), strict=True):
      np.testing.assert_array_equal(a.prediction, b.prediction)
  assert not np.array_equal(predictor.predict('test')[0].gold, other.predict('test')[0].gold)


def test_a_recording_without_a_label_is_left_out_of_train():
  corpus = made.corpus()
  _, record = registry.of(_small('oa_rvm', 'told')).fit(corpus)
  (a, b, c) = corpus.recordings['train']
  none = base.Recording('b', 'sb', 'train', b.gold, np.zeros_like(b.mask), b.face_found)
  with_none, without = (
    made.MadeCorpus(corpus.manifest, 'made', {**corpus.recordings, 'train': train}, corpus.arrays)
    for train in ([a, none, c], [a, c])
  )
  _, record_of_none = registry.of(_small('oa_rvm', 'told')).fit(with_none)
  _, record_without = registry.of(_small('oa_rvm', 'told')).fit(without)
  assert record_of_none == record_without != record


def test_what_cannot_be_learnt_is_told():
  corpus = made.corpus()
  c = _config('rvm', 'told').unlock()
  c.rvm.delay_seconds = (0.0, 60.0)
  with pytest.raises(base.DataError, match='1500 steps later'):
    rvm_rivals.RVMRival(c).fit(corpus)
  one = made.MadeCorpus(
    corpus.manifest, 'made', {**corpus.recordings, 'train': corpus.recordings['train'][:1]}, corpus.arrays
  )
  with pytest.raises(base.DataError, match='needs two of them'):
    rvm_rivals.OARVMRival(_config('oa_rvm', 'told')).fit(one)
