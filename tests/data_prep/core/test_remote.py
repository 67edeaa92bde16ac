"""Mirrors of buckets, against emulators of both stores."""

import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import pytest

from data_prep.core import bucket as stores
from data_prep.core import cli, remote, transfers
from data_prep.core.errors import BucketError, UserError, WorkdirError
from tests import buckets


@pytest.fixture(scope='module', params=['s3', 'gs'])
def bucket(request):
  with buckets.emulated(request.param) as address:
    yield address


@pytest.fixture
def place(bucket, request):
  """An address of this test alone."""
  return f'{bucket}/{re.sub("[^a-z0-9]+", "-", request.node.name)}'


def write(address, **files):
  """Writes files of a mirror: `a__b` is a/b; None removes one."""
  for name, content in files.items():
    path = pathlib.Path(remote.local(address), *name.split('__'))
    path.parent.mkdir(parents=True, exist_ok=True)
    if content is None:
      path.unlink()
    else:
      path.write_text(content)


def read(address):
  """Path below the mirror -> content."""
  root = pathlib.Path(remote.local(address))
  return {str(p.relative_to(root)): p.read_text() for p in sorted(root.rglob('*')) if p.is_file()}


def fetched(folder, address):
  """What another machine, with this folder of mirrors, sees at an address."""
  with buckets.machine(folder):
    remote.fetch(remote.local(address))
    return read(address)


def sent(folder, address, **files):
  """Another machine fetches, changes some files and sends them."""
  with buckets.machine(folder):
    remote.fetch(remote.local(address))
    write(address, **files)
    remote.send(remote.local(address))


def test_what_one_machine_sends_another_fetches(tmp_path, place):
  sent(tmp_path / 'a', place, train='t', sub__deep__label='l', empty='')
  assert fetched(tmp_path / 'b', place) == {'train': 't', 'sub/deep/label': 'l', 'empty': ''}
  sent(tmp_path / 'b', place, train='t2', sub__deep__label=None)
  assert fetched(tmp_path / 'a', place) == {'train': 't2', 'empty': ''}
  assert not (tmp_path / 'a' / remote.local(f'{place}/sub')).exists()


def test_only_what_differs_is_fetched_and_sent(tmp_path, place, capfd):
  sent(tmp_path / 'a', place, one='1', two='2')
  fetched(tmp_path / 'b', place)
  sent(tmp_path / 'a', place, two='22')
  assert '1 file from' in capfd.readouterr().err
  assert fetched(tmp_path / 'b', place) == {'one': '1', 'two': '22'}
  assert '1 file, 0.0 MB, to' in capfd.readouterr().err
  fetched(tmp_path / 'b', place)
  sent(tmp_path / 'b', place)
  assert capfd.readouterr().err == ''


def test_a_file_alone_has_an_address_and_a_table_is_fetched_with_its_folder(tmp_path, place):
  sent(tmp_path / 'a', place, clip='c', table__own='1')
  assert fetched(tmp_path / 'b', f'{place}/table') == {'own': '1'}
  with buckets.machine(tmp_path / 'c'):
    remote.fetch(remote.local(f'{place}/clip'))
    assert read(place) == {'clip': 'c'}
    write(place, **{'table.csv': 'sent alone'})
    remote.send(remote.local(f'{place}/table.csv'))
  with buckets.machine(tmp_path / 'd'):
    remote.fetch(remote.local(f'{place}/table.csv'))
    assert read(place) == {'clip': 'c', 'table/own': '1', 'table.csv': 'sent alone'}


def test_a_cache_that_cannot_be_written_is_named_with_its_variable(tmp_path, place):
  (tmp_path / 'file').touch()
  with buckets.machine(tmp_path / 'file' / 'cache'):
    with pytest.raises(
      WorkdirError, match=rf'{tmp_path}/file/cache \(\$E2E_AFFECT_CACHE names it\): cannot be written'
    ):
      remote.fetch(remote.local(place))


def test_locks_and_what_is_being_written_stay_on_their_machine(tmp_path, place):
  files = ('lock', '.lock', '.parts/lock', '.a.7.tmp', 'checkpoints/3.orbax-checkpoint-tmp/x')
  files += ('checkpoints/3.corrupt/x', 'checkpoints/3.2.corrupt/x', 'kept')
  sent(tmp_path / 'a', place, **{name.replace('/', '__'): name for name in files})
  assert fetched(tmp_path / 'b', place) == {'kept': 'kept'}


