"""Preparation from end to end: the simulated corpus in RECOLA's layout, own data, and what must be refused."""

import json
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest
import soundfile

from data_prep.core.errors import DataError, LockedError, UserError, WorkdirError
from data_prep.corpora import recording as recording_module
from data_prep.corpora.settings import Settings
from data_prep.labels import label_files
from data_prep.labels.gold_standard import gold_standard
from data_prep.recordings import assemble, clip, labels, lengths
from data_prep.schema.manifest import MANIFEST, Manifest
from data_prep.shards import prepare, read, verify, write
from data_prep.simulate import corpus as simulated
from tests import clips

REPO = __file__.rsplit('/tests/', 1)[0]
SECONDS = 4


@pytest.fixture(scope='module')
def recola_folder(tmp_path_factory):
  """P25 (train), P14 (validation), P54 (test), four seconds each."""
  folder = tmp_path_factory.mktemp('recola')
  simulated.simulate(folder, 3, SECONDS, seed=2, jobs=1)
  return folder


@pytest.fixture(scope='module')
def prepared(recola_folder, tmp_path_factory):
  out = tmp_path_factory.mktemp('shards')
  return out, prepare.prepare(corpus='recola', source=recola_folder, out=out, jobs=0)


def read_back(out, recording):
  """Field -> array over all records of a recording."""
  import tensorflow as tf

  columns = {}
  for shard in Manifest.read(out).shards:
    if shard.recording == recording:
      for data in tf.data.TFRecordDataset(str(out / shard.file)).as_numpy_iterator():
        for name, feature in tf.train.Example.FromString(data).features.feature.items():
          columns.setdefault(name, []).extend(feature.bytes_list.value or feature.float_list.value)
  result = {'face': columns['face']}
  result['audio'] = np.frombuffer(b''.join(columns['audio']), '<i2')
  for name in ('face_found', 'label_mask', 'valid'):
    result[name] = np.frombuffer(b''.join(columns[name]), '<f4')
  result['label'] = np.frombuffer(b''.join(columns['label']), '<f4').reshape(len(result['valid']), -1)
  result |= {name: columns.get(name) for name in ('audio_mean', 'audio_std', 'audio_gain')}
  return result


def data_files(out):
  return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}


def test_recola_from_end_to_end(recola_folder, prepared, tmp_path):
  out, result = prepared
  manifest = Manifest.read(out)
  assert manifest == result.manifest and verify.verify(out) == []
  assert [(s.recording, s.partition, s.records, s.steps) for s in manifest.shards] == [
    ('P25', 'train', 4, 100),
    ('P14', 'validation', 4, 100),
    ('P54', 'test', 4, 100),
  ]
  assert manifest.targets == ['arousal', 'valence'] and manifest.label_scale['valence'] == [1, 0]
  assert manifest.preparation['recipe'] == 'ccc_centred' and manifest.preparation['max_lost'] == prepare.MAX_LOST
  assert len(result.absent) == 43 and not result.rejects and (out / 'rejects.jsonl').read_text() == ''
  data = read_back(out, 'P25')
  assert data['valid'].sum() == data['label_mask'].sum() == 100
  # Labels: the gold standard of the six raters, the row at t = 0 dropped.
  for k, target in enumerate(('arousal', 'valence')):
    table = label_files.read_table(simulated.files(recola_folder, 'P25')[target], low=-2, high=2)
    assert table.values.shape == (101, 6)
    np.testing.assert_allclose(data['label'][:, k], gold_standard(table.values)[1:], atol=1e-6)
  # Sound: the wav file at 16 kHz.
  sound, rate = soundfile.read(simulated.files(recola_folder, 'P25')['audio'])
  assert rate == 44_100 and len(data['audio']) == 64_000
  energy = (sound.reshape(100, -1) ** 2).mean(axis=1)
  ours = ((data['audio'].reshape(100, 640) / 32768.0) ** 2).mean(axis=1)
  assert np.corrcoef(energy, ours)[0, 1] > 0.99
  assert data['audio_std'][0] == pytest.approx(data['audio'].std(), rel=1e-4)
  assert data['audio_mean'][0] == pytest.approx(data['audio'].mean(), abs=0.01)
  # Heart and skin, of the sensors' file.
  assert list(manifest.streams) == ['speech', 'visual', 'physiology']
  (shard,) = (s for s in manifest.shards if s.recording == 'P25')
  rows = list(read.read_shard(out / shard.file, manifest))
  ecg, eda, found = (np.concatenate([row.values[n] for row in rows]) for n in ('ecg', 'eda', 'physiology_found'))
  assert found.all() and 0.9 < np.abs(ecg).max() < 1.5
  measured = simulated.body('P25', SECONDS, 2).eda.reshape(100, 40).mean(axis=1)
  assert np.corrcoef(measured, eda[:, 0])[0, 1] > 0.99
  # Faces.
  assert (data['face_found'] > 0).mean() > 0.5
  assert result.summaries['P25'].face_found == pytest.approx((data['face_found'] > 0).mean())

  assert sorted(result.manifest.face_size) == ['P14', 'P25', 'P54']
  video = simulated.files(recola_folder, 'P25')['video']
  shown = clip.read(recording_module.Recording('P25', 'P25', 'new', video, None), tmp_path, picture=True)
  assert result.manifest.face_size['P25'] == pytest.approx(shown.face_size, rel=1e-6)  # as the note of a clip sees it


