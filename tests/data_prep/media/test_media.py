"""Sound and frames on the label grid: rates, layouts, timestamps, damage."""

from fractions import Fraction
import gc
import os
import pathlib
import re
import struct

import av
import cv2
import numpy as np
import pytest
import soundfile

from data_prep.core.errors import DataError
from data_prep.media import audio_track, clock, tracks, video_track
from data_prep.schema.grid import PAPER
from tests import clips

SHARED = pathlib.Path(__file__).resolve().parents[4] / 'shared' / 'data'


def spectrum_peak(samples, rate=16_000):
  """Hz of the strongest component, to a fraction of a bin."""
  windowed = samples * np.hanning(len(samples))
  return np.argmax(np.abs(np.fft.rfft(windowed, 8 * len(windowed)))) * rate / (8 * len(windowed))


@pytest.mark.parametrize(
  'rate, subtype',
  [
    (44_100, 'PCM_16'),
    (16_000, 'PCM_16'),
    (8_000, 'PCM_16'),
    (48_000, 'PCM_24'),
    (22_050, 'PCM_U8'),
    (96_000, 'FLOAT'),
    (11_025, 'PCM_32'),
    (44_100, 'DOUBLE'),
  ],
)
def test_a_tone_stays_a_tone(tmp_path, rate, subtype):
  path = tmp_path / 'tone.wav'
  soundfile.write(path, clips.tone(1.5, rate), rate, subtype=subtype)
  audio = audio_track.read_audio(path)
  assert audio.samples.dtype == np.int16
  assert abs(len(audio.samples) - 24_000) <= 1 and audio.start == 0 and audio.end == pytest.approx(1.5, abs=1e-4)
  assert spectrum_peak(audio.samples) == pytest.approx(440, abs=0.5)
  # Amplitude 0.5 and in phase: resampling neither scales nor delays (8 bits: a step is 1/128).
  expected = 0.5 * 32768 * np.sin(2 * np.pi * 440 * np.arange(2000, 22_000) / 16_000)
  error = np.abs(audio.samples[2000:22_000] - expected).max()
  assert error < (300 if subtype == 'PCM_U8' else 12)


def test_stereo_is_the_mean_of_the_channels(tmp_path):
  both = np.stack([clips.tone(1, 16_000), 0.5 * clips.tone(1, 16_000, hertz=1000)], axis=1)
  soundfile.write(tmp_path / 'a.wav', both, 16_000, subtype='PCM_16')
  samples = audio_track.read_audio(tmp_path / 'a.wav').samples
  np.testing.assert_allclose(samples, both.mean(axis=1) * 32768, atol=1.6)  # rounding to 16 bits twice


def test_flac_and_aac(tmp_path):
  soundfile.write(tmp_path / 'a.flac', clips.tone(1, 44_100), 44_100)
  assert spectrum_peak(audio_track.read_audio(tmp_path / 'a.flac').samples) == pytest.approx(440, abs=0.5)
  clips.write_clip(tmp_path / 'a.mp4', sound=clips.tone(2, 44_100), sound_codec='aac')
  audio = audio_track.read_audio(tmp_path / 'a.mp4')
  assert audio.end == pytest.approx(2, abs=0.001)  # the codec's padding to whole frames is cut
  assert spectrum_peak(audio.samples) == pytest.approx(440, abs=0.5)


@pytest.mark.parametrize('value', [np.nan, np.inf])
def test_refuses_nan_and_inf(tmp_path, value):
  sound = clips.tone(1, 16_000).astype(np.float32)
  sound[7000] = value
  soundfile.write(tmp_path / 'a.wav', sound, 16_000, subtype='FLOAT')
  with pytest.raises(DataError, match='a.wav: NaN or Inf among the samples'):
    audio_track.read_audio(tmp_path / 'a.wav')


def test_refuses_floats_that_are_not_scaled(tmp_path):
  soundfile.write(tmp_path / 'a.wav', 20_000 * clips.tone(1, 16_000), 16_000, subtype='FLOAT')
  with pytest.raises(DataError, match=r'float samples of up to 10000; expected them within \[−1, 1\]'):
    audio_track.read_audio(tmp_path / 'a.wav')


def brightness(video):
  return [None if frame is None else int(frame[3, 5, 1]) for frame in video]


def test_frames_at_label_rate_go_one_to_a_step(tmp_path):
  clips.write_clip(tmp_path / 'a.mkv', clips.counted_frames(11))
  video = video_track.Video(tmp_path / 'a.mkv')
  assert brightness(video) == [10 + 2 * i for i in range(11)]
  assert video.end == pytest.approx(0.44, abs=1e-3) and video.fps == pytest.approx(25, abs=0.1)


