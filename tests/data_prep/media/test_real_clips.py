"""Real recordings as own data: four sentences of the GRID corpus, and clips that a face enters or leaves."""

import pathlib
import shutil

import numpy as np
import pytest

from data_prep.core.errors import DataError
from data_prep.schema.manifest import Manifest
from data_prep.shards import prepare, verify
from tests.data_prep.shards import test_prepare

DATA = pathlib.Path(__file__).resolve().parents[4] / 'shared' / 'data'
pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason='no real clips: ../shared/data is absent')


def own_corpus(folder, files):
  rows = []
  for file in files:
    shutil.copy(file, folder / file.name)  # a manifest's paths stay inside its folder
    rows.append(f'{file.stem},{file.stem},train,{file.name},,')
  return test_prepare.own_corpus(folder, *rows)


def test_grid(tmp_path):
  files = sorted((DATA / 'grid').glob('*.mpg'))
  assert len(files) == 4
  result = prepare.prepare(corpus='csv', source=own_corpus(tmp_path, files), out=tmp_path / 'out', jobs=0)
  assert verify.verify(tmp_path / 'out') == []
  assert [(shard.steps, shard.records) for shard in result.manifest.shards] == [(75, 3)] * 4
  for file in files:
    data = test_prepare.read_back(tmp_path / 'out', file.stem)
    # 75 frames and 2.978 s of sound: the last step is there, and is masked; its missing samples are zeros.
    assert data['valid'].sum() == 75 and data['label_mask'][74] == 0
    assert (data['face_found'] > 0.5).all()
    assert data['audio'][: round(2.97 * 16_000)].any() and not data['audio'][round(2.98 * 16_000) :].any()
    assert data['audio_std'][0] > 100


def test_the_short_last_step_of_a_labelled_recording_is_masked_not_dropped(tmp_path):
  source = own_corpus(tmp_path, [DATA / 'grid' / 'bbaf2n.mpg'])
  test_prepare.label_file(tmp_path / 'l.csv', 75)
  source.write_text(source.read_text().replace('bbaf2n.mpg,,', 'bbaf2n.mpg,,l.csv'))
  prepare.prepare(corpus='csv', source=source, out=tmp_path / 'out', jobs=0)
  data = test_prepare.read_back(tmp_path / 'out', 'bbaf2n')
  np.testing.assert_array_equal(data['valid'], [1] * 75)
  np.testing.assert_array_equal(data['label_mask'], [1] * 74 + [0])


@pytest.mark.slow
def test_confidence_follows_the_face(tmp_path):
  files = [DATA / 'clips' / name for name in ('face_noface.mov', 'noface_face.mov', 'single_face.mp4', 'no_face.mp4')]
  source = own_corpus(tmp_path, files)
  with pytest.raises(DataError, match='1 of 4 recordings refused'):
    prepare.prepare(corpus='csv', source=source, out=tmp_path / 'out', jobs=0)
  assert (
    'no face in 100 % of the steps, at most 75 % are allowed (--max_lost)'
    in (tmp_path / 'out' / 'rejects.jsonl').read_text()
  )
  result = prepare.prepare(corpus='csv', source=source, out=tmp_path / 'out', jobs=0, max_lost=1)
  found = {name: test_prepare.read_back(tmp_path / 'out', name) for name in result.summaries}
  steps = {shard.recording: shard.steps for shard in Manifest.read(tmp_path / 'out').shards}
  assert steps == {'face_noface': 160, 'noface_face': 160, 'single_face': 60, 'no_face': 101}
  confidence = {name: data['face_found'][: steps[name]] for name, data in found.items()}
  # Seen by eye: the picture cuts away from the face at step 60, and to it at step 97, then to black at step 159.
  assert (confidence['face_noface'][:58] > 0.5).all() and not confidence['face_noface'][62:].any()
  assert not confidence['noface_face'][:96].any() and (confidence['noface_face'][104:157] > 0.5).all()
  assert (confidence['single_face'] > 0.5).all() and not confidence['no_face'].any()
  # Tracks that start and end apart: the sound of one clip begins at 2.43 s, of the other it ends at 3.95 s.
  assert not found['face_noface']['audio'][: round(2.42 * 16_000)].any()  # the resampler rings a little before
  assert found['face_noface']['audio'][round(2.5 * 16_000) :].any()
  assert not found['noface_face']['audio'][round(3.95 * 16_000) :].any()
  assert result.summaries['face_noface'].notes == ['sound starts at 2.43 s']
  assert result.summaries['noface_face'].notes == ['sound ends at 3.95 s']
