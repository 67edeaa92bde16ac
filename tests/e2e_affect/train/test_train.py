"""The trainer as a user runs it: child processes that are killed, terminated, locked out and misconfigured."""

import csv
import dataclasses
import functools
import json
import operator
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest

from data_prep.core.errors import DataError, UserError, WorkdirError
from data_prep.schema import records
from e2e_affect import heads
from e2e_affect.config import defaults
from e2e_affect.run import hold, memory, workdir
from e2e_affect.run.metric_writer import read_metrics
from e2e_affect.train import checkpoint_files, init_from, loop, train_state
from tests.conftest import make_data
from tests.faults import driver
from tests.networks import layout
from tests.trainings import command, environment, final_digest, last_line, ROOT, run

PLAIN_PATHS = [field for field in defaults.PATHS if field != 'features.first_runs']  # a tuple of paths


@pytest.mark.slow
def test_a_run_leaves_what_the_readme_promises(uninterrupted):
  workdir, log, _ = uninterrupted
  for name in (
    'config.json',
    'metrics.jsonl',
    'train.log',
    'predictions/validation.csv',
    'predictions/test.csv',
    'results.json',
    'report.html',
    'figures/learning_curves.png',
  ):
    assert (workdir / name).stat().st_size > 0, name
  assert list(workdir.glob('events.out.tfevents*'))
  for word in ('loss', 'ccc_arousal', 'ccc_valence', 'grad_norm', 'param_norm', 'learning_rate', 'updates/s', 'left'):
    assert word in log, word
  assert re.search(r'valence: CCC on test \(validation\) [−.\d]+ \([−.\d]+\) raw, .* post-processed\n.*results: ', log)
  assert 'from scratch' not in log and 'simulated corpus' not in log
  results = json.loads((workdir / 'results.json').read_text())
  assert set(results['test']['raw']['ccc']) == {'arousal', 'valence'} and results['checkpoint']['step'] in (
    2,
    4,
    6,
    8,
    9,
  )
  with (workdir / 'predictions' / 'test.csv').open(encoding='utf-8', newline='') as file:
    rows = list(csv.DictReader(file))
  assert {'arousal', 'arousal_gold', 'valence', 'valence_gold'} < set(rows[0])
  assert [row['recording'] for row in rows] == ['E'] * 70
  steps = [row['step'] for row in read_metrics(workdir) if row['kind'] == 'train']
  assert steps == list(range(1, 10))
  assert [row['step'] for row in read_metrics(workdir) if row['kind'] == 'validation'] == [2, 4, 6, 8, 9]


@pytest.mark.slow
def test_evaluate_mode(uninterrupted, tmp_path):
  workdir = tmp_path / 'run'
  shutil.copytree(uninterrupted[0], workdir)
  (workdir / 'predictions' / 'test.csv').unlink()
  before = json.loads((workdir / 'results.json').read_text())
  done = run([sys.executable, '-m', 'e2e_affect.main', '--mode=evaluate', f'--workdir={workdir}', '--partition=test'])
  assert done.returncode == 0, done.stderr[-3000:]
  assert json.loads((workdir / 'results.json').read_text()) == before
  assert (workdir / 'predictions' / 'test.csv').exists()


@pytest.mark.parametrize(
  'name, value, said',
  [
    ('learning_rate', float('nan'), 'config.learning_rate = nan, expected above 0 and at most 10'),
    ('data.sequence_steps', 70, 'a multiple of 25'),
    ('model.speech.dropout', 1.0, 'config.model.speech.dropout = 1.0'),
    ('loss', 'mae', 'one of ccc, mse'),
    ('seed', 2**63, 'config.seed = 9223372036854775808, expected 0 to 4294967295'),
    ('learning_rate', 1e30, 'at most 10'),
    ('augment.brightness', 1e30, 'expected 0 to 1;'),
    ('batch_size', 10**9, 'expected 1 to 100000'),
    ('data.sequence_steps', 250_000_000, 'at most 90000'),
    ('data.read_threads', 10**7, 'expected 1 to 256'),
    ('evaluate_every_epochs', 1e-12, 'expected 0.001 to'),
    ('evaluate_chunk_seconds', 10**12, 'expected 1 to 3600'),
    ('data.label_delay_steps', -1, 'config.data.label_delay_steps = -1, expected 0 to 10000'),
    ('model.modality_dropout', 1.5, 'config.model.modality_dropout = 1.5, expected 0 to 1'),
    ('name', '../../etc', 'name of a folder'),
    ('model.visual.std', (0, 0, 0), 'three numbers above 0'),
    ('model.visual.mean', (1.0,), r'\(\) or three numbers;'),
  ],
)
def test_values_out_of_range_are_refused(tmp_path, small_config, name, value, said):
  small_config.update_from_flattened_dict({name: value})
  with pytest.raises(UserError, match=said) as e:
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))
  assert e.value.exit_code == 64 and not (tmp_path / 'run').exists()


