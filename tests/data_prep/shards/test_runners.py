"""The same bytes and the same manifest, whoever spreads the recordings; what is wrong with a runner is one line."""

import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

import pytest

from data_prep.core import errors
from data_prep.core.errors import DataError, UserError, WorkdirError
from data_prep.shards import prepare, runners, verify, write
from data_prep.simulate import corpus as simulated
from tests.data_prep.shards import test_prepare

CLIPS = pathlib.Path(__file__).resolve().parents[4] / 'shared' / 'data' / 'grid'
TWO_WORKERS = ('--runner=DirectRunner', '--direct_num_workers=2', '--direct_running_mode=multi_threading')


@pytest.fixture
def beam():
  return pytest.importorskip('apache_beam', reason='apache-beam is not installed: docs/install.md')


def files(out):
  """All that a data folder holds, and what the next run reads of the work on it: all but how long it took."""
  found = test_prepare.data_files(out)
  for path in (out / write.PARTS).glob('*.json'):
    content = json.loads(path.read_text())
    content.get('summary', {}).pop('seconds', None)
    found[path.name] = content
  return found


def test_options_of_a_runner_that_has_none(tmp_path):
  (tmp_path / 'a.wav').touch()
  for arguments, reason in (
    (dict(runner='spark'), '--runner=spark; expected one of local, beam'),
    (dict(runner_options=['--runner=FlinkRunner']), '--runner_options=--runner=FlinkRunner: the local runner has none'),
  ):
    with pytest.raises(UserError, match=reason):
      prepare.prepare(
        corpus='csv', source=test_prepare.own_corpus(tmp_path, 'a,A,train,,a.wav,'), out=tmp_path / 'out', **arguments
      )
    assert not (tmp_path / 'out').exists()


def test_without_beam_the_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, 'apache_beam', None)
  monkeypatch.delitem(sys.modules, 'data_prep.shards.beam', raising=False)
  with pytest.raises(ModuleNotFoundError) as error:
    runners.RUNNERS['beam']([])
  assert str(errors.of_import(error.value)).endswith("`pip install 'e2e_affect[beam]'` brings it")


@pytest.mark.slow
def test_beam_gives_the_bytes_of_the_local_runner(beam, tmp_path):
  simulated.simulate(tmp_path / 'recola', 3, 4, seed=2, jobs=1)
  given = dict(corpus='recola', source=tmp_path / 'recola')
  local = prepare.prepare(**given, out=tmp_path / 'local', jobs=0)
  spread = prepare.prepare(**given, out=tmp_path / 'beam', runner='beam', runner_options=TWO_WORKERS)
  assert files(tmp_path / 'beam') == files(tmp_path / 'local')
  assert spread.manifest == local.manifest and len(local.manifest.shards) == 3
  assert not (tmp_path / 'beam' / write.PARTS / 'beam').exists()
  # What is missing is prepared, and nothing else.
  (tmp_path / 'beam' / write.PARTS / f'{write.part_stem("P25")}.json').unlink()
  stamps = {p.name: p.stat().st_mtime_ns for p in (tmp_path / 'beam' / write.PARTS).glob('*.json')}
  prepare.prepare(**given, out=tmp_path / 'beam', runner='beam')
  assert files(tmp_path / 'beam') == files(tmp_path / 'local')
  now = {p.name: p.stat().st_mtime_ns for p in (tmp_path / 'beam' / write.PARTS).glob('*.json')}
  assert {name for name, time in now.items() if stamps.get(name) != time} == {
    'names.json',
    f'{write.part_stem("P25")}.json',
  }


@contextlib.contextmanager
def processes():
  """A function that starts a process, quiet but for what it is told to write into a file; all end with the block."""
  with contextlib.ExitStack() as stack:

    def start(*command, log=subprocess.DEVNULL, **environment):
      process = subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | environment)
      stack.callback(process.wait)
      stack.callback(process.terminate)

    yield start


def told(path, wanted):
  """The first group of `wanted` in a file that another process writes."""
  deadline = time.monotonic() + 60
  while not (found := re.search(wanted, path.read_text() if path.exists() else '')):
    assert time.monotonic() < deadline, path
    time.sleep(0.1)
  return found.group(1)


@pytest.fixture
def dask(tmp_path):
  """Options for a scheduler of Dask with two workers, each a process of its own."""
  distributed = pytest.importorskip('distributed', reason="Dask is not installed: `pip install 'apache-beam[dask]'`")
  with processes() as start:
    file = tmp_path / 'scheduler.json'
    start(sys.executable, '-m', 'dask', 'scheduler', '--port=0', '--no-dashboard', f'--scheduler-file={file}')
    for _ in range(2):
      worker = ('worker', '--nthreads=1', '--no-nanny', '--no-dashboard', f'--scheduler-file={file}')
      start(sys.executable, '-m', 'dask', *worker)
    address = told(file, '"address": "([^"]+)"')
    yield '--runner=apache_beam.runners.dask.dask_runner.DaskRunner', f'--dask_client_address={address}'
    distributed.default_client().close()  # Beam leaves it open, and it would look for the cluster that ends now


