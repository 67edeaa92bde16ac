"""Bytes that begin a media file, and PCM that only looks like it."""

import io
import pathlib

import numpy as np
import pytest
import soundfile

from data_prep.core.errors import DataError
from e2e_affect.clips import pcm, stream
from tests import clips
from tests.networks import small_network


def encoded(tmp_path, name, codec):
  rate = 48_000 if codec in ('libopus', 'mp2', 'ac3') else 16_000
  clips.write_clip(tmp_path / name, sound=clips.tone(0.5, rate), rate=rate, sound_codec=codec)
  return (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
  'name, codec, words',
  [
    ('a.wav', 'pcm_s16le', 'RIFF'),
    ('a.mp3', 'libmp3lame', 'an MP3'),
    ('a.mp2', 'mp2', 'an MPEG audio'),
    ('a.ogg', 'libopus', 'an Ogg'),
    ('a.flac', 'flac', 'a FLAC'),
    ('a.m4a', 'aac', 'an MP4'),
    ('a.mka', 'flac', 'a Matroska'),
    ('a.aiff', 'pcm_s16be', 'an AIFF'),
    ('a.caf', 'pcm_s16le', 'a CAF'),
    ('a.au', 'pcm_s16be', 'an AU'),
    ('a.ts', 'aac', 'an MPEG-TS'),
    ('a.m2ts', 'aac', 'an MPEG-TS'),
    ('a.flv', 'aac', 'an FLV'),
    ('a.asf', 'libmp3lame', 'an ASF'),
    ('a.aac', 'aac', 'an AAC'),
    ('a.ac3', 'ac3', 'an AC-3'),
    ('a.mpg', 'mp2', 'an MPEG'),
    ('a.w64', 'pcm_s16le', 'RIFF'),
    ('a.wv', 'wavpack', 'a WavPack'),
    ('a.tta', 'tta', 'a TTA'),
  ],
)
def test_a_media_file_is_recognised_and_decoded_where_pcm_may_come(tmp_path, name, codec, words):
  data = encoded(tmp_path, name, codec)
  assert words in pcm.container_of(data[:2560])
  if name == 'a.mp3':  # without its tag, too
    assert pcm.container_of(data[10 + int.from_bytes(data[6:10], 'big') :][:2560]) == 'an MPEG audio'
  sink = io.StringIO()
  if name == 'a.m4a':  # its table comes last
    with pytest.raises(DataError, match='nothing in its tracks can be read as it comes in; send Matroska'):
      stream.run(small_network('speech'), io.BytesIO(data), sink)
    return
  stream.run(small_network('speech'), io.BytesIO(data), sink)
  # 0.5 s are 12.5 steps; codecs pad by up to two more.
  assert 13 <= len(sink.getvalue().splitlines()) - 1 <= 15


def test_a_damaged_media_file_is_no_pcm():
  sink = io.StringIO()
  with pytest.raises(
    DataError, match='begins as an MP4 or QuickTime file, not readable as it comes in .*; send Matroska'
  ):
    stream.run(small_network('speech'), io.BytesIO(b'\0\0\0\x18ftypisom' + bytes(4000)), sink)
  assert sink.getvalue() == 'time,arousal,valence,trained_on,face_found\n'


def test_rf64_is_recognised(tmp_path):
  soundfile.write(tmp_path / 'a.rf64', np.zeros(800), 16_000, format='RF64')
  assert 'RIFF' in pcm.container_of((tmp_path / 'a.rf64').read_bytes())


def test_pcm_of_any_kind_is_not_refused():
  rng = np.random.default_rng(0)
  for level in (0, 1, 3, 300, 3000, 30_000):
    for _ in range(500):
      samples = np.clip(rng.normal(0, level, 1280), -32768, 32767).astype('<i2')
      assert pcm.container_of(samples.tobytes()) is None
  # Its first bytes may be those of MPEG audio, whose next frame then is missing.
  for first in (b'\xff\xfb\x90\x64', b'\xff\xf1\x50\x80', b'\xff\xff\xff\xff', b'\x0b\x77\x00\x00'):
    assert pcm.container_of(first + rng.integers(-9, 9, 1278).astype('<i2').tobytes()) is None
  assert (
    pcm.container_of(b'\xff' * 2560) is None and pcm.container_of(b'\x47' * 2) is None and pcm.container_of(b'') is None
  )


def test_of_real_files_none_is_taken_for_pcm():
  data = pathlib.Path(__file__).resolve().parents[4] / 'shared' / 'data' / 'odd'
  if not data.is_dir():
    pytest.skip('no real clips: ../shared/data is absent')
  read = [path for path in sorted(data.iterdir()) if path.is_file() and path.name != 'corrupted.mp4']
  assert read and [path.name for path in read if pcm.container_of(path.read_bytes()[:2560]) is None] == []
