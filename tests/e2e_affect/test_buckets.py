"""From recordings to results with everything in a bucket, on one machine and then on another."""

import signal
import sys

import pytest

from tests import buckets, trainings
from tests.faults import driver


@pytest.mark.slow
def test_from_recordings_to_results_in_a_bucket_over_a_kill_and_two_machines(tmp_path):
  with buckets.emulated('s3') as bucket:

    def run(machine, module, *arguments):
      done = trainings.run([sys.executable, '-m', module, *arguments], E2E_AFFECT_CACHE=str(tmp_path / machine))
      assert done.returncode == 0, done.stderr
      return done

    run('first', 'data_prep.simulate', f'--out={bucket}/corpus', '--subjects=3', '--seconds=6', '--jobs=1')
    source = ('--corpus=recola', f'--source={bucket}/corpus', f'--out={bucket}/data', '--jobs=0')
    run('first', 'data_prep.prepare', *source)
    said = run('second', 'data_prep.shards', f'--verify={bucket}/data')
    assert said.stdout == f'{bucket}/data: all shards are what the manifest says\n'

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
    run('third', *command[2:])
    mirror = tmp_path / 'third' / 's3' / bucket.removeprefix('s3://') / 'run'
    assert 'resuming from update ' in (mirror / 'train.log').read_text()
    assert trainings.final_digest(mirror) == trainings.final_digest(tmp_path / 'whole')
    assert trainings.results(mirror) == trainings.results(tmp_path / 'whole')