@pytest.mark.slow
def test_same_bytes_whatever_the_number_of_processes(recola_folder, prepared, tmp_path):
  out, _ = prepared
  prepare.prepare(corpus='recola', source=recola_folder, out=tmp_path / 'two', jobs=2)
  assert data_files(tmp_path / 'two') == data_files(out)


@pytest.mark.slow
def test_resumes_and_redoes(recola_folder, prepared, tmp_path, monkeypatch):
  source, out = tmp_path / 'recola', tmp_path / 'out'
  shutil.copytree(recola_folder, source)
  shutil.copytree(prepared[0], out)
  done = []
  original = assemble.assemble
  monkeypatch.setattr(
    assemble,
    'assemble',
    lambda recording, settings: (done.append(recording.recording), original(recording, settings))[1],
  )

  def run(**kwargs):
    done.clear()
    prepare.prepare(corpus='recola', source=source, out=out, jobs=0, **kwargs)
    assert verify.verify(out) == []
    return sorted(done)

  before = {
    path: os.stat(path).st_mtime_ns for path in out.iterdir() if path.is_file() and path.name != 'rejects.jsonl'
  }
  assert run() == []
  assert before == {path: os.stat(path).st_mtime_ns for path in before}  # nothing is touched
  # A label changes, its file's size does not: that recording alone is done again.
  path = simulated.files(source, 'P14')['arousal']
  path.write_text(path.read_text().replace('\n0.04;0.', '\n0.04;0.', 1)[:-2] + '9\n')
  assert run() == ['P14']
  # A shard was removed.
  (out / Manifest.read(out).shards[0].file).unlink()
  assert run() == ['P25']
  # Another parameter: everything; and the old files are gone.
  assert run(gold_standard='mean') == ['P14', 'P25', 'P54']
  assert Manifest.read(out).preparation['recipe'] == 'mean'
  # A recording leaves the corpus: its shard goes too.
  simulated.files(source, 'P54')['audio'].unlink()
  assert run(gold_standard='mean') == []
  assert {shard.recording for shard in Manifest.read(out).shards} == {'P14', 'P25'}
  assert len(list((out / write.PARTS).glob('*.tfrecord'))) == 0 and len(list(out.glob('*.tfrecord-*'))) == 2


@pytest.mark.slow
def test_goes_on_after_a_kill(recola_folder, prepared, tmp_path, monkeypatch):
  out = tmp_path / 'out'
  original = assemble.assemble

  class Killed(BaseException):
    pass

  def killed_at_the_second(recording, settings):
    if recording.recording == 'P25':
      raise Killed
    return original(recording, settings)

  monkeypatch.setattr(assemble, 'assemble', killed_at_the_second)
  with pytest.raises(Killed):
    prepare.prepare(corpus='recola', source=recola_folder, out=out, jobs=0)
  assert not (out / MANIFEST).exists()  # no half data folder
  started = []
  monkeypatch.setattr(assemble, 'assemble', lambda r, s: (started.append(r.recording), original(r, s))[1])
  prepare.prepare(corpus='recola', source=recola_folder, out=out, jobs=0)
  assert started == ['P25', 'P54'] and data_files(out) == data_files(prepared[0])