@pytest.mark.parametrize(
  'arguments, named',
  [
    ([], '--config is missing'),
    (['--config=configs/nothing.py'], 'nothing.py'),
    (['--config=configs/speech.py:huge'], "error: unknown config argument 'huge'"),
    (
      ['--config=configs/speech.py', '--config.nosuch=3'],
      'configs/speech.py has no such field; e2e_affect/config/defaults',
    ),
    (['--mode=evaluate'], '--workdir is missing'),
    pytest.param(['--mode=evaluate', '--workdir=/nowhere'], 'workdir of a training run', marks=pytest.mark.slow),
    (['--wrokdir=x', '--config=fused'], 'error: --wrokdir: no such flag; did you mean --workdir? --help lists all'),
    (['words'], "'words' is no flag"),
    (['--mode=dance'], 'dance'),
    (['--config=fused', '--without=visual'], 'error: --without belongs to --mode=evaluate'),
    (['--config=fuzed'], "error: no built-in experiment 'fuzed'; did you mean fused?"),
  ],
)
def test_usage_errors(arguments, named):
  done = run([sys.executable, '-m', 'e2e_affect.main', *arguments])
  assert done.returncode == 64
  assert last_line(done).startswith('error: ') and named in last_line(done) and 'Traceback' not in done.stderr


def test_missing_data_is_named(tmp_path, small_config):
  small_config.data.dir = str(tmp_path / 'nothing')
  with pytest.raises(DataError, match='manifest.json: not found') as e:
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))
  assert e.value.exit_code == 65


def test_the_log_warns_of_the_simulated_corpus(tmp_path, small_config, monkeypatch, caplog):
  shutil.copytree(small_config.data.dir, tmp_path / 'data')
  manifest = tmp_path / 'data' / 'manifest.json'
  manifest.write_text(manifest.read_text().replace('"preparation": {', '"preparation": {"simulated": true'))
  small_config.data.dir = str(tmp_path / 'data')
  monkeypatch.setattr(loop.train_state, 'init_state', lambda *_: 1 / 0)  # far enough
  with pytest.raises(ZeroDivisionError):
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))
  assert [r.message for r in caplog.records if r.levelname == 'WARNING' and 'nothing here is about people' in r.message]


def test_evaluate_mode_says_where_the_data_folder_is_named(tmp_path, small_config):
  small_config.data.dir = str(tmp_path / 'moved')
  workdir.write_config(tmp_path, small_config)
  with pytest.raises(DataError, match='manifest.json: not found; .* data.dir of .*config.json: change it there'):
    loop.evaluate_only(str(tmp_path), 'test')


@pytest.mark.parametrize(
  'content',
  [
    b'[]',
    b'null',
    b'3',
    b'{"data": 3}',
    b'\xff\xfe',
    b'{}',
    b'{"data": {}}',
    b'{"model": {"modalities": ["x"]}}',
    None,
  ],
)
def test_damaged_files_of_a_run_are_named(tmp_path, small_config, content):
  for name, read, error in (
    ('dataset.json', workdir.read_dataset, DataError),
    ('config.json', workdir.read_config, UserError),
  ):
    (tmp_path / name).mkdir() if content is None else (tmp_path / name).write_bytes(content)
    said = 'cannot be read' if content is None else 'damaged'
    with pytest.raises(error, match=f'{name}: {said} [^\n]*$'):
      read(str(tmp_path))