def order(monkeypatch):
  """What the store is asked to change from now on, in its order."""
  asked = []
  call = stores.call

  def noted(name, method, *arguments, **options):
    if method in ('put_file', 'cp_file', 'rm_file'):
      asked.append((method, (arguments[-1] if method == 'cp_file' else name).rpartition('/')[2]))
    return call(name, method, *arguments, **options)

  monkeypatch.setattr(stores, 'call', noted)
  return asked


def test_contents_come_before_what_makes_them_valid(tmp_path, place, monkeypatch):
  asked = order(monkeypatch)
  sent(tmp_path / 'a', place, **{'manifest.json': '1', 'info.json': '1', 'shard': '1'})
  assert [name for _, name in asked] == ['shard', 'info.json', 'manifest.json']
  del asked[:]
  sent(tmp_path / 'a', place, **{'shard': None, 'other': '2', 'manifest.json': '2'})
  assert asked == [
    ('rm_file', 'manifest.json'),  # the old one says nothing of what is there from now on
    ('put_file', 'other'),
    ('put_file', 'manifest.json'),
    ('rm_file', 'shard'),
  ]


def test_a_file_of_another_name_is_not_sent_again(tmp_path, place, monkeypatch):
  sent(tmp_path / 'a', place, parts__shard='s', parts__same='s')
  asked = order(monkeypatch)
  with buckets.machine(tmp_path / 'a'):
    root = pathlib.Path(remote.local(place))
    (root / 'parts' / 'shard').rename(root / 'final')
    remote.send(root)
  assert asked == [('cp_file', 'final'), ('rm_file', 'shard')]
  assert fetched(tmp_path / 'b', place) == {'parts/same': 's', 'final': 's'}


SEAL = '_CHECKPOINT_METADATA'


def test_a_checkpoint_that_is_half_sent_is_not_fetched_and_its_machine_completes_it(tmp_path, place, monkeypatch):
  sent(tmp_path / 'a', place, checkpoints__3__state='s3', checkpoints__3___CHECKPOINT_METADATA='m')
  whole = {'checkpoints/3/state': 's3', f'checkpoints/3/{SEAL}': 'm'}
  call = stores.call

  def dies(name, method, *arguments, **options):
    if method == 'put_file' and name.endswith(SEAL):
      raise OSError('the connection is lost')
    return call(name, method, *arguments, **options)

  monkeypatch.setattr(stores, 'call', dies)
  with pytest.raises(BucketError, match=rf'{SEAL}: cannot be written \(OSError: the connection is lost\); nothing is'):
    sent(tmp_path / 'a', place, checkpoints__6__state='s6', checkpoints__6___CHECKPOINT_METADATA='m')
  monkeypatch.setattr(stores, 'call', call)
  assert fetched(tmp_path / 'b', place) == whole
  newer = {'checkpoints/6/state': 's6', f'checkpoints/6/{SEAL}': 'm'}
  assert fetched(tmp_path / 'a', place) == whole | newer  # it stays where it is
  sent(tmp_path / 'a', place)
  assert fetched(tmp_path / 'c', place) == whole | newer


def test_another_machine_replaces_a_half_checkpoint(tmp_path, place):
  sent(tmp_path / 'a', place, checkpoints__6__state='half', checkpoints__6__array='half')
  assert fetched(tmp_path / 'b', place) == {}
  sent(tmp_path / 'b', place, checkpoints__6__state='whole', checkpoints__6___CHECKPOINT_METADATA='m')
  assert fetched(tmp_path / 'c', place) == {'checkpoints/6/state': 'whole', f'checkpoints/6/{SEAL}': 'm'}


def test_two_programs_at_an_address_are_seen(tmp_path, place):
  sent(tmp_path / 'a', place, **{'metrics.jsonl': '1', 'report.html': '1'})
  with buckets.machine(tmp_path / 'a'):
    remote.fetch(remote.local(place))
    sent(tmp_path / 'b', place, **{'metrics.jsonl': '1 2', 'report.html': '1 2'})
    write(place, **{'report.html': 'of the last one'})
    remote.send(remote.local(place))  # pages are made anew from what there is
    write(place, **{'metrics.jsonl': '1 3'})
    with pytest.raises(BucketError, match=r'metrics\.jsonl: another program changed it since .* the local copy is '):
      remote.send(remote.local(place))
  assert fetched(tmp_path / 'c', place) == {'metrics.jsonl': '1 2', 'report.html': 'of the last one'}
  with pytest.raises(BucketError, match=r'metrics\.jsonl: was changed there and here .*; remove '):
    fetched(tmp_path / 'a', place)


