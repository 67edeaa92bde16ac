"""Sound on the label grid: channels, tracks, levels, clocks and headers as real files have them."""

from fractions import Fraction
import pathlib
import re
import struct

import av
import numpy as np
import pytest
import soundfile

from data_prep.core.errors import DataError
from data_prep.media import audio_track, sound_clock, sound_levels

ODD = pathlib.Path(__file__).resolve().parents[4] / 'shared' / 'data' / 'odd'


def odd(name):
  if not (ODD / name).is_file():
    pytest.skip(f'{name} of ../shared/data/odd is not there')
  return ODD / name


def speech_like(seconds, rate, seed=0):
  """[N] float64: noise below 3 kHz that swells, full scale at 1."""
  rng = np.random.default_rng(seed)
  spectrum = np.fft.rfft(rng.normal(size=round(seconds * rate)))
  spectrum[np.fft.rfftfreq(round(seconds * rate), 1 / rate) > 3000] = 0
  sound = np.fft.irfft(spectrum, round(seconds * rate)) * (1 + np.sin(np.arange(round(seconds * rate)) / rate * 5))
  return 0.4 * sound / np.abs(sound).max()


def correlation(a, b):
  count = min(len(a), len(b))
  return np.corrcoef(a[:count].astype(np.float64), b[:count])[0, 1]


def write_timed(path, sound, rate, times, packet=960, codec='pcm_s16le', picture_from=None):
  """Writes packets of `packet` samples of sound [N] with the given times (seconds), and perhaps a picture."""
  with av.open(str(path), 'w') as container:
    stream = container.add_stream(codec, rate=rate)
    stream.layout = 'mono'
    packets = []
    if picture_from is not None:
      video = container.add_stream('mpeg4', rate=25)
      video.width, video.height, video.pix_fmt = 32, 32, 'yuv420p'
      video.codec_context.time_base = Fraction(1, 1000)
      for k in range(round(len(sound) / rate * 25)):
        image = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 9, np.uint8), format='rgb24')
        image.pts, image.time_base = round(1000 * (picture_from + 0.04 * k)), Fraction(1, 1000)
        packets += video.encode(image)
      packets += video.encode(None)
    for k, time in enumerate(times):
      piece = (sound[k * packet : (k + 1) * packet] * 32767).round().astype(np.int16)[None]
      frame = av.AudioFrame.from_ndarray(piece, format='s16', layout='mono')
      frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), round(time * rate)
      packets += stream.encode(frame)
    packets += stream.encode(None)
    for ready in sorted(packets, key=lambda p: p.dts * p.time_base):
      container.mux(ready)


def packet_times(sound, rate, packet=960, factor=1.0):
  return np.arange(0, len(sound), packet) / rate * factor


def test_sound_that_leads_the_picture_is_trimmed_to_the_sample(tmp_path):
  # 35 ms of lead are seven packets of 5 ms: the sound of time t stays at t.
  sound = speech_like(2, 16_000)
  write_timed(tmp_path / 'a.mkv', sound, 16_000, packet_times(sound, 16_000, 80), packet=80, picture_from=0.035)
  audio = audio_track.read_audio(tmp_path / 'a.mkv')
  assert audio.start == 0 and audio.end == pytest.approx(2 - 0.035, abs=0.002)
  np.testing.assert_allclose(audio.samples[:9000], 32767 * sound[560:9560], atol=1)


def test_opposite_phases_do_not_cancel(tmp_path):
  sound = speech_like(1, 16_000)
  soundfile.write(tmp_path / 'a.wav', np.stack([0.5 * sound, -sound], axis=1), 16_000)
  audio = audio_track.read_audio(tmp_path / 'a.wav')
  # The mean would be −sound / 4: −12 dB of the louder channel.
  np.testing.assert_allclose(audio.samples, -32768 * sound, atol=1)
  assert audio.notes == ['channel 2 of 2 is used: the mean of all is 12 dB below it']