@pytest.mark.parametrize(
  'field, value, said',
  [('model.modalities', ('x',), 'some of'), ('model.frozen', ('x',), 'some of'), ('batch_size', 0, '1 to 100000')],
)
def test_a_stored_config_is_checked(tmp_path, small_config, field, value, said):
  small_config.update_from_flattened_dict({field: value})
  workdir.write_config(tmp_path, small_config)
  with pytest.raises(UserError, match=rf'config.json: damaged \(config.{field} = .*{said}'):
    workdir.read_config(str(tmp_path))


@pytest.mark.long
def test_fused_starts_from_both_networks_and_is_bit_identical_after_a_kill(uninterrupted, tmp_path, data_dir):
  visual = run(command('visual.py', tmp_path / 'visual', data_dir, total_steps=2))
  assert visual.returncode == 0, visual.stderr[-3000:]
  extra = {'total_steps': 5, 'init_from__speech': uninterrupted[0], 'init_from__visual': tmp_path / 'visual'}
  whole = run(command('fused.py', tmp_path / 'whole', data_dir, **extra))
  assert whole.returncode == 0, whole.stderr[-3000:]
  for modality in ('speech', 'visual'):
    assert f'{modality}: features of ' in whole.stderr
  assert whole.stderr.count('its recurrent part is discarded') == 2
  killed = command('fused.py', tmp_path / 'killed', data_dir, **extra)
  end = driver.strike(killed, driver.says('update 3  train'), signal.SIGKILL, tmp_path)
  assert end.code == -signal.SIGKILL
  assert run(killed).returncode == 0
  assert final_digest(tmp_path / 'killed') == final_digest(tmp_path / 'whole')


@pytest.mark.slow
def test_features_of_another_size_are_refused(uninterrupted, tmp_path, data_dir):
  done = run(
    command('speech.py', tmp_path / 'run', data_dir, init_from__speech=uninterrupted[0], model__speech__taps=11)
  )
  assert done.returncode == 64
  assert 'speech/conv/kernel is (9, 1, 10), expected (11, 1, 10)' in last_line(done)


def test_the_embedded_corpus_is_made_after_what_may_refuse_the_config(small_config, tmp_path, monkeypatch):
  made = []

  def make(folder):
    made.append(folder)
    raise UserError('made')

  monkeypatch.setattr(loop.embedded, 'make_if_absent', make)
  with pytest.raises(UserError, match='made'):
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))
  assert made == [small_config.data.dir]
  small_config.init_from.speech = str(tmp_path / 'nowhere')
  with pytest.raises(UserError, match='nowhere'):
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))
  small_config.init_from.speech, small_config.learning_rate = '', -1.0
  with pytest.raises(UserError, match='learning_rate'):
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))
  assert len(made) == 1


def fail(*_):
  pytest.fail('too late: the network is built')


@pytest.mark.parametrize('batch_size, epochs', [(11, 1), (100, 1), (100, 9)])  # of 5 sequences
def test_a_training_without_one_update_is_refused(small_config, tmp_path, monkeypatch, batch_size, epochs):
  monkeypatch.setattr(loop.train_state, 'init_state', fail)
  small_config.batch_size, small_config.epochs = batch_size, epochs
  with pytest.raises(
    UserError,
    match=f'config.epochs = {epochs} over 5 sequences is no update of config.batch_size = '
    f'{batch_size}; set --config.batch_size=5 or less',
  ) as e:
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))
  assert e.value.exit_code == 64 and '\n' not in str(e.value)


def test_a_training_without_one_update_is_refused_before_the_corpus_is_made(small_config, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(loop.embedded, 'make_if_absent', fail)
  small_config.data.dir, small_config.data.sequence_steps = 'data/simulated', 150
  small_config.batch_size, small_config.epochs = 1000, 1
  with pytest.raises(UserError, match='over 256 sequences'):  # 16 people of 16 times 6 s
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))
  assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_13_a_short_training_of_bad_updates_alone_evaluates_no_untrained_network(small_config, tmp_path, monkeypatch):
  small_config.model.modalities = ('speech',)
  small_config.total_steps = 3
  over_devices = loop.update.over_devices

  def bad(*args):
    train_step = over_devices(*args)
    return lambda state, batch, seed: train_step(state, {**batch, 'label': batch['label'] * float('nan')}, seed)

  monkeypatch.setattr(loop.update, 'over_devices', bad)
  with pytest.raises(DataError, match='update 3: the loss or its gradient was not finite 3 times in a row'):
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))
  assert not (tmp_path / 'run' / 'results.json').exists()


