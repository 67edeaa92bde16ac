import contextlib
import errno
import hashlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import av
import numpy as np
import pytest
import soundfile

from data_prep.core.errors import DataError, DiskFullError, UserError, WorkdirError
from data_prep.corpora import splits
from data_prep.simulate import corpus

SUBJECTS, SECONDS, SEED = 12, 20, 0


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  out = tmp_path_factory.mktemp('simulated') / 'corpus'
  corpus.simulate(out, SUBJECTS, SECONDS, SEED, 2)
  return out


def _sums(out):
  return {
    str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted(out.rglob('*'))
    if path.is_file()
  }


def test_partitions():
  counts = {partition: len(ids) for partition, ids in corpus.subject_ids(28).items()}
  assert counts == {'train': 16, 'validation': 6, 'test': 6}  # 28 · 4/7, 28 · 1.5/7
  assert corpus.subject_ids(46) == splits.RECOLA_FULL
  for subjects in range(3, 47):
    ids = corpus.subject_ids(subjects)
    assert sum(map(len, ids.values())) == subjects and min(map(len, ids.values())) >= 1
    for partition, some in ids.items():
      assert some == splits.RECOLA_FULL[partition][: len(some)]
  for subjects in (2, 47):
    with pytest.raises(UserError, match=f'--subjects={subjects}: expected 3 to 46'):
      corpus.subject_ids(subjects)
  assert corpus.subject_ids(27, 'avec2016') == splits.RECOLA_AVEC
  with pytest.raises(UserError, match='--subjects=28: expected 3 to 27, one for each partition up to all of AVEC 2016'):
    corpus.subject_ids(28, 'avec2016')


def test_split_lists_are_recolas():
  # RECOLA's ids: 13–26, 28, 30, 32, 34, 37–60 and 62–65.
  ids = {f'P{n}' for n in (*range(13, 27), 28, 30, 32, 34, *range(37, 61), *range(62, 66))}
  full, avec = splits.RECOLA_FULL, splits.RECOLA_AVEC
  assert [len(full[p]) for p in ('train', 'validation', 'test')] == [16, 15, 15]
  assert set().union(*full.values()) == ids
  assert [len(avec[p]) for p in ('train', 'validation', 'test')] == [9, 9, 9]
  assert all(set(avec[p]) <= set(full[p]) for p in avec)


@pytest.mark.slow
def test_layout(folder):
  ids = [subject for partition in corpus.subject_ids(SUBJECTS).values() for subject in partition]
  expected = {'simulation.json'}
  for subject in ids:
    expected |= {
      f'RECOLA-Annotation/emotional_behaviour/arousal/{subject}.csv',
      f'RECOLA-Annotation/emotional_behaviour/valence/{subject}.csv',
      f'RECOLA-Audio-recordings/{subject}.wav',
      f'RECOLA-Video-recordings/{subject}.mp4',
      f'RECOLA-Audio_timings/{subject}.csv',
      f'RECOLA-Face_boxes/{subject}.csv',
      f'RECOLA-Biosignals-recordings/{subject}.csv',
    }
  expected.remove('RECOLA-Biosignals-recordings/P17.csv')  # who wore no sensor
  assert set(_sums(folder)) == expected


@pytest.mark.slow
def test_tables(folder):
  files = corpus.files(folder, 'P25')
  lines = files['arousal'].read_text().splitlines()
  assert lines[0] == 'time;FM1 ;FM2 ;FM3 ;FF1 ;FF2 ;FF3'
  assert len(lines) == 1 + SECONDS * 25 + 1
  assert lines[1].startswith('0.00;') and lines[-1].startswith('20.00;')
  np.testing.assert_array_equal(
    np.loadtxt(files['valence'], delimiter=';', skiprows=1)[:, 1:], corpus.ratings('P25', SECONDS, SEED, 'valence')
  )
  turns = files['turns'].read_text().splitlines()
  assert turns[0] == 'start;stop' and len(turns) > 4
  box = files['box'].read_text().splitlines()
  assert box[0] == 'x;y;width;height'
  x, y, width, height = map(int, box[1].split(';'))
  assert 0 <= x and x + width <= 320 and 0 <= y and y + height <= 240 and width == height and 90 < width < 125


