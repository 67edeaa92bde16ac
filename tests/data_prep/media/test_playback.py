"""What a browser can play, and the copy of what it cannot."""

import fractions
import os
import pathlib

import av
import cv2
import numpy as np
import pytest
import soundfile

from data_prep.corpora.recording import Recording
from data_prep.face import cropping
from data_prep.media import audio_track, playback, video_track
from data_prep.recordings import clip
from tests import clips
from tests.data_prep.face.test_faces import scene


def colours(count, height=96, width=130):
  return [np.full((height, width, 3), (40 + 4 * i, 200 - 4 * i, 90), np.uint8) for i in range(count)]


@pytest.mark.parametrize(
  'name, options, suffix',
  [
    ('a.mp4', {'codec': 'libx264', 'sound_codec': 'aac'}, '.mp4'),
    ('a.mkv', {'codec': 'libx264', 'sound_codec': 'aac'}, None),
    ('a.webm', {'codec': 'libvpx', 'sound_codec': 'libopus', 'rate': 48_000}, '.webm'),
    ('a.mp4', {'codec': 'mpeg4', 'sound_codec': 'aac'}, None),
    ('a.mp4', {'codec': 'libx264', 'sound_codec': 'aac', 'sound_start': 0.5}, None),
  ],
)
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
  sound.write_bytes(data[: place + 2] + b'\x11' + data[place + 3 :])
  assert playback.playable_as(sound) is None


@pytest.mark.parametrize(
  'name, suffix', [('e_vflip.mp4', None), ('e00_ref.mp4', '.mp4'), ('j01_two_tracks_first_silent.mp4', None)]
)
def test_what_browsers_would_show_mirrored_or_with_another_track_is_copied(name, suffix):
  path = pathlib.Path(__file__).resolve().parents[4] / 'shared' / 'data' / 'odd' / name
  if not path.is_file():
    pytest.skip('no real clips: ../shared/data is absent')
  assert playback.playable_as(path) == suffix


def squeezed(path, pictures):
  """Half as wide, with pixels that are twice as wide as high."""
  with av.open(str(path), 'w') as container:
    stream = container.add_stream('libx264', rate=25)
    stream.width, stream.height, stream.pix_fmt = pictures[0].shape[1] // 2, pictures[0].shape[0], 'yuv420p'
    stream.codec_context.sample_aspect_ratio = fractions.Fraction(2)
    for i, picture in enumerate(pictures):
      frame = av.VideoFrame.from_ndarray(
        np.ascontiguousarray(cv2.resize(picture, (stream.width, stream.height))), format='rgb24'
      )
      frame.pts = i
      container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def with_matrix(stored, numbers):
  """A writer of pictures that are stored otherwise than they are shown, with the display matrix that says so."""

  def write(path, pictures):
    clips.write_clip(path, [np.ascontiguousarray(stored(picture)) for picture in pictures], codec='libx264')
    data = path.read_bytes()
    old, new = (
      b''.join(int(x * 65536).to_bytes(4, 'big', signed=True) for x in (a, b, 0, c, d, 0))
      for a, b, c, d in ((1, 0, 0, 1), numbers)
    )
    place = data.index(old, data.index(b'tkhd'))
    path.write_bytes(data[:place] + new + data[place + len(new) :])

  return write


def of_two_sizes(path, pictures):
  """The second half is recorded smaller, beside black, as by a telephone that is turned."""
  half = len(pictures) // 2
  narrow = [np.ascontiguousarray(cv2.resize(picture, (160, 120))[:, 20:140]) for picture in pictures[half:]]
  parts = []
  for i, part in enumerate((pictures[:half], narrow)):
    clips.write_clip(path.with_name(f'{i}.ts'), part, codec='libx264')
    parts.append(path.with_name(f'{i}.ts').read_bytes())
  path.write_bytes(b''.join(parts))


@pytest.mark.parametrize(
  'name, write, size',
  [
    ('a.mp4', squeezed, (320, 240)),
    ('a.mp4', with_matrix(lambda picture: picture[::-1], (1, 0, 0, -1)), (320, 240)),
    ('a.mp4', with_matrix(lambda picture: picture[:, ::-1], (-1, 0, 0, 1)), (320, 240)),
    ('a.mp4', with_matrix(lambda picture: np.rot90(picture), (0, 1, -1, 0)), (320, 240)),
    ('a.ts', of_two_sizes, (320, 240)),
  ],
  ids=['anamorphic', 'upside down', 'mirrored', 'rotated', 'two sizes'],
)
def test_boxes_lie_on_the_copy_where_the_network_saw_the_face(tmp_path, monkeypatch, face, name, write, size):
  monkeypatch.setattr(playback, 'MAX_SIDE', 240)  # smaller than the clip: the page knows boxes as shares of the frame
  write(tmp_path / name, [scene(face, 140 + i, 120) for i in range(40)])
  copy = playback.Copy(tmp_path)
  recording = Recording(recording='a', subject='a', partition='test', video=tmp_path / name, audio=None)
  prepared = clip.read(recording, tmp_path, picture=True, watch=copy)
  video = video_track.Video(copy.finish(None, tmp_path / 'copy'))
  shown = list(video)
  assert prepared.frame_size == size and video.size == (240, 180) and prepared.steps == len(shown)
  seen = np.flatnonzero(prepared.face_found)
  assert len(seen) > 0.9 * prepared.steps
  for step in seen[::3]:
    x, y, side = prepared.boxes[step] * video.size[0] / prepared.frame_size[0]
    margin = side * (1 + 2 * cropping.MARGIN)
    there = cv2.resize(
      cv2.getRectSubPix(shown[step], (round(margin),) * 2, (x + side / 2 - 0.5, y + side / 2 - 0.5)), (96, 96)
    )
    crop = prepared.crops[int(step) : int(step) + 1][0]
    assert np.corrcoef(there.ravel().astype(float), crop.ravel().astype(float))[0, 1] > 0.93, step
    # The drawn face is upright: its mouth, below the middle, is the only red in it.
    red = crop[..., 0].astype(int) - crop[..., 1]
    assert red[56:80, 30:66].mean() > red[16:40, 30:66].mean() + 5, step