def test_postprocessing_of_other_targets_is_refused_before_the_training(small_config, tmp_path, monkeypatch):
  monkeypatch.setattr(loop.train_state, 'init_state', fail)
  step = {'kept': False}
  of = {'median_filter': step, 'centring': step, 'scaling': step, 'time_shift': step}
  content = {'postprocessing': {'fitted_on': 'validation', 'targets': {'arousal': of}}, 'checkpoint': {}}
  (tmp_path / 'results.json').write_text(json.dumps(content))
  small_config.postprocessing_from = str(tmp_path)
  with pytest.raises(DataError, match='post-processing of arousal, expected that of arousal, valence'):
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))


def test_a_run_is_not_evaluated_on_targets_in_another_order(small_config, tmp_path):
  shutil.copytree(small_config.data.dir, tmp_path / 'data')
  small_config.data.dir = str(tmp_path / 'data')
  manifest = loop.recordings.read_manifest(small_config.data.dir)
  workdir.write_config(tmp_path, small_config)
  workdir.write_dataset(tmp_path, manifest)
  manifest.targets.reverse()
  manifest.write(tmp_path / 'data')
  with pytest.raises(DataError, match='trained on the targets arousal, valence, the data now have valence, arousal;'):
    loop.evaluate_only(str(tmp_path), 'test')


@pytest.mark.parametrize('modalities', [('visual',), ('speech', 'visual')])
def test_a_visual_network_on_data_without_one_face_is_refused_before_it_is_built(
  small_config, tmp_path, monkeypatch, modalities
):
  monkeypatch.setattr(loop.train_state, 'init_state', fail)
  encode = records.encode
  lost = {'face_found': np.zeros(25, np.float32)}
  monkeypatch.setattr(
    records, 'encode', lambda record, layout: encode(dataclasses.replace(record, values=record.values | lost), layout)
  )
  small_config.data.dir = make_data(tmp_path / 'data', [('A', 'train', 100), ('D', 'validation', 60)])
  small_config.model.modalities = modalities
  with pytest.raises(DataError, match='train, to train on, has no face in any of 4 records') as e:
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))
  assert e.value.exit_code == 65 and '\n' not in str(e.value)


@pytest.mark.parametrize('partition', ['validation', 'test'])
def test_a_broken_record_of_another_partition_is_named_before_the_training(
  small_config, tmp_path, monkeypatch, partition
):
  monkeypatch.setattr(loop.train_state, 'init_state', fail)
  encode = records.encode
  monkeypatch.setattr(
    records, 'encode', lambda record, layout: b'garbage' if record.index == 2 else encode(record, layout)
  )
  small_config.data.dir = make_data(tmp_path / 'data', [('A', 'train', 50), ('D', partition, 75)])
  with pytest.raises(
    DataError, match=f'affect-{partition}.tfrecord-00000-of-00001: record 2 .*from 2.00 s of D.: not an'
  ):
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))


@pytest.fixture
def begun(small_config, tmp_path, monkeypatch):
  """(config, workdir) of a speech run that is at its last update, and started from features of three targets."""
  small_config.model.modalities, small_config.total_steps = ('speech',), 4
  source, folder = tmp_path / 'source', tmp_path / 'run'
  workdir.write_config(make(source), small_config)
  manager = checkpoint_files.open_manager(source, heads.of(small_config))
  checkpoint_files.save(manager, train_state.init_state(small_config, layout(small_config, 3)), {'ccc_mean': 0.5})
  manager.close()
  small_config.init_from.speech = str(source)
  small_config.data.dir = str(shutil.copytree(small_config.data.dir, tmp_path / 'data'))
  workdir.write_config(make(folder), init_from.settle(small_config))
  workdir.write_dataset(folder, loop.recordings.read_manifest(small_config.data.dir))
  manager = checkpoint_files.open_manager(folder, heads.of(small_config))
  checkpoint_files.save(
    manager, dataclasses.replace(train_state.init_state(small_config, layout(small_config)), step=np.int32(4)), None
  )
  manager.close()
  monkeypatch.setattr(loop.finish, 'evaluate', lambda config, *_: config)
  return small_config, folder


