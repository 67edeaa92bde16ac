"""A container that comes in through a pipe, against the same file."""

import io

import numpy as np
import pytest

from data_prep.core.errors import DataError
from data_prep.recordings import clip, live
from data_prep.schema.grid import PAPER
from tests import clips
from tests.data_prep.face.test_faces import scene
from tests.data_prep.recordings.test_clip import portrait, source


class Pipe(io.BytesIO):
  """Gives little at a time, as a pipe does."""

  def read1(self, count=-1):
    return super().read1(min(count, 4096) if count > 0 else 4096)


def steps_of(data, *, picture=True):
  return list(live.Live(live.Source(Pipe(data)), 'some', PAPER, picture=picture))


def noise(seconds, rate=44_100):
  return np.random.default_rng(0).normal(0, 0.1, round(seconds * rate))


@pytest.mark.parametrize('name, codec, sound_codec', [('v.mkv', 'ffv1', 'pcm_s16le'), ('v.ts', 'libx264', 'mp2')])
def test_a_pipe_gives_what_the_file_gives(face, tmp_path, name, codec, sound_codec):
  frames = [scene(face, 90 + 2 * i, 120 + 12 * np.sin(i / 9)) for i in range(30)]
  frames[17:21] = [np.zeros_like(frames[0])] * 4
  clips.write_clip(tmp_path / name, frames, sound=noise(1.1), codec=codec, sound_codec=sound_codec)
  file = clip.read(source(tmp_path / name), tmp_path, picture=True)
  steps = steps_of((tmp_path / name).read_bytes())
  assert len(steps) == file.steps and (file.face_found > 0).any() and not file.face_found[17:21].any()
  samples = np.concatenate([step.samples for step in steps])
  assert abs(len(samples) - len(file.samples)) <= 640
  count = min(len(samples), len(file.samples)) - 640  # where the sound ends, codecs and files differ
  # A file's clock is corrected by parts of a sample.
  np.testing.assert_allclose(samples[:count], file.samples[:count], atol=0 if name == 'v.mkv' else 1)
  np.testing.assert_array_equal(np.float32([step.found for step in steps]), file.face_found)
  np.testing.assert_array_equal([step.face for step in steps], file.crops[:])


def test_a_step_comes_when_sound_and_picture_have_passed_it(tmp_path):
  clips.write_clip(tmp_path / 'v.mkv', portrait(50), sound=noise(2))
  data = (tmp_path / 'v.mkv').read_bytes()
  pipe = Pipe(data)
  read = [pipe.tell() for _ in live.Live(live.Source(pipe), 'some', PAPER, picture=True)]
  # What FFmpeg probes, and what it reads ahead, is less than a fifth of this file.
  assert all(place < len(data) * (step / 50 + 0.2) for step, place in enumerate(read))


def test_sound_alone_is_read_where_no_picture_is_wanted_and_a_silent_one_is_zeros(tmp_path):
  clips.write_clip(tmp_path / 'v.mkv', portrait(10), sound=noise(0.5))
  heard = steps_of((tmp_path / 'v.mkv').read_bytes(), picture=False)
  assert len(heard) == 13 and all(step.face is None for step in heard)  # 0.5 s are 12.5 steps
  assert [len(step.samples) for step in heard[-2:]] == [640, 320]
  clips.write_clip(tmp_path / 'silent.mkv', portrait(10))
  data = (tmp_path / 'silent.mkv').read_bytes()
  seen = steps_of(data)
  assert len(seen) == 10 and not any(step.samples.any() for step in seen) and seen[0].face.shape == (96, 96, 3)
  with pytest.raises(DataError, match='standard input is some file with no sound and no picture that is wanted in it'):
    steps_of(data, picture=False)


@pytest.mark.parametrize('first', ['sound', 'picture'])
def test_a_track_that_stays_away_is_not_waited_for_longer_than_a_second(tmp_path, first):
  """The one ends after 0.2 s, the other goes on; then silence, or the picture before, counts."""
  lengths = {'sound': 0.2, 'picture': 3.0} if first == 'sound' else {'sound': 3.0, 'picture': 0.2}
  clips.write_clip(tmp_path / 'v.mkv', portrait(round(25 * lengths['picture'])), sound=noise(lengths['sound']))
  pipe = Pipe((tmp_path / 'v.mkv').read_bytes())
  steps, read = [], []
  for step in live.Live(live.Source(pipe), 'some', PAPER, picture=True):
    steps.append(step)
    read.append(pipe.tell())
  assert len(steps) == 75
  assert read[40] < pipe.tell()  # step 40 came before the end
  loud = [bool(step.samples.any()) for step in steps]
  assert loud == ([True] * 5 + [False] * 70 if first == 'sound' else [True] * 75)


def test_sound_that_comes_after_its_steps_were_taken_is_where_it_belongs(tmp_path):
  clips.write_clip(tmp_path / 'v.mkv', portrait(75), sound=noise(1.0), sound_start=1.6)
  file = clip.read(source(tmp_path / 'v.mkv'), tmp_path, picture=True)
  samples = np.concatenate([step.samples for step in steps_of((tmp_path / 'v.mkv').read_bytes())])
  np.testing.assert_array_equal(samples[: round(2.5 * 16_000)], file.samples[: round(2.5 * 16_000)])


def test_what_cannot_be_read_from_a_pipe_is_said_in_one_line(tmp_path):
  with pytest.raises(DataError, match='begins as some file, not readable as it comes in .*; send Matroska: ffmpeg -i '):
    steps_of(b'RIFF' + bytes(3000))
  frames = np.random.default_rng(0).integers(0, 255, (10, 240, 320, 3), dtype=np.uint8)
  clips.write_clip(tmp_path / 'v.mp4', list(frames), codec='libx264')  # its table is at the end
  with pytest.raises(DataError, match='nothing in its tracks can be read as it comes in; send Matroska'):
    steps_of((tmp_path / 'v.mp4').read_bytes())


def test_a_container_that_is_cut_off_gives_what_came(tmp_path):
  clips.write_clip(tmp_path / 'v.mkv', portrait(50), sound=noise(2))
  data = (tmp_path / 'v.mkv').read_bytes()
  assert 20 < len(steps_of(data[: len(data) // 2])) < 30