@pytest.mark.parametrize('channels, place, below', [(2, 0, '6'), (2, 1, '6'), (6, 2, '16')])
def test_a_voice_in_one_channel_among_silence_is_not_watered_down(tmp_path, channels, place, below):
  sound = speech_like(1, 16_000)
  many = np.zeros((len(sound), channels))
  many[:, place] = sound
  soundfile.write(tmp_path / 'a.wav', many, 16_000)
  audio = audio_track.read_audio(tmp_path / 'a.wav')
  np.testing.assert_allclose(audio.samples, 32768 * sound, atol=1)
  assert audio.notes == [f'channel {place + 1} of {channels} is used: the mean of all is {below} dB below it']


@pytest.mark.parametrize(
  'right',
  [
    lambda left: 0.3 * left,
    lambda left: speech_like(1, 16_000, seed=1),
    lambda left: 0.1 * np.roll(left, 9),
    lambda left: -0.2 * left,
  ],
)
def test_ordinary_stereo_is_the_mean_of_the_channels_to_the_bit(tmp_path, right):
  left = speech_like(1, 16_000)
  both = np.round(np.stack([left, right(left)], axis=1) * 32767).astype(np.int16)
  soundfile.write(tmp_path / 'a.wav', both, 16_000)
  audio = audio_track.read_audio(tmp_path / 'a.wav')
  assert not audio.notes and audio.gain == 1
  np.testing.assert_allclose(audio.samples, both.mean(axis=1), atol=0.51)


def test_the_channel_is_chosen_once_for_a_recording(tmp_path):
  # The phases are opposite in the first half only: a choice that flips on the way would click and change the level.
  sound = speech_like(2, 16_000)
  right = np.concatenate([-sound[:28_000], sound[28_000:]])
  soundfile.write(tmp_path / 'a.wav', np.stack([sound, right], axis=1), 16_000)
  audio = audio_track.read_audio(tmp_path / 'a.wav')
  np.testing.assert_allclose(audio.samples, 32768 * sound, atol=1)


@pytest.mark.parametrize('share', [0.5, 0.8, 0.2])
def test_a_phase_that_turns_over_on_the_way_does_not_cancel(tmp_path, share):
  sound = speech_like(20, 16_000)
  turn = round(share * len(sound))
  right = 0.9 * np.concatenate([sound[:turn], -sound[turn:]])
  soundfile.write(tmp_path / 'a.wav', np.stack([sound, right], axis=1), 16_000)
  audio = audio_track.read_audio(tmp_path / 'a.wav')
  np.testing.assert_allclose(audio.samples, 32768 * sound, atol=1)
  (note,) = audio.notes
  assert re.fullmatch(r'channel 1 of 2 is used: (in the mean of all \d+ % of the sound cancel|.* dB below it)', note)


def test_voices_that_take_turns_in_their_channels_are_the_mean(tmp_path):
  # Each is silent while the other speaks, and once they speak together.
  voices = np.stack([speech_like(9, 16_000, seed) for seed in (0, 1)], axis=1)
  voices[:48_000, 1] = voices[48_000:96_000, 0] = 0
  soundfile.write(tmp_path / 'a.wav', voices, 16_000)
  audio = audio_track.read_audio(tmp_path / 'a.wav')
  assert not audio.notes
  np.testing.assert_allclose(audio.samples, 32768 * voices.mean(axis=1), atol=1.5)


def test_a_channel_can_be_named(tmp_path):
  voices = np.stack([speech_like(1, 16_000, seed) for seed in (0, 1)], axis=1)
  soundfile.write(tmp_path / 'a.wav', voices, 16_000)
  for channel in (1, 2):
    audio = audio_track.read_audio(tmp_path / 'a.wav', channel=channel)
    np.testing.assert_allclose(audio.samples, 32768 * voices[:, channel - 1], atol=1)
    assert audio.notes == [f'channel {channel} of 2 is used, as was asked for']
  with pytest.raises(DataError, match='a.wav: no channel 3 in the sound, which has 2; give another --channel'):
    audio_track.read_audio(tmp_path / 'a.wav', channel=3)