@pytest.mark.slow
def test_media(folder):
  files = corpus.files(folder, 'P54')
  samples, rate = soundfile.read(files['audio'], dtype='int16')
  assert rate == 44_100 and samples.shape == (SECONDS * 44_100,)
  assert soundfile.info(str(files['audio'])).subtype == 'PCM_16'
  np.testing.assert_array_equal(samples, corpus.speech('P54', SECONDS, SEED).samples)
  with av.open(str(files['video'])) as container:
    video = container.streams.video[0]
    assert (video.codec_context.name, video.width, video.height, video.average_rate) == ('h264', 320, 240, 25)
    times = [frame.time for frame in container.decode(video=0)]
  np.testing.assert_allclose(times, np.arange(SECONDS * 25) / 25)
  with av.open(str(files['video'])) as container:
    assert container.streams.audio[0].codec_context.name == 'flac'
    frames = list(container.decode(audio=0))
  assert frames[0].time == 0
  # The sound track is the wav, so that predicting the video alone is predicting the recording.
  np.testing.assert_array_equal(np.concatenate([frame.to_ndarray()[0] for frame in frames]), samples)


@pytest.mark.slow
def test_again_with_other_processes_gives_the_same_bytes(folder, tmp_path):
  corpus.simulate(tmp_path / 'a', 3, SECONDS, SEED, 1)
  mine, theirs = _sums(tmp_path / 'a'), _sums(folder)
  mine.pop('simulation.json')
  assert len(mine) == 3 * 7
  assert mine == {name: theirs[name] for name in mine}
  corpus.simulate(tmp_path / 'b', 3, 4, SEED + 1, 1)
  other = np.loadtxt(corpus.files(tmp_path / 'b', 'P25')['arousal'], delimiter=';', skiprows=1)
  first = np.loadtxt(corpus.files(folder, 'P25')['arousal'], delimiter=';', skiprows=1)[: len(other)]
  assert np.abs(other - first).max() > 0.1  # another seed, other data


def test_rerun_makes_only_what_is_missing(tmp_path, capsys):
  out = tmp_path / 'corpus'
  corpus.simulate(out, 3, 4, 5, 1)
  before, times = _sums(out), {path: path.stat().st_mtime_ns for path in out.rglob('*.wav')}
  lost = corpus.files(out, 'P14')['video']
  lost.unlink()
  capsys.readouterr()
  corpus.simulate(out, 3, 4, 5, 2)
  assert '3 subjects of 4 s, 1 of them made now' in capsys.readouterr().out
  assert _sums(out) == before
  changed = [path.stem for path, time in times.items() if path.stat().st_mtime_ns != time]
  assert changed == ['P14']


def test_refuses_to_mix(tmp_path):
  corpus.simulate(tmp_path / 'corpus', 3, 4, 5, 1)
  before = _sums(tmp_path / 'corpus')
  for subjects, seconds, seed in ((4, 4, 5), (3, 5, 5), (3, 4, 6)):
    with pytest.raises(DataError, match=r'simulation\.json: made with other parameters'):
      corpus.simulate(tmp_path / 'corpus', subjects, seconds, seed, 1)
  assert _sums(tmp_path / 'corpus') == before
  (tmp_path / 'other').mkdir()
  (tmp_path / 'other' / 'thesis.tex').write_text('years of work')
  with pytest.raises(DataError, match='no simulated corpus'):
    corpus.simulate(tmp_path / 'other', 3, 4, 5, 1)
  for name, arguments in (('seconds', (3, 3, 5, 1)), ('seed', (3, 4, -1, 1)), ('jobs', (3, 4, 5, 0))):
    with pytest.raises(UserError, match=f'--{name}='):
      corpus.simulate(tmp_path / 'new', *arguments)


@pytest.mark.parametrize('number,error', [(errno.ENOSPC, DiskFullError), (errno.EACCES, WorkdirError)])
def test_a_file_is_whole_or_not_there(tmp_path, monkeypatch, number, error):
  write_bytes = pathlib.Path.write_bytes

  def write(path, content):
    if path.suffixes[:1] == ['.mp4']:
      write_bytes(path, content[:99])
      raise OSError(number, 'as if')
    write_bytes(path, content)

  monkeypatch.setattr(pathlib.Path, 'write_bytes', write)
  with pytest.raises(error, match=r'P25\.mp4'):
    corpus.simulate(tmp_path / 'corpus', 3, 4, 5, 1)
  assert list((tmp_path / 'corpus' / 'RECOLA-Video-recordings').iterdir()) == []


def test_a_folder_whose_name_is_no_utf_8_holds_the_same_bytes(tmp_path):
  made = []
  for name in ('coffee', 'caf\udce9'):
    corpus._make(tmp_path / name, 'P14', 2, 5)
    made.append(_sums(tmp_path / name))
  assert len(made[0]) == 7 and made[0] == made[1]


@pytest.mark.slow
def test_command(tmp_path):
  def run(*arguments):
    return subprocess.run([sys.executable, '-m', 'data_prep.simulate', *arguments], capture_output=True, text=True)

  done = run(f'--out={tmp_path / "new"}', '--subjects=3', '--seconds=4', '--seed=5', '--jobs=2')
  assert done.returncode == 0, done.stderr
  assert done.stderr == ''  # no bar where nobody looks
  assert json.loads((tmp_path / 'new' / 'simulation.json').read_text())['subjects'] == ['P25', 'P14', 'P54']
  refused = run(f'--out={tmp_path / "new"}', '--subjects=2')
  assert refused.returncode == 64
  assert refused.stderr.splitlines() == [
    'error: --subjects=2: expected 3 to 46, one for each partition up to all of RECOLA'
  ]