def test_media_of_the_same_size_are_prepared_again_and_copies_are_not(tmp_path, monkeypatch):
  done, original = [], assemble.assemble
  monkeypatch.setattr(
    assemble,
    'assemble',
    lambda recording, settings: (done.append(recording.recording), original(recording, settings))[1],
  )
  source = own_corpus(tmp_path, 'a,A,train,,a.wav,', 'b,B,train,,b.wav,')

  def run():
    done.clear()
    prepare.prepare(corpus='csv', source=source, out=tmp_path / 'out', jobs=0)
    return sorted(done)

  for name in 'ab':
    soundfile.write(tmp_path / f'{name}.wav', clips.tone(1, 16_000), 16_000)
  assert run() == ['a', 'b'] and run() == []
  before, size = Manifest.read(tmp_path / 'out').shards[0].sha256, (tmp_path / 'a.wav').stat().st_size
  soundfile.write(tmp_path / 'a.wav', clips.tone(1, 16_000, hertz=300), 16_000)
  os.utime(tmp_path / 'b.wav', (5, 5))  # as a copy
  assert (tmp_path / 'a.wav').stat().st_size == size
  assert run() == ['a'] and run() == []
  assert Manifest.read(tmp_path / 'out').shards[0].sha256 != before
  # A sidecar that knows sizes only stands where it is younger than the media, and gets their sums.
  for path in (tmp_path / 'out' / write.PARTS).glob('*.json'):
    content = json.loads(path.read_text())
    if content.pop('media', None):
      path.write_text(json.dumps(content))
  assert run() == []
  soundfile.write(tmp_path / 'b.wav', clips.tone(1, 16_000, hertz=300), 16_000)
  assert run() == ['b']
  # One that another version wrote, or that is damaged, is made anew.
  (path,) = (tmp_path / 'out' / write.PARTS).glob('a-*.json')
  for odd in ({'gaze': 1}, {'face_size': 'abc'}):
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {'summary': content['summary'] | odd}))
    assert run() == ['a'] and run() == []


def test_split_file(recola_folder, tmp_path):
  (tmp_path / 'split.csv').write_text('recording,partition\nP14,test\nP99,train\n')
  result = prepare.prepare(
    corpus='recola', source=recola_folder, out=tmp_path / 'out', jobs=0, split_file=tmp_path / 'split.csv'
  )
  assert [(s.recording, s.partition) for s in result.manifest.shards] == [('P14', 'test')]
  assert result.absent == [('P99', 'train', 'audio, video, ratings')]


def test_avec2016(recola_folder, tmp_path):
  source = tmp_path / 'avec'
  for name, subject in (('train_1', 'P25'), ('dev_1', 'P14')):
    files = simulated.files(recola_folder, subject)
    for kind in ('audio', 'video'):
      (source / f'recordings_{kind}').mkdir(parents=True, exist_ok=True)
      shutil.copy(files[kind], source / f'recordings_{kind}' / f'{name}{files[kind].suffix}')
    for target in ('arousal', 'valence'):
      folder = source / 'ratings_gold_standard' / target
      folder.mkdir(parents=True, exist_ok=True)
      rows = [f'{name},{0.04 * i:.2f},{(-1) ** i * 0.3:.3f}' for i in range(101)]
      (folder / f'{name}.arff').write_text(
        '@relation GOLDSTANDARD\n\n@attribute Instance_name string\n@attribute frameTime numeric\n'
        '@attribute GoldStandard numeric\n\n@data\n\n' + '\n'.join(rows) + '\n'
      )
  prepare.prepare(corpus='avec2016', source=source, out=tmp_path / 'out', jobs=0)
  data = read_back(tmp_path / 'out', 'dev_1')
  np.testing.assert_allclose(data['label'][:, 0], [-0.3, 0.3] * 50, atol=1e-6)  # row 1 is step 0


