"""What a browser can play, and the copy of what it cannot."""

import os
import pathlib

import numpy as np
import pytest
import soundfile

from data_prep import audio_track, playback, video_track
from tests import clips


def colours(count, height=96, width=130):
  return [np.full((height, width, 3), (40 + 4 * i, 200 - 4 * i, 90), np.uint8) for i in range(count)]


@pytest.mark.parametrize('name, options, suffix', [
    ('a.mp4', {'codec': 'libx264', 'sound_codec': 'aac'}, '.mp4'),
    ('a.mkv', {'codec': 'libx264', 'sound_codec': 'aac'}, None),
    ('a.webm', {'codec': 'libvpx', 'sound_codec': 'libopus', 'rate': 48_000}, '.webm'),
    ('a.mp4', {'codec': 'mpeg4', 'sound_codec': 'aac'}, None),
    ('a.mp4', {'codec': 'libx264', 'sound_codec': 'aac', 'sound_start': 0.5}, None)])
def test_playable_videos(tmp_path, name, options, suffix):
  rate = options.setdefault('rate', 16_000)
  clips.write_clip(tmp_path / name, colours(10), sound=clips.tone(0.4, rate), **options)
  assert playback.playable_as(tmp_path / name) == suffix


@pytest.mark.parametrize('name, suffix', [('a.wav', '.wav'), ('a.flac', '.flac'), ('a.ogg', '.ogg'), ('a.aiff', None)])
def test_playable_sounds(tmp_path, name, suffix):
  soundfile.write(tmp_path / name, clips.tone(0.4, 16_000), 16_000)
  assert playback.playable_as(tmp_path / name) == suffix


def test_a_link_costs_nothing_and_harms_nothing(tmp_path):
  (tmp_path / 'clip.wav').write_bytes(b'sound')
  for _ in range(2):  # the second run finds the first one's link
    playback.link(tmp_path / 'clip.wav', tmp_path / 'media' / 'a.wav')
  assert os.path.samefile(tmp_path / 'clip.wav', tmp_path / 'media' / 'a.wav')
  assert [path.name for path in (tmp_path / 'media').iterdir()] == ['a.wav']


@pytest.mark.parametrize('sound', [True, False])
def test_the_copy_is_in_step(tmp_path, sound):
  copy = playback.Copy(tmp_path)
  frames = [None, None, *colours(38, 720, 1282)]
  for frame in frames:
    copy(frame)
  samples = (20_000 * np.sin(2 * np.pi * 440 * np.arange(16_000 * 1.6) / 16_000)).astype(np.int16) if sound else None
  path = copy.finish(samples, tmp_path / 'media' / 'a.b')
  assert path.name == 'a.b.mp4' and playback.playable_as(path) == '.mp4'
  video = video_track.Video(path)
  shown = list(video)
  assert len(shown) == 40 and video.size == (640, 360)
  assert shown[1].mean() < 20  # black before the first picture
  for k in range(2, 40):
    np.testing.assert_allclose(shown[k].mean(axis=(0, 1)), frames[k][0, 0], atol=6)
  if sound:
    audio = audio_track.read_audio(path)
    assert audio.end == pytest.approx(1.6, abs=0.07)
    assert np.abs(audio.samples[3200:22_000] - samples[3200:22_000].astype(int)).mean() < 1500
  else:
    assert not audio_track.has_audio(path)


def test_sound_alone(tmp_path):
  samples = (9000 * clips.tone(1, 16_000)).astype(np.int16)
  path = playback.Copy(tmp_path).finish(samples, tmp_path / 'a')
  assert path.name == 'a.m4a' and playback.playable_as(path) == '.m4a' and not video_track.has_video(path)


def test_a_file_without_a_track_to_play_is_no_index_error(tmp_path):
  sound = tmp_path / 'cover.mp3'
  clips.write_clip(tmp_path / 'a.mkv', colours(2))
  data = (tmp_path / 'a.mkv').read_bytes()
  # A Matroska whose only track is of a kind that nobody plays: 0x83 is the track's type, 0x11 a subtitle.
  place = data.index(b'\x83\x81\x01')
  sound.write_bytes(data[:place + 2] + b'\x11' + data[place + 3:])
  assert playback.playable_as(sound) is None


@pytest.mark.parametrize('name, suffix', [('e_vflip.mp4', None), ('e00_ref.mp4', '.mp4'),
                                          ('j01_two_tracks_first_silent.mp4', None)])
def test_what_browsers_would_show_mirrored_or_with_another_track_is_copied(name, suffix):
  path = pathlib.Path(__file__).resolve().parents[2] / 'shared' / 'data' / 'odd' / name
  if not path.is_file():
    pytest.skip('no real clips: ../shared/data is absent')
  assert playback.playable_as(path) == suffix
