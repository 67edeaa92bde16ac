"""The readers of corpora: layouts, splits, paths."""

import os
import pathlib
import subprocess
import sys

import pytest
import soundfile

from data_prep import corpora
from data_prep.core.errors import DataError, UserError
from data_prep.corpora import avec2016, own, recola, recording, splits
from data_prep.shards import prepare
from tests import clips


def touch(*paths):
  for path in paths:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def recola_files(
  root,
  name,
  annotation='RECOLA-Annotation/emotional_behaviour',
  audio='RECOLA-Audio-recordings',
  video='RECOLA-Video-recordings',
):
  return {
    'audio': root / audio / f'{name}.wav',
    'video': root / video / f'{name}.mp4',
    **{target: root / annotation / target / f'{name}.csv' for target in ('arousal', 'valence')},
  }


def test_recola_full_release(tmp_path):
  for name in ('P25', 'P14', 'P54'):
    touch(*recola_files(tmp_path, name).values())
  touch(tmp_path / 'RECOLA-Face_boxes' / 'P14.csv')
  corpus = recola.read(tmp_path)
  assert [(r.recording, r.subject, r.partition) for r in corpus.recordings] == [
    ('P14', 'P14', 'validation'),
    ('P25', 'P25', 'train'),
    ('P54', 'P54', 'test'),
  ]
  first, second, _ = corpus.recordings
  files = recola_files(tmp_path, 'P14')
  assert first.audio == files['audio'] and first.video == files['video']
  assert first.boxes == tmp_path / 'RECOLA-Face_boxes' / 'P14.csv' and second.boxes is None
  assert first.labels == (
    recording.LabelSource('arousal', files['arousal']),
    recording.LabelSource('valence', files['valence']),
  )
  assert corpus.targets == ('arousal', 'valence')
  # All 46 of the paper's split are accounted for.
  assert len(corpus.absent) == 43 and ('P15', 'train', 'audio, video, ratings') in corpus.absent
  assert corpus.streams == ('speech', 'visual')
  # Not all people wore sensors.
  sensors = tmp_path / 'RECOLA-Biosignals-recordings' / 'P25.csv'
  touch(sensors)
  with_sensors = recola.read(tmp_path)
  assert [r.sensors for r in with_sensors.recordings] == [(), (recording.SensorFile(sensors),), ()]
  assert with_sensors.streams == ('speech', 'visual', 'physiology')


def test_recola_in_the_authors_layout_and_the_avec_split(tmp_path):
  layout = ('Ratings_affective_behaviour_CCC_centred', 'Audio_recordings_WAV', 'Video_recordings_MP4')
  for name in ('P25', 'P19', 'P14'):  # P14 is not among AVEC's
    touch(*recola_files(tmp_path, name, *layout).values())
  corpus = recola.read(tmp_path, split='avec')
  assert [r.recording for r in corpus.recordings] == ['P19', 'P25'] and len(corpus.absent) == 25
  assert corpus.recordings[0].labels[0].path == tmp_path / layout[0] / 'arousal' / 'P19.csv'


def test_test_subjects_need_no_labels_but_others_do(tmp_path):
  for name in ('P54', 'P25'):
    files = recola_files(tmp_path, name)
    touch(files['audio'], files['video'])
  touch(recola_files(tmp_path, 'P16')['arousal'])
  touch(recola_files(tmp_path, 'P16')['valence'])
  corpus = recola.read(tmp_path)
  assert [(r.recording, r.labels) for r in corpus.recordings] == [('P54', ())]
  assert ('P25', 'train', 'ratings') in corpus.absent and ('P16', 'train', 'audio, video') in corpus.absent


def test_recola_refusals(tmp_path):
  with pytest.raises(DataError, match='no folder RECOLA-Annotation.*expected RECOLA as it is released'):
    recola.read(tmp_path)
  with pytest.raises(UserError, match='--split=half; expected full or avec'):
    recola.read(tmp_path, split='half')