def own_corpus(tmp_path, *rows):
  path = tmp_path / 'manifest.csv'
  path.write_text('recording,subject,partition,video,audio,labels\n' + '\n'.join(rows) + '\n')
  return path


def label_file(path, rows, low=-0.5, header='time,arousal,valence'):
  path.write_text(header + '\n' + ''.join(f'{0.04 * (i + 1):.2f},{low},{i / 1000}\n' for i in range(rows)))


def test_own_data_with_and_without_modalities(recola_folder, tmp_path):
  files = simulated.files(recola_folder, 'P25')
  shutil.copy(files['video'], tmp_path / 'v.mp4')  # its sound track is used
  soundfile.write(tmp_path / 'a.wav', clips.tone(1.7, 8000), 8000)
  frames = [cv2.resize(frame, (160, 120)) for frame in clips.counted_frames(20)]
  clips.write_clip(tmp_path / 'silent.mkv', frames)
  rows = [f'{0.1 * i:.1f},{2 + i / 10},3\n' for i in range(18)]
  (tmp_path / 'l.csv').write_text('time,arousal,valence\n' + ''.join(rows))
  source = own_corpus(tmp_path, 'both,A,train,v.mp4,,', 'heard,B,train,,a.wav,l.csv', 'seen,C,test,silent.mkv,,')
  result = prepare.prepare(corpus='csv', source=source, out=tmp_path / 'out', jobs=0, label_range=(1, 5), max_lost=1)
  out = tmp_path / 'out'
  assert verify.verify(out) == []
  assert {name: s.notes for name, s in result.summaries.items()} == {
    'both': [],
    'heard': ['no video: grey'],
    'seen': ['no sound: silence'],
  }
  both, heard, seen = (read_back(out, name) for name in ('both', 'heard', 'seen'))
  assert both['audio'].any() and both['valid'].sum() == 100 and not both['label_mask'].any()
  # 1.7 s: 42.5 steps; the 43rd is short and therefore masked, the other 7 are padding.
  assert heard['valid'].sum() == 43 and heard['label_mask'].sum() == 42 and len(heard['valid']) == 50
  assert not heard['face_found'].any() and heard['audio'][27_190:27_200].any() and not heard['audio'][27_200:].any()
  grey = cv2.imdecode(np.frombuffer(heard['face'][0], np.uint8), cv2.IMREAD_COLOR)
  assert np.abs(grey.astype(int) - 128).max() <= 1
  # The scale [1, 5] becomes [−1, 1]: 3 -> 0; arousal at 0.4 s (row 4) is 2.4 -> −0.3.
  assert result.manifest.label_scale['arousal'] == [0.5, -1.5]
  np.testing.assert_allclose(heard['label'][:42, 1], 0, atol=1e-6)
  assert heard['label'][9, 0] == pytest.approx(-0.3)
  assert heard['label'][10, 0] == pytest.approx(-0.28)  # 0.44 s, between the rows at 0.4 and 0.5 s
  assert not seen['audio'].any() and seen['audio_std'][0] == 0 and seen['valid'].sum() == 20


@pytest.mark.parametrize(
  'given, expected',
  [
    (dict(label_end=300, ends={'sound': 300.03, 'picture': 300.01}), 300),  # within one step: the shortest
    (dict(label_end=None, ends={'sound': 2.978, 'picture': 3.0}), 2.978),
    (dict(label_end=300, ends={'sound': 412.0, 'picture': 380.0}), 300),  # RECOLA: five minutes used of each
    (dict(label_end=None, ends={'sound': 3.9, 'picture': 6.4}, one_file=True), 6.4),  # the container says so
    (dict(label_end=None, ends={'sound': 6.38, 'picture': 6.4}, one_file=True), 6.38),
    (dict(label_end=None, ends={'sound': None, 'picture': 2.0}), 2.0),
    (dict(label_end=9.5, interval=0.5, ends={'sound': 10.0, 'picture': 10.02}), 10.0),  # labels every half second
  ],
)
def test_common_length(given, expected):
  given = {'interval': 0.04, 'one_file': False, **given}
  assert lengths.common_length('a', annotated_seconds=300.0, **given) == expected