@pytest.mark.parametrize('fps', [10, 12.5, 30, 50, 60])
def test_any_frame_rate(tmp_path, fps):
  count = round(2 * fps)
  times = [round(i / fps, 3) for i in range(count)]  # rounded, as containers do
  clips.write_clip(tmp_path / 'a.mkv', clips.counted_frames(count), times)
  video = video_track.Video(tmp_path / 'a.mkv')
  seen = brightness(video)
  # The frame shown in the middle of step k is the last that began by (k + 1/2)·40 ms.
  middles = (np.arange(50) + 0.5) * 0.04
  expected = [10 + 2 * int(np.searchsorted(times, middle + 1e-9, side='right') - 1) for middle in middles]
  assert 48 <= len(seen) <= 51  # how long the last frame is shown, this container does not say
  assert seen[:50] == expected[: len(seen)]


def test_variable_frame_rate(tmp_path):
  times = [0, 0.013, 0.055, 0.2, 0.21, 0.3]
  clips.write_clip(tmp_path / 'a.mkv', clips.counted_frames(6), times)
  # Middles: .02 .06 .10 .14 .18 .22 .26 .30; the frame at .3 begins just there.
  assert brightness(video_track.Video(tmp_path / 'a.mkv'))[:8] == [12, 14, 14, 14, 14, 18, 18, 20]


def test_tracks_that_start_apart_are_aligned(tmp_path):
  # Sound from 0 s, picture from 0.4 s: ten steps without a frame.
  clips.write_clip(
    tmp_path / 'a.mkv', clips.counted_frames(20), [0.4 + 0.04 * i for i in range(20)], sound=clips.tone(1.2, 44_100)
  )
  seen = brightness(video_track.Video(tmp_path / 'a.mkv'))
  assert seen[:12] == [None] * 10 + [10, 12] and len(seen) == 30
  # Picture from 0 s, sound from 0.5 s: zeros, then the tone, to the sample.
  clips.write_clip(
    tmp_path / 'b.mov',
    clips.counted_frames(30),
    sound=clips.tone(0.7, 16_000),
    rate=16_000,
    sound_start=0.5,
    codec='mpeg4',
  )
  audio = audio_track.read_audio(tmp_path / 'b.mov')
  assert audio.start == pytest.approx(0.5, abs=1e-3) and audio.end == pytest.approx(1.2, abs=1e-3)
  assert not audio.samples[:8000].any()
  np.testing.assert_allclose(audio.samples[8000:9000], clips.tone(0.7, 16_000)[:1000] * 32768, atol=2)


def test_a_picture_that_starts_a_little_late_is_not_moved_by_a_joint(tmp_path):
  # Sound from 0 s; the picture 14 ms later, and from a joint on 7 ms more: by the middle of its step no frame 10 is
  # there yet, but it is the one that is shown during it.
  times = [0.014 + 0.04 * i + (0.007 if i >= 10 else 0) for i in range(25)]
  clips.write_clip(tmp_path / 'a.mkv', clips.counted_frames(25), times, sound=clips.tone(1.1, 44_100))
  assert brightness(video_track.Video(tmp_path / 'a.mkv'))[:25] == [10 + 2 * i for i in range(25)]


def test_a_tone_in_the_middle_of_the_file_is_at_its_time(tmp_path):
  sound = np.zeros(44_100 * 2)
  sound[round(44_100 * 1.25)] = 0.9  # a click at 1.25 s
  soundfile.write(tmp_path / 'a.wav', sound, 44_100)
  assert abs(int(np.argmax(np.abs(audio_track.read_audio(tmp_path / 'a.wav').samples))) - 20_000) <= 1


def test_frames_are_streamed(tmp_path):
  clips.write_clip(tmp_path / 'a.mkv', clips.counted_frames(40))
  frames = iter(video_track.Video(tmp_path / 'a.mkv'))
  assert next(frames)[0, 0, 0] == 10  # a generator: nothing is decoded ahead of what is asked for


@pytest.mark.parametrize(
  'seconds, steps',
  [(0, 0), (0.001, 0), (0.02, 1), (0.04, 1), (0.041, 1), (0.043, 2), (2.978, 75), (3.0, 75), (300.0, 7500)],
)
def test_num_steps_counts_begun_steps(seconds, steps):
  assert PAPER.steps_begun(seconds) == steps


@pytest.mark.slow
def test_frames_are_freed_at_once_and_ordinary_ones_cost_no_search(tmp_path, monkeypatch):
  clips.write_clip(tmp_path / 'a.mp4', clips.counted_frames(40), codec='libx264')
  calls = []
  origin = clock.origin
  monkeypatch.setattr(clock, 'origin', lambda container: calls.append(1) or origin(container))
  gc.collect()
  gc.disable()  # frames in a cycle would live until it comes
  try:
    alive = [
      sum(isinstance(thing, av.VideoFrame) for thing in gc.get_objects()) for _ in video_track.Video(tmp_path / 'a.mp4')
    ]
  finally:
    gc.enable()
  assert len(alive) == 40 and max(alive) <= 5 and len(calls) < 10


def test_refuses_a_playlist_that_calls_itself_mp4(tmp_path):
  secret = tmp_path / 'secret.wav'
  soundfile.write(secret, clips.tone(1, 16_000), 16_000)
  fake = tmp_path / 'clip.mp4'
  for text in (f"ffconcat version 1.0\nfile '{secret}'\n", f'#EXTM3U\n#EXTINF:1,\n{secret}\n#EXT-X-ENDLIST\n'):
    fake.write_text(text)
    with pytest.raises(DataError, match='clip.mp4: not readable as audio or video'):
      audio_track.read_audio(fake)


