"""The staged training as one command: its plan, a stop in the middle, and all stages on a simulated corpus."""

import ast
import importlib.util
import json
import pathlib
import re
import signal
import subprocess
import sys
import time

import jax
from jax.experimental.compilation_cache import compilation_cache
import numpy as np
import pytest

from data_prep.schema.manifest import Manifest
from data_prep.shards import landmarks, prepare
from data_prep.simulate import corpus
from e2e_affect import heads
from e2e_affect.config import experiments as built_in
from e2e_affect.layers import resnet
from e2e_affect.paper import plan, reproduce, times
from e2e_affect.paper.experiments import EXPERIMENTS
from e2e_affect.run import workdir
from e2e_affect.traces import band
from e2e_affect.train import checkpoint_files, init_from, loop, train_state
from tests import trainings
from tests.networks import layout

ROOT = pathlib.Path(__file__).resolve().parents[1]
SMALL = {name: value for name, value in trainings.SMALL.items() if name != 'evaluate_every_epochs'}
SMALL |= {'epochs': 1, 'average_decay': 0.9}


RIVALS = (  # of Table VI, and what they start from
  *('svr_egemaps', 'strength_egemaps', 'svr_appearance', 'strength_appearance', 'svr_geometry', 'strength_geometry'),
  *('strength', 'staircase'),
)


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
  """Runs the command here, on a data folder that has a manifest; returns its exit code, output and errors."""
  (tmp_path / 'manifest.json').touch()
  (tmp_path / 'resnet_v1_50.ckpt.index').touch()

  def main(*options):
    monkeypatch.setattr(
      sys, 'argv', ['reproduce.py', f'--data={tmp_path}', f'--out={tmp_path / "runs"}', '--dry_run', *options]
    )
    try:
      code = reproduce.main()
    except SystemExit as e:
      code = e.code
    return code, *capsys.readouterr()

  return main


def test_the_plan(run, tmp_path):
  code, out, err = run(f'--imagenet={tmp_path}/resnet_v1_50.ckpt', '--tables=VI', '--figures=', '--seeds=1')
  assert code == 0 and not err
  lines = out.splitlines()
  assert lines.pop() == '0 of 16 done, 16 whose like has not run here: nobody knows how long'
  assert lines.pop() == 'N: the number of landmarks, known once they are found'
  assert not any(lines[2::3]) and "'" not in re.sub(r"\('.*?'\)|\('.*?',\)", '', out) and '{' not in out
  names = [line.split()[0] for line in lines[::3]]
  networks = ['speech', 'imagenet', 'visual', 'fused', 'final_fused', 'landmarks', 'geometric', 'final_geometric']
  assert names == [*networks, *RIVALS]
  of = dict(zip(names, lines[1::3]))
  runs = tmp_path / 'runs'
  assert f'--config.pretrained={runs}/imagenet' in of['visual']
  assert f'--config.init_from.speech={runs}/speech --config.init_from.visual={runs}/visual' in of['fused']
  assert f'--config.init_from.speech={runs}/fused --config.init_from.visual={runs}/fused' in of['geometric']
  assert '--config.model.geometric.landmarks=N ' in of['geometric']
  for name, before in (('final_fused', 'fused'), ('final_geometric', 'geometric')):
    assert '--config.epochs=120' in of[name] and f'--config.postprocessing_from={runs}/{before}' in of[name]
    assert """ "--config.data.train_on=('train','validation')" """ in of[name]
  assert not runs.exists()