@pytest.mark.parametrize(
  'given, numbers',
  [
    (dict(label_end=10, ends={'sound': 5, 'picture': 10}), 'labels 10.00 s, sound 5.00 s, picture 10.00 s'),
    (dict(label_end=10, ends={'sound': 10, 'picture': 10.05}), 'labels 10.00 s, sound 10.00 s, picture 10.05 s'),
    (dict(label_end=300, ends={'sound': 250, 'picture': 400}), 'labels 300.00 s, sound 250.00 s'),
    (dict(label_end=20, ends={'sound': 30, 'picture': 30}), 'labels 20.00 s, sound 30.00 s'),
    (dict(label_end=None, ends={'sound': 5, 'picture': 10}), 'no labels, sound 5.00 s, picture 10.00 s'),
    (dict(label_end=None, ends={'sound': 7, 'picture': 6}, one_file=True), 'no labels, sound 7.00 s, picture 6.00 s'),
    (dict(label_end=6.4, ends={'sound': 3.9, 'picture': 6.4}, one_file=True), 'labels 6.40 s, sound 3.90 s'),
  ],
)
def test_differing_lengths_are_refused_with_the_three_numbers(given, numbers):
  given = {'interval': 0.04, 'one_file': False, **given}
  with pytest.raises(DataError, match='a: the lengths differ by more than one step of 0.04 s: ' + numbers):
    lengths.common_length('a', annotated_seconds=300.0, **given)


def test_a_channel_and_a_quiet_sound_get_into_the_records(tmp_path):
  voices = np.stack([clips.tone(1, 16_000), clips.tone(1, 16_000, hertz=990)], axis=1)
  soundfile.write(tmp_path / 'a.wav', 1e-4 * voices, 16_000, subtype='FLOAT')
  source = own_corpus(tmp_path, 'a,a,train,,a.wav,')
  results = [
    prepare.prepare(corpus='csv', source=source, out=tmp_path / f'{channel}', channel=channel, jobs=0)
    for channel in (None, 1, 2)
  ]
  chosen = [result.manifest.preparation.get('channel', 'absent') for result in results]
  assert chosen == ['absent', 1, 2]  # what was prepared without a choice stays valid
  for channel in (1, 2):
    data = read_back(tmp_path / f'{channel}', 'a')
    gain = data['audio_gain'][0]
    # The tone peaks at 5e-5: 2**13 brings it to between a quarter and a half.
    assert gain == 2**13 and verify.verify(tmp_path / f'{channel}') == []
    np.testing.assert_allclose(data['audio'], 32768 * gain * 1e-4 * voices[:, channel - 1], atol=1)
    assert 'the sound peaks at -86 dB of full scale: stored times 8192' in results[channel].summaries['a'].notes
  with pytest.raises(DataError, match='no channel 3 in the sound, which has 2'):
    prepare.prepare(corpus='csv', source=source, out=tmp_path / '3', channel=3, jobs=0)


def test_the_detector_is_in_the_manifest_and_another_one_gives_other_crops(tmp_path, face, fixed_detector):
  clips.write_clip(tmp_path / 'a.mp4', [face] * 25, sound=clips.tone(1, 16_000), rate=16_000, sound_codec='aac')
  source, found = own_corpus(tmp_path, 'a,a,train,a.mp4,,'), []
  for detector in ('cascade', fixed_detector):
    result = prepare.prepare(corpus='csv', source=source, out=tmp_path / 'out', detector=detector, jobs=0)
    found.append((result.manifest.preparation.get('detector'), read_back(tmp_path / 'out', 'a')['face'][0]))
  # What was prepared without a choice stays valid.
  assert [name for name, _ in found] == [None, fixed_detector] and found[0][1] != found[1][1]
  with pytest.raises(UserError, match='--detector=eye; expected one of cascade, mtcnn'):
    prepare.prepare(corpus='csv', source=source, out=tmp_path / 'none', detector='eye', jobs=0)