def _processes(mark):
  """Pids of the processes that were started with this mark in their environment."""
  found = []
  for folder in pathlib.Path('/proc').glob('[0-9]*'):
    with contextlib.suppress(OSError):
      if mark.encode() in (folder / 'environ').read_bytes():
        found.append(int(folder.name))
  return found


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir('/proc/self'), reason='needs /proc')
@pytest.mark.parametrize('number, code', [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_processes_end_with_their_parent_and_leave_no_files(tmp_path, number, code):
  mark = f'MARK_OF_A_TEST={tmp_path}'
  out = tmp_path / 'corpus'
  child = subprocess.Popen(
    [sys.executable, '-m', 'data_prep.simulate', f'--out={out}', '--subjects=9', '--seconds=60', '--jobs=2'],
    env={**os.environ, 'MARK_OF_A_TEST': str(tmp_path)},
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
    start_new_session=True,
    preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
  )
  deadline = time.monotonic() + 60
  while not list(out.rglob('*.wav')) and time.monotonic() < deadline:  # then its video is drawn, which takes seconds
    time.sleep(0.02)
  for _ in range(2 if number == signal.SIGINT else 1):  # Ctrl-C reaches the whole group; twice ends at once, too
    (os.killpg if number == signal.SIGINT else os.kill)(child.pid, number)
    time.sleep(0.1)
  _, err = child.communicate(timeout=30)
  deadline = time.monotonic() + 10
  while _processes(mark) and time.monotonic() < deadline:
    time.sleep(0.05)
  assert child.returncode == code and not _processes(mark)
  # Of a parent that is killed the workers are, too; what they had half written is swept by the next run.
  assert (code < 0 or not list(out.rglob('*.tmp'))) and len(list(out.rglob('*.mp4'))) < 9
  assert err == (
    '' if code < 0 else f'stopped by {signal.Signals(number).name}: what is done is kept, the same command goes on\n'
  )


# It must need learning.


def _ccc(x, y):
  return 2 * np.mean((x - x.mean()) * (y - y.mean())) / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def _steps(folder, subject):
  """Per step of 40 ms, from the files alone: RMS of the normalised audio, mean pixel of the frame, gold standard."""
  files = corpus.files(folder, subject)
  samples, _ = soundfile.read(files['audio'])
  samples = (samples - samples.mean()) / samples.std()
  rms = np.sqrt(np.mean(samples.reshape(-1, 1764) ** 2, axis=1))
  with av.open(str(files['video'])) as container:
    pixel = [frame.to_ndarray(format='gray').mean() for frame in container.decode(video=0)]
  gold = [np.loadtxt(files[target], delimiter=';', skiprows=1)[1:, 1:].mean(axis=1) for target in corpus.TARGETS]
  return np.stack([rms, pixel], axis=1), np.stack(gold, axis=1)


def _best_ridge(train, validation):
  """Validation CCC [2] of ridge regression, its strength chosen on validation too: all the luck it can have."""
  x, y = (np.concatenate(part) for part in zip(*train))
  x_new, y_new = (np.concatenate(part) for part in zip(*validation))
  mean, std = x.mean(axis=0), x.std(axis=0)
  x, x_new = (x - mean) / std, (x_new - mean) / std
  scores = []
  for strength in (0, 1, 10, 100, 1000):
    weights = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ (y - y.mean(axis=0)))
    guess = x_new @ weights + y.mean(axis=0)
    scores.append([_ccc(guess[:, k], y_new[:, k]) for k in range(2)])
  return np.max(scores, axis=0)


@pytest.mark.slow
def test_step_by_step_regression_is_not_enough(folder):
  ids = corpus.subject_ids(SUBJECTS)
  train, validation = ([_steps(folder, subject) for subject in ids[part]] for part in ('train', 'validation'))
  arousal, valence = _best_ridge(train, validation)
  assert arousal < 0.5 and valence < 0.5

  # But there is something to learn: loudness over the past two seconds, for one, tells arousal (not valence).
  def past(trace):
    weights = 0.98 ** np.arange(150)
    weights /= weights.sum()
    return np.convolve(np.concatenate([np.full(150, trace[0]), trace]), weights)[150:][: len(trace)]

  smoothed = [[(past(np.log(x[:, 0] + 0.02))[:, None], y) for x, y in part] for part in (train, validation)]
  arousal, valence = _best_ridge(*smoothed)
  assert arousal > 0.55 and valence < 0.35