def test_a_plan_says_what_goes_on_and_how_long_it_takes(run, tmp_path):
  (tmp_path / 'runs' / 'visual').mkdir(parents=True)
  (tmp_path / 'runs' / 'speech').mkdir()
  (tmp_path / 'runs' / 'speech' / 'results.json').touch()
  usual = {name: 60 * experiment.minutes for name, experiment in EXPERIMENTS.items()}  # seconds
  past = {'speech': {'seconds': 2 * usual['speech'], 'ended': True}}
  (tmp_path / 'runs' / 'times.json').write_text(json.dumps(past))
  code, out, _ = run('--demo', '--tables=V', '--figures=3')
  assert code == 0
  assert re.search(f'^speech +done +{times.in_words(past["speech"]["seconds"])} ', out, re.MULTILINE)
  # The speech network took twice as long as usual: all else takes twice as long, too.
  assert re.search(f'^visual +goes on +about {times.in_words(2 * usual["visual"])} ', out, re.MULTILINE), out
  assert re.search(r'^1 of \d+ done, about .* left$', out, re.MULTILINE)


def test_every_command_of_the_plan_names_what_is_there(tmp_path):
  """Modules, configs and fields: a rename elsewhere must not wait for hours to be seen."""
  for demo in (True, False):
    options = reproduce.Options(data=tmp_path, out=tmp_path / 'runs', demo=demo, beyond=True, seeds=2)
    for step in reproduce.plan.plan(options, reproduce.epochs_of):
      assert importlib.util.find_spec(step.command[1]), step
      if step.config:
        config = built_in.config(step.config)
        for part in step.command:
          if part.startswith('--config.'):
            assert has(config, part.removeprefix('--config.').partition('=')[0]), part
        if step.experiment.startswith('blstm'):
          assert config.loss == step.experiment.rpartition('_')[2]


def has(config, field):
  for part in field.split('.'):
    if part not in config:
      return False
    config = config[part]
  return True


def test_a_tilde_is_the_home_folder(run, tmp_path, monkeypatch):
  monkeypatch.setenv('HOME', str(tmp_path))
  code, out, err = run('--data=~/', '--out=~/there', '--imagenet=~/resnet_v1_50.ckpt', '--tables=II')
  assert code == 0, err
  for part in (f'--config.data.dir={tmp_path}', f'--workdir={tmp_path}/there/visual', f' {tmp_path}/resnet_v1_50.ckpt'):
    assert part in out


def test_commands_are_shown_as_a_shell_takes_them():
  parts = ["('train',)", 'a"b', '$HOME `x`', 'back\\slash', 'plain=1']
  assert subprocess.check_output(['sh', '-c', f'printf "%s\n" {reproduce.shown(parts)}'], text=True).split('\n') == [
    *parts,
    '',
  ]


@pytest.mark.parametrize(
  'options, said',
  [
    (('--tables=II,VII',), "found 'II,VII', expected some of II,III,IV,V,VI"),
    (('--figures=1',), "found '1', expected some of 2,3"),
    (('--seeds=0',), "found '0', expected a whole number from 1"),
    (('--set', 'seed=3'), '--seeds says how many'),
    (('--data_avec=/nowhere',), '/nowhere/manifest.json: not found; make the shards'),
    (('--demo', '--imagenet=x'), 'narrower network'),
    (('--set', 'epochs'), "found 'epochs', expected field=value"),
    (('--set', 'bogus=4'), "no config has a field 'bogus'; e2e_affect/config/defaults.py"),
    (('--set', 'data=4'), 'no config'),
    (('--data=/nowhere',), '/nowhere/manifest.json: not found; make the shards'),
    (('--imagenet=/nowhere',), '--imagenet=/nowhere: not found'),
  ],
)
def test_refusals(run, options, said):
  code, _, err = run(*options)
  assert code == 64 and err.count('\n') == 1
  assert re.search(said, err), err


@pytest.mark.parametrize(
  ('options', 'library', 'told'),
  [
    ((), 'opensmile', True),
    ((), 'mtcnn', True),
    (('--landmarks=folder',), 'mtcnn', False),
    (('--tables=II', '--figures='), 'opensmile', False),
  ],
)
def test_a_library_that_is_needed_hours_later_is_missed_at_once(run, monkeypatch, options, library, told):
  find = importlib.util.find_spec
  monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == library else find('numpy'))
  code, _, err = run(*options)
  assert code == (64 if told else 0)
  assert (f'error: {library} not installed' in err) == told


