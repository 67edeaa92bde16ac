"""A head of three classes, added from outside of the package, is trained, evaluated and reported."""

import csv
import dataclasses
import functools
import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from data_prep import streams as prepared
from data_prep.core.errors import DataError, UserError
from data_prep.schema import records
from data_prep.shards import write
from e2e_affect import heads
from e2e_affect.clips import of_run
from e2e_affect.config import ranges, stored
from e2e_affect.heads.base import Cell, Head
from e2e_affect.report import run_report
from e2e_affect.run.metric_writer import read_metrics
from e2e_affect.train import loop
from tests.e2e_affect.streams import test_registry

registered = test_registry.registered  # the stream of the pulse
CLASSES = ('calm', 'tense', 'happy')


def cross_entropy(*, prediction, target, mask, axis_name=None):
  total = (lambda x: jax.lax.psum(x, axis_name)) if axis_name else (lambda x: x)
  label = jnp.where(mask > 0, target[..., 0], 0).astype(int)
  loss = optax.softmax_cross_entropy_with_integer_labels(prediction, label)
  of_class = lambda x: jax.nn.one_hot(x, len(CLASSES))
  counts = jnp.einsum('bti,btj,bt->ij', of_class(label), of_class(prediction.argmax(-1)), mask)
  return total((loss * mask).sum()) / jnp.maximum(total(mask.sum()), 1), {'counts': total(counts)}


@dataclasses.dataclass(frozen=True)
class Confusion:
  """counts: [class of the label, class predicted]; integers, so that sums are exact in any order."""

  counts: np.ndarray

  @property
  def count(self):
    return self.counts.sum()

  def update(self, prediction, gold, mask):
    counts = np.zeros_like(self.counts)
    np.add.at(counts, (gold[mask > 0, 0].astype(int), prediction[mask > 0].argmax(1)), 1)
    return self.merge(Confusion(counts))

  def merge(self, other):
    return Confusion(self.counts + other.counts)

  def recall(self):
    return np.diag(self.counts) / np.maximum(self.counts.sum(1), 1)


class Emotion(Head):
  """Which of three classes a step is of; judged by the mean of their recalls."""

  name = 'emotion'
  losses = {'cross_entropy': cross_entropy}
  best_score = 'uar'
  best_words = measure = 'UAR'
  table_head = ('recall',)
  meaning = meaning_of_several = '<p><b>UAR</b> is the unweighted mean of the recalls of the classes.</p>'

  def outputs(self, targets):
    return CLASSES

  def metric(self, targets):
    return Confusion(np.zeros((len(CLASSES), len(CLASSES)), int))

  def of_update(self, sums):
    return Confusion(np.asarray(sums['counts']).astype(int))

  def scores(self, metric, targets):
    return {'uar': float(metric.recall().mean())}

  def score(self, traces, targets, seed):
    metric = self.metric(targets)
    for trace in traces:
      metric = metric.update(trace.prediction, trace.gold, trace.mask)
    recall = [float(x) for x in metric.recall()]
    return {'uar': {targets[0]: float(np.mean(recall))}, 'recall': dict(zip(CLASSES, recall))}

  def table(self, r):
    return {name: (Cell(value),) for name, value in (r['uar'] | r['recall']).items()}


@pytest.fixture
def emotion():
  heads.register(Emotion())
  yield
  del heads.HEADS['emotion']


def write_corpus(folder):
  """Twenty recordings of 20 s with a label every 0.5 s; the pulse tells the class, with noise."""
  rng = np.random.default_rng(0)
  layout = prepared.layout(['emotion'], test_registry.GRID, ['pulse'])
  shards = []
  for i, partition in enumerate(['train'] * 16 + ['validation'] * 2 + ['test'] * 2):
    label = np.repeat(rng.integers(0, 3, 8), 5)  # [T]
    pulse = np.stack([label == 1, label == 2], axis=1) * 2 - 1 + 0.3 * rng.normal(size=(40, 2))
    mask = (np.arange(40) % 7 != 0).astype(np.float32)
    rows = []
    for k in range(20):
      of = slice(2 * k, 2 * k + 2)
      values = {'pulse': pulse[of].astype(np.float32)}
      rows.append(
        records.Record(
          f'r{i}', f's{i}', k, label[of, None].astype(np.float32), mask[of], np.ones(2, np.float32), values
        )
      )
    shards += write.write_recording(folder, rows, layout, partition=partition)
  write.finish(folder, shards, layout, label_scale={'emotion': [1.0, 0.0]}, preparation={})
  return str(folder)


