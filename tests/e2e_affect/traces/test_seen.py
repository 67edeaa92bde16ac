"""What recordings of validation are like, and the note where a clip is not."""

import dataclasses
import json

import numpy as np
import pytest
from scipy import stats

from data_prep.streams import speech
from e2e_affect.traces import seen
from tests.e2e_affect.traces.test_metrics import make_trace

OUTPUTS = ['arousal', 'valence']
LOUDNESS = (-31.0, -26.5, -29.0, -24.0, -40.0)
FACE = (0.9, 0.75, 0.99, 0.8, 0.6)
SIZES = (80.0, 95.0, 60.0, 160.0, 110.0)


def recordings():
  rng, made = np.random.default_rng(0), []
  for i, (loudness, face, size) in enumerate(zip(LOUDNESS, FACE, SIZES, strict=True)):
    prediction = rng.normal(size=(200 + i, 2)) * [0.1, 0.2] + [0.3, 0]
    trace = make_trace(f'r{i}', f's{i}', prediction, np.zeros((200 + i, 2)), np.zeros(200 + i))
    found = np.full(200 + i, face, np.float32)
    made.append(dataclasses.replace(trace, loudness=loudness, face_found=found, face_size=size))
  return made


def test_ranges_are_those_of_student_and_of_steps():
  found = seen.ranges(recordings(), OUTPUTS)
  # An interval for one more value of a normal distribution: mean ± t(4; .995) · s · √(1 + 1/5).
  for name, values in (('loudness', LOUDNESS), ('face', FACE)):
    half = stats.t.ppf(0.995, 4) * np.std(values, ddof=1) * np.sqrt(1.2)
    assert found[name][0] == pytest.approx(max(np.mean(values) - half, 0 if name == 'face' else -np.inf), abs=1e-6)
  assert found['loudness'][1] == pytest.approx(np.mean(LOUDNESS) + half_of(LOUDNESS)) and found['face'][1] == 1
  logs, half = np.log(SIZES), half_of(np.log(SIZES))
  assert found['face_size'] == pytest.approx(np.exp([logs.mean() - half, logs.mean() + half]))
  steps = np.concatenate([t.prediction for t in recordings()])
  np.testing.assert_allclose(list(found['outputs'].values()), np.percentile(steps, [0.5, 99.5], axis=0).T, rtol=1e-6)
  assert json.loads(json.dumps(found, allow_nan=False)) == found


def half_of(values):
  return stats.t.ppf(0.995, len(values) - 1) * np.std(values, ddof=1) * np.sqrt(1 + 1 / len(values))


def test_recordings_that_are_alike_by_chance_leave_room():
  alike = {'loudness': -30.0, 'face_size': 90.0}
  same = [dataclasses.replace(t, face_found=np.ones_like(t.face_found), **alike) for t in recordings()]
  found = seen.ranges(same, OUTPUTS)
  assert found['loudness'] == [-36, -24] and found['face'] == pytest.approx([0.9, 1])
  assert found['face_size'] == pytest.approx([60, 135])


def test_what_is_not_known_has_no_range():
  nothing = {'loudness': np.nan, 'face_size': np.nan}
  deaf = [dataclasses.replace(t, face_found=np.zeros_like(t.face_found), **nothing) for t in recordings()]
  constant = [dataclasses.replace(t, prediction=np.full_like(t.prediction, i)) for i, t in enumerate(deaf)]
  assert list(seen.ranges(deaf, OUTPUTS)) == ['outputs']
  some = [dataclasses.replace(t, face_size=np.nan if k else 90.0) for k, t in enumerate(recordings())]
  assert 'face_size' not in seen.ranges(some, OUTPUTS)  # a part was prepared by an earlier version
  assert seen.ranges(constant, OUTPUTS) == {}  # a head that says one thing of a whole recording
  assert seen.ranges(recordings()[:1], OUTPUTS).keys() == {'outputs'}
  assert seen.notes({}, -90.0, 0.0, 9.0, constant[0].prediction, OUTPUTS) == []


def test_a_clip_gets_one_note_for_all_that_is_unlike():
  outputs = {'arousal': [-0.1, 0.4], 'valence': [-1, 1]}
  known = {'loudness': [-36.4, -24.0], 'face': [0.42, 1.0], 'face_size': [45.3, 140.0], 'outputs': outputs}
  usual, odd = np.full((9, 2), 0.2), np.repeat([[0.9, 0.9], [0.2, 0.2]], [5, 4], axis=0)
  assert seen.notes(known, -30.0, 0.8, 90.0, usual, OUTPUTS) == []
  assert seen.notes(known, np.nan, None, np.nan, usual, OUTPUTS) == []  # no sound, no picture
  (note,) = seen.notes(known, -52.4, 0.3, 38.0, odd, OUTPUTS)
  assert note == (
    'unlike the recordings of validation (their range in parentheses): sound of −52 dB (−36 … −24), '
    'face confidence 0.30 (0.42 … 1.00), face of 38 pixels (45 … 140), arousal of +0.90 in the middle (−0.10 … +0.40)'
  )
  assert seen.notes(known, -20.0, 0.8, 50.0, odd[4:], OUTPUTS)[0].endswith('sound of −20 dB (−36 … −24)')


def test_loudness_is_that_of_the_recording_before_its_gain():
  tone = (0.5 * 32768 * np.sin(np.arange(16_000) * 0.1)).astype(np.int16)  # −6 dB − 3 dB
  _, std = speech.statistics(tone)
  assert speech.loudness(std, 1.0) == pytest.approx(-9.03, abs=0.02)
  assert speech.loudness(std, 256.0) == pytest.approx(-9.03 - 48.16, abs=0.02)
  assert np.isnan(speech.loudness(0.0, 1.0))
