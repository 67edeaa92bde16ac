"""Rows 12, 14 to 19, 23 to 26 and 28: files that nobody should trust, prepared by the command as a user runs it."""

import json
import os
import random
import shutil
import signal
import sys

import numpy as np
import pytest
import soundfile

from data_prep.schema.manifest import MANIFEST, Manifest
from data_prep.shards import read, verify
from tests import clips, trainings
from tests.faults import corpus, driver

KILLS = int(os.environ.get('KILLS', '2'))


def command(source, out, *more):
  """Of a preparation."""
  return [
    sys.executable,
    '-m',
    'data_prep.prepare',
    '--corpus=csv',
    f'--source={source}',
    f'--out={out}',
    '--jobs=2',
    *more,
  ]


@pytest.fixture(scope='module')
def faulty(tmp_path_factory):
  """The faulty corpus, prepared: out, what the command said, reasons of those refused, reasons that are expected."""
  folder = tmp_path_factory.mktemp('faulty')
  source, expected = corpus.write(folder)
  out = folder / 'out'
  done = trainings.run(command(source, out))
  rejects = [json.loads(line) for line in (out / 'rejects.jsonl').read_text().splitlines()]
  return out, done, {row['recording']: row['reason'] for row in rejects}, expected


def values(out, recording, name):
  """A field of all steps of a recording."""
  manifest = Manifest.read(out)
  (shard,) = (shard for shard in manifest.shards if shard.recording == recording)
  records = list(read.read_shard(out / shard.file, manifest))
  if name in ('label', 'label_mask', 'valid'):
    return np.concatenate([getattr(record, name) for record in records])
  return np.concatenate([np.atleast_1d(record.values[name]).ravel() for record in records])


def is_refused(faulty, *names):
  """Asserts that recordings are refused, each with its own reason in one line."""
  _, _, refused, expected = faulty
  for name in names:
    assert expected[name] in refused[name] and '\n' not in refused[name], refused.get(name)


@pytest.mark.slow
def test_the_faulty_are_refused_and_the_others_prepared(faulty):
  out, done, refused, expected = faulty
  assert done.returncode == 65 and 'Traceback' not in done.stderr + done.stdout, done.stderr
  assert trainings.last_line(done).startswith(f'error: {len(refused)} of ') and '--allow_rejects' in done.stderr
  prepared = {shard.recording for shard in Manifest.read(out).shards}
  assert {name for name in refused if not name.startswith('mutated')} == set(expected)
  assert 'good' in prepared and prepared.isdisjoint(refused) and verify.verify(out) == []
  assert '  half: the lengths differ' in done.stdout and 'real time' in done.stdout


@pytest.mark.slow
def test_row_12_sound_that_is_no_number_is_refused(faulty):
  is_refused(faulty, 'nan', 'inf')


@pytest.mark.slow
def test_row_14_silence_is_prepared_and_finite(faulty):
  out = faulty[0]
  assert not values(out, 'silent', 'audio').any() and (values(out, 'silent', 'audio_std') == 0).all()
  assert values(out, 'silent', 'label_mask').sum() == 25


@pytest.mark.slow
def test_row_15_a_recording_without_a_face_is_refused(faulty):
  is_refused(faulty, 'noise')


@pytest.mark.slow
def test_row_16_a_tone_stays_a_tone_whatever_it_is_stored_as(faulty):
  for rate in (44_100, 22_050, 96_000):
    sound = values(faulty[0], f'tone_{rate}', 'audio').astype(float)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))))
    assert len(sound) == 16_000 and np.argmax(spectrum) == 440  # a bin is 1 Hz
    assert np.abs(sound).max() == pytest.approx(16_384, rel=0.02)


@pytest.mark.slow
def test_row_17_empty_header_only_and_truncated_files_are_refused(faulty):
  is_refused(faulty, 'empty', 'header', 'cut', 'absent')


@pytest.mark.slow
def test_row_18_lengths_that_differ_are_refused_with_the_numbers_or_cut_within_a_step(faulty):
  is_refused(faulty, 'half')
  assert values(faulty[0], 'longer', 'valid').sum() == 25


@pytest.mark.slow
def test_row_19_label_files_are_refused_with_file_and_line_or_read_whatever_their_dialect(faulty):
  is_refused(faulty, 'range', 'other', 'bare', 'hole', 'order', 'twice')
  np.testing.assert_array_equal(values(faulty[0], 'dialect', 'label'), values(faulty[0], 'good', 'label'))


@pytest.mark.long
@pytest.mark.parametrize('path', ['../secret.wav', 'link.wav'])
def test_row_23_a_path_or_a_link_out_of_the_folder_is_refused_and_nothing_opened(tmp_path, path):
  folder = tmp_path / 'source'
  folder.mkdir()
  soundfile.write(tmp_path / 'secret.wav', clips.tone(1, 16_000), 16_000)
  os.symlink(tmp_path / 'secret.wav', folder / 'link.wav')
  (folder / 'manifest.csv').write_text(f'{corpus.COLUMNS}\na,A,train,,{path},\n')
  done = trainings.run(command(folder / 'manifest.csv', tmp_path / 'out'))
  assert (
    done.returncode == 65 and f'{path} leads out of' in trainings.last_line(done) and 'Traceback' not in done.stderr
  )
  assert not (tmp_path / 'out').exists()