@pytest.mark.parametrize(
  'number, code',
  [
    (signal.SIGTERM, 143),
    (signal.SIGINT, 130),
    pytest.param(signal.SIGKILL, -9, marks=pytest.mark.skipif(sys.platform != 'linux', reason='see children.py')),
  ],
)
def test_a_signal_reaches_the_child_and_is_the_exit_code_and_a_failure_stops(tmp_path, number, code):
  """Stand-ins for trainings: one saves on SIGTERM as ours do, one fails."""
  (tmp_path / 'child.py').write_text(
    'import pathlib, signal, sys, time\n'
    'signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path("saved").touch(), sys.exit(143)))\n'
    'pathlib.Path("started").touch()\ntime.sleep(60)\n'
  )
  driver = (
    f'import pathlib, sys; sys.path.insert(0, {str(ROOT)!r}); from e2e_affect.paper import reproduce;'
    'step = reproduce.Step("s", {command}, pathlib.Path("done"), "a stand-in");'
    'sys.exit(reproduce.run(step))'
  )
  process = subprocess.Popen([sys.executable, '-c', driver.format(command=['child.py'])], cwd=tmp_path)
  while not (tmp_path / 'started').exists():
    time.sleep(0.02)
  process.send_signal(number)
  assert process.wait(20) == code
  deadline = time.monotonic() + 20
  while number == signal.SIGKILL and not (tmp_path / 'saved').exists() and time.monotonic() < deadline:
    time.sleep(0.05)
  assert (tmp_path / 'saved').exists()
  failed = subprocess.run(
    [sys.executable, '-c', driver.format(command=['-c', 'raise SystemExit(65)'])], check=False, cwd=tmp_path
  )
  assert failed.returncode == 65


def in_process(step):
  """What the child process of a step would do, where networks can be made shallow and libraries are loaded."""
  options = dict(part.removeprefix('--').partition('=')[::2] for part in step.command if part.startswith('--'))
  if 'data_prep.landmarks' in step.command:
    landmarks.add_landmarks(options['data'], options['source'], options['out'])
    return 0
  config = built_in.config(options['config'])
  for field, text in options.items():
    if field.startswith('config.'):
      default = config
      for part in field.split('.')[1:]:
        default = default[part]
      text = text.replace('{landmarks}', plan.landmarks(step))
      value = text if isinstance(default, str) else type(default)(ast.literal_eval(text))
      config.update_from_flattened_dict({field.removeprefix('config.'): value})
  loop.train_and_evaluate(config, options['workdir'])
  return 0


def shapes(config):
  return jax.eval_shape(lambda: train_state.init_state(config, layout(config)))


def best(folder):
  """The parameters and statistics that a run's evaluation used, and its config."""
  config = workdir.read_config(str(folder))
  manager = checkpoint_files.open_manager(folder, heads.of(config))
  state, _ = checkpoint_files.restore_best(manager, shapes(config))
  manager.close()
  return state.evaluated(), config


def assert_same_bits(a, b):
  assert jax.tree.structure(a) == jax.tree.structure(b)
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b)):
    np.testing.assert_array_equal(np.asarray(x).view(np.int32), np.asarray(y).view(np.int32))


@pytest.fixture
def compiled_once(tmp_path):
  """What is compiled for one stage serves the others with the same network: it takes most of the time."""
  names = ('jax_compilation_cache_dir', 'jax_persistent_cache_min_compile_time_secs')
  before = [getattr(jax.config, name) for name in names]
  for name, value in zip(names, (str(tmp_path / 'cache'), 0.3)):
    jax.config.update(name, value)
  compilation_cache.reset_cache()
  yield
  for name, value in zip(names, before):
    jax.config.update(name, value)
  compilation_cache.reset_cache()