def test_an_exception_is_a_row_of_the_rejects_and_not_the_end(tmp_path, monkeypatch):
  for name in ('good', 'odd'):
    soundfile.write(tmp_path / f'{name}.wav', clips.tone(1, 16_000), 16_000)
  source, out = own_corpus(tmp_path, 'good,A,train,,good.wav,', 'odd,B,train,,odd.wav,'), tmp_path / 'out'
  original = assemble.assemble

  def crash(recording, settings):
    if recording.recording == 'odd':
      raise IndexError('deep inside\n a decoder')
    return original(recording, settings)

  monkeypatch.setattr(assemble, 'assemble', crash)
  with pytest.raises(DataError, match='1 of 2 recordings refused.*--allow_rejects'):
    prepare.prepare(corpus='csv', source=source, out=out, jobs=0)
  assert [shard.recording for shard in Manifest.read(out).shards] == ['good'] and verify.verify(out) == []
  result = prepare.prepare(corpus='csv', source=source, out=out, jobs=0, allow_rejects=True)
  (row,) = result.rejects
  assert row['recording'] == 'odd' and row['partition'] == 'train'
  assert row['reason'].endswith('odd.wav: IndexError: deep inside a decoder')


@pytest.mark.slow
def test_command(tmp_path):
  soundfile.write(tmp_path / 'good.wav', clips.tone(1, 16_000), 16_000)
  (tmp_path / 'bad.wav').touch()
  source = own_corpus(tmp_path, 'good,A,train,,good.wav,', 'bad,B,train,,bad.wav,')
  command = [sys.executable, '-m', 'data_prep.prepare', '--corpus=csv', f'--source={source}', f'--out={tmp_path / "o"}']
  run = lambda *arguments: subprocess.run([*command, *arguments], cwd=REPO, capture_output=True, text=True)
  done = run('--allow_rejects')
  assert done.returncode == 0 and 'refused: ' in done.stdout and 'real time' in done.stdout, done.stderr
  assert run('--max_lost=2').returncode == 64 and run('--nonsense=1').returncode == 64
  assert run('--help').returncode == 0


def test_nothing_left_is_an_error_even_if_rejects_are_allowed(tmp_path):
  (tmp_path / 'a.wav').touch()
  with pytest.raises(DataError, match=r'no recording could be prepared \(1 refused, 0 absent\); .*an empty'):
    prepare.prepare(
      corpus='csv', source=own_corpus(tmp_path, 'a,A,train,,a.wav,'), out=tmp_path / 'out', jobs=0, allow_rejects=True
    )


def test_arguments_and_places(tmp_path):
  soundfile.write(tmp_path / 'a.wav', clips.tone(1, 16_000), 16_000)
  source = own_corpus(tmp_path, 'a,A,train,,a.wav,')
  for kwargs, reason in (
    (dict(corpus='nothing'), '--corpus=nothing'),
    (dict(gold_standard='median'), '--gold_standard=median'),
    (dict(max_lost=-1), '--max_lost=-1'),
    (dict(jobs=-1), '--jobs=-1'),
    (dict(max_minutes=float('nan')), '--max_minutes=nan'),
    (dict(split_file='x'), '--split_file is not'),
    *(
      (dict(label_range=ends), '--label_range=.*finite numbers')
      for ends in ((1, 1), (0, np.inf), (-np.inf, np.inf), (-1.7e308, 1.7e308), (1e308, 1.7e308), (0, 1e-320))
    ),
    (dict(corpus='recola', label_range=(0, 1)), '--label_range is for'),
  ):
    with pytest.raises(UserError, match=reason):
      prepare.prepare(**{'corpus': 'csv', 'source': source, 'out': tmp_path / 'out', **kwargs})
  (tmp_path / 'file').touch()
  with pytest.raises(WorkdirError, match='choose another folder'):
    prepare.prepare(corpus='csv', source=source, out=tmp_path / 'file' / 'out', jobs=0)
  with prepare.locked(tmp_path / 'busy'):
    with pytest.raises(LockedError, match='in use by process .*; wait for it, or choose another --out'):
      prepare.prepare(corpus='csv', source=source, out=tmp_path / 'busy', jobs=0)