def test_protocols_are_not_followed():
  with pytest.raises(DataError, match='not found'):
    audio_track.read_audio('http://127.0.0.1:9/clip.mp4')


@pytest.mark.parametrize(
  'make, reason',
  [
    (lambda p: p.write_bytes(b''), 'an empty file'),
    (lambda p: p.write_bytes(b'RIFF\x24\x00\x00\x00WAVEfmt '), 'not readable'),
    (lambda p: p.write_bytes(b'time,arousal\n0,0.1\n' * 50), 'not readable'),
    (lambda p: p.mkdir(), 'a folder; expected'),
    (os.mkfifo, 'no regular file'),
    (lambda p: None, 'not found'),
  ],
)
def test_refuses_what_is_no_media_file(tmp_path, make, reason):
  path = tmp_path / 'a.wav'
  make(path)
  with pytest.raises(DataError, match=f'a.wav: {reason}'):
    audio_track.read_audio(path)


def test_refuses_a_header_without_samples(tmp_path):
  soundfile.write(tmp_path / 'a.wav', np.zeros(0), 16_000)
  with pytest.raises(DataError, match='a.wav: (the sound track holds no samples|not readable)'):
    audio_track.read_audio(tmp_path / 'a.wav')


def halve(path):
  data = path.read_bytes()
  path.write_bytes(data[: len(data) // 2])


def test_refuses_half_a_wav(tmp_path):
  soundfile.write(tmp_path / 'a.wav', clips.tone(2, 16_000), 16_000)
  halve(tmp_path / 'a.wav')
  with pytest.raises(DataError, match='the data chunk declares 64000 bytes and 31978 are there; it was cut off'):
    audio_track.read_audio(tmp_path / 'a.wav')


@pytest.mark.parametrize('suffix, options', [('mp4', {'movflags': 'faststart'}), ('mp4', {}), ('mkv', {})])
def test_refuses_half_a_video(tmp_path, suffix, options):
  path = tmp_path / f'a.{suffix}'
  rng = np.random.default_rng(0)
  frames = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(50)]
  clips.write_clip(
    path, frames, sound=clips.tone(2, 16_000), rate=16_000, options=options, codec='mpeg4', sound_codec='aac'
  )
  assert len(list(video_track.Video(path))) == 50
  halve(path)
  with pytest.raises(DataError, match='cut off|damaged|not readable'):
    list(video_track.Video(path))


def test_refuses_missing_tracks(tmp_path):
  clips.write_clip(tmp_path / 'silent.mkv', clips.counted_frames(5))
  assert not audio_track.has_audio(tmp_path / 'silent.mkv')
  with pytest.raises(DataError, match='silent.mkv: no sound track'):
    audio_track.read_audio(tmp_path / 'silent.mkv')
  soundfile.write(tmp_path / 'blind.wav', clips.tone(1, 16_000), 16_000)
  with pytest.raises(DataError, match='blind.wav: no video track'):
    list(video_track.Video(tmp_path / 'blind.wav'))


def test_refuses_image_bombs_before_decoding(tmp_path):
  path = tmp_path / 'a.avi'
  clips.write_clip(path, clips.counted_frames(3))
  data = path.read_bytes()
  # Width 80 and height 64 stand side by side in two headers, little-endian.
  old, new = ((a).to_bytes(4, 'little') + (b).to_bytes(4, 'little') for a, b in ((80, 64), (5000, 5000)))
  assert old in data
  path.write_bytes(data.replace(old, new))
  with pytest.raises(DataError, match='a.avi: frames of 5000×5000; expected at least one pixel and at most 4096²'):
    list(video_track.Video(path))


def spoil_packets(path, kind, wanted):
  """Overwrites packets of a track with bytes that are no such packet."""
  with av.open(str(path)) as container:
    places = [(p.pos, p.size) for p in container.demux(getattr(container.streams, kind)[0]) if p.size]
  data = bytearray(path.read_bytes())
  for i in wanted:
    position, size = places[i]
    data[position : position + size] = bytes([0xFF]) * size
  path.write_bytes(bytes(data))
  return len(places)


def noisy_frames(count):
  rng = np.random.default_rng(0)
  return [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) // 4 + 3 * i for i in range(count)]


@pytest.mark.parametrize('kind', ['audio', 'video'])
def test_one_bad_packet_is_a_note_and_many_are_a_refusal(tmp_path, kind):
  def read(max_lost):
    if kind == 'audio':
      return audio_track.read_audio(tmp_path / 'a.mp4', max_lost=max_lost)
    video = video_track.Video(tmp_path / 'a.mp4', max_lost=max_lost)
    return video, [float(frame.mean()) for frame in video]

  clips.write_clip(
    tmp_path / 'a.mp4', noisy_frames(50), sound=clips.tone(2, 16_000), rate=16_000, codec='mpeg4', sound_codec='aac'
  )
  whole = read(0)
  count = spoil_packets(tmp_path / 'a.mp4', kind, [20])
  spoilt = read(tracks.MAX_LOST)
  words = {'audio': 'sound', 'video': 'picture'}[kind]
  expected = [f'1 of {count} packets of the {words} cannot be decoded']
  if kind == 'audio':
    assert [note.split(' (')[0] for note in spoilt.notes] == expected and whole.notes == []
    assert spoilt.end == whole.end
    np.testing.assert_array_equal(spoilt.samples[:18_000], whole.samples[:18_000])
    np.testing.assert_allclose(spoilt.samples[24_000:], whole.samples[24_000:], atol=2)  # what follows is in its place
  else:
    assert [note.split(' (')[0] for note in spoilt[0].notes] == expected and whole[0].notes == []
    assert len(spoilt[1]) == 50 and spoilt[1][:20] == whole[1][:20]
    assert spoilt[1][20] == spoilt[1][19] != whole[1][20]  # the picture before is held
  for limit in (tracks.MAX_LOST_LEARNT, 0):  # 1 of 32 or 50
    with pytest.raises(DataError, match=f'a.mp4: {expected[0]} .*; at most {100 * limit:g} % are allowed'):
      read(limit)


@pytest.mark.parametrize(
  'codec, b_frames, suffix',
  [
    ('libx264', 3, 'avi'),
    ('libx264', 0, 'avi'),
    ('mpeg4', 2, 'avi'),
    ('mpeg4', 0, 'avi'),
    ('libx264', 3, 'mkv'),
    ('libx264', 3, 'mp4'),
    ('libx264', 0, 'mkv'),
  ],
)
def test_decode_times_alone_give_every_frame_its_time(tmp_path, codec, b_frames, suffix):
  """AVI has no others; a copy of H.264 into another container takes them over."""
  path = tmp_path / 'a.avi'
  with av.open(str(path), 'w') as container:
    video = container.add_stream(
      codec,
      rate=25,
      options={'bf': str(b_frames)}
      | ({'x264-params': 'b-adapt=0:keyint=30:ref=4:b-pyramid=normal', 'qp': '0'} if codec == 'libx264' else {}),
    )
    video.width, video.height, video.pix_fmt = 80, 64, 'yuv420p'
    if codec == 'mpeg4':
      video.codec_context.qmin = video.codec_context.qmax = 2
    for i, image in enumerate(clips.counted_frames(100)):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame.pts = i
      container.mux(video.encode(frame))
    container.mux(video.encode(None))
  if suffix != 'avi':
    path = tmp_path / f'a.{suffix}'
    with av.open(str(tmp_path / 'a.avi')) as source, av.open(str(path), 'w') as copy:
      video = copy.add_stream_from_template(source.streams.video[0])
      for packet in source.demux(source.streams.video[0]):
        if packet.dts is not None:
          packet.pts, packet.stream = packet.dts, video
          copy.mux(packet)
  video = video_track.Video(path)
  seen = brightness(video)
  assert len(seen) == 100 and video.notes == []
  np.testing.assert_allclose(seen, [10 + 2 * i for i in range(100)], atol=1)


def test_mpeg_program_streams_that_were_joined_byte_by_byte_follow_each_other(tmp_path):
  path = tmp_path / 'a.mpg'
  for i in range(2):
    with av.open(str(tmp_path / f'{i}.mpg'), 'w', options={'preload': '0'}) as container:
      video = container.add_stream('mpeg1video', rate=25, options={'bf': '2'})
      video.width, video.height, video.pix_fmt, video.bit_rate = 80, 64, 'yuv420p', 4_000_000
      for number in range(50):
        frame = av.VideoFrame.from_ndarray(np.full((64, 80, 3), 60 + 100 * i + number, np.uint8), format='rgb24')
        frame.pts = number
        container.mux(video.encode(frame))
      container.mux(video.encode(None))
  path.write_bytes((tmp_path / '0.mpg').read_bytes() + (tmp_path / '1.mpg').read_bytes())
  video = video_track.Video(path)
  seen = brightness(video)
  assert len(video.notes) == 1 and video.notes[0].startswith('the clock starts again at 2.0'), video.notes
  np.testing.assert_allclose(seen[:50], 60 + np.arange(50), atol=3)
  np.testing.assert_allclose(seen[-50:], 160 + np.arange(50), atol=3)
  assert len(seen) <= 103


@pytest.mark.skipif(not (SHARED / 'grid').is_dir(), reason='no real clips: ../shared/data is absent')
def test_a_real_mpeg_1_file_twice_is_twice_as_long(tmp_path):
  one = next((SHARED / 'grid').glob('*.mpg'))
  (tmp_path / 'a.mpg').write_bytes(2 * one.read_bytes())
  video = video_track.Video(tmp_path / 'a.mpg')
  seen = [frame.copy() for frame in video]
  assert video.notes == ['the clock starts again at 3.00 s: several recordings in one file, joined here']
  single = list(video_track.Video(one))
  assert len(single) == 75 and len(seen) == 150
  for i in range(150):
    # A decoder cannot start anew without a mark between the two; one frame at the joint may differ.
    assert 73 < i < 77 or np.array_equal(seen[i], single[i % 75]), i


def test_a_track_that_begins_on_the_way_does_not_end_the_reading(tmp_path):
  path = tmp_path / 'a.flv'
  clips.write_clip(
    path,
    [np.full((48, 64, 3), 10 + i, np.uint8) for i in range(240)],
    codec='flv1',
    sound=clips.tone(1, 44_100),
    sound_codec='libmp3lame',
    sound_start=8,
  )
  data = bytearray(path.read_bytes())
  data[4] = 1  # the header promises a picture alone
  path.write_bytes(bytes(data))
  assert not audio_track.has_audio(path)  # it is too late to be seen from the beginning
  video = video_track.Video(path)
  np.testing.assert_allclose(brightness(video), 10 + np.arange(240), atol=4)
  assert video.notes == []


def joined_file(tmp_path, suffix):
  """Two recordings of 2 s, the second brighter, joined byte by byte; the sound is a click at 1 s."""
  click = np.zeros(96_000)
  click[48_000:48_480] = 0.9
  for i in range(2):
    options = {'codec': 'libx264', 'sound_codec': 'mp2'} if suffix != 'ogg' else {'sound_codec': 'libopus'}
    pictures = [] if suffix == 'ogg' else [np.full((64, 80, 3), 60 + 100 * i, np.uint8)] * 50
    clips.write_clip(tmp_path / f'{i}.{suffix}', pictures, sound=click, rate=48_000, **options)
  path = tmp_path / f'a.{suffix}'
  path.write_bytes(b''.join((tmp_path / f'{i}.{suffix}').read_bytes() for i in range(2)))
  return path


@pytest.mark.parametrize('suffix', ['ts', 'ogg'])
def test_clocks_that_start_again_are_joined(tmp_path, suffix):
  path = joined_file(tmp_path, suffix)
  audio = audio_track.read_audio(path)
  assert len(audio.notes) == 1 and re.match('the clock starts again at 2.0[0-9] s', audio.notes[0])
  loud = np.flatnonzero(np.abs(audio.samples.astype(int)) > 9000) / 16_000
  assert abs(loud[0] - 1) < 0.04 and abs(loud[loud > 2][0] - 3) < 0.08 and audio.end == pytest.approx(4, abs=0.08)
  if suffix != 'ogg':
    video = video_track.Video(path)
    seen = brightness(video)
    assert video.notes == audio.notes and 99 <= len(seen) <= 103
    assert max(seen[:49]) < 70 and min(seen[53:]) > 150


def test_the_last_frames_come_out_whichever_track_is_first(tmp_path):
  """A decoder holds B-frames back until the file's end: all tracks are read, and each has an end of its own."""
  clips.write_clip(
    tmp_path / 'a.mp4',
    clips.counted_frames(30),
    codec='libx264',
    sound=clips.tone(1.2, 16_000),
    rate=16_000,
    sound_codec='aac',
  )
  with av.open(str(tmp_path / 'a.mp4')) as source, av.open(str(tmp_path / 'b.mp4'), 'w') as copy:
    streams = [source.streams.audio[0], source.streams.video[0]]
    target = {stream.index: copy.add_stream_from_template(stream) for stream in streams}
    for packet in source.demux(*streams):
      if packet.dts is not None:
        packet.stream = target[packet.stream.index]
        copy.mux(packet)
  for name in ('a.mp4', 'b.mp4'):
    np.testing.assert_allclose(brightness(video_track.Video(tmp_path / name)), [10 + 2 * i for i in range(30)], atol=2)


def test_a_picture_is_held_as_long_as_the_next_timestamps_say(tmp_path):
  clips.write_clip(tmp_path / 'a.mkv', clips.counted_frames(4), [0, 0.04, 60.0, 60.04])
  video = video_track.Video(tmp_path / 'a.mkv')
  assert brightness(video) == [10] + [12] * 1499 + [14, 16]
  assert video.notes == ['one picture is shown from 0.04 to 60.00 s']


def test_pixels_that_are_not_square_are_made_square(tmp_path):
  disc = np.hypot(*np.mgrid[-48:48, -48:48] * np.array([1, 2])[:, None, None]) < 40  # twice as high as wide
  frame = np.repeat(np.where(disc, 220, 20).astype(np.uint8)[..., None], 3, axis=-1)
  for ratio, size in ((2, (192, 96)), (Fraction(1, 2), (96, 192))):
    path = tmp_path / 'a.mp4'
    with av.open(str(path), 'w') as container:
      stream = container.add_stream('libx264', rate=25)
      stream.width, stream.height, stream.pix_fmt = 96, 96, 'yuv420p'
      stream.codec_context.sample_aspect_ratio = Fraction(ratio)
      for i in range(3):
        picture = av.VideoFrame.from_ndarray(frame if ratio == 2 else frame.transpose(1, 0, 2), format='rgb24')
        picture.pts = i
        container.mux(stream.encode(picture))
      container.mux(stream.encode(None))
    video = video_track.Video(path)
    bright = next(iter(video))[..., 1] > 120
    assert video.size == size
    # The disc is round again: 80 pixels in both directions.
    assert abs(bright.any(axis=0).sum() - 80) <= 3 and abs(bright.any(axis=1).sum() - 80) <= 3


@pytest.mark.parametrize(
  'numbers, corners',
  [
    # x' = a·x + c·y, y' = b·x + d·y; the corners of the stored picture are 1 2 / 3 4.
    ((1, 0, 0, 1), (1, 2, 3, 4)),
    ((0, 1, -1, 0), (3, 1, 4, 2)),
    ((-1, 0, 0, -1), (4, 3, 2, 1)),
    ((0, -1, 1, 0), (2, 4, 1, 3)),
    ((-1, 0, 0, 1), (2, 1, 4, 3)),
    ((1, 0, 0, -1), (3, 4, 1, 2)),
    ((0, 1, 1, 0), (1, 3, 2, 4)),
    ((0, -1, -1, 0), (4, 2, 3, 1)),
  ],
)
def test_all_eight_display_matrices_give_upright_frames(tmp_path, numbers, corners):
  path = tmp_path / 'a.mp4'
  frame = np.zeros((64, 96, 3), np.uint8)
  for i, (rows, columns) in enumerate(
    [
      (slice(0, 32), slice(0, 48)),
      (slice(0, 32), slice(48, 96)),
      (slice(32, 64), slice(0, 48)),
      (slice(32, 64), slice(48, 96)),
    ]
  ):
    frame[rows, columns] = 50 * (i + 1)
  clips.write_clip(path, [frame] * 5, codec='mpeg4')

  def matrix(a, b, c, d):
    return b''.join(int(x * 65536).to_bytes(4, 'big', signed=True) for x in (a, b, 0, c, d, 0))

  data = path.read_bytes()
  position = data.index(matrix(1, 0, 0, 1), data.index(b'tkhd'))
  path.write_bytes(data[:position] + matrix(*numbers) + data[position + 24 :])
  image = next(iter(video_track.Video(path)))
  height, width = image.shape[:2]
  assert (width, height) == ((64, 96) if numbers[1] else (96, 64))
  seen = [round(float(image[y, x, 1]) / 50) for y in (10, height - 10) for x in (10, width - 10)]
  assert tuple(seen) == corners


def test_frames_that_change_their_size_are_scaled_into_the_first_ones(tmp_path):
  """As WebRTC and a telephone that is turned do."""
  path = tmp_path / 'a.ts'
  for i, (width, height) in enumerate([(128, 96), (64, 48), (96, 128)]):
    clips.write_clip(tmp_path / f'{i}.ts', [np.full((height, width, 3), 200, np.uint8)] * 25, codec='libx264')
  path.write_bytes(b''.join((tmp_path / f'{i}.ts').read_bytes() for i in range(3)))
  video = video_track.Video(path)
  frames = list(video)
  assert video.size == (128, 96) and {frame.shape for frame in frames} == {(96, 128, 3)}
  assert 'the size of the picture changes at' in video.notes[-1], video.notes
  assert frames[40].min() > 190  # the smaller one fills the picture
  # The upright one is 72 wide in it, in the middle, black beside it.
  assert frames[70][:, :24].max() < 10 and frames[70][:, 32:96].min() > 190 and frames[70][:, 104:].max() < 10


@pytest.mark.parametrize('seed', range(200))
def test_mutated_clips_raise_nothing_but_data_errors(mutations, tmp_path, seed):
  """Row 25: whatever a damaged file does, it is one kind of exception (prepare.py makes a row of it)."""
  rng = np.random.default_rng(seed)
  data = bytearray(mutations[seed % len(mutations)])
  for _ in range(rng.integers(1, 30)):
    data[rng.integers(len(data))] = rng.integers(256)
  if seed % 4 == 0:
    data = data[: rng.integers(1, len(data))]
  path = tmp_path / f'a.{("mp4", "mkv")[seed % 2]}'
  path.write_bytes(bytes(data))
  for read in (lambda: audio_track.read_audio(path), lambda: list(video_track.Video(path))):
    try:
      read()
    except DataError as e:
      assert '\n' not in str(e)


@pytest.fixture(scope='module')
def mutations(tmp_path_factory):
  folder = tmp_path_factory.mktemp('mutations')
  rng = np.random.default_rng(0)
  frames = [rng.integers(0, 255, (32, 48, 3), dtype=np.uint8) for _ in range(8)]
  for suffix in ('mp4', 'mkv'):
    clips.write_clip(
      folder / f'a.{suffix}', frames, sound=clips.tone(0.32, 16_000), rate=16_000, codec='mpeg4', sound_codec='aac'
    )
  return [(folder / f'a.{suffix}').read_bytes() for suffix in ('mp4', 'mkv')]


def test_a_telephone_held_upright_is_turned(tmp_path):
  path = tmp_path / 'a.mp4'
  frame = np.full((64, 96, 3), 30, np.uint8)
  frame[:, :48] = 220  # the left half is bright
  clips.write_clip(path, [frame] * 5, codec='mpeg4')

  def matrix(*numbers):
    return b''.join(int(number * 65536).to_bytes(4, 'big', signed=True) for number in numbers)

  # The track's display matrix, (a b 0, c d 0, …): x' = a·x + c·y, y' = b·x + d·y, so right goes to down: a quarter
  # turn clockwise, and the bright left half comes to lie on top.
  data, upright, turned = path.read_bytes(), matrix(1, 0, 0, 0, 1, 0), matrix(0, 1, 0, -1, 0, 0)
  position = data.index(b'tkhd')
  position = data.index(upright, position)
  path.write_bytes(data[:position] + turned + data[position + len(turned) :])
  image = next(iter(video_track.Video(path)))
  assert image.shape == (96, 64, 3) and image[20].mean() > 200 > 50 > image[-20].mean()


def test_a_picture_with_exif_is_turned_as_it_says(tmp_path):
  """Cameras write motion JPEG with it; PyAV has no name for such data beside a frame."""
  frame = np.full((64, 96, 3), 30, np.uint8)
  frame[:, :48] = 220
  jpeg = cv2.imencode('.jpg', frame)[1].tobytes()
  # One directory of one entry: orientation (0x112), a short, 6: a quarter turn clockwise.
  exif = b'Exif\0\0II*\0' + struct.pack('<IHHHIII', 8, 1, 0x112, 3, 1, 6, 0)
  packet = av.Packet(jpeg[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + jpeg[2:])
  with av.open(str(tmp_path / 'a.avi'), 'w') as container:
    stream = container.add_stream('mjpeg', rate=25)
    stream.width, stream.height, stream.pix_fmt = 96, 64, 'yuvj420p'
    packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 25)
    container.mux(packet)
  (image,) = video_track.Video(tmp_path / 'a.avi')
  assert image.shape == (96, 64, 3) and image[20].mean() > 200 > 50 > image[-20].mean()


@pytest.mark.parametrize('fps', [25, 30, 15, Fraction(30_000, 1001)])
@pytest.mark.parametrize('suffix', ['mkv', 'mov', 'ts'])
@pytest.mark.parametrize('codec', ['mpeg4', 'libx264'])
def test_14_copies_from_avi_are_not_a_picture_late_and_lose_no_sound(tmp_path, codec, suffix, fps):
  original, copied = tmp_path / 'a.avi', tmp_path / f'a.{suffix}'
  with av.open(str(original), 'w') as container:
    video = container.add_stream(codec, rate=Fraction(fps), options={'bf': '2'})
    video.width, video.height, video.pix_fmt = 80, 64, 'yuv420p'
    sound = container.add_stream('mp2', rate=48_000)
    sound.layout = 'mono'
    samples = (12_000 * np.arange(48_000 * 3) // 48_000 % 24_000).astype(np.int16)
    for first in range(0, len(samples), 1152):
      frame = av.AudioFrame.from_ndarray(samples[None, first : first + 1152], format='s16', layout='mono')
      frame.sample_rate, frame.pts, frame.time_base = 48_000, first, Fraction(1, 48_000)
      container.mux(sound.encode(frame))
    container.mux(sound.encode(None))
    for i in range(3 * round(fps)):
      image = np.full((64, 80, 3), 200 if i == 2 * round(fps) else 20, np.uint8)
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame.pts = i
      container.mux(video.encode(frame))
    container.mux(video.encode(None))
  with av.open(str(original)) as source, av.open(str(copied), 'w') as copy:
    streams = {stream.index: copy.add_stream_from_template(stream) for stream in source.streams}
    for packet in source.demux():
      if packet.dts is not None:
        packet.stream = streams[packet.stream.index]
        copy.mux(packet)
  seen = [brightness(video_track.Video(path)) for path in (original, copied)]
  bright = [[step for step, value in enumerate(values) if value > 100] for values in seen]
  assert bright[0] == bright[1] and bright[0][0] == 50
  heard = [audio_track.read_audio(path).samples.astype(float) for path in (original, copied)]
  np.testing.assert_allclose(heard[1][8000:40_000], heard[0][8000:40_000], atol=3)


@pytest.mark.parametrize('before', ['zeros', 'noise', 'text', 'in place of the header'])
def test_flac_behind_something_else_is_refused_and_behind_tags_is_read(tmp_path, before):
  path = tmp_path / 'a.flac'
  clips.write_clip(path, sound=clips.tone(2, 44_100), rate=44_100, sound_codec='flac')
  whole, data = audio_track.read_audio(path).samples, path.read_bytes()
  tag = b'ID3\4\0\0\0\0\1\0' + bytes(128)
  path.write_bytes(2 * tag + data)
  np.testing.assert_array_equal(audio_track.read_audio(path).samples, whole)
  noise = np.random.default_rng(0).bytes(5000)
  path.write_bytes(
    {
      'zeros': bytes(100) + data,
      'noise': noise + data,
      'text': b'HTTP/1.1 200 OK\r\n\r\n' + data,
      'in place of the header': noise[:42] + data[42:],
    }[before]
  )
  with pytest.raises(DataError, match='FLAC without its header at the beginning'):
    audio_track.read_audio(path)


def test_29_joined_ivf_files_are_refused(tmp_path):
  clips.write_clip(tmp_path / 'a.ivf', clips.counted_frames(50), codec='libvpx')
  assert len(list(video_track.Video(tmp_path / 'a.ivf'))) == 50
  (tmp_path / 'a.ivf').write_bytes(2 * (tmp_path / 'a.ivf').read_bytes())
  with pytest.raises(DataError, match='a.ivf: several files joined byte by byte'):
    list(video_track.Video(tmp_path / 'a.ivf'))


@pytest.mark.parametrize(
  'codec, suffix, b_frames',
  [('mpeg4', 'm4v', 0), ('mpeg4', 'm4v', 2), ('libx264', 'h264', 3), ('libx265', 'hevc', 3), ('libvpx', 'ivf', 0)],
)
def test_33_pictures_without_a_container_have_the_times_of_their_rate(tmp_path, codec, suffix, b_frames):
  path = tmp_path / f'a.{suffix}'
  with av.open(str(path), 'w', format=suffix) as container:  # .m4v alone would be MP4
    video = container.add_stream(codec, rate=25, options={'bf': str(b_frames)})
    video.width, video.height, video.pix_fmt = 320, 240, 'yuv420p'
    if codec == 'mpeg4':
      video.codec_context.qmin = video.codec_context.qmax = 2
    for i, image in enumerate(clips.counted_frames(100, 240, 320)):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame.pts = i
      container.mux(video.encode(frame))
    container.mux(video.encode(None))
  video = video_track.Video(path)
  seen = brightness(video)
  assert len(seen) == 100 and not video.notes
  np.testing.assert_allclose(seen, [10 + 2 * i for i in range(100)], atol=3)
  assert video_track.video_end(path) == pytest.approx(4.0) == video.end


@pytest.mark.parametrize('pyramid', ['none', 'normal'])
def test_14_few_decode_times_in_a_program_stream_do_not_refuse_it(tmp_path, pyramid):
  with av.open(str(tmp_path / 'a.avi'), 'w') as container:
    options = {'bf': '2', 'x264-params': f'b-adapt=0:keyint=25:b-pyramid={pyramid}', 'qp': '18'}
    video = container.add_stream('libx264', rate=25, options=options)
    video.width, video.height, video.pix_fmt = 320, 240, 'yuv420p'
    for i, image in enumerate(clips.counted_frames(100, 240, 320)):
      frame = av.VideoFrame.from_ndarray(image, format='rgb24')
      frame.pts = i
      container.mux(video.encode(frame))
    container.mux(video.encode(None))
  # A packet of the copy holds many pictures, of which the first has a time.
  with av.open(str(tmp_path / 'a.avi')) as source, av.open(str(tmp_path / 'a.mpg'), 'w') as copy:
    video = copy.add_stream_from_template(source.streams.video[0])
    for packet in source.demux(source.streams.video[0]):
      if packet.dts is not None:
        packet.pts, packet.stream = packet.dts, video
        copy.mux(packet)
  seen = brightness(video_track.Video(tmp_path / 'a.mpg'))
  np.testing.assert_allclose(seen[:100], [10 + 2 * i for i in range(100)], atol=3)  # a step is two levels
  assert len(seen) in (100, 101)


def test_29_flac_files_that_were_joined_byte_by_byte_lose_no_sound(tmp_path):
  path = tmp_path / 'a.flac'
  clips.write_clip(path, sound=clips.tone(2, 48_000), rate=48_000, sound_codec='flac')
  whole = audio_track.read_audio(path).samples
  path.write_bytes(2 * path.read_bytes())
  audio = audio_track.read_audio(path)
  assert len(audio.samples) == 2 * len(whole)
  np.testing.assert_allclose(audio.samples[-30_000:], whole[-30_000:], atol=1)
  assert audio.notes == ['the clock starts again at 2.00 s: several recordings in one file, joined here']


@pytest.mark.parametrize(
  'suffix, codec',
  [
    ('wav', 'pcm_s16le'),
    ('aiff', 'pcm_s16be'),
    ('w64', 'pcm_s16le'),
    ('mov', 'pcm_s16le'),
    ('flv', 'pcm_s16le'),
    ('au', 'pcm_s16be'),
    ('caf', 'alac'),
    ('tta', 'tta'),
    ('amr', 'libopencore_amrnb'),
    ('asf', 'pcm_s16le'),
  ],
)
def test_29_joined_files_of_which_the_first_alone_can_be_read_are_refused(tmp_path, suffix, codec):
  path = tmp_path / f'a.{suffix}'
  rate = 8000 if suffix == 'amr' else 44_100
  try:
    clips.write_clip(path, sound=clips.tone(2, rate), rate=rate, sound_codec=codec)
  except av.codec.codec.UnknownCodecError:
    pytest.skip(f'this FFmpeg has no {codec}')
  assert audio_track.read_audio(path).notes == []
  path.write_bytes(2 * path.read_bytes())
  with pytest.raises(DataError, match=f'a.{suffix}: several files joined byte by byte'):
    audio_track.read_audio(path)
