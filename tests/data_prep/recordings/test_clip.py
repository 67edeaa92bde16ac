"""One clip in constant memory, against the records that training reads of the same files."""

import av
import numpy as np
import pytest
import soundfile

from data_prep.core.errors import DataError
from data_prep.corpora.recording import Recording
from data_prep.corpora.settings import Settings
from data_prep.face.tracker import FaceTracker
from data_prep.recordings import assemble, clip
from data_prep.streams.speech import statistics
from tests import clips

SETTINGS = Settings(
  targets=('arousal',), label_range=(-1, 1), label_slack=0, annotated_seconds=None, recipe='ccc_centred', max_lost=1
)


def source(video=None, audio=None):
  return Recording(recording='a', subject='a', partition='test', video=video, audio=audio)


def portrait(count, blank=()):
  """Frames that hold something to follow, with nothing to see in some."""
  y, x = np.mgrid[:120, :160]
  frames = [
    np.stack([128 + 90 * np.sin((x + 2 * i) / 9) * np.cos(y / (7 + c)) for c in range(3)], -1).astype(np.uint8)
    for i in range(count)
  ]
  return [np.zeros_like(frame) if i in blank else frame for i, frame in enumerate(frames)]


def joined(records, name):
  return np.concatenate([record.values[name] for record in records])


@pytest.mark.parametrize('parts', ['one file', 'two files', 'silent', 'sound alone'])
def test_a_clip_is_what_training_reads(tmp_path, parts):
  noise = np.random.default_rng(0).normal(0, 0.1, round(1.3 * 44_100))
  clips.write_clip(tmp_path / 'v.mp4', portrait(33), sound=noise if parts == 'one file' else None, codec='libx264')
  soundfile.write(tmp_path / 'a.wav', noise, 44_100)
  recording = {
    'one file': source(tmp_path / 'v.mp4'),
    'two files': source(tmp_path / 'v.mp4', tmp_path / 'a.wav'),
    'silent': source(tmp_path / 'v.mp4'),
    'sound alone': source(None, tmp_path / 'a.wav'),
  }[parts]
  expected, summary = assemble.assemble(recording, SETTINGS)
  given = source(tmp_path / 'a.wav') if parts == 'sound alone' else recording  # a single file may hold anything
  seen = []
  prepared = clip.read(given, tmp_path, picture=True, watch=seen.append)
  assert prepared.steps == summary.steps == 33
  samples = np.zeros(640 * 33, np.int16)
  if prepared.samples is not None:
    samples[: len(prepared.samples)] = prepared.samples
  np.testing.assert_array_equal(samples, joined(expected, 'audio').ravel()[: 640 * 33])
  assert (prepared.audio_mean, prepared.audio_std) == (
    expected[0].values['audio_mean'],
    expected[0].values['audio_std'],
  )
  if parts == 'sound alone':
    assert prepared.crops is None and not seen and prepared.notes == ['no picture']
    return
  np.testing.assert_array_equal(prepared.face_found, joined(expected, 'face_found')[:33])
  assert [prepared.crops.jpeg(k) for k in range(33)] == sum((record.values['face'] for record in expected), [])[:33]
  assert len(seen) == 33 and prepared.frame_size == (160, 120)
  assert ('no sound' in prepared.notes) == (parts == 'silent')


def test_boxes_and_crops(tmp_path):
  (tmp_path / 'box.csv').write_text('x,y,width,height\n40,30,50,54\n')
  clips.write_clip(tmp_path / 'v.mp4', portrait(20, blank=range(12, 20)), codec='libx264')
  recording = Recording(
    recording='a', subject='', partition='', video=tmp_path / 'v.mp4', audio=None, boxes=tmp_path / 'box.csv'
  )
  prepared = clip.read(recording, tmp_path, picture=True)
  # The first box is taken as given: 52 = the mean of its sides, around its centre (65, 57).
  np.testing.assert_allclose(prepared.boxes[0], (65 - 26, 57 - 26, 52), atol=0.51)
  lost = prepared.face_found == 0
  assert lost[12:].all() and not lost[:10].any()
  np.testing.assert_array_equal(np.isnan(prepared.boxes).all(axis=1), lost)
  # A lost face repeats its last crop, at no cost.
  assert prepared.crops.same(13, 19) and not prepared.crops.same(3, 4)
  decoded = prepared.crops[11:15]
  assert decoded.shape == (4, 96, 96, 3) and decoded.dtype == np.uint8
  np.testing.assert_array_equal(decoded[2], decoded[3])
  tracker = FaceTracker((40, 30, 50, 54))
  assert np.abs(decoded[0].astype(int) - [tracker.step(f)[0] for f in portrait(12)][11]).mean() < 12  # two lossy codecs


