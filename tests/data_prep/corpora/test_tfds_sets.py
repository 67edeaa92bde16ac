"""Sets of tensorflow-datasets: read from shards that TFDS itself wrote, of made clips under the set's own name."""

import numpy as np
import pytest
import soundfile

from data_prep import corpora
from data_prep.core.errors import DataError, UserError
from data_prep.core.quiet_tf import tfds
from data_prep.shards import prepare, verify

CLIPS = {
  'train': [('1001', 'NEU', 3000), ('1003', 'ANG', 2000)],
  'validation': [('1002', 'DIS', 1500)],
  'test': [('1091', 'SAD', 900)],
}


@pytest.fixture
def downloaded(tmp_path):
  """The set as TFDS prepares it, its sound given as arrays: reading files takes a library that TFDS does not bring."""
  published = tfds.builder_cls('crema_d')
  with tfds.core.registered.skip_registration():

    class Made(published):
      name = 'crema_d'
      VERSION = published.VERSION
      code_path = None  # of a file of TFDS, which has checksums beside it

      def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in CLIPS}

      def _generate_examples(self, split):
        for k, (speaker, label, samples) in enumerate(CLIPS[split]):
          sound = (np.sin(np.arange(samples) / 9) * 9000).astype(np.int64)
          yield f'{speaker}_{k}', {'audio': sound, 'label': label, 'speaker_id': speaker}

  Made(data_dir=tmp_path / 'tfds').download_and_prepare()
  return tmp_path / 'tfds'


def test_clips_speakers_and_partitions(downloaded, tmp_path):
  corpus = corpora.read('tfds:crema_d', downloaded)
  # TFDS shuffles what it writes, by its keys; whose clip it is shows by speaker and length.
  found = {r.subject: r for r in corpus.recordings}
  assert {s: (r.partition, r.whole['emotion']) for s, r in found.items()} == {
    '1001': ('train', 'NEU'),
    '1003': ('train', 'ANG'),
    '1002': ('validation', 'DIS'),
    '1091': ('test', 'SAD'),
  }
  for speaker, _, samples in (clip for clips in CLIPS.values() for clip in clips):
    sound, rate = soundfile.read(found[speaker].audio, dtype='int16')
    assert rate == 16_000 and len(sound) == samples
    np.testing.assert_array_equal(sound, (np.sin(np.arange(samples) / 9) * 9000).astype(np.int16))
  assert corpus.classes == {'emotion': ('NEU', 'HAP', 'SAD', 'ANG', 'FEA', 'DIS')}
  assert corpus.folds['1']['1001'] == 'test' and len(corpus.folds) == 5
  manifest = prepare.prepare(corpus='tfds:crema_d', source=downloaded, out=tmp_path / 'out', jobs=0).manifest
  assert verify.verify(tmp_path / 'out') == [] and manifest.preparation['corpus'] == 'tfds:crema_d'
  assert [(s.subject, s.steps) for s in manifest.of_fold('2').shards if s.partition == 'test'] == [('1002', 3)]
  times = [r.audio.stat().st_mtime_ns for r in corpus.recordings]
  assert times == [r.audio.stat().st_mtime_ns for r in corpora.read('tfds:crema_d', downloaded).recordings]


@pytest.mark.parametrize(
  'error, raised, message',
  [
    (
      ModuleNotFoundError("No module named 'pydub'"),
      UserError,
      r"'pydub'.; install it with `pip install 'e2e_affect\[tfds\]'",
    ),
    (
      AssertionError('place it\ninto: AudioData.zip'),
      DataError,
      'cannot prepare savee .AssertionError: place it into: A',
    ),
  ],
)
def test_what_tfds_lacks_is_said(tmp_path, monkeypatch, error, raised, message):
  def download_and_prepare(self):
    raise error

  monkeypatch.setattr(tfds.builder_cls('savee'), 'download_and_prepare', download_and_prepare)
  with pytest.raises(raised, match=message):
    corpora.read('tfds:savee', tmp_path)
  with pytest.raises(UserError, match='--split and --split_file are not for --corpus=tfds:savee'):
    corpora.read('tfds:savee', tmp_path, split='full')
