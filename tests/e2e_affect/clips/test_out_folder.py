"""The folder of results: nothing in it is lost to another clip, to a fault of the surroundings, or to another run."""

import errno
import fcntl
import json
import os
import pathlib
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import soundfile

from data_prep.core.errors import DataError, DiskFullError, LockedError, WorkdirError
from e2e_affect.clips import analyse, clip_csv, exported, out_folder
from tests.networks import small_network

ROOT = pathlib.Path(__file__).resolve().parents[3]


def noise(path, seed=0, seconds=0.5):
  path.parent.mkdir(parents=True, exist_ok=True)
  soundfile.write(path, np.random.default_rng(seed).normal(0, 0.1, round(16_000 * seconds)), 16_000)
  return path


def run(out, *arguments, **options):
  return [
    content['clip'] for content in analyse.analyse(small_network('speech'), [str(a) for a in arguments], out, **options)
  ]


def files(out):
  """Path -> content, of all but the index."""
  return {
    str(path.relative_to(out)): path.read_bytes()
    for path in sorted(out.rglob('*'))
    if path.is_file() and path.name not in ('index.html', 'rejects.jsonl')
  }


def rejects(out):
  path = out / 'rejects.jsonl'
  return {row['clip']: row['reason'] for row in map(json.loads, path.read_text().splitlines())} if path.exists() else {}


def test_two_files_of_one_name_keep_a_result_each(tmp_path, capsys):
  x, y, out = noise(tmp_path / 'x' / 'talk.wav', 1), noise(tmp_path / 'y' / 'talk.wav', 2), tmp_path / 'out'
  assert run(out, x) == ['talk']
  first = files(out)
  assert run(out, y) == ['talk_2']
  assert f'{y}: named talk_2: talk is of {x}' in capsys.readouterr().out
  assert first.items() <= files(out).items()
  for name, source in (('talk', x), ('talk_2', y)):
    content = json.loads((out / f'{name}.json').read_text())
    assert content['files'] == {'video': str(source)} and content['content']['video']['bytes'] == source.stat().st_size
    assert (out / 'media' / f'{name}.wav').read_bytes() == source.read_bytes()
  # The same names each time, in whatever order and company.
  assert run(out, y) == ['talk_2'] and run(out, y, x) == ['talk_2', 'talk'] and run(out, tmp_path / 'x') == ['talk']
  assert set(files(out)) == {f'{name}.{end}' for name in ('talk', 'talk_2') for end in ('csv', 'json', 'html')} | {
    'media/talk.wav',
    'media/talk_2.wav',
  }
  index = (out / 'index.html').read_text()
  assert 'href="talk.html"' in index and 'href="talk_2.html"' in index


def test_another_recording_under_the_same_path_gets_another_name(tmp_path, capsys):
  talk, out = noise(tmp_path / 'card' / 'talk.wav', 1), tmp_path / 'out'
  assert run(out, talk) == ['talk']
  first = files(out)
  os.utime(talk, (1, 1))  # the time alone: the same recording
  assert run(out, talk) == ['talk']
  talk.unlink()
  noise(talk, 2)
  assert run(out, talk) == ['talk_2'] == run(out, talk)
  assert f'named talk_2: talk is of what {talk} held before' in capsys.readouterr().out
  assert files(out)['media/talk.wav'] == first['media/talk.wav']