def test_what_was_not_sent_yet_stays_and_is_sent_later(tmp_path, place):
  sent(tmp_path / 'a', place, log='1')
  with buckets.machine(tmp_path / 'a'):
    remote.fetch(remote.local(place))
    write(place, log='1 2', new='n')  # and is killed
  assert fetched(tmp_path / 'a', place) == {'log': '1 2', 'new': 'n'}
  sent(tmp_path / 'a', place)
  assert fetched(tmp_path / 'b', place) == {'log': '1 2', 'new': 'n'}


def test_killed_between_the_transfer_and_its_record(tmp_path, place, monkeypatch):
  sent(tmp_path / 'a', place, log='1')
  remember = transfers.remember

  def dies(folder, files):
    if any(not of.pending for of in files.values()):
      raise KeyboardInterrupt
    remember(folder, files)

  monkeypatch.setattr(transfers, 'remember', dies)
  with pytest.raises(KeyboardInterrupt):
    sent(tmp_path / 'a', place, log='1 2', new='n')
  with pytest.raises(KeyboardInterrupt):
    fetched(tmp_path / 'b', place)
  monkeypatch.setattr(transfers, 'remember', remember)
  sent(tmp_path / 'a', place, log='1 2 3')
  assert fetched(tmp_path / 'b', place) == {'log': '1 2 3', 'new': 'n'}


def test_a_mirror_that_is_removed_removes_nothing_in_the_bucket(tmp_path, place):
  sent(tmp_path / 'a', place, one='1', two='2')
  with buckets.machine(tmp_path / 'a'):
    for path in pathlib.Path(remote.local(place)).iterdir():
      path.unlink()
    remote.send(remote.local(place), delete=False)
    os.rmdir(remote.local(place))
    remote.send(remote.local(place))
  assert fetched(tmp_path / 'a', place) == {'one': '1', 'two': '2'}


def test_a_file_that_is_cut_off_or_vanishes_is_told_by_its_address(tmp_path, place, monkeypatch):
  sent(tmp_path / 'a', place, whole='1', shard='all of it')
  call = stores.call

  def cut(name, method, *arguments, **options):
    result = call(name, method, *arguments, **options)
    if method == 'get_file' and name.endswith('shard'):
      os.truncate(arguments[0], 3)
    return result

  def vanishes(name, method, *arguments, **options):
    if method == 'get_file' and name.endswith('shard'):
      call(name, 'rm_file')
    return call(name, method, *arguments, **options)

  for fault, words in ((cut, '3 bytes came, 9 expected: it was cut off'), (vanishes, 'FileNotFoundError')):
    monkeypatch.setattr(stores, 'call', fault)
    with pytest.raises(BucketError, match=f'^{re.escape(place)}/shard: cannot be read .*{words}'):
      fetched(tmp_path / 'b', place)
  monkeypatch.setattr(stores, 'call', call)
  with buckets.machine(tmp_path / 'b'):
    assert 'shard' not in read(place)
  assert fetched(tmp_path / 'b', place) == {'whole': '1'}


def test_a_bucket_that_is_lost_ends_a_command_with_the_place_of_the_local_copy(tmp_path, place, monkeypatch, capsys):
  def lost(name, method, *arguments, **options):
    raise ConnectionError('no route to host\nand more')

  with buckets.machine(tmp_path / 'a'):
    with pytest.raises(SystemExit, match='69'), cli.one_line(), cli._sent():
      folder = cli.argument(place)
      write(place, run='1')
      monkeypatch.setattr(stores, 'call', lost)
    assert capsys.readouterr().err == (
      f'error: {place}: cannot be read (ConnectionError: no route to host); nothing is lost: the local copy is '
      f'{folder}; mend that and run the same command again\n'
    )
    monkeypatch.undo()
  with buckets.machine(tmp_path / 'a'):
    with cli.one_line(), cli._sent():
      cli.argument(place)  # the same command
  assert fetched(tmp_path / 'b', place) == {'run': '1'}


def test_no_such_bucket(tmp_path, bucket):
  absent = f'{bucket}-that-is-absent/run'
  with pytest.raises(BucketError, match=f'^{absent}: cannot be read .*check the name, the credentials'):
    fetched(tmp_path, absent)


def test_a_config_has_addresses_and_paths_are_of_the_machine(tmp_path):
  with buckets.machine(tmp_path):
    assert remote.local('S3://b/x/') == f'{tmp_path}/s3/b/x' and remote.named(f'{tmp_path}/s3/b/x') == 's3://b/x'
    for path in ('/data', 'data', f'{tmp_path}', f'{tmp_path}/s3', f'{tmp_path}/locks/x', ''):
      assert remote.named(path) == path
    assert remote.in_words(f'{tmp_path}/gs/b/x.csv: bad') == 'gs://b/x.csv: bad'
    assert remote.named(cli.path('gs://b/a b')) == 'gs://b/a b'