def test_avec2016(tmp_path):
  for name in ('train_1', 'dev_2', 'test_9'):
    touch(tmp_path / 'recordings_audio' / f'{name}.wav', tmp_path / 'recordings_video' / f'{name}.mp4')
  for target in ('arousal', 'valence'):
    touch(tmp_path / 'ratings_gold_standard' / target / 'train_1.arff')
    touch(tmp_path / 'ratings_individual' / target / 'train_1.csv')
    touch(tmp_path / 'ratings_individual' / target / 'dev_2.csv')
  corpus = avec2016.read(tmp_path)
  assert [
    (r.recording, r.partition, [source.path.parent.parent.name for source in r.labels]) for r in corpus.recordings
  ] == [
    ('dev_2', 'validation', ['ratings_individual'] * 2),
    ('test_9', 'test', []),
    ('train_1', 'train', ['ratings_gold_standard'] * 2),
  ]  # the organisers' own trace goes first
  assert len(corpus.absent) == 24 and corpus.streams == ('speech', 'visual')
  # Signals beside each other in one file, or in a folder for each; what is as it was measured goes first.
  physio = tmp_path / 'recordings_physio'
  touch(physio / 'filtered' / 'dev_2.csv', *(physio / folder / 'train_1.csv' for folder in ('raw', 'filtered')))
  touch(*(physio / folder / 'test_9.csv' for folder in ('ECG', 'EDA')))
  corpus = avec2016.read(tmp_path)
  assert [[str(file.path.relative_to(physio)) for file in r.sensors] for r in corpus.recordings] == [
    ['filtered/dev_2.csv'],
    ['ECG/test_9.csv', 'EDA/test_9.csv'],
    ['raw/train_1.csv'],
  ]
  assert corpus.streams == ('speech', 'visual', 'physiology')
  with pytest.raises(DataError, match='no folder recordings_audio'):
    avec2016.read(tmp_path / 'recordings_audio')


def test_split_file(tmp_path):
  path = tmp_path / 'split.csv'
  path.write_text('recording,partition\nP16,train\nP14,dev\nP13,test\n')
  assert recording.read_split_file(path) == {'train': ('P16',), 'validation': ('P14',), 'test': ('P13',)}
  path.write_text('recording,partition\nP16,train\nP16,test\n')
  with pytest.raises(DataError, match='split.csv, line 3: P16 a second time'):
    recording.read_split_file(path)
  path.write_text('recording,partition\nP16,training\n')
  with pytest.raises(DataError, match="line 2: partition 'training'; expected train, validation, test"):
    recording.read_split_file(path)
  path.write_text('id,partition\nP16,train\n')
  with pytest.raises(DataError, match="line 1: no column 'recording'"):
    recording.read_split_file(path)


def test_the_papers_splits_share_no_subject():
  for split in (splits.RECOLA_FULL, splits.RECOLA_AVEC):
    ids = [name for names in split.values() for name in names]
    assert len(ids) == len(set(ids))


def manifest(tmp_path, *rows, header='recording,subject,partition,video,audio,labels'):
  path = tmp_path / 'corpus' / 'manifest.csv'
  path.parent.mkdir(exist_ok=True)
  path.write_text('\n'.join([header, *rows]) + '\n')
  return path


def test_own_data(tmp_path):
  path = manifest(
    tmp_path,
    'b,Ann,train,v/b.mp4,,',
    'a,Bob,validation,,a.wav,a.csv,box.csv',
    header='recording,subject,partition,video,audio,labels,boxes',
  )
  # A row may not be short: every column is there, if empty.
  with pytest.raises(DataError, match='line 2: 6 columns, expected 7'):
    own.read(path)
  path = manifest(
    tmp_path,
    'b,Ann,train,v/b.mp4,,,',
    'a,Bob,validation,,a.wav,a.csv,box.csv',
    header='recording,subject,partition,video,audio,labels,boxes',
  )
  (path.parent / 'a.csv').write_text('time,dominance,arousal\n0.04,1,2\n')
  corpus = own.read(path, label_range=(0, 4))
  first, second = corpus.recordings
  assert (first.recording, first.subject, first.partition, first.video, first.audio, first.boxes) == (
    'a',
    'Bob',
    'validation',
    None,
    path.parent / 'a.wav',
    path.parent / 'box.csv',
  )
  assert [source.column for source in first.labels] == ['dominance', 'arousal']
  assert second.video == path.parent / 'v/b.mp4' and second.audio is None and second.labels == ()
  assert corpus.targets == ('dominance', 'arousal') and corpus.label_range == (0, 4)