@pytest.mark.slow
@pytest.mark.usefixtures('compiled_once')
def test_all_stages(tmp_path, monkeypatch, capsys):
  pytest.importorskip('mtcnn', reason='the detector of landmarks is not installed: `pip install mtcnn`')
  monkeypatch.setattr(resnet, '_BLOCKS', (1, 1, 1, 1))
  corpus.simulate(tmp_path / 'recordings', 3, 6, 0, 1)
  prepare.prepare(corpus='recola', source=tmp_path / 'recordings', out=tmp_path / 'data', jobs=0)
  out, ran = tmp_path / 'runs', []

  def run_step(step):
    ran.append(step.name)
    if step.name in RIVALS:
      return 0  # they have tests of their own, and are missing here
    return 65 if len(ran) == 2 else in_process(step)

  monkeypatch.setattr(reproduce, 'run', run_step)
  monkeypatch.setattr(
    sys,
    'argv',
    [
      'reproduce.py',
      f'--data={tmp_path / "data"}',
      f'--out={out}',
      '--tables=VI',
      '--figures=',
      '--seeds=1',
      *(part for item in SMALL.items() for part in ('--set', '{}={}'.format(*item))),
    ],
  )
  assert reproduce.main() == 65 and ran == ['speech', 'visual']  # the second step fails
  assert reproduce.main() == 0  # and the same command goes on with it
  networks = ['visual', 'fused', 'final_fused', 'landmarks', 'geometric', 'final_geometric']
  assert ran[2:] == [*networks, *RIVALS]
  said = capsys.readouterr().out
  assert re.search(r'speech +done .*\nvisual +(to do|goes on)', said)
  content = json.loads((out / 'paper.json').read_text())
  statuses = [row['status'] for row in content['tables'][-1]['rows']]
  assert statuses == ['not run', 'not run', 'ran', 'ran'] and content['corpus']['simulated']
  assert 'href="final_geometric/report.html"' in (out / 'paper.html').read_text()
  assert set(content['seconds']) == {'speech', *networks, *RIVALS}

  # Landmarks were found, by a detector, in faces that were never drawn for it.
  manifest = Manifest.read(out / 'geometric_data')
  assert manifest.num_landmarks == 5 and np.shape(manifest.preparation['landmarks']['mean_shape']) == (5, 2)

  # Fused training starts from both unimodal networks, bit for bit.
  speech, _ = best(out / 'speech')
  visual, _ = best(out / 'visual')
  fused, config = best(out / 'fused')
  start = init_from.start(jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), shapes(config)), config)
  for variables in (start, type(start)(**{**start.__dict__, **start.average})):  # the newest, and those evaluated
    assert_same_bits(variables.params['speech'], speech['params']['speech'])
    assert_same_bits(variables.params['visual'], visual['params']['visual'])
    assert_same_bits(variables.batch_stats['visual'], visual['batch_stats']['visual'])
  with pytest.raises(AssertionError):
    assert_same_bits(fused['params']['speech'], speech['params']['speech'])

  # In the geometric stage the features stay as they are, bit for bit; the recurrent part learns.
  for stage, of in (('geometric', fused), ('final_geometric', best(out / 'final_fused')[0])):
    trained, _ = best(out / stage)
    for part in ('speech', 'visual'):
      assert_same_bits(trained['params'][part], of['params'][part])
    assert_same_bits(trained['batch_stats'], of['batch_stats'])
    for layer in trained['params']['recurrent'].values():
      assert np.abs(layer['bias']).max() > 0  # where training starts all of them are 0

  # The final runs: both partitions, twice the epochs, test alone, post-processed as before.
  for name in ('fused', 'geometric'):
    results = json.loads((out / f'final_{name}' / 'results.json').read_text())
    earlier = json.loads((out / name / 'results.json').read_text())
    assert results['test']['scored_steps'] == 150 and 'validation' not in results
    assert results['postprocessing'] == band.of_another_run(earlier['postprocessing'])
    assert 'that of another run' in results['postprocessing']['band']['reason']
    config = json.loads((out / f'final_{name}' / 'config.json').read_text())
    assert config['epochs'] == 2 and config['data']['train_on'] == ['train', 'validation']
    assert results['checkpoint']['step'] == 4 and results['checkpoint']['chosen_by'] == 'newest'  # 2 · (3 + 3) / 3
