"""Labels at their own times, beside the shards."""

import json
import pathlib

import cv2
import numpy as np
import pytest
import soundfile

from data_prep.core.errors import DataError
from data_prep.corpora import affwild2
from data_prep.schema import label_clock
from data_prep.schema.manifest import Manifest
from data_prep.shards import landmarks, prepare, read, verify
from tests import clips, continuous_corpora
from tests.data_prep.corpora.test_continuous_corpora import case_file


def make(tmp_path, corpus, source=None, **options):
  out = tmp_path / 'out'
  result = prepare.prepare(corpus=corpus, source=source or tmp_path / corpus, out=out, jobs=0, max_lost=1.0, **options)
  assert verify.verify(out) == [] and Manifest.read(out) == result.manifest
  return out, result


def records_of(out, name):
  manifest = Manifest.read(out)
  records = [r for shard in manifest.by_recording()[name] for r in read.read_shard(out / shard.file, manifest)]
  return {
    field: np.concatenate([getattr(record, field) for record in records]) for field in ('label', 'label_mask', 'valid')
  }


def own_of(out, name):
  manifest = Manifest.read(out)
  return label_clock.read(out, manifest.label_clock.files[name], manifest.targets)


def test_sewa_keeps_its_tenths_of_a_second_and_trains_on_the_grid(tmp_path):
  labels = continuous_corpora.sewa(tmp_path / 'sewa', ['Train_01', 'Devel_01', 'Test_01'])
  (tmp_path / 'sewa' / 'labels' / 'Test_01.csv').unlink()
  out, result = make(tmp_path, 'sewa')
  clock = result.manifest.label_clock
  assert set(clock.files) == {'Train_01', 'Devel_01'} and clock.prediction_format == 'avec2019'
  own = own_of(out, 'Train_01')
  np.testing.assert_array_equal(own.values, labels['Train_01'])
  np.testing.assert_array_equal(own.times, [float(f'{i / 10:.1f}') for i in range(30)])
  # The grid has a line between two labels: step 4 ends at 0.2 s, step 2 (0.12 s) lies a fifth of the way from 0.1 s.
  placed = records_of(out, 'Train_01')
  np.testing.assert_allclose(placed['label'][4], labels['Train_01'][2], atol=1e-6)
  expected = 0.8 * labels['Train_01'][1] + 0.2 * labels['Train_01'][2]
  np.testing.assert_allclose(placed['label'][2], expected, atol=1e-6)
  # Run again: nothing is touched. A recording that leaves the corpus takes its labels with it.
  before = {path: path.stat().st_mtime_ns for path in out.rglob('*.csv')}
  make(tmp_path, 'sewa')
  assert before == {path: path.stat().st_mtime_ns for path in out.rglob('*.csv')}
  (tmp_path / 'sewa' / 'audio' / 'Devel_01.wav').unlink()
  out, result = make(tmp_path, 'sewa')
  assert [*result.manifest.label_clock.files] == ['Train_01'] and len(list((out / 'labels').glob('*'))) == 1
  # Labels that someone changed are told of, and made again where they are gone.
  (path,) = (out / 'labels').glob('*.csv')
  path.write_text(path.read_text() + '9,0,0,0\n')
  assert 'SHA-256 differs' in verify.verify(out)[0]
  path.unlink()
  make(tmp_path, 'sewa')
  assert path.is_file()


def test_muse_masked_labels_keep_their_times(tmp_path):
  labels = continuous_corpora.muse(tmp_path / 'muse', {'1': 'train', '2': 'devel', '3': 'test'})
  out, result = make(tmp_path, 'muse')
  own = own_of(out, '3')
  assert np.isnan(own.values).all() and list(own.beside['segment_id']) == ['1'] * 4 + ['2'] * 3
  np.testing.assert_allclose(own.times, 0.5 * np.arange(1, 8))
  np.testing.assert_array_equal(own_of(out, '1').values, labels['1'])
  assert records_of(out, '3')['label_mask'].sum() == 0 and records_of(out, '1')['label_mask'].sum() > 70
  assert result.summaries['3'].notes[-1] == 'the corpus has no label here'
  assert result.summaries['1'].steps == 88  # cut to the last label, at 3.5 s