@pytest.mark.slow
def test_row_24_an_image_of_20000_by_20000_is_refused_before_it_is_decoded(faulty):
  is_refused(faulty, 'bomb')


@pytest.mark.slow
def test_row_25_damaged_clips_are_rows_of_the_rejects_and_the_batch_goes_on(faulty):
  out, _, refused, _ = faulty
  prepared = {shard.recording for shard in Manifest.read(out).shards}
  names = {f'mutated{k}' for k in range(corpus.MUTATED)}
  assert names <= prepared | set(refused) and names & set(refused)


@pytest.mark.long
def test_row_25_a_worker_that_is_killed_costs_no_recording(tmp_path):
  source = sounds(tmp_path, 4, seconds=60)
  struck = []

  def kill_a_worker(child):
    struck.extend(driver.of_session(child.pid)[-1:])  # the youngest
    os.kill(struck[0], signal.SIGKILL)

  at_work = lambda _: any((tmp_path / 'out').rglob('.*.tmp'))
  end = driver.strike(command(source, tmp_path / 'out'), at_work, kill_a_worker, tmp_path)
  assert end.code == 0 and struck, end.log
  assert len(Manifest.read(tmp_path / 'out').shards) == 4 and verify.verify(tmp_path / 'out') == []


@pytest.mark.slow
def test_row_26_a_playlist_that_calls_itself_a_video_is_refused(faulty):
  is_refused(faulty, 'playlist')


def sounds(folder, count, seconds):
  """Own data of so many recordings of sound."""
  rng = random.Random(0)
  names = [f's{k}' for k in range(count)]
  for name in rng.sample(names, count):  # in an order that the folder's own list may show
    soundfile.write(folder / f'{name}.wav', clips.tone(seconds, 44_100, hertz=200 + 50 * int(name[1:])), 44_100)
  rows = [f'{name},{name},train,,{name}.wav,' for name in names]
  (folder / 'manifest.csv').write_text('\n'.join([corpus.COLUMNS, *rows]) + '\n')
  return folder / 'manifest.csv'


def data_files(out):
  """Name -> content of what a preparation leaves."""
  return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


@pytest.mark.long
def test_row_01_a_preparation_that_is_killed_ends_with_the_same_bytes(tmp_path):
  source = sounds(tmp_path, 6, seconds=20)
  assert trainings.run(command(source, tmp_path / 'whole')).returncode == 0
  rng = random.Random(0)
  kills = 0
  while kills < KILLS:
    out, code = tmp_path / f'out{kills}', -signal.SIGKILL
    while code == -signal.SIGKILL:
      written = rng.randrange(1, 4)
      moment = (
        lambda _: any(out.rglob('.*.tmp')),  # a shard is being written
        lambda _: len(list(out.glob('.parts/*.tfrecord'))) >= written,
      )[kills % 2]
      moment = driver.late(moment, rng.uniform(0, 0.1)) if kills < KILLS else lambda _: False
      end = driver.strike(command(source, out), moment, signal.SIGKILL, tmp_path)
      code = end.code
      kills += code == -signal.SIGKILL
    assert code == 0, end.log
    assert data_files(out) == data_files(tmp_path / 'whole') and not list(out.rglob('*.tmp'))


@pytest.mark.slow
@pytest.mark.parametrize(
  'number, code', [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.long)]
)
def test_row_02_a_preparation_that_is_stopped_leaves_no_file_and_goes_on(tmp_path, number, code):
  source, out = sounds(tmp_path, 4, seconds=120), tmp_path / 'out'
  blow = (lambda child: os.killpg(child.pid, number)) if number == signal.SIGINT else number  # as a terminal does
  end = driver.strike(command(source, out), lambda _: any(out.rglob('.*.tmp')), blow, tmp_path)
  assert end.code == code and 'Traceback' not in end.log and len(end.log.splitlines()) == 1, end.log
  assert not list(out.rglob('*.tmp')) and not (out / MANIFEST).exists()
  done = trainings.run(command(source, out))
  assert done.returncode == 0 and verify.verify(out) == [], done.stderr


@pytest.mark.long
def test_row_28_neither_locale_nor_hash_seed_nor_the_order_of_a_folder_changes_a_byte(tmp_path):
  source = sounds(tmp_path, 3, seconds=2)
  other = tmp_path / 'other'
  other.mkdir()
  for path in sorted(tmp_path.glob('*.wav'), reverse=True):
    shutil.copy(path, other)
  shutil.copy(source, other)
  assert trainings.run(command(source, tmp_path / 'a'), PYTHONHASHSEED='1', LC_ALL='C').returncode == 0
  world = {'PYTHONHASHSEED': '2', 'LC_ALL': 'tr_TR.UTF-8', 'LANG': 'tr_TR.UTF-8', 'TZ': 'Asia/Kathmandu'}
  assert trainings.run(command(other / 'manifest.csv', tmp_path / 'b'), **world).returncode == 0
  assert data_files(tmp_path / 'a') == data_files(tmp_path / 'b')