def test_own_data_with_sensors(tmp_path):
  header = 'recording,subject,partition,video,audio,labels,ecg,eda'
  path = manifest(tmp_path, 'a,A,train,a.mp4,,,s/a.csv,s/a.csv', 'b,B,test,b.mp4,,,,b.txt', header=header)
  corpus = own.read(path)
  assert [[(str(f.path.relative_to(path.parent)), f.signals) for f in r.sensors] for r in corpus.recordings] == [
    [('s/a.csv', ('ecg',)), ('s/a.csv', ('eda',))],
    [('b.txt', ('eda',))],
  ]
  assert corpus.streams == ('speech', 'visual', 'physiology')
  with pytest.raises(DataError, match='leads out of'):
    own.read(manifest(tmp_path, 'a,A,train,a.mp4,,,../a.csv,', header=header))
  assert own.read(manifest(tmp_path, 'a,A,train,a.mp4,,,,', header=header)).streams == ('speech', 'visual')


@pytest.mark.parametrize(
  'row, reason',
  [
    ('a,S,train,../v.mp4,,', r'line 2: \.\./v\.mp4 leads out of'),
    ('a,S,train,x/../../v.mp4,,', 'leads out of'),
    ('a,S,train,/etc/passwd,,', 'line 2: /etc/passwd leads out of'),
    ('a,S,train,,link.wav,', r'link\.wav leads out of'),
    ('a,S,train,,linked/a.wav,', r'linked/a\.wav leads out of'),
    ('a,S,train,,,', 'neither video nor audio'),
    ('a,S,holdout,v.mp4,,', "partition 'holdout'"),
    (',S,train,v.mp4,,', 'no recording'),
    ('a,,train,v.mp4,,', 'no subject'),
    (f'a,S,train,,{300 * "a"},', r'line 2: .a{100}. is no path [(]a name of more than 255 bytes[)]'),
    ('a,S,train,,circle.wav,', 'line 2: .circle.wav. is no path'),
    ('a,S,train,,a\0.wav,', 'line 2: .a.x00.wav. is no path'),
    ('a,S,train,,' + 200_000 * 'a' + ',', r'line 2: no CSV \(field larger than'),
  ],
)
def test_own_data_refusals(tmp_path, row, reason):
  path = manifest(tmp_path, row)
  touch(tmp_path / 'secret.wav')
  os.symlink(tmp_path / 'secret.wav', path.parent / 'link.wav')
  os.symlink(tmp_path, path.parent / 'linked')
  os.symlink('circle.wav', path.parent / 'circle.wav')
  with pytest.raises(DataError, match=reason):
    own.read(path)


def test_manifest_dialects(tmp_path):
  row = 'a\u2028b,S,train,v.mp4,,'
  for delimiter in ',;\t':
    path = manifest(
      tmp_path,
      row.replace(',', delimiter),
      header='recording,subject,partition,video,audio,labels'.replace(',', delimiter),
    )
    assert [r.recording for r in own.read(path).recordings] == ['a\u2028b']


@pytest.mark.parametrize('name', ['a/b', '../x', '', 'ä', 'face_found', 'arousal_post', 'valence_gold', 'Recording'])
def test_target_names(tmp_path, name):
  path = manifest(tmp_path, 'a,S,train,v.mp4,,a.csv')
  (path.parent / 'a.csv').write_text(f'time,name,arousal-2,{name}\n0.04,a,1,2\n')
  with pytest.raises(DataError, match=f'a.csv: column {name!r}; expected a name of letters'):
    own.read(path)
  (path.parent / 'a.csv').write_text('time,name,arousal-2\n0.04,a,1\n')
  assert own.read(path).targets == ('arousal-2',)


def test_further_columns_are_what_is_known_of_people(tmp_path):
  header = 'recording,subject,partition,video,audio,labels,boxes,sex,language,age band,part,box,session'
  path = manifest(tmp_path, 'a,S,train,v.mp4,,,,f,fr,20 to 29,,,2', 'b,T,test,w.mp4,,,,,de,,1,,1', header=header)
  (a, b) = own.read(path).recordings
  assert a.about == {'sex': 'f', 'language': 'fr', 'age band': '20 to 29', 'part': '', 'box': '', 'session': '2'}
  assert b.about == {'sex': '', 'language': 'de', 'age band': '', 'part': '1', 'box': '', 'session': '1'}


