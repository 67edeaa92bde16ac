"""What can be known of a file that was cut off, and of a length that is wrong in an intact one."""

from fractions import Fraction
import struct

import av
import numpy as np
import pytest
import soundfile

from data_prep.core.errors import DataError
from data_prep.media import audio_track, endings, video_track
from tests import clips

RATE = 44_100


def write(path, picture=None, sound=None, seconds=2):
  """A clip of moving noise and noise, in codecs that the container takes."""
  rng = np.random.default_rng(0)
  image = rng.integers(0, 255, (48, 64, 3), dtype=np.uint8)
  noise = rng.normal(0, 0.1, (2, RATE * seconds)).astype(np.float32)
  with av.open(str(path), 'w') as container:
    if picture:
      video = container.add_stream(picture, rate=25)
      video.width, video.height, video.pix_fmt = 64, 48, 'yuv420p'
    if sound:
      audio = container.add_stream(sound, rate=RATE)
      audio.layout, audio.bit_rate = 'stereo', 128_000
    step = RATE // 25
    for i in range(25 * seconds):
      if picture:
        frame = av.VideoFrame.from_ndarray(np.roll(image, i, 1), format='rgb24')
        frame.pts, frame.time_base = i, Fraction(1, 25)
        container.mux(video.encode(frame))
      if sound:
        frame = av.AudioFrame.from_ndarray(
          np.ascontiguousarray(noise[:, i * step : (i + 1) * step]), format='fltp', layout='stereo'
        )
        frame.sample_rate, frame.pts, frame.time_base = RATE, i * step, Fraction(1, RATE)
        for ready in av.AudioResampler(format=audio.format.name).resample(frame):
          container.mux(audio.encode(ready))
    for stream in ([video] if picture else []) + ([audio] if sound else []):
      container.mux(stream.encode(None))


FILES = {
  'aiff': (None, 'pcm_s16be'),
  'au': (None, 'pcm_s16be'),
  'mp3': (None, 'libmp3lame'),
  'aac': (None, 'aac'),
  'ac3': (None, 'ac3'),
  'eac3': (None, 'eac3'),
  'caf': (None, 'pcm_s16le'),
  'flv': ('flv1', 'libmp3lame'),
  'mpg': ('mpeg1video', 'mp2'),
  'vob': ('mpeg2video', 'mp2'),
  'ts': ('libx264', 'aac'),
  'wmv': ('wmv2', 'wmav2'),
  'avi': ('mpeg4', 'libmp3lame'),
  'mkv': ('libx264', 'aac'),
}


@pytest.mark.parametrize('suffix', [*FILES, 'ogg'])
def test_a_file_that_breaks_off_is_refused_or_told_and_a_whole_one_is_neither(tmp_path, suffix):
  path = tmp_path / f'a.{suffix}'
  if suffix == 'ogg':
    soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 6 * RATE), RATE, format='OGG', subtype='VORBIS')
  else:
    write(path, *FILES[suffix])
  data = path.read_bytes()
  assert audio_track.read_audio(path).notes == []
  if FILES.get(suffix, (None,))[0]:
    video = video_track.Video(path)
    assert len(list(video)) in (50, 51, 52) and video.notes == []
  for share, slight in ((0.55, False), (0.963, True)):
    path.write_bytes(data[: int(share * len(data))])
    try:
      told = audio_track.read_audio(path).notes[-1]
    except DataError as e:
      assert not slight
      told = str(e)
    assert 'the file breaks off: ' in told or 'the file was cut off' in told, told


@pytest.mark.parametrize('suffix', ['aiff', 'au', 'mp3', 'flv', 'mkv'])
def test_a_file_that_holds_less_than_it_declares_is_refused_if_it_also_breaks_off(tmp_path, suffix):
  path = tmp_path / f'a.{suffix}'
  write(path, *FILES[suffix])
  data = path.read_bytes()
  path.write_bytes(data[: int(0.55 * len(data))])
  with pytest.raises(
    DataError, match=r'declares 2\.[0-9]+ s and holds [01]\.[0-9]+ s; the file was cut off: copy it again'
  ):
    if suffix == 'mkv':
      list(video_track.Video(path))
    else:
      audio_track.read_audio(path)


def with_duration(path, seconds):
  """Overwrites the Duration of a Matroska file, milliseconds as a float of 8 bytes."""
  data = path.read_bytes()
  place = data.index(b'\x44\x89\x88') + 3
  path.write_bytes(data[:place] + struct.pack('>d', 1000 * seconds) + data[place + 8 :])