@pytest.mark.parametrize(
  'address',
  ['http://x/y', 'ftp://x', 'file:///x', 'file:/x', 'gs:/b/x', 'abfs+x://b', 's3://', 's3://b//x', 'gs://b/../x'],
)
def test_what_is_no_address_of_a_bucket_is_refused(address):
  with pytest.raises(UserError, match=f'^{re.escape(address)}: .*; ?.*|expected .*gs://BUCKET'):
    cli.path(address)


def test_the_extra_is_named_where_it_lacks(tmp_path, monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, 's3fs', None)
  stores.library.cache_clear()
  with buckets.machine(tmp_path), pytest.raises(SystemExit, match='64'), cli.one_line():
    cli.argument('s3://bucket/run')
  assert capsys.readouterr().err == "error: s3fs: not installed; `pip install 'e2e_affect[remote]'` brings it\n"


def test_processes_of_one_machine_fetch_once(tmp_path, place, monkeypatch, capfd):
  sent(tmp_path / 'a', place, shard='s')
  begun, got, call = threading.Event(), [], stores.call

  def slow(name, method, *arguments, **options):
    if method == 'get_file':
      got.append(name)
      begun.set()
      time.sleep(0.5)
    return call(name, method, *arguments, **options)

  monkeypatch.setattr(stores, 'call', slow)
  with buckets.machine(tmp_path / 'b'):
    first = threading.Thread(target=remote.fetch, args=[remote.local(place)])
    first.start()
    assert begun.wait(20)
    remote.fetch(remote.local(place))
    assert read(place) == {'shard': 's'} and got == [f'{place}/shard']
    first.join()
  assert f'{place}: another process transfers it; waiting' in capfd.readouterr().err


def test_what_another_process_sends_meanwhile_is_not_fetched_over_it(tmp_path, place, monkeypatch):
  sent(tmp_path / 'a', place, run__log='1', run__new='1')
  listed = remote._there

  def late(root, advice):
    monkeypatch.setattr(remote, '_there', listed)
    there = listed(root, advice)
    write(f'{place}/run', log='1 2')
    remote.send(remote.local(f'{place}/run'))
    return there

  with buckets.machine(tmp_path / 'a'):
    file = os.stat(remote.local(f'{place}/run/log')).st_ino
    monkeypatch.setattr(remote, '_there', late)
    remote.fetch(remote.local(place))
    assert read(f'{place}/run') == {'log': '1 2', 'new': '1'}
    assert os.stat(remote.local(f'{place}/run/log')).st_ino == file


def test_a_command_sends_what_it_changed_and_deletes_nothing_where_it_fails(tmp_path, place, capsys):
  sent(tmp_path / 'a', place, old='1', run='1')
  with buckets.machine(tmp_path / 'b'):
    with pytest.raises(SystemExit, match='64'), cli.one_line(), cli._sent():
      folder = cli.argument(place)
      write(place, old=None, run='1 2')
      raise UserError(f'{folder}/run: a fault of the user')
    assert capsys.readouterr().err.endswith(f'\nerror: {place}/run: a fault of the user\n')
  assert fetched(tmp_path / 'c', place) == {'old': '1', 'run': '1 2'}


PROGRAM = """
import pathlib, sys, time
from absl import flags
from data_prep.core import bucket, cli, signals
signals.DEADLINE_SECONDS = 0.2
call = bucket.call
def slow(name, method, *arguments, **options):
  time.sleep(method == 'put_file')
  return call(name, method, *arguments, **options)
def main():
  bucket.call = slow
  (pathlib.Path(flags.FLAGS.out) / 'made').write_text('whole')
  print('begun', flush=True)
  time.sleep(60)
sys.modules['__main__'].__doc__ = ''
cli.run(main, lambda: cli.define_path('out', None, 'A path.'))
"""


def test_after_sigterm_a_command_sends_to_the_end(tmp_path, place):
  sent(tmp_path / 'a', place, there='1')
  environment = {**os.environ, remote.CACHE: str(tmp_path / 'b'), 'PYTHONPATH': os.getcwd()}
  child = subprocess.Popen(
    [sys.executable, '-c', PROGRAM, f'--out={place}'],
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  assert child.stdout.readline() == 'begun\n'
  child.send_signal(signal.SIGTERM)
  _, err = child.communicate(timeout=300)
  assert child.returncode == 143, err
  assert '\nsending what was changed; Ctrl-C again stops at once' in err and '\nstopped by SIGTERM: ' in err
  assert fetched(tmp_path / 'c', place) == {'there': '1', 'made': 'whole'}