def test_affwild2_has_a_row_for_every_frame(tmp_path):
  variable = [0.0, 0.013, 0.055, 0.08, 0.121, 0.135, 0.17, 0.2, 0.22, 0.25]
  labels = continuous_corpora.affwild2(tmp_path / 'affwild2', {'4': ('Train', None), '5': ('Validation', variable)})
  out, _ = make(tmp_path, 'affwild2')
  for name, frames in (('4', 40), ('5', 10)):
    own = own_of(out, name)
    assert len(own.times) == frames and (np.diff(own.times) > 0).all()
    np.testing.assert_array_equal(own.values, np.where(labels[name] == -5, np.nan, labels[name])[:, ::-1])
  mask = records_of(out, '4')['label_mask']
  assert 0 < mask.sum() < 34  # 40 frames are 1.33 s, and three of them have no label


def test_affwild2_learns_the_given_face_of_two(tmp_path):
  source = tmp_path / 'affwild2'
  continuous_corpora.affwild2(source, {'8': ('Train', None)})
  (source / 'VA' / 'Train_Set' / '8.txt').rename(source / 'VA' / 'Train_Set' / '8_left.txt')
  crops = source / 'cropped_aligned' / '8_left'
  crops.mkdir(parents=True)
  for i in range(1, 31):  # of 40 frames
    cv2.imwrite(str(crops / f'{i:05d}.jpg'), np.full((112, 112, 3), 5 * i, np.uint8))
  (video,) = affwild2.read(source).recordings
  clips.write_clip(
    video.audio,
    clips.counted_frames(40),
    times=[round(1000 * i * 1001 / 30_000) / 1000 for i in range(40)],
    codec='libx264',
    sound=clips.tone(1.33, 16_000),
    rate=16_000,
    sound_codec='aac',
  )
  out, result = make(tmp_path, 'affwild2', max_difference=0.2)
  assert result.summaries['8_left'].face_found == pytest.approx(30 / 40, abs=0.04)
  assert '10 of 40 frames have no picture' in result.summaries['8_left'].notes


def test_afewva_in_its_own_units(tmp_path):
  labels = continuous_corpora.afewva(tmp_path / 'afewva', {'001': 'A', '002': 'B'})
  out, result = make(tmp_path, 'afewva')
  np.testing.assert_array_equal(own_of(out, '001').values, labels['001'])
  np.testing.assert_allclose(records_of(out, '001')['label'][:12], labels['001'] / 10, atol=1e-6)
  assert list(result.manifest.streams) == ['visual']
  # A picture that changes is prepared again.
  before = result.manifest.shards[0].sha256
  cv2.imwrite(str(tmp_path / 'afewva' / '001' / '00003.png'), np.full((64, 80, 3), 200, np.uint8))
  fresh = []
  original = prepare.workers.assemble.assemble
  prepare.workers.assemble.assemble = lambda r, s: (fresh.append(r.recording), original(r, s))[1]
  try:
    make(tmp_path, 'afewva')
  finally:
    prepare.workers.assemble.assemble = original
  assert fresh == ['001'] and before


def test_omg_has_one_row_a_clip_on_two_scales(tmp_path):
  continuous_corpora.omg(
    tmp_path / 'omg',
    [('Train', 'abc', 'utterance_1', 0.75, -0.25), ('Test', 'xyz', 'utterance_1', '', '')],
  )
  out, result = make(tmp_path, 'omg')
  own = own_of(out, 'abc_utterance_1')
  assert own.of_whole and own.values.tolist() == [[0.75, -0.25]]
  assert [*result.manifest.label_clock.files] == ['abc_utterance_1']
  np.testing.assert_allclose(records_of(out, 'abc_utterance_1')['label'][0], [0.5, -0.25])  # arousal: 0 … 1
  assert result.manifest.label_scale == {'arousal': [2, -1], 'valence': [1, 0]}


def test_case_without_a_stream_holds_labels_alone(tmp_path):
  case_file(tmp_path / 'case' / 'sub_3.csv', [10, 4, 11], rows=21)
  out, result = make(tmp_path, 'case')
  assert dict(result.manifest.streams) == {} and len(own_of(out, 'sub_3_video_4').times) == 21
  found = records_of(out, 'sub_3_video_4')  # 1 s; arousal falls from 5, which is 0 of 0.5 … 9.5, by 0.1 in 0.05 s
  np.testing.assert_allclose(found['label'][24], [-2 / 4.5, 2 / 4.5], atol=1e-6)