@pytest.mark.slow
@pytest.mark.usefixtures('registered', 'emotion')
def test_a_head_of_classes_from_outside_is_trained_evaluated_and_reported(small_config, tmp_path):
  c, run = small_config, tmp_path / 'run'
  c.data.dir, c.data.sequence_steps = write_corpus(tmp_path / 'data'), 10
  c.model.modalities, c.learning_rate, c.log_every_steps = ('pulse',), 0.05, 1
  c.head = 'emotion'
  with pytest.raises(UserError, match="config.loss = 'ccc', expected one of cross_entropy, which the head emotion has"):
    ranges.check(c)
  c.loss = 'cross_entropy'
  found = loop.train_and_evaluate(c, str(run))

  assert json.loads((run / 'results.json').read_text()) == found
  assert found['checkpoint']['chosen_by'] == 'validation uar'
  assert found['checkpoint']['validation_raw'] == {'uar': found['validation']['raw']['uar']['emotion']}
  assert found['postprocessing'] == {'fitted_on': None, 'reason': 'the head emotion has no post-processing'}
  # The score again, from the columns that were written.
  with (run / 'predictions' / 'test.csv').open() as f:
    rows = list(csv.DictReader(f))
  assert list(rows[0]) == ['recording', 'time', *CLASSES, 'emotion_gold', 'face_found'] and len(rows) == 80
  scored = [
    (int(float(row['emotion_gold'])), [float(row[name]) for name in CLASSES]) for row in rows if row['emotion_gold']
  ]
  assert len(scored) == found['test']['scored_steps'] == 68
  recall = [np.mean([np.argmax(out) == k for label, out in scored if label == k]) for k in range(3)]
  assert list(found['test']['raw']['recall'].values()) == recall and np.mean(recall) > 0.6
  assert found['test']['raw']['uar'] == {'emotion': np.mean(recall)}

  kinds = {row['kind']: row for row in read_metrics(run)}
  assert 0.6 < kinds['train']['uar'] <= 1 and 'uar' in kinds['validation']
  page = (run / 'report.html').read_text()
  for text in (f'UAR on test, raw: emotion {np.mean(recall):.3f}', 'mean of the recalls', 'tense, raw', 'best UAR on'):
    assert text in page, text
  assert 'CCC' not in re.sub('base64,[^"]*', '', page.partition('</style>')[2])
  assert (run / 'figures' / 'learning_curves.png').exists()

  with pytest.raises(
    UserError, match="its head is 'emotion'; clips are analysed by networks of regression, clip_classes, "
  ):
    of_run.network(str(run))


def test_counts_over_devices_and_chunks_are_those_of_all_steps():
  rng = np.random.default_rng(1)
  prediction, label = (
    rng.normal(size=(8, 2, 5, 3)).astype(np.float32),
    rng.integers(0, 3, (8, 2, 5, 1)).astype(np.float32),
  )
  mask = (rng.random((8, 2, 5)) < 0.8).astype(np.float32)
  head = Emotion()
  loss, sums = jax.pmap(
    lambda p, g, m: cross_entropy(prediction=p, target=g, mask=m, axis_name='devices'), axis_name='devices'
  )(prediction, label, mask)
  steps = [(p, g, m) for p, g, m in zip(prediction.reshape(80, 3), label.reshape(80, 1), mask.reshape(80))]
  whole = head.metric(['emotion']).update(*map(np.array, zip(*steps)))
  pieces = [head.metric(['emotion']).update(*map(np.array, zip(*steps[k : k + 7]))) for k in range(0, 80, 7)]
  merged = functools.reduce(lambda a, b: a.merge(b), pieces)
  np.testing.assert_array_equal(merged.counts, whole.counts)
  np.testing.assert_array_equal(head.of_update(jax.tree.map(lambda x: x[0], sums)).counts, whole.counts)
  # float64 NumPy: the mean over counted steps of −log softmax
  log_softmax = prediction - np.log(np.exp(prediction.astype(np.float64)).sum(-1, keepdims=True))
  chosen = np.take_along_axis(log_softmax, label.astype(int), -1)[..., 0]
  np.testing.assert_allclose(loss, -(chosen * mask).sum() / mask.sum(), rtol=1e-6)


def test_a_head_is_registered_once(emotion):
  with pytest.raises(ValueError, match="a head 'emotion' is registered already"):
    heads.register(Emotion())


def test_configs_of_runs_before_there_were_heads_are_of_regression(small_config, tmp_path):
  content = json.loads(small_config.to_json())
  del content['head']
  assert stored.complete(content, tmp_path / 'config.json').head == 'regression'


def test_a_head_that_is_not_known_is_named(small_config, tmp_path):
  small_config.head = 'emotion'
  with pytest.raises(UserError, match="config.head = 'emotion', expected one of regression, clip_classes"):
    ranges.check(small_config)
  (tmp_path / 'results.json').write_text('{"postprocessing": {"fitted_on": null}, "checkpoint": {}}')
  (tmp_path / 'config.json').write_text('{"head": "emotion"}')
  with pytest.raises(DataError, match=r"config.json: head 'emotion', expected one of regression, .*; register it"):
    run_report.write_report(tmp_path)
