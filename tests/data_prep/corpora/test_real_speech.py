"""Real speech, where it is at hand: RAVDESS and EMO-DB as they are released, but for the rate of the former."""

import collections
import importlib.util
import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from data_prep import corpora
from data_prep.features import store
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
  result = prepare.prepare(corpus='emodb', source=DATA / 'emodb', out=tmp_path, targets=('arousal', 'valence'), jobs=0)
  assert len(result.manifest.shards) == 47 and len(result.absent) == 7 and verify.verify(tmp_path) == []


# Run apart: openSMILE corrupts the heap of a process that has loaded TensorFlow before.
_PLAIN = """
import json, pathlib, sys
import opensmile, soundfile
smile = opensmile.Smile(getattr(opensmile.FeatureSet, sys.argv[1]), opensmile.FeatureLevel.Functionals)
of = lambda path: smile.process_signal(*soundfile.read(path, dtype='float32')).to_numpy()[0].tolist()
print(json.dumps({pathlib.Path(path).stem: of(path) for path in sys.argv[2:]}))
"""


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec('opensmile') is None, reason='openSMILE is not installed')
@pytest.mark.parametrize('name, plain', [('egemaps_whole', 'eGeMAPSv02'), ('compare_whole', 'ComParE_2016')])
def test_functionals_of_a_whole_recording_are_those_of_its_file(tmp_path, name, plain):
  paths = []
  for actor in ('01', '11', '20'):
    (tmp_path / 'files' / f'Actor_{actor}').mkdir(parents=True)
    path = sorted((DATA / 'ravdess' / f'Actor_{actor}').glob('*.flac'))[7]
    paths.append(shutil.copy(path, tmp_path / 'files' / f'Actor_{actor}' / path.name))
  made = prepare.prepare(corpus='ravdess', source=tmp_path / 'files', out=tmp_path / 'data', jobs=0)
  features = store.load(tmp_path / 'data', made.manifest, name, jobs=1)
  command = [sys.executable, '-c', _PLAIN, plain, *map(str, paths)]
  done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
  assert done.returncode == 0, done.stderr
  expected = json.loads(done.stdout.splitlines()[-1])
  assert len(expected) == 3
  for recording, values in expected.items():
    found = features.raw(recording)
    assert (found == found[0]).all() and found.shape[1] == len(values) == len(features.columns)
    np.testing.assert_allclose(found[0], np.nan_to_num(values, posinf=0, neginf=0), rtol=1e-6, atol=1e-6)