def test_first_box(tmp_path):
  path = tmp_path / 'box.csv'
  path.write_text('x;y;width;height\n104;55;109;110\n')
  assert recording_module.read_box(path) == (104, 55, 109, 110)
  for text, reason in (
    ('x;y;width;height\n', '0 rows; expected one box'),
    ('x;y;width;height\n1;2;0;4\n', 'size above 0'),
    ('x;y;width;height\n1;2;3;1e300\n', 'expected pixels of a picture'),
    ('x;y;width;height\n1;nan;3;4\n', 'expected pixels of a picture'),
    ('x;y;width;height\n1;2;a;4\n', 'expected pixels'),
    ('x;y;w;h\n1;2;3;4\n', "no column 'width'"),
  ):
    path.write_text(text)
    with pytest.raises(DataError, match=reason):
      recording_module.read_box(path)


def gold_trace(tmp_path, ratings, recipe='ccc_centred'):
  path = tmp_path / 'P1.csv'
  rows = [';'.join([f'{0.04 * i:.2f}', *(f'{x:.4f}' for x in row)]) for i, row in enumerate(ratings)]
  path.write_text('\n'.join(['time;' + ';'.join(f'R{r}' for r in range(ratings.shape[1])), *rows]) + '\n')
  settings = Settings(
    targets=('arousal',), label_range=(-1, 1), label_slack=0.2, annotated_seconds=None, recipe=recipe, max_lost=1
  )
  return labels.read_trace(recording_module.LabelSource('arousal', path), settings)


def test_the_gold_standard_stays_in_the_range_of_its_scale(tmp_path):
  t = np.arange(100)
  # All say a sine from 0.12 to 0.92, two of them lower by 1; the offset goes to the four who agree and so past the end.
  sine = 0.5 + 0.4 * np.sin(t / 9)
  four, two = [sine + 0.05 * np.cos(t / (3 + r)) for r in range(4)], [sine - 1 + 0.02 * r for r in range(2)]
  inside = gold_trace(tmp_path, np.stack(four + two, axis=1))
  assert inside[2] == [] and np.abs(inside[1]).max() < 1
  high = np.stack(
    [np.clip(0.55 + 0.62 * np.sin(t / 9), -1, 1.15)] * 4 + [np.clip(0.5 + 0.6 * np.sin(t / 9), -1, 1.1)] * 2, axis=1
  )
  _, trace, notes = gold_trace(tmp_path, high)
  assert trace.max() == 1 and trace.min() >= -1
  assert len(notes) == 1 and notes[0].startswith('gold standard of arousal reached 1.1') and 'clipped to -1' in notes[0]
  # Two raters who are silent and then shout, and one who is loud throughout: the offset alone carries it to 1.5.
  x = np.stack([np.where(t < 95, 0.0, 1.2), np.where(t < 95, 0.0, 1.2), np.where(t < 95, -1.2, 1.2)], axis=1)
  with pytest.raises(
    DataError,
    match=r'P1\.csv: the gold standard of 3 raters \(ccc_centred\) reaches .*'
    r'expected -1 to 1; .*--gold_standard',
  ):
    gold_trace(tmp_path, x)


@pytest.mark.parametrize('sound, labels_end, expected', [(1.09, 25, 1.0), (1.0, 27, 1.0), (0.93, 25, 0.93)])
def test_codec_padding_is_cut_with_a_note_and_not_refused(tmp_path, sound, labels_end, expected):
  soundfile.write(tmp_path / 'a.wav', clips.tone(sound, 16_000), 16_000)
  label_file(tmp_path / 'a.csv', labels_end)
  source = own_corpus(tmp_path, 'a,A,train,,a.wav,a.csv')
  run = lambda out, **options: prepare.prepare(corpus='csv', source=source, out=tmp_path / out, jobs=0, **options)
  summary = run('out').summaries['a']
  assert any(note.endswith(f'cut to {expected:.2f} s') for note in summary.notes), summary.notes
  assert summary.steps == int(np.ceil(expected / 0.04 - 0.05))
  with pytest.raises(DataError, match='differ by more than one step of 0.04 s'):
    run('strict', max_difference=0.04)


