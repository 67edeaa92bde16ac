"""A network on another corpus: targets by name, nothing fitted there, refusals with names."""

import csv
import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from data_prep.core.errors import DataError
from data_prep.schema.fields import Field
from data_prep.schema.grid import Grid
from data_prep.schema.manifest import Manifest
from data_prep.shards import read
from e2e_affect import heads
from e2e_affect.evaluate import results
from e2e_affect.report import __main__ as report
from e2e_affect.report import comparison
from e2e_affect.run import workdir as workdirs
from e2e_affect.train import across, checkpoint_files, finish, loop, train_state
from tests import class_corpus
from tests.conftest import make_data
from tests.networks import POSTPROCESSING, small_config


def other_data(folder, change=lambda manifest: manifest):
  """Data whose label columns are liking, valence and arousal, in this order."""
  make_data(folder, [('X', 'validation', 60), ('Y', 'test', 110), ('Z', 'test', 75)], num_targets=3, seed=5)
  manifest = Manifest.read(folder)
  manifest.targets.reverse()
  change(manifest).write(folder)
  return str(folder)


@pytest.fixture(scope='module')
def run(tmp_path_factory, data_dir):
  """The workdir of an untrained speech network of arousal and valence, with results."""
  folder = tmp_path_factory.mktemp('run')
  config = small_config('speech')
  config.data.dir = data_dir
  manifest = Manifest.read(data_dir)
  workdirs.write_config(folder, config)
  workdirs.write_dataset(folder, manifest)
  manager = checkpoint_files.open_manager(folder, heads.of(config))
  checkpoint_files.save(manager, train_state.init_state(config, manifest), None)
  manager.close()
  return folder


@pytest.mark.slow
def test_targets_go_by_name_and_the_postprocessing_is_the_runs(run, tmp_path):
  loop.evaluate_only(str(run), 'test')
  own = results.read_results(run)
  (run / 'results.json').write_text(json.dumps(own | {'postprocessing': POSTPROCESSING}))
  # Other tests of this module may have evaluated on others before.
  of_run = (path for path in run.rglob('*') if '_on_' not in str(path.relative_to(run)))
  before = {path: path.read_bytes() for path in of_run if path.is_file() and path.suffix != '.log'}
  other = other_data(tmp_path / 'other')
  content = across.evaluate_on(str(run), other, 'test')
  assert {path: path.read_bytes() for path in before} == before  # nothing of the run's own changes
  assert content == results.read_results(run, suffix='_on_other') == results.on_others(run)['other']
  assert [*content['test']['raw']['ccc']] == ['arousal', 'valence'] and 'validation' not in content
  assert content['test']['recordings'] == 2 and content['test']['postprocessed'] is not None
  assert content['postprocessing']['targets'] == POSTPROCESSING['targets']
  # The gold standard of arousal is the last of the three label columns.
  manifest = Manifest.read(other)
  with open(run / 'predictions_on_other' / 'test.csv', encoding='utf-8', newline='') as file:
    rows = [row for row in csv.DictReader(file) if row['recording'] == 'Y']
  (shard,) = manifest.by_recording()['Y']
  label = np.concatenate([record.label for record in read.read_shard(f'{other}/{shard.file}', manifest)])[:110]
  scored = [k for k, row in enumerate(rows) if row['arousal_gold']]
  assert len(rows) == 110 and len(scored) > 80
  for target, column in (('arousal', 2), ('valence', 1)):
    found = np.array([rows[k][f'{target}_gold'] for k in scored], np.float32)
    np.testing.assert_array_equal(found, label[scored, column])
  # The same recordings under the network's own targets give the same predictions.
  make_data(tmp_path / 'same', [('Y', 'test', 110)], num_targets=2, seed=9)
  across.evaluate_on(str(run), str(tmp_path / 'same'), 'test')
  with open(run / 'predictions_on_same' / 'test.csv', encoding='utf-8', newline='') as file:
    same = list(csv.DictReader(file))
  for target in ('arousal', 'valence'):
    np.testing.assert_allclose([float(row[target]) for row in same], [float(row[target]) for row in rows], atol=1e-5)
  # One table for both.
  content = across.evaluate_on(str(run), other, 'validation')
  assert {'validation', 'test'} <= set(content)
  runs = [('speech', results.read_results(run))]
  table = comparison.table_vi(comparison.across(runs, [run]), 'raw')
  assert [row[0] for row in table] == ['', 'speech on its own data', 'speech on other', 'speech on same']
  page = comparison.comparison(runs, [run], tmp_path / 'page.html')
  assert 'Across corpora, raw' in page and 'speech on other' in page
  report.report([str(run)])


def moved(manifest):
  return dataclasses.replace(manifest, grid=Grid(0.08))


def no_speech(manifest):
  return dataclasses.replace(manifest, streams={'visual': manifest.streams['visual']})


def other_speech(manifest):
  fields = (Field('audio', (640,), 'float32'), *manifest.streams['speech'][1:])
  return dataclasses.replace(manifest, streams={**manifest.streams, 'speech': fields})


def no_overlap(manifest):
  return dataclasses.replace(manifest, targets=['liking', 'dominance', 'expectancy'], label_scale={})


def no_test(manifest):
  return dataclasses.replace(manifest, shards=[s for s in manifest.shards if s.partition != 'test'])


@pytest.mark.parametrize(
  'change, reason',
  [
    (no_test, 'other: the test partition is empty; name another with --partition'),
    (no_overlap, 'predicts arousal, valence, and .*other has labels of liking, dominance, expectancy'),
    (moved, 'was trained on steps of 0.04 s of 16000 Hz, .*other has 0.08 s of 16000 Hz'),
    (no_speech, 'its records have no speech stream'),
    (other_speech, 'its speech has other fields than'),
  ],
)
def test_what_does_not_overlap_is_refused_with_names(run, tmp_path, monkeypatch, change, reason):
  monkeypatch.setattr(finish, 'replicated_best', lambda *_: pytest.fail('it is refused before the network is read'))
  with pytest.raises(DataError, match=reason) as e:
    across.evaluate_on(str(run), other_data(tmp_path / 'other', change), 'test')
  assert '\n' not in str(e.value)