def write_tracks(path, tracks, default):
  """Writes mono tracks [N] at 16 kHz; `default` says which are flagged so."""
  with av.open(str(path), 'w') as container:
    streams = []
    for k in range(len(tracks)):
      stream = container.add_stream('pcm_s16le', rate=16_000)
      stream.layout, stream.disposition = 'mono', av.stream.Disposition.default if default[k] else 0
      stream.metadata['title'] = f'take {k}'
      streams.append(stream)
    for sound, stream in zip(tracks, streams, strict=True):
      piece = np.round(sound * 32767).astype(np.int16)[None]
      frame = av.AudioFrame.from_ndarray(piece, format='s16', layout='mono')
      frame.sample_rate, frame.time_base, frame.pts = 16_000, Fraction(1, 16_000), 0
      for packet in [*stream.encode(frame), *stream.encode(None)]:
        container.mux(packet)


@pytest.mark.parametrize(
  'silent, default, taken, why',
  [
    ((), (0, 1), 1, ''),
    ((), (1, 0), 0, ''),
    ((), (0, 0), 0, ''),
    ((0,), (1, 0), 1, '; track 1 (take 0) is digital silence'),
    ((0, 1), (1, 0), 0, ''),
  ],
)
def test_of_several_tracks_the_default_one_is_taken_unless_it_is_silent(tmp_path, silent, default, taken, why):
  tracks = [np.zeros(9000) if k in silent else speech_like(1, 16_000, k)[:9000] for k in range(2)]
  write_tracks(tmp_path / 'a.mkv', tracks, default)
  audio = audio_track.read_audio(tmp_path / 'a.mkv')
  np.testing.assert_allclose(audio.samples, 32767 * tracks[taken], atol=1)
  assert audio.notes == [
    f'sound track {taken + 1} (take {taken}) of 2 is used{why}; not used: {2 - taken} (take {1 - taken})'
  ]


@pytest.mark.parametrize('decibel', [-110, -80, -60, -20, 0, 6, 10, 20])
def test_very_quiet_and_hot_sound_keeps_its_digits(tmp_path, decibel):
  sound = speech_like(1, 16_000)
  soundfile.write(tmp_path / 'a.wav', sound * 10 ** (decibel / 20), 16_000, subtype='FLOAT')
  audio = audio_track.read_audio(tmp_path / 'a.wav')
  level = 32768 * audio.gain * 10 ** (decibel / 20)
  assert audio.gain == 2.0 ** round(np.log2(audio.gain)) and (audio.gain == 1) == (decibel in (-20, 0, 6))
  np.testing.assert_allclose(audio.samples / level, sound, atol=0.51 / level)  # rounded once, nothing clipped
  assert bool(audio.notes) == (audio.gain != 1) and 0.51 / level < 0.001


def test_a_decoders_rounding_noise_stays_digital_silence(tmp_path):
  soundfile.write(tmp_path / 'a.wav', 1e-7 * speech_like(1, 16_000), 16_000, subtype='FLOAT')
  audio = audio_track.read_audio(tmp_path / 'a.wav')
  assert audio.gain == 1 and not audio.samples.any()


@pytest.mark.parametrize(
  'peak, gain', [(1.0, 1), (1.2, 1), (1.3, 0.25), (15.9, 2**-5), (2.0**-8, 1), (0.003, 128), (2.0**-21, 1), (0.0, 1)]
)
def test_the_gain_is_a_power_of_two_that_leaves_room(peak, gain):
  assert sound_levels.gain(peak) == gain
  assert gain == 1 or 0.25 <= peak * gain < 0.5