def test_a_source_that_is_away_or_damaged_keeps_its_result(tmp_path):
  talk, out = noise(tmp_path / 'drive' / 'talk.wav'), tmp_path / 'out'
  run(out, talk)
  first = files(out)
  talk.parent.rename(tmp_path / 'away')
  with pytest.raises(DataError, match='not found.*; the earlier result of it stays: talk.html'):
    run(out, talk)
  assert files(out) == first and list(rejects(out)) == ['talk']
  (tmp_path / 'away').rename(talk.parent)
  talk.unlink()
  talk.write_bytes(b'damaged')
  with pytest.raises(DataError, match='not readable.*; the earlier result of it stays: talk.html'):
    run(out, talk)
  other = noise(tmp_path / 'other' / 'talk.wav', 3)
  other.write_bytes(b'no sound')
  with pytest.raises(DataError, match='not readable'):
    run(out, other)
  assert files(out) == first and list(rejects(out)) == ['talk_2', 'talk_3']
  other.unlink()
  noise(other, 3)
  assert run(out, other) == ['talk_3']  # what is mended is no reject any more
  assert list(rejects(out)) == ['talk_2']


def test_results_of_earlier_versions_are_known_by_their_paths(tmp_path):
  x, y, out = noise(tmp_path / 'x' / 'talk.wav', 1), noise(tmp_path / 'y' / 'talk.wav', 2), tmp_path / 'out'
  run(out, x)
  content = json.loads((out / 'talk.json').read_text())
  del content['content']
  content['files'] = {'video': os.path.relpath(x)}  # as it was given
  (out / 'talk.json').write_text(json.dumps(content))
  assert run(out, y) == ['talk_2'] and run(out, x) == ['talk']
  # A table that no JSON explains is never written over.
  (out / 'talk.json').unlink()
  assert run(out, noise(tmp_path / 'z' / 'talk.wav', 3)) == ['talk_3']


def test_a_file_given_twice_is_analysed_once(tmp_path, capsys):
  talk = noise(tmp_path / 'talk.wav')
  (tmp_path / 'link').symlink_to(tmp_path)
  assert len(run(tmp_path / 'out', talk, talk, tmp_path / 'link' / 'talk.wav')) == 1
  assert capsys.readouterr().out.count('given twice') == 2


@pytest.mark.parametrize('embed', [False, True])
def test_a_full_disk_ends_the_run_and_leaves_the_earlier_results(tmp_path, embed, monkeypatch):
  talk, next_one, out = noise(tmp_path / 'talk.wav', 1), noise(tmp_path / 'next.wav', 2), tmp_path / 'out'
  run(out, talk, embed=embed)
  first = files(out)
  soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (9000, hard))
  try:
    with pytest.raises(DiskFullError, match='no space left'):
      run(out, talk, next_one, embed=embed)
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
  assert files(out) == first and not rejects(out) and not list(out.glob('.*'))

  def away(*_, **__):  # the output's drive
    raise OSError(errno.EIO, 'Input/output error')

  monkeypatch.setattr(clip_csv, 'write', away)
  with pytest.raises(DataError):  # the folder can be written: so it was the clip
    run(out, next_one)
  monkeypatch.setattr(os, 'fsync', away)
  with pytest.raises(WorkdirError, match='out: cannot be written'):
    run(out, next_one)
  assert files(out) == first and list(rejects(out)) == ['next']


def test_a_second_analysis_of_a_folder_is_refused_and_a_dead_one_s_leavings_go(tmp_path):
  talk, out = noise(tmp_path / 'talk.wav'), tmp_path / 'out'
  with out_folder.held(out):
    with pytest.raises(LockedError, match=f'out: in use by process {os.getpid()} on .*; wait for it'):
      run(out, talk)
  (out / '.predict-abc').mkdir()
  (out / '.predict-abc' / 'sound').write_bytes(b'half')
  (out / '.predict-lock').write_text('process 1 on another\n')  # of a killed one: nobody holds it
  run(out, talk)
  assert not list(out.glob('.*'))
  # Whoever waits for the file of one that ends must not hold a file that is gone.
  with open(out / '.predict-lock', 'a', encoding='utf-8') as gone:
    fcntl.flock(gone, fcntl.LOCK_EX)
    (out / '.predict-lock').unlink()
    with out_folder.held(out):
      assert (out / '.predict-lock').is_file()