@pytest.mark.parametrize('sound', [None, 'libopus'])
def test_a_duration_by_the_clock_on_the_wall_is_told_and_does_not_refuse_a_whole_matroska(tmp_path, sound):
  path = tmp_path / 'a.mkv'
  clips.write_clip(
    path,
    clips.counted_frames(25),
    codec='libx264',
    sound_codec='libopus',
    rate=48_000,
    sound=clips.tone(1, 48_000) if sound else None,
  )
  with_duration(path, 3.5)
  video = video_track.Video(path)
  assert len(list(video)) == 25 and len(video.notes) == 1
  assert video.notes[0].startswith('the video track declares 3.50 s and holds 1.0'), video.notes


def test_a_duration_that_is_too_short_cuts_no_sound_off(tmp_path):
  clips.write_clip(tmp_path / 'a.mka', sound=clips.tone(2, 48_000), rate=48_000, sound_codec='libopus')
  with_duration(tmp_path / 'a.mka', 1.2)
  assert audio_track.read_audio(tmp_path / 'a.mka').end == pytest.approx(2, abs=0.03)


def test_sound_and_subtitles_that_run_on_after_the_picture_do_not_refuse_a_matroska(tmp_path):
  path = tmp_path / 'a.mkv'
  clips.write_clip(path, clips.counted_frames(25), sound=clips.tone(1.3, 16_000), rate=16_000)
  video = video_track.Video(path)
  assert len(list(video)) == 25 and video.notes == []
  assert audio_track.read_audio(path).end == pytest.approx(1.3, abs=0.002)
  subtitled(path, tmp_path / 'b.mkv', seconds=3)
  video = video_track.Video(tmp_path / 'b.mkv')
  assert len(list(video)) == 25 and len(video.notes) == 1 and 'declares 3.' in video.notes[0]


def subtitled(path, target, seconds):
  """Copies a Matroska file, with a subtitle that stands until then."""
  (path.parent / 'a.srt').write_text(f'1\n00:00:00,500 --> 00:00:0{seconds},000\nyes\n')
  with av.open(str(path)) as source, av.open(str(path.parent / 'a.srt')) as words, av.open(str(target), 'w') as copy:
    tracks = {(of, s.index): copy.add_stream_from_template(s) for of in (source, words) for s in of.streams}
    packets = [(of, p) for of in (source, words) for p in of.demux() if p.dts is not None]
    for of, packet in sorted(packets, key=lambda item: item[1].dts * item[1].time_base):
      packet.stream = tracks[of, packet.stream.index]
      copy.mux(packet)


def test_sizes_of_programs_that_write_to_a_pipe_are_no_break(tmp_path):
  path = tmp_path / 'a.aiff'
  soundfile.write(path, clips.tone(1, 16_000), 16_000)
  data = bytearray(path.read_bytes())
  for size in (len(data), 0x7F000000, 0xFFFFFFFF):  # its own head counted in; sox; ffmpeg
    data[4:8] = struct.pack('>I', size)
    path.write_bytes(bytes(data))
    assert endings.break_off(path, ['aiff']) is None
  assert endings.break_off(path, ['speex']) is None  # of which nothing is known


def test_live_matroska_without_sizes_is_walked_to_its_last_block(tmp_path):
  """As browsers record it: the segment and its clusters have no size."""
  path = tmp_path / 'a.mkv'
  with av.open(str(path), 'w', options={'live': '1'}) as container:
    video = container.add_stream('libx264', rate=25)
    video.width, video.height, video.pix_fmt = 64, 48, 'yuv420p'
    for i in range(25):
      frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 10 * i, np.uint8), format='rgb24')
      frame.pts = i
      container.mux(video.encode(frame))
    container.mux(video.encode(None))
  assert endings.break_off(path, ['matroska']) is None
  path.write_bytes(path.read_bytes()[:-3])
  video = video_track.Video(path)
  assert len(list(video)) >= 24
  assert any(note.startswith('the file breaks off: its last element declares') for note in video.notes), video.notes


def test_pictures_of_ivf_that_break_off_are_told(tmp_path):
  path = tmp_path / 'a.ivf'
  write(path, 'libvpx', None)
  video = video_track.Video(path)
  assert len(list(video)) == 50 and video.notes == []
  path.write_bytes(path.read_bytes()[:-3])
  video = video_track.Video(path)
  assert len(list(video)) in (49, 50) and 'the file breaks off: its list of frames declares ' in video.notes[-1]
