"""From recordings to results with everything in a bucket, on one machine and then on another."""

import re
import signal
import sys

import pytest

from data_prep.core import cli
from data_prep.shards import verify
from e2e_affect.config import defaults, stored
from tests import buckets, trainings
from tests.faults import driver


@pytest.mark.slow
def test_from_recordings_to_results_in_a_bucket_over_a_kill_and_two_machines(tmp_path):
  with buckets.emulated('s3') as bucket:

    def run(machine, module, *arguments):
      done = trainings.run([sys.executable, '-m', module, *arguments], E2E_AFFECT_CACHE=str(tmp_path / machine))
      assert done.returncode == 0, done.stderr
      return done.stderr

    run('first', 'data_prep.simulate', f'--out={bucket}/corpus', '--subjects=3', '--seconds=6', '--jobs=1')
    source = ('--corpus=recola', f'--source={bucket}/corpus', f'--out={bucket}/data', '--jobs=0')
    run('first', 'data_prep.prepare', *source)
    with buckets.machine(tmp_path / 'second'):
      assert not verify.verify(cli.argument(f'{bucket}/data'))

    fields = {'total_steps': 6, 'batch_size': 2, 'evaluate_every_epochs': 2.0}
    whole = trainings.run(
      trainings.command('speech.py', tmp_path / 'whole', f'{bucket}/data', **fields),
      E2E_AFFECT_CACHE=str(tmp_path / 'second'),
    )
    assert whole.returncode == 0, whole.stderr
    command = trainings.command('speech.py', f'{bucket}/run', f'{bucket}/data', **fields)
    sent = driver.says(f'{bucket}/run: ', 2)  # the first checkpoint has gone
    end = driver.strike(command, sent, signal.SIGKILL, tmp_path, E2E_AFFECT_CACHE=str(tmp_path / 'first'))
    assert end.code == -signal.SIGKILL, end.log
    assert f'results: {bucket}/run/report.html' in run('third', *command[2:])
    mirror = tmp_path / 'third' / 's3' / bucket.removeprefix('s3://') / 'run'
    assert 'resuming from update ' in (mirror / 'train.log').read_text()
    assert trainings.final_digest(mirror) == trainings.final_digest(tmp_path / 'whole')
    assert trainings.results(mirror) == trainings.results(tmp_path / 'whole')


def test_a_stored_config_has_addresses_and_the_paths_of_each_machine(tmp_path):
  config = defaults.get_config().unlock()
  with buckets.machine(tmp_path / 'a'):
    config.data.dir = cli.path('gs://b/data')
    config.features.first_runs = (cli.path('s3://b/runs/first'), 'runs/second')
    content = stored.written(config)
  assert content['data']['dir'] == 'gs://b/data'
  assert content['features']['first_runs'] == ['s3://b/runs/first', 'runs/second']
  with buckets.machine(tmp_path / 'b'):
    read = stored.complete(content, tmp_path / 'config.json')
  assert read.data.dir == f'{tmp_path}/b/gs/b/data'
  assert read.features.first_runs == (f'{tmp_path}/b/s3/b/runs/first', 'runs/second')


@pytest.mark.parametrize(
  'flags, said',
  [
    (['--config=speech', '--distributed', '--workdir=s3://b/run'], 'error: --workdir=s3://b/run: several processes'),
    (['--config=gs://b/speech.py'], 'error: .*a config is a file of this machine'),
    (
      ['--config=speech', '--config.data.dir=http://b/data'],
      'error: http://b/data: an address, expected a path, gs://',
    ),
  ],
)
def test_addresses_where_none_can_be(flags, said):
  done = trainings.run([sys.executable, '-m', 'e2e_affect.main', *flags])
  assert done.returncode == 64 and done.stderr.count('\n') == 1 and re.match(said, done.stderr), done.stderr