def test_the_index_and_the_rejects_hold_what_earlier_runs_left(tmp_path):
  out = tmp_path / 'out'
  run(out, noise(tmp_path / 'a.wav', 1))
  assert not (out / 'index.html').exists()
  (tmp_path / 'bad.wav').write_bytes(b'bad')
  with pytest.raises(DataError):
    run(out, noise(tmp_path / 'b.wav', 2), tmp_path / 'bad.wav')
  run(out, noise(tmp_path / 'c.wav', 3))
  index = (out / 'index.html').read_text()
  assert all(f'href="{name}.html"' in index for name in 'abc') and index.count('<svg') == 6
  assert 'bad.wav: not readable' in index and list(rejects(out)) == ['bad']
  # A single clip needs no index, and so may lie beside somebody else's.
  (out / 'index.html').write_text('mine')
  run(out, tmp_path / 'a.wav')
  assert (out / 'index.html').read_text() == 'mine'
  with pytest.raises(WorkdirError, match='index.html: is there already'):
    run(out, tmp_path / 'a.wav', tmp_path / 'b.wav')


def test_embedded_pages_take_their_copy_away_and_files_without_suffix_get_one(tmp_path):
  out = tmp_path / 'out'
  talk = noise(tmp_path / 'talk.wav')
  bare = talk.rename(tmp_path / 'talk')
  run(out, bare)
  assert (out / 'media' / 'talk.wav').is_file()
  run(out, bare, embed=True)
  assert not (out / 'media' / 'talk.wav').exists()
  assert 'id="embedded" data-type="audio/x-wav"' in (out / 'talk.html').read_text()


def test_a_name_that_is_no_utf_8_is_analysed_like_any_other(tmp_path):
  out, folder = tmp_path / 'out', tmp_path / 'in'
  noise(folder / 'ok.wav', 1)
  odd = os.fsdecode(os.fsencode(folder) + b'/caf\xe9.wav')
  os.rename(noise(folder / 'x.wav', 2), odd)
  assert sorted(run(out, folder)) == ['caf_', 'ok']
  assert json.loads((out / 'caf_.json').read_text())['files']['video'] == odd
  os.unlink(odd)
  pathlib.Path(odd).write_bytes(b'bad')
  with pytest.raises(DataError):
    run(out, folder)
  assert run(out, folder / 'ok.wav') == ['ok'] and list(rejects(out)) == ['caf__2']


@pytest.mark.slow
@pytest.mark.parametrize(
  'number, code', [pytest.param(signal.SIGINT, 130, marks=pytest.mark.long), (signal.SIGTERM, 143)]
)
def test_a_signal_ends_prediction_without_leavings_and_the_same_command_goes_on(tmp_path, number, code):
  network = small_network('speech')
  exported.save(network, tmp_path / 'net')
  clips = [noise(tmp_path / f'{i}.wav', i, 60) for i in range(4)]
  command = [
    sys.executable,
    '-m',
    'e2e_affect.predict',
    f'--checkpoint={tmp_path / "net"}',
    f'--out={tmp_path / "out"}',
    *map(str, clips),
  ]
  environment = {**os.environ, 'XLA_FLAGS': '', 'PYTHONUNBUFFERED': '1'}
  child = subprocess.Popen(
    command,
    cwd=ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
  )
  while not child.stdout.readline().startswith('0: 60.00 s'):
    assert child.poll() is None, child.stderr.read()
  time.sleep(0.3)  # into the next clip
  child.send_signal(number)
  _, errors = child.communicate(timeout=60)
  assert (
    child.returncode == code and 'Traceback' not in errors and 'the same command goes on' in errors.splitlines()[-1]
  )
  assert not list((tmp_path / 'out').glob('.*'))
  kept = files(tmp_path / 'out')['0.csv']
  assert subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True).returncode == 0
  assert files(tmp_path / 'out')['0.csv'] == kept and len(list((tmp_path / 'out').glob('*.csv'))) == 4