def test_own_data_links_inside_its_folder_are_fine(tmp_path):
  path = manifest(tmp_path, 'a,S,train,,link.wav,')
  touch(path.parent / 'real' / 'a.wav')
  os.symlink(path.parent / 'real' / 'a.wav', path.parent / 'link.wav')
  assert own.read(path).recordings[0].audio == pathlib.Path(path.parent / 'link.wav')


def test_manifest_refusals(tmp_path):
  with pytest.raises(DataError, match='line 3: recording a a second time'):
    own.read(manifest(tmp_path, 'a,S,train,v.mp4,,', 'a,S,train,w.mp4,,'))
  touch(tmp_path / 'corpus' / 'v.mp4')
  os.symlink('v.mp4', tmp_path / 'corpus' / 'w.mp4')
  rows = 'a,S,train,v.mp4,,', 'b,S,train,v.mp4,,', 'c,T,test,,w.mp4,'
  with pytest.raises(DataError, match=r'line 4: .*w.mp4 is in test \(recording c\) and in train \(recording a\)'):
    own.read(manifest(tmp_path, *rows))
  assert len(own.read(manifest(tmp_path, *rows[:2])).recordings) == 2
  with pytest.raises(DataError, match='no recordings'):
    own.read(manifest(tmp_path))
  for name in ('label', 'Boxes', 'landmark', ''):  # a slip is no group of people
    with pytest.raises(DataError, match=f'column {name!r} is unknown or there twice'):
      own.read(manifest(tmp_path, header=f'recording,subject,partition,video,audio,labels,{name}'))
  with pytest.raises(DataError, match='leads out of'):
    own.read(
      manifest(
        tmp_path, 'a,S,train,v.mp4,,,../l.npz', header='recording,subject,partition,video,audio,labels,landmarks'
      )
    )
  with pytest.raises(DataError, match='cannot be read'):
    own.read(tmp_path / 'absent.csv')


def test_a_subject_in_two_partitions_is_refused(tmp_path):
  path = manifest(tmp_path, 'a,Ann,train,a.mp4,,', 'b,Bob,test,b.mp4,,', 'c,Ann,test,c.mp4,,')
  with pytest.raises(DataError, match=r'subject Ann is in train \(recording a\) and in test \(recording c\)'):
    recording.check_subjects(own.read(path).recordings)


def test_help_lists_every_corpus_with_what_it_needs():
  command = [sys.executable, '-m', 'data_prep.prepare', '--corpus=help']
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  for name, entry in corpora.READERS.items():
    assert f'--corpus={name}\n    --source: {entry.needs}\n' in done.stdout and len(entry.needs) > 20
  done = subprocess.run([*command[:3], '--corpus=csv', '--out=x'], capture_output=True, text=True)
  assert done.returncode == 64 and done.stderr.startswith('error: --source is missing; `python -m data_prep.prepare')


def test_the_reader_of_contributing_prepares_a_corpus(tmp_path, monkeypatch):
  page = (pathlib.Path(__file__).resolve().parents[3] / 'CONTRIBUTING.md').read_text(encoding='utf-8')
  namespace = {}
  exec(page.partition('\n## Add a corpus\n')[2].partition('```python\n')[2].partition('```')[0], namespace)
  monkeypatch.setitem(corpora.READERS, 'mine', corpora.Entry(namespace['read'], namespace['NEEDS']))
  for speaker, emotions in {'ann': ('joy', 'anger'), 'ben': ('joy', 'anger'), 'cleo': ('joy', 'sorrow')}.items():
    for k, emotion in enumerate(emotions):
      path = tmp_path / 'mine' / speaker / f'{emotion}_{k}.wav'
      path.parent.mkdir(parents=True, exist_ok=True)
      soundfile.write(path, clips.tone(0.5 + k, 8_000), 8_000)
  out = tmp_path / 'out'
  result = prepare.prepare(corpus='mine', source=tmp_path / 'mine', out=out, jobs=0, allow_rejects=True)
  assert [(s.recording, s.partition) for s in result.manifest.shards] == [
    ('cleo_joy_0', 'train'),
    ('ben_anger_1', 'validation'),
    ('ben_joy_0', 'validation'),
    ('ann_anger_1', 'test'),
    ('ann_joy_0', 'test'),
  ]
  (refused,) = result.rejects
  assert refused['reason'] == "cleo_sorrow_1: emotion is 'sorrow'; expected one of anger, joy, neutral"
  with pytest.raises(DataError, match='expected folder with a folder for each speaker'):
    corpora.read('mine', out)