@pytest.mark.parametrize('percent', [-0.2, -0.05, 0.05, 0.2])
def test_a_clock_that_drifts_is_followed_without_a_click(tmp_path, percent):
  rate, seconds, factor = 16_000, 30, 1 + percent / 100
  count = round(seconds * rate)
  tone = lambda time: 0.4 * np.sin(2 * np.pi * 440 * time)
  # Sample n was taken at n / rate · factor, as the timestamps say.
  sound = tone(np.arange(count) / rate * factor)
  write_timed(tmp_path / 'a.mkv', sound, rate, packet_times(sound, rate, 320, factor), packet=320)
  audio = audio_track.read_audio(tmp_path / 'a.mkv')
  expected = 32767 * tone(np.arange(len(audio.samples)) / 16_000)
  assert len(audio.samples) == pytest.approx(count * factor, abs=40)
  # 1 ms off would be an error of .44 rad · 13,000; timestamps are rounded to 1 ms, their line is not.
  error = np.abs(audio.samples - expected)[100:-100].max()
  assert error < 0.15 * 13_107, error
  jumps = np.abs(np.diff(audio.samples.astype(np.int64), 2)).max()
  assert jumps < 1.05 * 13_107 * (2 * np.pi * 440 / rate) ** 2 + 4  # the curvature of the tone: no click
  drift = round(abs(percent) / 100 * seconds * 1000)
  assert len(audio.notes) == 1 and f'the clock of the sound drifts by {drift} ms in 30 s' in audio.notes[0]


def test_a_drift_that_bends_is_followed(tmp_path):
  rate = 16_000
  sound = np.zeros(60 * rate)
  sound[np.arange(1, 60) * rate] = 0.9
  times = packet_times(sound, rate, 320)
  times = np.where(times < 30, times * 1.002, 30.06 + (times - 30) * 0.998)
  write_timed(tmp_path / 'a.mkv', sound, rate, times, packet=320)
  samples = audio_track.read_audio(tmp_path / 'a.mkv').samples
  clicks = np.arange(1, 59)
  wanted = np.where(clicks < 30, clicks * 1.002, 30.06 + (clicks - 30) * 0.998)
  heard = np.array(
    [np.argmax(np.abs(samples[round((t - 0.1) * rate) : round((t + 0.1) * rate)])) / rate + t - 0.1 for t in wanted]
  )
  assert np.abs(heard - wanted).max() < 0.02  # half a step


def test_stretching_agrees_with_the_continuous_signal():
  count = 20_000
  knots = (np.array([0.0, count]), np.array([0.0, 0.9987 * count]))
  waves = [(0.3, 0.01), (0.2, 0.11), (0.1, 0.31)]  # cycles a sample
  signal = lambda n: sum(a * np.sin(2 * np.pi * f * n) for a, f in waves)
  stretch = sound_clock.Stretch(knots)
  sound = signal(np.arange(count)).astype(np.float32)
  pieces = [stretch(sound[k : k + 777]) for k in range(0, count, 777)] + [stretch(sound[:0], last=True)]
  whole = np.concatenate(pieces)
  assert len(whole) == int(0.9987 * count) == sound_clock.Piece(0, knots).length(count)
  np.testing.assert_allclose(whole[50:-50], signal(np.arange(len(whole)) / 0.9987)[50:-50], atol=2e-4)


@pytest.mark.parametrize('hole', [0.02, 0.5, 12.0])
def test_a_hole_that_later_timestamps_confirm_is_silence(tmp_path, hole):
  sound = speech_like(4, 16_000)
  times = packet_times(sound, 16_000, 320)
  write_timed(tmp_path / 'a.mkv', sound, 16_000, np.where(times < 2, times, times + hole), packet=320)
  audio = audio_track.read_audio(tmp_path / 'a.mkv')
  first, gap = 32_000, round(16_000 * hole)
  np.testing.assert_allclose(audio.samples[:first], 32767 * sound[:first], atol=1)
  assert not audio.samples[first : first + gap].any() and audio.end == pytest.approx(4 + hole, abs=0.001)
  np.testing.assert_allclose(audio.samples[first + gap :], 32767 * sound[first:], atol=1)
  assert audio.notes == ([f'the sound has 1 hole, {hole:.2f} s in all: silence there'] if hole > 0.2 else [])