def make(folder):
  folder.mkdir()
  return folder


def test_features_of_a_network_with_another_number_of_targets_are_taken_and_its_head_is_not(begun):
  config, _ = begun
  template = train_state.init_state(config, layout(config, 3))  # of the same seed: the features are those of the source
  fresh = jax.tree.map(np.zeros_like, train_state.init_state(config, layout(config)))
  state = init_from.start(fresh, config)
  assert state.params['recurrent']['head']['bias'].shape == (2,) and not state.params['recurrent']['head']['bias'].any()
  for found, wanted in zip(
    jax.tree.leaves(state.params['speech']), jax.tree.leaves(template.params['speech']), strict=True
  ):
    np.testing.assert_array_equal(found, wanted)
  assert np.asarray(state.params['speech']['conv']['kernel']).any()


def test_a_run_goes_on_with_another_cache_and_threads_with_moved_data_and_without_what_it_started_from(begun, tmp_path):
  config, folder = begun
  shutil.rmtree(tmp_path / 'source')
  (tmp_path / 'data').rename(tmp_path / 'moved')
  config.data.dir, config.data.cache, config.data.read_threads = str(tmp_path / 'moved') + '/', 'host', 5
  assert loop.train_and_evaluate(config, str(folder)).data.read_threads == 5  # it came to the evaluation
  stored = workdir.read_config(str(folder))
  assert stored.data.dir == config.data.dir and stored.model.visual.stride_on == '1x1'


def test_a_run_goes_on_with_another_spelling_of_a_folder_and_with_less_memory(begun, tmp_path, monkeypatch):
  config, folder = begun
  monkeypatch.chdir(tmp_path)
  config.init_from.speech = './source/'
  config.model.visual.remat = True
  assert loop.train_and_evaluate(config, str(folder)).model.visual.remat  # it came to the evaluation
  config.init_from.speech = './other/'
  with pytest.raises(UserError, match="was begun with config.init_from.speech = './source/', now './other/'"):
    loop.train_and_evaluate(config, str(folder))


@pytest.mark.parametrize('flag, said', [(os.ST_RDONLY, 'Read-only file system'), (0, 'no permission for .*')])
@pytest.mark.parametrize('existing', ['', 'config.json'])
def test_a_read_only_file_system_is_not_called_a_matter_of_permissions(tmp_path, monkeypatch, flag, said, existing):
  if existing:
    (tmp_path / existing).touch()
  monkeypatch.setattr(os, 'access', lambda *_: False)
  monkeypatch.setattr(os, 'statvfs', lambda _: types.SimpleNamespace(f_flag=flag))
  with pytest.raises(WorkdirError, match=rf'cannot be written \({said}\); choose another --workdir'):
    hold.check(tmp_path)


@pytest.mark.parametrize('name', ['a*', 'gs:', 'run gs:/x'])
def test_a_folder_from_which_no_checkpoint_could_be_read_is_refused_before_any_work(tmp_path, name):
  with pytest.raises(UserError, match=r'could not be read from a path with (\*|gs:) in it; choose another --workdir'):
    hold.check(tmp_path / name)
  hold.check(tmp_path / 'gs:x')


@pytest.mark.parametrize(
  'field, value',
  [
    ('seed', 7),
    ('data.sequence_steps', 25),
    ('init_from.speech', ''),
    ('model.visual.stride_on', '3x3'),
    ('evaluate_every_epochs', 2.0),
    ('data.label_delay_steps', 3),
  ],
)
def test_a_run_does_not_go_on_with_what_changes_its_numbers(begun, field, value):
  config, folder = begun
  config.update_from_flattened_dict({field: value})
  with pytest.raises(UserError, match=f'was begun with config.{field} = .*, now {value!r}; choose another'):
    loop.train_and_evaluate(config, str(folder))


