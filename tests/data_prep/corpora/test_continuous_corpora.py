"""Readers of corpora with continuous labels, each on a tiny corpus in its exact layout."""

import pathlib
import pickle

import cv2
import numpy as np
import pytest

from data_prep.core.errors import DataError, UserError
from data_prep.corpora import afewva, affwild2, case, finding, muse, omg, recording, sewa
from data_prep.schema.label_clock import Scorer
from tests import clips, continuous_corpora

CASE = pathlib.Path(__file__).resolve().parents[4] / 'shared' / 'data' / 'case'


def read_labels(found):
  """[N, K] and [N] times of a recording's label sources."""
  tables = [source.parse(source.path) for source in found.labels]
  values = [
    table.values[:, table.columns.index(source.column) if source.column else 0]
    for source, table in zip(found.labels, tables, strict=True)
  ]
  return np.stack(values, axis=1), tables[0].times


@pytest.mark.parametrize(
  'header, expected',
  [
    (continuous_corpora.AVEC_2019, 'avec2019'),
    (None, 'avec2017'),
    ('Name;Timestamp;Valence;Arousal;Liking', 'avec2019'),
  ],
)
def test_sewa(tmp_path, header, expected):
  labels = continuous_corpora.sewa(tmp_path, ['Train_01', 'Devel_02', 'Test_03'], header=header)
  (tmp_path / 'labels' / 'Test_03.csv').unlink()
  (tmp_path / 'labels' / 'Train_09.csv').write_text('')
  corpus = sewa.read(tmp_path)
  assert [(r.recording, r.partition) for r in corpus.recordings] == [
    ('Devel_02', 'validation'),
    ('Test_03', 'test'),
    ('Train_01', 'train'),
  ]
  assert corpus.absent == [('Train_09', 'train', 'sound, picture')]
  assert corpus.recordings[1].labels == () and corpus.prediction_format == expected
  values, times = read_labels(corpus.recordings[2])
  # The header, where there is one, says which column is which, in any order.
  order = [1, 0, 2] if header and header.startswith('Name') else [0, 1, 2]
  np.testing.assert_array_equal(values, labels['Train_01'][:, order])
  np.testing.assert_allclose(times, np.arange(30) / 10)
  path = tmp_path / 'labels' / 'Devel_02.csv'
  path.write_text(path.read_text().replace('Devel_02', 'Devel_03'))
  with pytest.raises(DataError, match="Devel_02.csv: names 'Devel_03', expected 'Devel_02'"):
    read_labels(corpus.recordings[0])


def test_muse(tmp_path):
  labels = continuous_corpora.muse(tmp_path, {'7': 'train', '8': 'devel', '9': 'test', '10': 'train'})
  (tmp_path / 'label_segments' / 'arousal' / '10.csv').unlink()
  corpus = muse.read(tmp_path)
  assert [(r.recording, r.partition) for r in corpus.recordings] == [('7', 'train'), ('8', 'validation'), ('9', 'test')]
  assert corpus.absent == [('10', 'train', 'labels')] and corpus.targets == ('arousal', 'valence')
  values, times = read_labels(corpus.recordings[0])
  np.testing.assert_array_equal(values, labels['7'])
  np.testing.assert_allclose(times, 0.5 * np.arange(1, 8))
  assert np.isnan(read_labels(corpus.recordings[2])[0]).all()
  assert corpus.recordings[0].labels[0].parse(corpus.recordings[0].labels[0].path).columns == ('value', 'segment_id')


@pytest.mark.parametrize(
  'text, times, columns',
  [
    ('Time,value\n0,0.1\n500,0.2\n', [0, 0.5], ('value', 'segment_id')),  # MuSe-Toolbox, fused: milliseconds
    ('timestamp,1,2,3\n0.0,0.1,0.2,0.3\n0.5,0.1,0.2,0.3\n', [0, 0.5], ('1', '2', '3', 'segment_id')),  # raters: seconds
  ],
)
def test_muse_toolbox(tmp_path, text, times, columns):
  path = tmp_path / '1.csv'
  path.write_text(text)
  table = muse.parse(path)
  np.testing.assert_allclose(table.times, times)
  assert table.columns == columns