def test_one_wrong_timestamp_moves_nothing(tmp_path):
  sound = speech_like(3, 16_000)
  times = packet_times(sound, 16_000, 320)
  times[60] += 0.019  # less, and its packet would come after the next
  write_timed(tmp_path / 'a.mkv', sound, 16_000, times, packet=320)
  np.testing.assert_allclose(audio_track.read_audio(tmp_path / 'a.mkv').samples, 32767 * sound, atol=1)


def test_timestamps_that_are_no_clock_are_refused(tmp_path):
  sound = speech_like(9, 16_000)
  write_timed(tmp_path / 'a.mkv', sound, 16_000, packet_times(sound, 16_000, 320, 1.1), packet=320)
  with pytest.raises(DataError, match='a.mkv: the timestamps of the sound run 10 % faster than its samples'):
    audio_track.read_audio(tmp_path / 'a.mkv')


def wav(data_size, riff_size, samples, before=b'', after=b'', name=b'RIFF'):
  """Bytes of a 16 kHz mono wav whose header says what it is told to."""
  head = b'WAVEfmt ' + struct.pack('<IHHIIHH', 16, 1, 1, 16_000, 32_000, 2, 16)
  return (
    name
    + struct.pack('<I', riff_size)
    + before.join([head[:4], head[4:]])
    + b'data'
    + struct.pack('<I', data_size)
    + samples.astype('<i2').tobytes()
    + after
  )


LIST = b'LIST' + struct.pack('<I', 26) + b'INFOISFT' + struct.pack('<I', 14) + b'Lavf60.16.100\0'


@pytest.mark.parametrize(
  'data_size, riff_size, after',
  [
    (32_000, 32_044, b''),
    (32_000, 0, b''),
    (32_000, 0x7FFFFFFF, b''),
    (32_000, 0xFFFFFFFF, b''),  # its own size alone
    (32_036, 32_036, b''),  # the header counted in
    (0x7FFFF000, 0x7FFFF024, b''),
    (0x80000000, 0x80000024, b''),
    (0xFFFFFFFF, 0xFFFFFFFF, b''),  # sox, arecord, ffmpeg
    (0, 0, b''),
    (0x7FFFFFDB, 0x7FFFFFFF, b''),
    (32_000, 32_070, LIST),
    (32_000, 9, bytes(100_000)),
  ],
)
def test_a_wav_is_judged_by_its_data_chunk(tmp_path, data_size, riff_size, after):
  sound = (9000 * speech_like(1, 16_000)).astype(np.int16)
  (tmp_path / 'a.wav').write_bytes(wav(data_size, riff_size, sound, after=after))
  audio = audio_track.read_audio(tmp_path / 'a.wav')
  np.testing.assert_array_equal(audio.samples[:16_000], sound)
  assert audio.end == pytest.approx(1, abs=0.002) and not audio.notes


@pytest.mark.parametrize(
  'data_size, riff_size, reason',
  [
    (64_000, 32_036, 'declares 64000 bytes and 32000 are there; it was cut off'),  # the file's size was mended, or lies
    (32_100, 0xFFFFFFFF, 'declares 32100 bytes and 32000 are there'),
    (0xC0000000, 0xC0000024, 'declares 3221225472 bytes and 32000 are there'),
  ],
)
def test_a_data_chunk_that_declares_more_than_there_is_is_noticed(tmp_path, data_size, riff_size, reason):
  sound = (9000 * speech_like(1, 16_000)).astype(np.int16)
  (tmp_path / 'a.wav').write_bytes(wav(data_size, riff_size, sound))
  with pytest.raises(DataError, match=f'a.wav: the data chunk {reason}'):
    audio_track.read_audio(tmp_path / 'a.wav')