def test_lengths(tmp_path):
  noise = np.random.default_rng(0).normal(0, 0.1, 32_000)
  # Sound that runs on: the face is lost there. Sound that ends early: silence. As the picture's packets say, too.
  for seconds, steps, note in ((2.0, 50, 'picture ends at 1.00 s'), (0.6, 25, 'sound ends at 0.60 s')):
    path = tmp_path / f'{steps}.mp4'
    clips.write_clip(
      path, portrait(25), sound=noise[: round(16_000 * seconds)], rate=16_000, codec='libx264', sound_codec='aac'
    )
    for picture in (True, False):
      prepared = clip.read(source(path), tmp_path, picture=picture)
      assert prepared.steps == steps and prepared.notes == [note], (
        prepared.steps,
        prepared.notes,
      )
    assert not clip.read(source(path), tmp_path, picture=True).face_found[25:].any()
  with pytest.raises(DataError, match='the lengths differ by more than one step'):  # of two files
    soundfile.write(tmp_path / 'long.wav', noise, 16_000)
    clip.read(source(tmp_path / '25.mp4', tmp_path / 'long.wav'), tmp_path, picture=True)


@pytest.mark.parametrize(
  'rate, channels, seconds, steps',
  [(8000, 1, 0.3, 8), (48_000, 2, 0.3, 8), (44_100, 1, 0.041, 1), (16_000, 1, 0.045, 2)],
)
def test_short_and_otherwise_sampled_sound(tmp_path, rate, channels, seconds, steps):
  soundfile.write(tmp_path / 'a.wav', np.stack([clips.tone(seconds, rate)] * channels, axis=1), rate)
  prepared = clip.read(source(tmp_path / 'a.wav'), tmp_path, picture=True)
  assert prepared.steps == steps and abs(len(prepared.samples) - min(640 * steps, 16_000 * seconds)) <= 1
  assert prepared.audio_std == pytest.approx(0.5 * 32768 / 2**0.5, rel=0.05)


def one_short_picture(path, milliseconds):
  """A picture that is shown for so long, with a second of sound."""
  clips.write_clip(
    path,
    portrait(1),
    sound=clips.tone(1, 16_000),
    rate=16_000,
    sound_codec='aac',
    codec='libx264',
    options={'video_track_timescale': '1000'},
  )
  data = path.read_bytes()
  place = data.index(b'stts') + 4  # version and flags, one entry: one picture, its duration
  assert data[place + 4 : place + 12] == b'\0\0\0\1' * 2
  path.write_bytes(data[: place + 12] + milliseconds.to_bytes(4, 'big') + data[place + 16 :])


def test_a_picture_too_short_for_a_step_leaves_the_sound(tmp_path):
  one_short_picture(tmp_path / 'a.mp4', 1)
  prepared = clip.read(source(tmp_path / 'a.mp4'), tmp_path, picture=True)
  assert prepared.steps == len(prepared.crops) == 25 and not prepared.face_found.any()
  assert prepared.audio_std > 1000 and 'picture ends at 0.00 s' in prepared.notes
  grey = prepared.crops[0:25]
  assert grey.shape == (25, 96, 96, 3) and np.ptp(grey) <= 2


@pytest.mark.parametrize('suffix', ['mp4', 'mkv', 'avi', 'asf'])
def test_30_a_cover_as_an_ordinary_track_is_no_picture_for_prediction_and_preparation_alike(tmp_path, suffix):
  path = tmp_path / f'a.{suffix}'
  rng = np.random.default_rng(0)
  noise = rng.normal(0, 0.1, round(1.32 * 16_000))
  with av.open(str(path), 'w') as container:
    cover = container.add_stream('mjpeg', rate=25)
    cover.width, cover.height, cover.pix_fmt = 160, 120, 'yuvj420p'
    audio = container.add_stream('aac', rate=16_000)
    audio.layout = 'mono'
    container.mux(cover.encode(av.VideoFrame.from_ndarray(portrait(1)[0], format='rgb24')) + cover.encode(None))
    frame = av.AudioFrame.from_ndarray(noise[None].astype(np.float32), format='fltp', layout='mono')
    frame.sample_rate = 16_000
    container.mux(audio.encode(frame) + audio.encode(None))
  prepared = clip.read(source(path), tmp_path, picture=True)
  made, summary = assemble.assemble(source(path), SETTINGS)
  assert prepared.crops is None and prepared.notes == ['no picture']
  assert summary.video_seconds is None and summary.notes == ['no video: grey']
  assert prepared.steps == summary.steps >= 33
  np.testing.assert_array_equal(joined(made, 'audio').ravel()[: len(prepared.samples)], prepared.samples)


def test_refusals(tmp_path):
  soundfile.write(tmp_path / 'a.wav', np.zeros(20), 16_000)
  with pytest.raises(DataError, match='a.wav: 0.001 s long; expected more than 0.002 s, the beginning of a step'):
    clip.read(source(tmp_path / 'a.wav'), tmp_path, picture=True)
  with pytest.raises(DataError, match='nothing.mp4: not found'):
    clip.read(source(tmp_path / 'nothing.mp4'), tmp_path, picture=True)
  (tmp_path / 'text.mp4').write_text('no video')
  with pytest.raises(DataError, match='text.mp4: not readable as audio or video'):
    clip.read(source(tmp_path / 'text.mp4'), tmp_path, picture=True)


def test_statistics_are_exact():
  samples = np.random.default_rng(3).integers(-32768, 32768, 3_000_001).astype(np.int16)
  mean, std = statistics(samples)
  assert mean == pytest.approx(samples.astype(np.longdouble).mean(), rel=1e-12)
  assert std == pytest.approx(float(samples.astype(np.longdouble).std()), rel=1e-12)
  assert statistics(np.full(7, -32768, np.int16)) == (-32768, 0)