@pytest.fixture
def spark(tmp_path, monkeypatch):
  """Options for a master of Spark with two workers, each a process of its own."""
  pyspark = pytest.importorskip('pyspark', reason='Spark is not installed: docs/own_corpus.md')
  if not shutil.which('java'):
    pytest.skip('Java is not here, which Spark needs')
  pytest.importorskip('beam_pyspark_runner', reason='beam-pyspark-runner is not installed: docs/own_corpus.md')
  monkeypatch.setenv('SPARK_LOCAL_IP', '127.0.0.1')
  monkeypatch.setenv('PYSPARK_PYTHON', sys.executable)
  spark_class = pathlib.Path(pyspark.__file__).parent / 'bin' / 'spark-class'
  home = {'SPARK_HOME': str(spark_class.parents[1])}
  with processes() as start, (tmp_path / 'master.log').open('w') as log:
    here = ('--host', '127.0.0.1', '--port', '0', '--webui-port', '0')
    start(spark_class, 'org.apache.spark.deploy.master.Master', *here, log=log, **home)
    address = told(tmp_path / 'master.log', r'(spark://127\.0\.0\.1:\d+)')
    worker = (*here, '--cores', '1', '--memory', '1g', '--work-dir', str(tmp_path / 'work'), address)
    for _ in range(2):
      start(spark_class, 'org.apache.spark.deploy.worker.Worker', *worker, **home)
    submit = f'--master {address} --conf spark.default.parallelism=5 --conf spark.ui.enabled=false pyspark-shell'
    monkeypatch.setenv('PYSPARK_SUBMIT_ARGS', submit)
    yield ('--runner=beam_pyspark_runner.pyspark_runner.PySparkRunner',)
    session = pyspark.sql.SparkSession.getActiveSession()
    executors = session.sparkContext._jsc.sc().getExecutorMemoryStatus().size()
    session.stop()
    assert executors == 3  # the driver and both workers


@pytest.mark.slow
@pytest.mark.parametrize('cluster', ['dask', 'spark'])
def test_a_cluster_gives_the_bytes_of_the_local_runner(beam, cluster, tmp_path, request):
  simulated.simulate(tmp_path / 'recola', 5, 4, seed=2, jobs=1)
  given = dict(corpus='recola', source=tmp_path / 'recola')
  local = prepare.prepare(**given, out=tmp_path / 'local', jobs=0)
  options = request.getfixturevalue(cluster)
  spread = prepare.prepare(**given, out=tmp_path / cluster, runner='beam', runner_options=options)
  assert files(tmp_path / cluster) == files(tmp_path / 'local')
  assert spread.manifest == local.manifest and len(local.manifest.shards) == 5


@pytest.mark.slow
@pytest.mark.skipif(not CLIPS.is_dir(), reason='no real clips: ../shared/data is absent')
def test_a_recording_fails_alone(beam, tmp_path):
  clips = sorted(CLIPS.glob('*.mpg'))[:2]
  for clip in clips:
    shutil.copy(clip, tmp_path)
  (tmp_path / 'bad.mpg').write_bytes(b'no film at all')
  names = [*(clip.stem for clip in clips), 'bad']
  source = test_prepare.own_corpus(tmp_path, *(f'{name},{name},train,{name}.mpg,,' for name in names))
  given = dict(corpus='csv', source=source)
  local = prepare.prepare(**given, out=tmp_path / 'local', jobs=0, allow_rejects=True)
  with pytest.raises(DataError, match='1 of 3 recordings refused'):
    prepare.prepare(**given, out=tmp_path / 'beam', runner='beam')
  assert [row['recording'] for row in local.rejects] == ['bad'] and verify.verify(tmp_path / 'beam') == []
  assert files(tmp_path / 'beam') == files(tmp_path / 'local')
  # Limits are those of a process of its own.
  with pytest.raises(DataError, match=r'\(3 refused, 0 absent\).*minutes.*a longer one passes with --max_minutes'):
    prepare.prepare(**given, out=tmp_path / 'short', runner='beam', max_minutes=1e-4)


@pytest.mark.slow
def test_what_ends_the_whole_run_is_one_line(beam, tmp_path, capfd, monkeypatch):
  (tmp_path / 'a.wav').touch()
  source = test_prepare.own_corpus(tmp_path, 'a,A,train,,a.wav,')

  def run(*options):
    prepare.prepare(corpus='csv', source=source, out=tmp_path / 'out', jobs=0, runner='beam', runner_options=options)

  for option, reason in (
    ('--direct_num_workers=many', "--runner_options=--direct_num_workers=many: .*invalid int value: 'many'"),
    ('--runner=no.module.Runner', '--runner_options=.*: no.module cannot be imported'),
    ('--runner=NoRunner', '--runner=beam: the pipeline failed .*NoRunner.*what is done is kept'),
  ):
    with pytest.raises(UserError, match=reason) as error:
      run(option)
    assert '\n' not in str(error.value)
  assert capfd.readouterr() == ('', '')
  runners.RUNNERS['beam'](['--direct_num_worker=2'])
  assert 'no option of Beam itself; did you mean --direct_num_workers? ' in capfd.readouterr().out

  def full(*_, **__):
    raise WorkdirError('/out: cannot be written (no such device); choose another folder')

  monkeypatch.setattr(prepare.workers.assemble, 'assemble', full)
  with pytest.raises(UserError, match='^/out: cannot be written') as error:
    run()
  assert error.value.exit_code == WorkdirError.exit_code
