"""The table of a sweep over folds."""

import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import sklearn.metrics

from data_prep.core.errors import DataError
from e2e_affect import heads
from e2e_affect.baselines import svm
from e2e_affect.evaluate import results
from e2e_affect.input import recordings
from e2e_affect.report import __main__ as report
from e2e_affect.report import folds
from e2e_affect.run import workdir as workdirs
from e2e_affect.traces import classes
from e2e_affect.traces.traces import Trace
from tests import class_corpus

ROOT = pathlib.Path(__file__).resolve().parents[3]


@pytest.fixture(scope='module')
def data(tmp_path_factory):
  return class_corpus.write_corpus(tmp_path_factory.mktemp('classes'))


def write_run(folder, data, fold, seed, c=None):
  """The results of a predictor that is right more often than not; returns (labels, classes predicted) of test."""
  c = c or class_corpus.small_config(data)
  c.data.fold, rng = fold, np.random.default_rng(seed)
  manifest = recordings.read_manifest(data, fold)
  head, targets = heads.of(c), heads.Targets.of(manifest)
  traces, said = {}, []
  for partition in ('validation', 'test'):
    traces[partition] = []
    for recording in recordings.recordings(manifest, data, partition):
      label = class_corpus.CLASSES['emotion'].index(recording.name.split('_')[1])
      logits = (rng.normal(size=3) + 0.7 * np.eye(3)[label]).astype(np.float32)
      said += [(label, logits.argmax())] if partition == 'test' else []
      ones = np.ones(recording.steps, np.float32)
      predicted = np.tile(classes.softmax(logits), (recording.steps, 1))
      traces[partition].append(
        Trace(recording.name, recording.subject, partition, predicted, label * ones[:, None], ones, ones)
      )
  folder.mkdir(parents=True)
  workdirs.write_config(folder, c)
  workdirs.write_dataset(folder, manifest)
  content = results.evaluate_traces(traces, head, targets, 0, {'step': 1})
  results.write_results(folder, content, traces, head, targets)
  return said


def test_folds_their_mean_and_all_people_together(data, tmp_path):
  runs = {f'fold {k}': tmp_path / f'data.fold={k}' for k in '12'}
  said = [write_run(folder, data, fold[-1], k) for k, (fold, folder) in enumerate(runs.items())]
  head, one, two, mean, together = folds.rows(runs)
  uars = [sklearn.metrics.balanced_accuracy_score(*zip(*of)) for of in said]
  assert (one[2], two[2]) == tuple(f'{uar:.3f}' for uar in uars) and head[2] == 'test'
  assert (one[3], two[3]) == ('s6 s7', 's0 s1')
  assert mean[2] == f'{np.mean(uars):.3f} ± {np.std(uars, ddof=1):.3f}'
  everybody = sklearn.metrics.balanced_accuracy_score(*zip(*(said[0] + said[1])))
  assert together[2].startswith(f'{everybody:.3f} (') and together[3] == '4 people'
  # The sweep prints it, without training what is done.
  done = subprocess.run(
    [sys.executable, ROOT / 'launch/sweep.py', '--config=c.py', f'--out={tmp_path}', '--set', 'data.fold=1,2'],
    capture_output=True,
    text=True,
    cwd=ROOT,
    check=False,
  )
  assert done.returncode == 0, done.stdout + done.stderr
  lines = done.stdout.split('UAR, raw\n')[1].splitlines()
  assert [line.split()[:3] for line in lines[1:3]] == [['fold', k, row[1]] for k, row in (('1', one), ('2', two))]
  assert lines[3].startswith('mean ± deviation') and lines[4].startswith('all tests together')


def test_networks_and_rivals_stand_in_one_table(data, tmp_path, capsys):
  rival = svm.SVM.get_config()
  rival.data.dir = data
  said = {}
  for name, of in (('networks', ('1', '2')), ('rivals', ('1', '2')), ('begun', ('2',))):
    for fold in of:
      folder = tmp_path / name / f'data.dir=d,data.fold={fold}'
      said[name, fold] = write_run(folder, data, fold, len(said), rival if name == 'rivals' else None)
  out = tmp_path / 'all.html'
  report.report([str(tmp_path / of) for of in ('networks', 'rivals', 'begun')], str(out))
  printed = capsys.readouterr().out.split('UAR on test, validation in parentheses; raw\n')[1]
  lines = [re.split('  +', line.strip()) for line in printed.split('\n\n')[0].splitlines()]
  assert lines[0] == ['fold 1', 'fold 2', 'mean ± deviation', 'all tests together']
  uar = lambda *of: sklearn.metrics.balanced_accuracy_score(*zip(*of))
  for name, *cells in lines[1:3]:
    one, two = said[name, '1'], said[name, '2']
    assert [cell.split(' ')[0] for cell in cells[:2]] == [f'{uar(*one):.3f}', f'{uar(*two):.3f}']
    assert cells[2].startswith(f'{np.mean([uar(*one), uar(*two)]):.3f} ± ')
    assert cells[3].startswith(f'{uar(*one, *two):.3f} (')
  assert lines[3][:2] == ['begun', '–'] and lines[3][3:] == ['–', '–']  # a mean over fewer people is none
  page = out.read_text()
  assert 'Over folds, raw' in page and lines[1][3] in page

  for name in 'ab':  # two values of another field are two rows
    write_run(tmp_path / 'seeds' / f'seed={name},data.fold=1', data, '1', 0)
  assert list(folds.of_sweep(tmp_path / 'seeds')) == ['seed=a', 'seed=b'] and folds.of_sweep(tmp_path / 'absent') == {}
  with pytest.raises(DataError, match='fold 1: b was tested on s0 s1, a on s6 s7'):
    runs = [tmp_path / 'networks' / f'data.dir=d,data.fold={fold}' for fold in '12']
    folds.compared({'a': {'fold 1': runs[0]}, 'b': {'fold 1': runs[1]}})


def test_people_who_are_tested_twice_are_not_put_together(data, tmp_path):
  for name in 'ab':
    write_run(tmp_path / name, data, '1', 0)
  assert [row[0] for row in folds.rows({n: tmp_path / n for n in 'ab'})] == ['', 'a', 'b', 'mean ± deviation']
  assert len(folds.rows({'a': tmp_path / 'a'})) == 2
  (tmp_path / 'a' / 'results.json').write_text('{"postprocessing": {"fitted_on": null}, "checkpoint": {}}')
  with pytest.raises(DataError, match='test has no scores'):
    folds.rows({'a': tmp_path / 'a'})