def test_labels_on_the_grid_are_stored_once(tmp_path):
  """A manifest whose labels lie on the grid is what it was before there was a clock."""
  soundfile.write(tmp_path / 'a.wav', clips.tone(2, 16_000), 16_000)
  rows = [f'{i / 25:.2f},{i / 100}' for i in range(51)]
  (tmp_path / 'a.csv').write_text('\n'.join(['time,arousal', *rows]) + '\n')
  (tmp_path / 'm.csv').write_text('recording,subject,partition,video,audio,labels\na,A,train,,a.wav,a.csv\n')
  out, result = make(tmp_path, 'csv', tmp_path / 'm.csv')
  assert result.manifest.label_clock is None and not (out / 'labels').exists()
  assert 'label_clock' not in json.loads((out / 'manifest.json').read_text())
  rows = [f'{i / 2:.2f},{i / 10}' for i in range(5)]
  (tmp_path / 'a.csv').write_text('\n'.join(['time,arousal', *rows]) + '\n')
  out, result = make(tmp_path, 'csv', tmp_path / 'm.csv')
  assert result.manifest.label_clock.files['a'].rows == 5 and result.manifest.label_clock.scorer is None


@pytest.mark.parametrize('path', ['../x.csv', '/etc/passwd'])
def test_a_manifest_whose_labels_lead_out_is_refused(tmp_path, path):
  continuous_corpora.sewa(tmp_path / 'sewa', ['Train_01'])
  out, _ = make(tmp_path, 'sewa')
  content = json.loads((out / 'manifest.json').read_text())
  content['label_clock']['files']['Train_01']['file'] = path
  pathlib.Path(out / 'manifest.json').write_text(json.dumps(content))
  with pytest.raises(DataError, match='leads out of'):
    Manifest.read(out)


def test_landmarks_take_the_labels_along(tmp_path):
  continuous_corpora.sewa(tmp_path / 'sewa', ['Train_01'])
  out, result = make(tmp_path, 'sewa')
  (tmp_path / 'points').mkdir()
  points = np.random.default_rng(0).uniform(0, 96, (75, 7, 2))
  np.savez(tmp_path / 'points' / 'Train_01.npz', landmarks=points)
  manifest = landmarks.add_landmarks(str(out), str(tmp_path / 'points'), tmp_path / 'more')
  assert manifest.label_clock == result.manifest.label_clock and verify.verify(tmp_path / 'more') == []


def test_raters_of_muse_toolbox_make_the_gold_standard_at_their_times(tmp_path):
  continuous_corpora.muse(tmp_path / 'muse', {'1': 'train'})
  ratings = np.random.default_rng(1).uniform(-0.5, 0.5, (7, 3))
  for target in ('arousal', 'valence'):
    rows = [f'{0.5 * (i + 1)},' + ','.join(map(str, row)) for i, row in enumerate(ratings)]
    rows[3] = rows[3].rpartition(',')[0] + ','  # the third rater has said nothing here
    path = tmp_path / 'muse' / 'label_segments' / target / '1.csv'
    path.write_text('\n'.join(['timestamp,1,2,3', *rows]) + '\n')
  out, _ = make(tmp_path, 'muse', gold_standard='mean')
  expected = ratings.mean(axis=1)
  expected[3] = np.nan
  np.testing.assert_allclose(own_of(out, '1').values, np.tile(expected[:, None], (1, 2)), atol=1e-12)


def test_what_is_held_ends_where_the_corpus_has_no_label(tmp_path):
  labels = continuous_corpora.affwild2(tmp_path / 'affwild2', {'4': ('Train', [i * 0.04 for i in range(40)])})
  out, _ = make(tmp_path, 'affwild2', labels='hold')
  found = records_of(out, '4')
  assert [*np.flatnonzero(found['label_mask'][:40] == 0)] == [5, 6, 7]  # frame i is step i at 25 a second
  annotated = found['label_mask'][:40] > 0
  np.testing.assert_allclose(found['label'][:40][annotated], labels['4'][:, ::-1][annotated], atol=1e-6)