def test_a_run_of_before_label_delay_and_modality_dropout_goes_on_without_them(begun):
  config, folder = begun
  content = json.loads((folder / 'config.json').read_text())
  del content['data']['label_delay_steps'], content['model']['modality_dropout']
  (folder / 'config.json').write_text(json.dumps(content))
  loop.train_and_evaluate(config, str(folder))
  stored = workdir.read_config(folder)
  assert stored.data.label_delay_steps == 0 and stored.model.modality_dropout == 0


def test_modality_dropout_of_one_modality_is_refused(tmp_path, small_config):
  small_config.model.modalities, small_config.model.modality_dropout = ('speech',), 0.2
  with pytest.raises(UserError, match='modality_dropout = 0.2, and the network has one modality, speech, which'):
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))


@pytest.mark.parametrize('without', [('visual',), ('speech', 'visual'), ('face',)])
def test_only_a_part_of_what_a_network_takes_can_be_taken_away(tmp_path, small_config, without):
  """Of the speech network `visual` is none, of the fused one both are all."""
  if without == ('visual',):
    small_config.model.modalities = ('speech',)
  workdir.write_config(tmp_path, small_config)
  what = ' [+] '.join(small_config.model.modalities)
  with pytest.raises(UserError, match=f'--without={",".join(without)}: .* is a {what} network; name one of these'):
    loop.evaluate_only(str(tmp_path), 'test', without)


@pytest.fixture(scope='module')
def fused_run(tmp_path_factory, data_dir):
  """A fused run of 4 updates with a delay of the labels and modality dropout."""
  workdir = tmp_path_factory.mktemp('fused') / 'run'
  overrides = dict(total_steps=4, data__label_delay_steps=30, model__modality_dropout=0.5)
  arguments = command('fused.py', workdir, data_dir, **overrides)
  done = run(arguments)
  assert done.returncode == 0, done.stderr[-3000:]
  return workdir, arguments


@pytest.mark.long
def test_a_run_with_delay_and_modality_dropout_is_bit_identical_after_a_kill(fused_run, tmp_path):
  whole, arguments = fused_run
  arguments = [a.replace(str(whole), str(tmp_path / 'run')) for a in arguments]
  assert driver.strike(arguments, driver.says('update 3'), signal.SIGKILL, tmp_path).code == -signal.SIGKILL
  done = run(arguments)
  assert done.returncode == 0 and 'resuming from update 2' in done.stderr, done.stderr[-3000:]
  assert final_digest(tmp_path / 'run') == final_digest(whole)
  assert (tmp_path / 'run' / 'results.json').read_bytes() == (whole / 'results.json').read_bytes()


@pytest.mark.slow
def test_sound_alone_and_picture_alone_lie_beside_the_results_and_are_fitted_on_validation(fused_run, tmp_path):
  whole, _ = fused_run
  folder = shutil.copytree(whole, tmp_path / 'run')
  (folder / 'lock').unlink(missing_ok=True)
  listed = lambda: {p.relative_to(folder): p.read_bytes() for p in folder.rglob('*') if p.is_file()}
  before = listed()
  for gone in ('visual', 'speech'):
    done = run([sys.executable, '-m', 'e2e_affect.main', '--mode=evaluate', f'--workdir={folder}', f'--without={gone}'])
    assert done.returncode == 0, done.stderr[-3000:]
    assert f'results_without_{gone}.json' in last_line(done)
  after = listed()
  touched = {str(path) for path in after if after[path] != before.get(path)} - {'lock', 'train.log'}
  names = ('predictions_without_{}/test.csv', 'predictions_without_{}/validation.csv', 'results_without_{}.json')
  assert touched == {name.format(gone) for name in names for gone in ('speech', 'visual')}
  results = {
    name: json.loads((folder / f'results{name}.json').read_text())
    for name in ('', '_without_speech', '_without_visual')
  }
  for name, of in results.items():
    assert of['checkpoint'] == results['']['checkpoint'] and of['postprocessing']['fitted_on'] == 'validation'
    # What was fitted starts from the validation CCC of this very input.
    raw = {target: of['postprocessing']['targets'][target]['ccc_raw'] for target in ('arousal', 'valence')}
    assert raw == pytest.approx(of['validation']['raw']['ccc'], abs=1e-6)
    assert of.get('without') == (None if not name else [name.removeprefix('_without_')])
  assert len({json.dumps(of['test']['raw']) for of in results.values()}) == 3


