"""A small corpus of classes is trained on, evaluated and reported, fold by fold."""

import csv
import json

import numpy as np
import pytest
import sklearn.metrics

from data_prep.core.errors import DataError
from data_prep.shards import read
from e2e_affect import heads
from e2e_affect.clips import of_run
from e2e_affect.input import corpus, labels, recordings
from e2e_affect.run.metric_writer import read_metrics
from e2e_affect.train import loop
from tests import class_corpus

NAMES = class_corpus.CLASSES['emotion']


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  return class_corpus.write_corpus(tmp_path_factory.mktemp('classes'))


def read_columns(path):
  with path.open() as f:
    rows = list(csv.DictReader(f))
  return rows, lambda name: [row[name] for row in rows]


@pytest.mark.slow
def test_a_class_for_each_recording_is_learnt_and_reported(folder, tmp_path):
  c, run = class_corpus.small_config(folder), tmp_path / 'run'
  found = loop.train_and_evaluate(c, str(run))
  assert json.loads((run / 'results.json').read_text()) == found
  assert found['checkpoint']['chosen_by'] == 'validation uar'
  assert found['checkpoint']['validation_raw']['uar'] == found['validation']['raw']['uar']['emotion']
  # Two people, three tones, two takes: the scores again, from the table that was written.
  assert np.sum(found['test']['raw']['confusion']['counts']) == 12
  rows, column = read_columns(run / 'predictions' / 'test.csv')
  assert list(rows[0]) == ['recording', 'time', *NAMES, 'emotion_gold', 'face_found', *(f'{n}_post' for n in NAMES)]
  for stage, suffix in (('raw', ''), ('postprocessed', '_post')):
    p = np.array([[float(row[name + suffix]) for name in NAMES] for row in rows])
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    first = [i for i, row in enumerate(rows) if float(row['time']) == 0]
    assert len(first) == 12
    for a, b in zip(first, [*first[1:], len(rows)]):
      assert (p[a:b] == p[a]).all()  # a recording has one answer
    label = np.array(column('emotion_gold'), float).astype(int)[first]
    said = p[first].argmax(1)
    r = found['test'][stage]
    assert r['uar']['emotion'] == pytest.approx(sklearn.metrics.balanced_accuracy_score(label, said), rel=1e-12)
    assert r['accuracy']['emotion'] == pytest.approx(sklearn.metrics.accuracy_score(label, said), rel=1e-12)
    assert r['confusion']['counts'] == sklearn.metrics.confusion_matrix(label, said, labels=range(3)).tolist()
  assert found['test']['raw']['uar']['emotion'] > 0.5  # three tones, of people who were not heard before
  assert found['postprocessing']['temperature'] > 0
  assert found['validation']['postprocessed']['negative_log_likelihood']['emotion'] <= (
    found['validation']['raw']['negative_log_likelihood']['emotion'] + 1e-9
  )

  kinds = {row['kind']: row for row in read_metrics(run)}
  assert {'uar', 'accuracy'} <= set(kinds['train']) and {'uar', 'accuracy'} <= set(kinds['validation'])
  page = (run / 'report.html').read_text()
  for text in ('UAR on test, post-processed: emotion', 'calibration error', 'the temperature', 'happy', 'recall'):
    assert text in page, text
  for name in ('test_confusion', 'test_reliability', 'validation_confusion', 'learning_curves'):
    assert (run / 'figures' / f'{name}.png').exists(), name

  # The run predicts a sound of its test partition as its evaluation did.
  manifest = corpus.read(c, None)
  (first, *_) = recordings.recordings(manifest, c.data.dir, 'test')
  stored = [record for file in first.files for record in read.read_shard(file, manifest)]
  audio = np.concatenate([record.values['audio'] for record in stored])[: first.steps].ravel()
  said = of_run.network(str(run))(audio=audio)
  (row, *_) = [row for row in rows if row['recording'] == first.name]
  for name in NAMES:
    assert said[name][0] == pytest.approx(float(row[name]), abs=1e-4)
    assert said[f'{name}_post'][0] == pytest.approx(float(row[f'{name}_post']), abs=1e-4)


@pytest.mark.slow
def test_a_class_for_each_step_is_learnt(tmp_path):
  c = class_corpus.small_config(class_corpus.write_corpus(tmp_path / 'data', changes=True))
  c.head, c.data.fold = 'step_classes', '2'
  found = loop.train_and_evaluate(c, str(tmp_path / 'run'))
  rows, column = read_columns(tmp_path / 'run' / 'predictions' / 'test.csv')
  assert {row['recording'][:2] for row in rows} == {'s0', 's1'}  # those of the fold
  p = np.array([[float(row[name]) for name in NAMES] for row in rows])
  label = np.array(column('emotion_gold'), float).astype(int)
  expected = sklearn.metrics.balanced_accuracy_score(label, p.argmax(1))
  assert found['test']['raw']['uar']['emotion'] == pytest.approx(expected, rel=1e-12) and expected > 0.5
  assert np.sum(found['test']['raw']['confusion']['counts']) == found['test']['scored_steps'] == len(rows)


@pytest.mark.slow
def test_a_number_for_each_recording_is_learnt(tmp_path):
  c = class_corpus.small_config(class_corpus.write_corpus(tmp_path / 'data', numbers=True))
  c.head, c.loss = 'clip_regression', 'ccc'
  c.batch_size, c.epochs = 8, 12
  found = loop.train_and_evaluate(c, str(tmp_path / 'run'))
  assert found['test']['raw']['ccc']['arousal'] > 0.5
  assert found['postprocessing']['reason'] == 'the head clip_regression has no post-processing'
  people = found['validation']['subjects']
  assert found['postprocessing']['band']['subjects'] == people and (found['test']['coverage'] is None) == (people < 5)
  assert (tmp_path / 'run' / 'figures' / 'test_scatter.png').exists()
  assert 'mean over its steps' in (tmp_path / 'run' / 'report.html').read_text()


def test_labels_are_read_by_recording(folder):
  c = class_corpus.small_config(folder)
  manifest = corpus.read(c, None)
  found = labels.of_partition(c, manifest, 'train')
  assert len(found) == 4 * 3 * 2  # people, tones, takes
  assert [int(gold[0, 0]) for gold, _ in found[:6]] == [2, 2, 0, 0, 1, 1]  # by name: angry, calm, happy
  assert sum(len(gold) for gold, _ in found) == sum(s.steps for s in manifest.shards if s.partition == 'train')
  assert all(mask.all() and (gold == gold[0]).all() for gold, mask in found)
  loss = heads.of(c).loss(c, heads.Targets.of(manifest), lambda partition: found)
  assert loss.keywords['weights'] == (1, 1, 1)


def test_a_training_whose_validation_lacks_a_class_does_not_begin(tmp_path):
  c = class_corpus.small_config(class_corpus.write_corpus(tmp_path / 'data', lacking=('validation', 'happy')))
  with pytest.raises(DataError, match='happy: in train and not in validation'):
    loop.train_and_evaluate(c, str(tmp_path / 'run'))
  assert not (tmp_path / 'run' / 'config.json').exists()