def test_affwild2(tmp_path):
  variable = [0.0, 0.013, 0.055, 0.08, 0.121, 0.135, 0.17, 0.2, 0.22, 0.25]
  labels = continuous_corpora.affwild2(
    tmp_path, {'4': ('Train', None), '5': ('Validation', variable), '6-30': ('Train', None)}
  )
  (tmp_path / 'batch1' / '6-30.mp4').unlink()
  clips.write_clip(tmp_path / 'batch1' / '7.mp4', clips.counted_frames(5), codec='libx264')
  corpus = affwild2.read(tmp_path)
  assert [(r.recording, r.partition) for r in corpus.recordings] == [('4', 'train'), ('5', 'validation')]
  assert corpus.absent == [('7', '–', 'annotation'), ('6-30', 'train', 'video')]
  values, times = read_labels(corpus.recordings[1])
  expected = np.where(labels['5'] == -5, np.nan, labels['5'])[:, ::-1]  # valence comes first in the file, arousal here
  np.testing.assert_array_equal(values, expected)
  np.testing.assert_allclose(times[:-1], variable[1:], atol=1e-3)  # a label at the end of its frame
  assert times[-1] > variable[-1] and np.isnan(values[5:8]).all()
  assert len(read_labels(corpus.recordings[0])[0]) == 40
  assert corpus.scorer == Scorer(('ccc',), mean_of_targets=True)
  # The other convention: lines that name their pictures, of which some are absent.
  path = corpus.recordings[1].labels[0].path
  path.write_text('image_location,valence,arousal\n5/00002.jpg,0.25,-0.5\n5/00010.jpg,-5,-5\n')
  values, _ = read_labels(corpus.recordings[1])
  np.testing.assert_array_equal(values[1], [-0.5, 0.25])
  assert np.isnan(np.delete(values, 1, axis=0)).all()
  path.write_text('valence,arousal\n' + '0.1,0.2\n' * 7)
  with pytest.raises(DataError, match='7 lines, and 5.mp4 has 10 frames; expected a line for every frame'):
    read_labels(corpus.recordings[1])


def test_affwild2_two_people_in_one_video(tmp_path):
  continuous_corpora.affwild2(tmp_path, {'8': ('Train', None)})
  folder = tmp_path / 'VA' / 'Train_Set'
  for side in ('left', 'right'):
    (folder / f'8_{side}.txt').write_text((folder / '8.txt').read_text())
  (folder / '8.txt').unlink()
  crops = tmp_path / 'cropped_aligned' / '8_left'
  crops.mkdir(parents=True)
  cv2.imwrite(str(crops / '00001.jpg'), np.full((112, 112, 3), 60, np.uint8))
  corpus = affwild2.read(tmp_path)
  (found,) = corpus.recordings
  assert (found.recording, found.subject, found.video) == ('8_left', '8', crops)
  assert found.audio == found.frames == tmp_path / 'batch1' / '8.mp4'
  assert corpus.absent == [('8_right', 'train', 'cropped_aligned, which says whose face is meant')]


def test_affwild2_test_videos_by_a_split_file(tmp_path):
  continuous_corpora.affwild2(tmp_path, {'4': ('Train', None)})
  clips.write_clip(tmp_path / 'batch1' / '7.mp4', clips.counted_frames(5), codec='libx264')
  (tmp_path / 'split.csv').write_text('recording,partition\n4,train\n7,test\n')
  corpus = affwild2.read(tmp_path, split=tmp_path / 'split.csv')
  values, times = read_labels(corpus.recordings[1])
  assert values.shape == (5, 2) and np.isnan(values).all() and len(times) == 5


def test_afewva(tmp_path):
  actors = {'001': 'A', '002': 'A', '003': 'B', '004': 'C', '005': None}
  labels = continuous_corpora.afewva(tmp_path, actors)
  (tmp_path / '006').mkdir()
  corpus = afewva.read(tmp_path)
  assert [r.recording for r in corpus.recordings] == list(actors)
  assert [r.subject for r in corpus.recordings] == ['A', 'A', 'B', 'C', '005']
  assert corpus.absent == [('006', '–', 'JSON, pictures')]
  recording.check_subjects(corpus.recordings)
  values, times = read_labels(corpus.recordings[2])
  np.testing.assert_array_equal(values, labels['003'])
  np.testing.assert_allclose(times, np.arange(1, 13) / 25)
  assert corpus.recordings[0].first_box == (20, 15, 9, 6) and corpus.label_range == (-10, 10)


def test_omg(tmp_path):
  continuous_corpora.omg(
    tmp_path,
    [
      ('Train', 'abc', 'utterance_1', 0.5, -0.25),
      ('Train', 'abc', 'utterance_2', 0.0, 1.0),
      ('Test', 'xyz', 'utterance_1', '', ''),
    ],
  )
  (tmp_path / 'clips' / 'abc' / 'utterance_2.mp4').unlink()
  corpus = omg.read(tmp_path)
  assert [(r.recording, r.subject, r.partition, dict(r.whole)) for r in corpus.recordings] == [
    ('abc_utterance_1', 'abc', 'train', {'arousal': 0.5, 'valence': -0.25}),
    ('xyz_utterance_1', 'xyz', 'test', {}),
  ]
  assert corpus.absent == [('abc_utterance_2', 'train', 'clip')]
  assert corpus.target_ranges == {'arousal': (0, 1)} and corpus.label_range == (-1, 1)