def test_a_run_does_not_go_on_with_other_data(begun, tmp_path):
  config, folder = begun
  config.data.dir = make_data(tmp_path / 'other', [('A', 'train', 100), ('D', 'validation', 110), ('E', 'test', 70)])
  with pytest.raises(DataError, match='begun with other data: partitions.train.recordings was 3, .* is 1; name the'):
    loop.train_and_evaluate(config, str(folder))


def test_a_second_ctrl_c_ends_the_training_at_once():
  code = """
import sys, time
from e2e_affect.run import stop
with stop.Request() as asked:
  print('begun', flush=True)
  while not asked.on_all_hosts(1): time.sleep(0.01)
  print('asked', asked.exit_code, flush=True)
  time.sleep(60)  # as a step that takes long
"""
  child = subprocess.Popen(
    [sys.executable, '-c', code],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    cwd=ROOT,
    env=environment(),
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
  )
  assert child.stdout.readline() == 'begun\n'
  child.send_signal(signal.SIGINT)
  child.send_signal(signal.SIGINT)  # as `timeout` sends it, to the process and to its group: counts once
  assert child.stdout.readline() == 'asked 130\n'
  time.sleep(0.7)
  child.send_signal(signal.SIGINT)
  _, err = child.communicate(timeout=30)  # half of the step that it does not wait for
  assert child.returncode == 130
  first, second = err.splitlines()
  assert first.startswith('stopping after this update') and second.startswith('stopped by SIGINT')


@pytest.mark.parametrize('name', ['a[b]', 'a*', 'a?', 'back\\slash', '[', ']/run'])
def test_a_workdir_that_checkpoints_could_not_be_read_from_is_refused_before_anything_is_made(tmp_path, name):
  done = run(
    [sys.executable, '-m', 'e2e_affect.main', f'--config={ROOT}/configs/speech.py', f'--workdir={name}'], cwd=tmp_path
  )
  assert done.returncode == 64 and last_line(done).startswith('error: ') and 'could not be read' in last_line(done)
  assert done.stderr.count('\n') == 1 and not any(tmp_path.iterdir())


@pytest.mark.parametrize(
  'name, kind',
  [
    ('checkpoints', 'folder'),
    ('predictions', 'folder'),
    ('figures', 'folder'),
    ('train.log', 'file'),
    ('lock', 'file'),
    ('config.json', 'file'),
    ('metrics.jsonl', 'file'),
    ('results.json', 'file'),
  ],
)
def test_what_stands_in_the_place_of_a_file_of_the_run_is_named_before_the_corpus_is_made(
  small_config, tmp_path, monkeypatch, name, kind
):
  monkeypatch.setattr(loop.embedded, 'make_if_absent', fail)
  (tmp_path / name).mkdir() if kind == 'file' else (tmp_path / name).write_text('')
  with pytest.raises(WorkdirError, match=f'{name}: is no {kind}; move it away, or choose another --workdir') as e:
    loop.train_and_evaluate(small_config, str(tmp_path))
  assert e.value.exit_code == 73 and [p.name for p in tmp_path.iterdir()] == [name]


def test_an_unwritable_workdir_is_refused_before_the_corpus_is_made(tmp_path):
  (tmp_path / 'file').write_text('')
  done = run(
    [sys.executable, '-m', 'e2e_affect.main', f'--config={ROOT}/configs/speech.py', '--workdir=file/run'], cwd=tmp_path
  )
  assert done.returncode == 73 and done.stderr.count('\n') == 1 and 'file is no folder' in done.stderr
  assert [p.name for p in tmp_path.iterdir()] == ['file']