def test_half_a_file_is_still_refused(tmp_path):
  soundfile.write(tmp_path / 'a.wav', clips.tone(0.8, 16_000), 16_000)
  label_file(tmp_path / 'a.csv', 25)
  source = own_corpus(tmp_path, 'a,A,train,,a.wav,a.csv')
  with pytest.raises(
    DataError, match=r'differ by more than 0\.12 s \(--max_difference\): labels 1\.00 s, sound 0\.80 s'
  ):
    prepare.prepare(corpus='csv', source=source, out=tmp_path / 'out', jobs=0)
  result = prepare.prepare(corpus='csv', source=source, out=tmp_path / 'out', jobs=0, max_difference=0.3)
  assert result.summaries['a'].steps == 20


def test_most_headers_say_what_the_targets_are_and_each_recording_answers_for_itself(tmp_path):
  soundfile.write(tmp_path / 's.wav', clips.tone(1, 16_000), 16_000)
  headers = dict.fromkeys('bcdef', 'time,arousal,valence')
  headers |= {'a': 'time,arousal,valence,liking', 'g': 'Time (s),arousal,valence', 'h': 'time,Arousal,dominance'}
  for name, header in headers.items():
    label_file(tmp_path / f'{name}.csv', 25, header=header)
  path = tmp_path / 'a.csv'
  path.write_text('\n'.join(line + (',9' if i else '') for i, line in enumerate(path.read_text().splitlines())) + '\n')
  source = own_corpus(tmp_path, *(f'{name},{name},train,,s.wav,{name}.csv' for name in sorted(headers)))
  result = prepare.prepare(corpus='csv', source=source, out=tmp_path / 'out', jobs=0, allow_rejects=True)
  assert result.manifest.targets == ['arousal', 'valence'] or tuple(result.manifest.targets) == ('arousal', 'valence')
  assert sorted(result.summaries) == list('abcdefg')
  assert 'column liking of the labels is no target: not read' in result.summaries['a'].notes
  assert [row['recording'] for row in result.rejects] == ['h']
  assert 'columns Arousal, dominance; expected time,arousal,valence' in result.rejects[0]['reason']
  for name in 'ag':
    np.testing.assert_array_equal(read_back(tmp_path / 'out', name)['label'], read_back(tmp_path / 'out', 'b')['label'])


def test_labels_stored_on_change_are_refused_or_held(tmp_path):
  soundfile.write(tmp_path / 'a.wav', clips.tone(9, 16_000), 16_000)
  (tmp_path / 'a.csv').write_text('time,arousal\n0,0.5\n0.04,0.4\n0.08,0.3\n5,-0.2\n9,0.1\n')
  source = own_corpus(tmp_path, 'a,A,train,,a.wav,a.csv')
  with pytest.raises(DataError, match=r'4 of 225 steps have a label, expected at least 50 %; .*--labels=hold'):
    prepare.prepare(corpus='csv', source=source, out=tmp_path / 'out', jobs=0)
  result = prepare.prepare(corpus='csv', source=source, out=tmp_path / 'out', jobs=0, labels='hold')
  assert result.summaries['a'].notes[-1] == 'every label holds until the next: 225 of 225 steps have one'
  label = read_back(tmp_path / 'out', 'a')['label'][:, 0]
  np.testing.assert_allclose(label[[0, 1, 123, 124, 223, 224]], [0.4, 0.3, 0.3, -0.2, -0.2, 0.1], atol=1e-6)


def test_labels_every_three_seconds_are_joined_with_a_note(tmp_path):
  soundfile.write(tmp_path / 'a.wav', clips.tone(9, 16_000), 16_000)
  (tmp_path / 'a.csv').write_text('time,arousal\n0,0\n3,0.3\n6,0.6\n9,0.9\n')
  source = own_corpus(tmp_path, 'a,A,train,,a.wav,a.csv')
  result = prepare.prepare(corpus='csv', source=source, out=tmp_path / 'out', jobs=0)
  assert result.summaries['a'].labels == 225
  assert 'labels every 3.00 s, a line between them' in result.summaries['a'].notes
  label = read_back(tmp_path / 'out', 'a')['label'][:225, 0]
  np.testing.assert_allclose(label, 0.004 * np.arange(1, 226), atol=1e-6)