@pytest.fixture(scope='module')
def class_run(tmp_path_factory):
  """The workdir of an untrained network of the classes calm, happy and angry, and its data."""
  folder = tmp_path_factory.mktemp('class_run')
  data = class_corpus.write_corpus(folder / 'data', per_class=1)
  config = class_corpus.small_config(data)
  manifest = Manifest.read(data)
  workdirs.write_config(folder, config)
  workdirs.write_dataset(folder, manifest)
  manager = checkpoint_files.open_manager(folder, heads.of(config))
  checkpoint_files.save(manager, train_state.init_state(config, manifest), None)
  manager.close()
  return folder, data


def named(folder, data, *classes):
  """The same recordings, with other names of their classes."""
  shutil.copytree(data, folder)
  manifest = Manifest.read(folder)
  dataclasses.replace(manifest, classes={'emotion': classes}).write(folder)
  return str(folder)


@pytest.mark.slow
def test_classes_go_by_name(class_run, tmp_path):
  """Recordings of the class that both have under other names count; the others have no label."""
  run, data = class_run
  loop.evaluate_only(str(run), 'test')
  content = across.evaluate_on(str(run), named(tmp_path / 'other', data, 'happiness', 'joy', 'calm'), 'test')
  raw = content['test']['raw']
  assert raw['confusion']['classes'] == ['calm', 'happy']
  counts = np.array(raw['confusion']['counts'])
  assert counts.sum() == 4  # of six recordings the two called joy are left out
  with open(run / 'predictions' / 'test.csv', encoding='utf-8', newline='') as file:
    own = {row['recording']: row for row in csv.DictReader(file)}.values()  # every step says the same
  expected = np.zeros((2, 2), int)
  for row in own:
    # Classes 0, 1 and 2, written as calm, happy and angry, are called happiness, joy and calm here.
    gold = {0: 1, 2: 0}.get(float(row['emotion_gold']))
    if gold is not None:
      expected[gold, int(float(row['happy']) > float(row['calm']))] += 1
  np.testing.assert_array_equal(counts, expected)
  # The temperature is that of the run.
  assert content['postprocessing']['temperature'] == results.read_results(run)['postprocessing']['temperature']
  runs = [('classes', results.read_results(run))]
  assert 'classes on other' in comparison.comparison(runs, [run], tmp_path / 'page.html')


@pytest.mark.slow
def test_people_of_the_training_are_named(run, data_dir, tmp_path, caplog):
  same = shutil.copytree(data_dir, tmp_path / 'same')
  manifest = Manifest.read(same)
  # Whom the network learnt from are to be evaluated.
  shards = [dataclasses.replace(shard, partition='test') for shard in manifest.shards]
  dataclasses.replace(manifest, shards=shards).write(same)
  across.evaluate_on(str(run), str(same), 'test')
  learnt = sorted({s.subject for s in Manifest.read(data_dir).shards if s.partition == 'train'})
  (said,) = [r.getMessage() for r in caplog.records if 'say nothing of new people' in r.getMessage()]
  assert f'learnt from {len(learnt)} of the people' in said and all(name in said for name in learnt[:5])
  caplog.clear()
  across.evaluate_on(str(run), other_data(tmp_path / 'other'), 'test')  # other people
  assert not any('new people' in record.getMessage() for record in caplog.records)


def test_fewer_than_two_classes_in_common_are_refused(class_run, tmp_path):
  run, data = class_run
  reason = r'predicts emotion \(calm, happy, angry\), and .*has labels of emotion \(joy, rage, calm\); .*two at least'
  with pytest.raises(DataError, match=reason):
    across.evaluate_on(str(run), named(tmp_path / 'other', data, 'joy', 'rage', 'calm'), 'test')


@pytest.mark.slow
def test_a_head_without_postprocessing(run, tmp_path):
  config = workdirs.read_config(run)
  with config.unlocked():
    config.head = 'clip_regression'
  workdirs.write_config(tmp_path / 'run', config)
  (tmp_path / 'run' / 'dataset.json').write_bytes((run / 'dataset.json').read_bytes())
  shutil.copytree(run / 'checkpoints', tmp_path / 'run' / 'checkpoints')
  fitted = {'fitted_on': None, 'reason': 'none', 'band': {'half_width': {'arousal': 9.0, 'valence': 0.0}}}
  (tmp_path / 'run' / 'results.json').write_text(json.dumps({'postprocessing': fitted, 'checkpoint': {}}))
  content = across.evaluate_on(str(tmp_path / 'run'), other_data(tmp_path / 'other'), 'test')
  assert content['test']['raw'] and content['test']['postprocessed'] is None
  assert content['postprocessing'] == fitted and content['test']['coverage'] == {'arousal': 1.0, 'valence': 0.0}


@pytest.mark.slow
def test_the_flag_belongs_to_evaluation(run):
  for arguments in (['--config=configs/speech.py'], [f'--workdir={run}', '--mode=evaluate', '--without=visual']):
    done = subprocess.run(
      [sys.executable, '-m', 'e2e_affect.main', *arguments, '--on=elsewhere'],
      capture_output=True,
      text=True,
      check=False,
      cwd=pathlib.Path(__file__).resolve().parents[3],
    )
    assert done.returncode == 64 and done.stderr.count('\n') == 1, done.stderr
    assert '--on belongs to --mode=evaluate, without --without' in done.stderr
