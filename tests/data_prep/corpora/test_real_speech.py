"""Real speech, where it is at hand: RAVDESS and EMO-DB as they are released, but for the rate of the former."""

import collections
import pathlib

import pytest

from data_prep import corpora
from data_prep.schema.manifest import PARTITIONS
from data_prep.shards import prepare, verify

DATA = pathlib.Path(__file__).resolve().parents[4] / 'shared' / 'data'
pytestmark = pytest.mark.skipif(not (DATA / 'ravdess').is_dir(), reason='no real speech: ../shared/data is absent')


def test_ravdess_has_1440_clips_of_24_actors():
  corpus = corpora.read('ravdess', DATA / 'ravdess')
  count = collections.Counter(r.whole['emotion'] for r in corpus.recordings)
  assert len(corpus.recordings) == 1440 and corpus.absent == [] and corpus.streams == ('speech',)
  assert count.pop('neutral') == 96 and set(count.values()) == {192}
  for fold in corpus.folds.values():
    of = collections.Counter(fold[r.subject] for r in corpus.recordings)
    assert [of[partition] for partition in PARTITIONS] == [960, 240, 240]


@pytest.mark.slow
def test_emodb_has_54_clips_of_which_47_have_numbers(tmp_path):
  corpus = corpora.read('emodb', DATA / 'emodb')
  assert len(corpus.recordings) == 54 and len(corpus.folds) == 10
  result = prepare.prepare(corpus='emodb', source=DATA / 'emodb', out=tmp_path, targets=('arousal', 'valence'), jobs=1)
  assert len(result.manifest.shards) == 47 and len(result.absent) == 7 and verify.verify(tmp_path) == []