def case_file(path, films, rows=5):
  lines, time = ['jstime,valence,arousal,video'], 0
  for film in films:
    for i in range(rows):
      lines.append(f'{time},{5 + i / 10},{5 - i / 10},{film}')
      time += 50
  path.parent.mkdir(parents=True, exist_ok=True)
  path.write_text('\n'.join(lines) + '\n')


def test_case(tmp_path):
  case_file(tmp_path / 'annotations' / 'sub_3.csv', [10, 4, 11, 2, 12])
  case_file(tmp_path / 'annotations' / 'sub_12.csv', [10, 4, 12])
  corpus = case.read(tmp_path)
  assert [r.recording for r in corpus.recordings] == ['sub_12_video_4', 'sub_3_video_2', 'sub_3_video_4']
  assert {r.partition for r in corpus.recordings if r.subject == 'sub_3'} == {finding.partition_of('sub_3')}
  assert len(corpus.absent) == 28 and corpus.streams == ()
  values, times = read_labels(corpus.recordings[1])
  np.testing.assert_allclose(times, [0, 0.05, 0.1, 0.15, 0.2])
  np.testing.assert_allclose(values, [[5 - i / 10, 5 + i / 10] for i in range(5)])  # arousal, valence
  (tmp_path / 'split.csv').write_text('recording,partition\nsub_3,train\nsub_12_video_4,test\n')
  by_file = case.read(tmp_path, split=tmp_path / 'split.csv')
  assert [r.partition for r in by_file.recordings] == ['test', 'train', 'train'] and by_file.absent == []


def test_case_with_sensors(tmp_path):
  """A film is what was measured between its first annotation and 50 ms after its last one."""
  case_file(tmp_path / 'annotations' / 'sub_3.csv', [10, 4, 11, 2, 12])  # of 250 ms each
  case_file(tmp_path / 'annotations' / 'sub_12.csv', [10, 4, 12])
  (tmp_path / 'physiological').mkdir()
  rows = [f'{k},{k / 10},9,{1000 - k},9' for k in range(1250)]
  (tmp_path / 'physiological' / 'sub_3.csv').write_text('\n'.join(['daqtime,ecg,bvp,gsr,video', *rows]) + '\n')
  corpus = case.read(tmp_path)
  assert [len(r.sensors) for r in corpus.recordings] == [0, 1, 1] and corpus.streams == ('physiology',)
  (file,) = corpus.recordings[1].sensors
  found = file.parse(file.path)  # of film 2, from 750 ms to 1 s
  np.testing.assert_allclose(found['ecg'].times, np.arange(250) / 1000)
  np.testing.assert_allclose(found['ecg'].values, np.arange(750, 1000) / 10)
  np.testing.assert_allclose(found['eda'].values, 1000 - np.arange(750, 1000))
  pickle.loads(pickle.dumps(corpus.recordings[1]))  # it goes to another process
  (tmp_path / 'physiological' / 'sub_3.csv').write_text('daqtime,ecg,gsr\n0,1,1\n1,1,1\n')
  with pytest.raises(DataError, match='sub_3.csv: fewer than two rows'):
    file.parse(file.path)


def test_case_as_it_is_released():
  if not CASE.is_dir():
    pytest.skip('../shared/data/case is absent')
  corpus = case.read(CASE)
  assert len(corpus.recordings) == 16 and len({r.subject for r in corpus.recordings}) == 2
  for found in (corpus.recordings[0], corpus.recordings[-1]):
    values, times = read_labels(found)
    assert 119 < times[-1] < 198 and len(times) == pytest.approx(20 * times[-1], abs=3)
    assert 0.5 <= values.min() and values.max() <= 9.5


@pytest.mark.parametrize('reader', [sewa, muse, affwild2, afewva, omg, case])
def test_refusals(tmp_path, reader):
  with pytest.raises(DataError, match=str(tmp_path)):
    reader.read(tmp_path)
  with pytest.raises(UserError, match='--split=avec is for --corpus=recola'):
    reader.read(tmp_path, split='avec')
  with pytest.raises(UserError, match='--label_range is for --corpus=csv'):
    reader.read(tmp_path, label_range=(0, 1))
  assert reader.NEEDS


def test_people_are_divided_by_their_names_alone():
  parts = [finding.partition_of(f'person {i}') for i in range(2000)]
  shares = [parts.count(name) / 2000 for name in ('train', 'validation', 'test')]
  np.testing.assert_allclose(shares, [0.6, 0.2, 0.2], atol=0.03)  # three deviations of 2000 draws