def test_a_data_chunk_that_declares_far_less_than_there_is_is_noticed(tmp_path):
  # A recorder that died, or a file above 4 GB whose size wrapped round.
  sound = np.random.default_rng(0).integers(-9000, 9000, 60_000).astype(np.int16)
  (tmp_path / 'a.wav').write_bytes(wav(20_000, 20_036, sound))
  with pytest.raises(DataError, match='declares 20000 bytes and 120000 follow, which are no other chunk'):
    audio_track.read_audio(tmp_path / 'a.wav')


@pytest.mark.parametrize('declared, cut', [(32_000, False), (64_000, True)])
def test_rf64_is_judged_by_its_long_size(tmp_path, declared, cut):
  sound = (9000 * speech_like(1, 16_000)).astype(np.int16)
  ds64 = b'ds64' + struct.pack('<IQQQI', 28, declared + 72 & 0xFFFFFFFFFFFFFFFF, declared, 16_000, 0)
  (tmp_path / 'a.wav').write_bytes(wav(0xFFFFFFFF, 0xFFFFFFFF, sound, before=ds64, name=b'RF64'))
  if cut:
    with pytest.raises(DataError, match='declares 64000 bytes and 32000 are there'):
      audio_track.read_audio(tmp_path / 'a.wav')
  else:
    np.testing.assert_array_equal(audio_track.read_audio(tmp_path / 'a.wav').samples, sound)


def test_w64_is_judged_by_its_data_chunk(tmp_path):
  sound = (9000 * speech_like(2, 16_000)).astype(np.int16)
  soundfile.write(tmp_path / 'a.w64', sound, 16_000)
  np.testing.assert_array_equal(audio_track.read_audio(tmp_path / 'a.w64').samples, sound)
  data = (tmp_path / 'a.w64').read_bytes()
  (tmp_path / 'a.w64').write_bytes(data[: len(data) // 2])
  with pytest.raises(DataError, match='a.w64: the data chunk declares 64000 bytes and 31[0-9]{3} are there'):
    audio_track.read_audio(tmp_path / 'a.w64')


def beeps(audio):
  """Steps at whose beginning a beep has at least half of its power, and the step before has less."""
  steps = len(audio.samples) // 640
  power = (audio.samples[: steps * 640].astype(np.float64).reshape(steps, 640) ** 2).mean(axis=1)
  loud = power > power.max() / 4
  return np.flatnonzero(loud & ~np.concatenate([[False], loud[:-1]])).tolist()


@pytest.mark.parametrize(
  'name, steps',
  [
    ('a01_plain.mp4', [50, 125, 200]),
    ('a09_audio_leads35ms_opus5.mkv', [50, 125, 200]),
    ('b11_xvid_b.avi', [50, 125, 200]),
    ('b17_h264_b_mp3.avi', [50, 125, 200]),
    ('c72_cover_track_no_flag.mp4', [50, 125, 200]),
    ('c78_garbage_inside.mp3', [50, 125, 200]),
    ('c76_concat.mp3', [50, 125, 200, 276, 351, 426]),
    ('c82_chained.opus', [50, 125, 200, 275, 350, 425]),
    ('d18_concat.ts', [50, 125, 200, 275, 350, 425]),
    ('f01_reschange.webm', [50, 125, 200]),
    ('f13_mute12s_audio_only.mka', [50, 425, 500, 575, 650]),
    ('m03_vfr_hold.webm', [50, 125, 200]),
    ('j01_two_tracks_first_silent.mp4', [50, 125, 200]),
  ],
)
def test_the_beep_of_odd_files_falls_into_its_step(name, steps):
  assert beeps(audio_track.read_audio(odd(name))) == steps


@pytest.mark.slow
def test_a_long_recording_whose_clock_drifts_is_read_to_its_end():
  audio = audio_track.read_audio(odd('h03_drift_minus0.1pc.webm'))
  assert audio.end == pytest.approx(119.88, abs=0.01)  # 120 s of samples, a thousandth slower
  assert audio.notes == ['the clock of the sound drifts by 120 ms in 120 s against the timestamps: they are followed']