_HELD = """
import resource, sys
from absl import logging
from data_prep.core.errors import UserError
from e2e_affect.run import hold
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
  with hold.held(sys.argv[1], writes=True):
    for k in range(9):
      logging.error('line %d %s', k, 'x' * 100)
    print('went on')
except UserError as e:
  print(e.exit_code, e)
"""


@pytest.mark.parametrize('limit, said', [(0, '74 .*run: no space left '), (200, 'went on\n')])
def test_a_disk_without_a_byte_for_the_lock_is_one_line_and_one_without_place_for_the_log_is_none(
  tmp_path, limit, said
):
  done = run([sys.executable, '-c', _HELD, tmp_path / 'run', str(limit)])
  assert re.match(said, done.stdout) and done.stdout.count('\n') == 1, done
  assert 'Traceback' not in done.stderr and 'Logging error' not in done.stderr


@pytest.mark.slow
def test_a_tilde_in_config_and_workdir_is_the_home_folder(tmp_path):
  (tmp_path / 'mine.py').write_text(
    'from e2e_affect.config import defaults\n\n\ndef get_config():\n'
    '  c = defaults.get_config()\n  c.epochs = -1\n  return c\n'
  )
  (tmp_path / 'file').write_text('')
  for folder, said in (('~/new', 'config.epochs = -1'), ('~/file/run', f'{tmp_path}/file is no folder')):
    done = subprocess.run(
      [sys.executable, '-m', 'e2e_affect.main', '--config=~/mine.py', f'--workdir={folder}'],
      capture_output=True,
      text=True,
      check=False,
      cwd=tmp_path,
      env={**environment(), 'HOME': str(tmp_path)},
    )
    assert said in last_line(done) and not (tmp_path / '~').exists(), done.stderr[-2000:]


@pytest.mark.slow
def test_a_tilde_in_a_field_that_is_a_path_is_the_home_folder(tmp_path):
  home = {**environment(), 'HOME': str(tmp_path / 'home')}
  given = [f'--config={ROOT}/configs/fused_physiology.py', *(f'--config.{name}=~/{name}' for name in PLAIN_PATHS)]
  code = """
import json, sys
from absl import flags
from e2e_affect import main
main._define_flags(False)
main._parse(sys.argv)
print(json.dumps(flags.FLAGS.config.to_dict()))
"""
  done = subprocess.run(
    [sys.executable, '-c', code, *given], capture_output=True, text=True, check=True, cwd=ROOT, env=home
  )
  of = json.loads(done.stdout)
  for name in PLAIN_PATHS:
    value = functools.reduce(operator.getitem, name.split('.'), of)
    assert value == f'{tmp_path}/home/{name}', name
  done = subprocess.run(
    [sys.executable, '-m', 'e2e_affect.main', *given, '--workdir=run'],
    capture_output=True,
    text=True,
    check=False,
    cwd=tmp_path,
    env=home,
  )
  assert last_line(done).startswith(f'error: {tmp_path}/home/') and 'not found' in last_line(done)


def test_a_batch_that_is_larger_than_the_memory_is_refused_before_the_corpus_is_made(
  small_config, tmp_path, monkeypatch
):
  monkeypatch.setattr(loop.embedded, 'make_if_absent', fail)
  small_config.batch_size, small_config.data.sequence_steps, small_config.total_steps = 100_000, 90_000, 1
  # 9e9 steps of 2 · 640 bytes of sound and 3 · 96² of pictures
  with pytest.raises(UserError, match='config.batch_size = 100000: .* take 2.6e.05 GB, this machine has .* GB; lower'):
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))


def test_a_device_without_memory_ends_the_training_in_one_line(small_config, tmp_path, monkeypatch):
  monkeypatch.setattr(loop.train_state, 'init_state', lambda *_: jax.numpy.zeros(2**55, 'int8'))
  with pytest.raises(
    UserError, match='out of memory .RESOURCE_EXHAUSTED: .*; set --config.model.visual.remat=True or lower '
  ) as e:
    loop.train_and_evaluate(small_config, str(tmp_path / 'run'))
  assert e.value.exit_code == 64 and '\n' not in str(e.value)
  with pytest.raises(ZeroDivisionError), memory.told(''):
    raise ZeroDivisionError
