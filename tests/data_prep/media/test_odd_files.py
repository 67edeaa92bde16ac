"""Files made from two references, in every way that breaks programs: time and geometry are the references'.

`a01_plain.mp4` has a flash and a beep at 2, 5 and 8 s, in steps 50, 125 and 200; `e00_ref.mp4` shows a talking face.
"""

import pathlib

import cv2
import numpy as np
import pytest

from data_prep.core.errors import DataError
from data_prep.corpora.recording import Recording
from data_prep.face import tracker
from data_prep.recordings import assemble, clip
from data_prep.schema.grid import PAPER
from tests.data_prep.recordings.test_clip import SETTINGS

ODD = pathlib.Path(__file__).resolve().parents[4] / 'shared' / 'data' / 'odd'
PLAIN = [50, 125, 200]
TWICE = [50, 125, 200, 275, 350, 425]  # the reference twice, one after the other

pytestmark = pytest.mark.skipif(not ODD.is_dir(), reason='no real clips: ../shared/data is absent')


def read(name, command, folder, monkeypatch):
  """([T] brightness or None, [N] int16 or None, T crops, notes) as prepare or as predict gets them."""
  brightness = []
  follow = tracker.follow

  def watched(frames, *given, **options):
    def pass_on():
      for frame in frames:
        brightness.append(0.0 if frame is None else float(frame.mean()))
        yield frame

    return follow(pass_on(), *given, **options)

  monkeypatch.setattr(tracker, 'follow', watched)
  path = ODD / name
  given = dict(recording='a', subject='a', partition='test')
  if command == 'predict':
    prepared = clip.read(Recording(**given, video=path, audio=None), folder, picture=True)
    crops = [] if prepared.crops is None else list(prepared.crops[: prepared.steps])
    return brightness[: prepared.steps] or None, prepared.samples, crops, prepared.notes
  only_sound = path.suffix in ('.mp3', '.opus', '.mka')
  made, summary = assemble.assemble(
    Recording(**given, video=None if only_sound else path, audio=path if only_sound else None), SETTINGS
  )
  audio = np.concatenate([record.values['audio'].ravel() for record in made])
  crops = [
    cv2.cvtColor(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    for record in made
    for data in record.values['face']
  ][: summary.steps]
  return brightness[: summary.steps] or None, audio if audio.any() else None, crops, summary.notes


def flashes(brightness):
  """Steps in which the picture becomes bright."""
  return (np.flatnonzero(np.diff(brightness) > 30) + 1).tolist()


def beeps(samples):
  """Steps in which a beep begins: the first that holds a quarter of its power, so at least 10 ms of it."""
  steps = len(samples) // PAPER.samples_per_step
  power = (samples[: steps * PAPER.samples_per_step].astype(np.float64).reshape(steps, -1) ** 2).mean(axis=1)
  loud = power > power.max() / 4
  return np.flatnonzero(loud[1:] & ~loud[:-1]) + 1


@pytest.mark.parametrize('command', ['prepare', 'predict'])
@pytest.mark.parametrize(
  'name, flash, beep, note',
  [
    ('a01_plain.mp4', PLAIN, PLAIN, None),
    ('b11_xvid_b.avi', PLAIN, PLAIN, None),
    ('b17_h264_b_mp3.avi', PLAIN, PLAIN, None),
    ('c72_cover_track_no_flag.mp4', None, PLAIN, None),
    # Each of the two ends with the padding of its codec, so the second one begins 24 to 49 ms late.
    ('c76_concat.mp3', None, [50, 125, 200, 276, 351, 426], '1 of 753 packets of the sound cannot be decoded'),
    ('c78_garbage_inside.mp3', None, PLAIN, '1 of 376 packets of the sound cannot be decoded'),
    ('c82_chained.opus', None, TWICE, 'the clock starts again at 9.0'),
    pytest.param('d18_concat.ts', TWICE, TWICE, 'the clock starts again at 9.0', marks=pytest.mark.slow),
    ('f01_reschange.webm', PLAIN, PLAIN, 'the size of the picture changes at 4.02 s'),
    # Muted for 12 s from the third second on: the beep of the fifth is one of what was not recorded.
    ('f13_mute12s_audio_only.mka', None, [50, 425, 500, 575, 650], 'the sound has 2 holes, 12.02 s in all'),
    ('j01_two_tracks_first_silent.mp4', PLAIN, PLAIN, 'sound track 2 of 2 is used; track 1 is digital silence'),
  ],
)
def test_flash_and_beep_fall_into_the_steps_of_the_reference(tmp_path, monkeypatch, name, flash, beep, note, command):
  brightness, samples, _, notes = read(name, command, tmp_path, monkeypatch)
  assert (brightness and flashes(brightness)) == flash
  assert beeps(samples).tolist() == beep
  said = [line for line in notes if not line.startswith('no ')]
  assert len(set(said)) == len(said)  # what is true of sound and picture is said once
  assert [line for line in said if note and line.startswith(note)] == said[:1] if note else not said


@pytest.mark.parametrize('command', ['prepare', 'predict'])
def test_sound_that_leads_by_more_than_a_step_stays_where_its_timestamps_are(tmp_path, monkeypatch, command):
  # The timestamps place the beep 42.5 ms before the flash, which is more than a step: the two cannot share one.
  brightness, samples, _, notes = read('a09_audio_leads35ms_opus5.mkv', command, tmp_path, monkeypatch)
  assert beeps(samples).tolist() == PLAIN
  assert flashes(brightness)[-3:] == [51, 126, 201]
  assert 'picture starts at 0.04 s' in notes
  loud = np.flatnonzero(np.abs(samples.astype(int)) > 3000) / PAPER.sample_rate
  assert loud[0] == pytest.approx(2.043 - 0.0425, abs=0.001)


# The one has a tone of nine seconds and not the beeps, the other a picture that is held from the fourth second on.
@pytest.mark.parametrize(
  'name, flash, beep, ends',
  [
    ('g01_mkv_audio_plus0.3.mkv', PLAIN, None, 'sound 9.30 s, picture 9.01 s'),
    ('m03_vfr_hold.webm', [50], PLAIN, 'sound 9.00 s, picture 7.61 s'),
  ],
)
def test_sound_that_runs_on_after_the_picture_is_predicted_and_refused_with_both_lengths(
  tmp_path, monkeypatch, name, flash, beep, ends
):
  brightness, samples, _, notes = read(name, 'predict', tmp_path, monkeypatch)
  assert flashes(brightness) == flash
  assert beep is None or beeps(samples).tolist() == beep
  assert any(note.startswith('picture ends at') for note in notes)
  with pytest.raises(
    DataError, match=rf'the lengths differ by more than 0.12 s \(--max_difference\): no labels, {ends}'
  ):
    read(name, 'prepare', tmp_path, monkeypatch)


@pytest.mark.parametrize('command', ['prepare', 'predict'])
@pytest.mark.parametrize('name', ['e_sar169.mp4', 'e_vflip.mp4'])
def test_the_face_is_as_upright_and_as_wide_as_the_reference_s(tmp_path, monkeypatch, name, command):
  seen = []
  for of in ('e00_ref.mp4', name):
    _, _, crops, _ = read(of, command, tmp_path, monkeypatch)
    seen.append(np.stack(crops).astype(np.float64).reshape(len(crops), -1))
  assert len(seen[0]) == len(seen[1]) in (60, 61)
  correlations = [np.corrcoef(*pair)[0, 1] for pair in zip(*seen)]
  assert min(correlations) > 0.9, correlations
