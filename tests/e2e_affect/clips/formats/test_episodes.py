"""Which stretches are episodes, and which can be none."""

import dataclasses
import json

import numpy as np
import pytest

from data_prep.core.errors import DataError
from data_prep.schema.grid import PAPER
from e2e_affect.clips.formats import episodes, table
from e2e_affect.traces.table import write_csv
from e2e_affect.traces.traces import Trace
from tests.e2e_affect.clips.formats.predictions import CLASSES, predicted, probabilities

STEPS = 200


def steps_of(tier):
  return {step: segment.text for segment in tier.segments for step in range(segment.first, segment.end)}


def with_plateaus(*plateaus, first=0.0):
  """[T, 2] float32: both traces rest at 0, but for (first, end, value), and begin with `first`."""
  trace = np.zeros(STEPS, np.float32)
  trace[1::2] += 0.01  # no two neighbours are equal
  trace[0] = first
  for begin, end, value in plateaus:
    trace[begin:end] = value
  return np.stack([trace, -trace], axis=1)


def test_what_is_held_is_no_episode_and_does_not_move_the_mean(tmp_path):
  values = with_plateaus((0, 61, 0.9), (100, 130, 0.5))  # shifted by 60 steps: step 60 is the first of its own
  arousal, valence = episodes.tiers(predicted(tmp_path, values, held={'arousal': 60, 'valence': 60}))
  assert steps_of(arousal) == dict.fromkeys(range(100, 130), 'high')
  assert steps_of(valence) == dict.fromkeys(range(100, 130), 'low')
  said = values[60:, 0].astype(float)
  assert f'high above {said.mean() + said.std():+.4f}' in arousal.rule
  assert arousal.rule.endswith(' Left out are 2.40 s where the first value is held.')
  # Where nothing tells the shift, the first value is held as long as it is repeated.
  unknown = episodes.tiers(predicted(tmp_path, values))
  assert [steps_of(tier) for tier in unknown] == [steps_of(arousal), steps_of(valence)]
  # A network without a shift may begin with an episode; a clip that is shorter than the shift has none.
  (first, *_) = episodes.tiers(predicted(tmp_path, values, held={'arousal': 0, 'valence': 0}))[0].segments
  assert first == (0, 61, 'high')
  short = predicted(tmp_path, values[:50], held={'arousal': 60, 'valence': 60})
  assert short.of_whole and [tier.segments for tier in episodes.tiers(short)] == [[], []]


def test_without_a_face_there_is_no_episode(tmp_path):
  # The face is lost in steps 50 to 99. The trace is shifted by 20 steps: what it says of them stands in 70 to 119.
  values = with_plateaus((40, 140, 0.8))
  found = np.ones(STEPS)
  found[50:100] = 0
  held = {'arousal': 20, 'valence': 0}
  arousal, valence = episodes.tiers(predicted(tmp_path, values, held=held, found=found))
  assert list(steps_of(arousal)) == list(range(120, 140))  # ten steps, 40 to 49, are too short to be one
  assert list(steps_of(valence)) == list(range(100, 140))
  assert arousal.rule.endswith(' Left out are 3.60 s where the first value is held and where no face was found.')
  assert valence.rule.endswith(' Left out are 2.00 s where no face was found.')
  # Of a sound alone nothing is known of faces; without any face at all nothing is said.
  inside = with_plateaus((72, 100, 0.8))
  assert list(steps_of(episodes.tiers(predicted(tmp_path, inside, held=held))[0])) == list(range(72, 100))
  assert [of.segments for of in episodes.tiers(predicted(tmp_path, inside, held=held, found=found))] == [[], []]
  nobody = episodes.tiers(predicted(tmp_path, values, held=held, found=0 * found))
  assert [tier.segments for tier in nobody] == [[], []]
  assert nobody[1].rule == 'valence has no episodes. Left out are 8.00 s where no face was found.'
  whole = predicted(tmp_path, np.full((STEPS, 2), 0.5, np.float32), held={'arousal': 0, 'valence': 0}, found=found)
  assert [tier.segments for tier in episodes.tiers(whole)] == [[(0, STEPS, '+0.50')]] * 2
  whole = dataclasses.replace(whole, found=np.zeros(STEPS, bool))
  assert [tier.segments for tier in episodes.tiers(whole)] == [[], []]


def test_a_trace_that_hardly_moves_has_no_episodes(tmp_path):
  none, zero = [[], []], {'arousal': 0, 'valence': 0}
  values = with_plateaus((100, 130, 0.1))  # 0.08 above the mean, two standard deviations
  assert [tier.segments for tier in episodes.tiers(predicted(tmp_path, values, held=zero))] == none
  rule = episodes.tiers(predicted(tmp_path, values, held=zero))[0].rule
  mean = values[:, 0].mean(dtype=float)
  assert f'high above {mean + 0.125:+.4f} and low below {mean - 0.125:+.4f}' in rule and 'nine-point scale' in rule
  # 0.4 of a band of ±0.3 is more than the 0.08, that of ±0.1 is less.
  wide, narrow = (
    episodes.tiers(predicted(tmp_path, values, held=zero, post=values, half_width=half)) for half in (0.3, 0.1)
  )
  assert [tier.segments for tier in wide] == none and "0.4 of the band's half width" in wide[0].rule
  assert list(steps_of(narrow[0])) == list(range(100, 130))
  assert f'high above {mean + 0.04:+.4f}' in narrow[0].rule  # the standard deviation is 0.035


def test_classes_leave_out_the_same(tmp_path):
  values = np.repeat(probabilities(10), 20, axis=0)
  found = np.ones(STEPS)
  found[100:120] = 0
  prediction = predicted(tmp_path, values, CLASSES, 'probabilities', held=dict.fromkeys(CLASSES, 5), found=found)
  (tier,) = episodes.tiers(prediction)
  assert sorted(steps_of(tier)) == [*range(5, 100), *range(125, STEPS)]
  assert all(text == CLASSES[values[step].argmax()] for step, text in steps_of(tier).items())
  assert tier.rule.endswith('Left out are 1.20 s where the first value is held and where no face was found.')


@pytest.mark.parametrize('lost', [slice(50, 100), slice(0, 0), slice(None)])
def test_the_table_of_a_run(tmp_path, lost):
  """It tells of faces whether the network sees or not: recordings without any were prepared for the ear."""
  values, found = with_plateaus((80, 140, 0.8)), np.ones(STEPS, np.float32)
  found[lost] = 0
  trace = Trace('a', 'a', 'test', values, 0 * values, found, found, PAPER)
  write_csv(tmp_path / 'test.csv', [trace], ['arousal', 'valence'], ['arousal', 'valence'])
  (prediction,) = table.read(tmp_path / 'test.csv')
  first = 100 if found[80] == 0 < found.max() else 80
  assert [list(steps_of(tier)) for tier in episodes.tiers(prediction)] == [list(range(first, 140))] * 2


def test_the_json_of_a_clip_tells_the_shift(tmp_path):
  predicted(tmp_path, with_plateaus((0, 61, 0.9), (100, 130, 0.5)))
  about = {'clip': 'talk', 'targets': dict.fromkeys(['arousal', 'valence']), 'step_seconds': 0.04}
  about |= {'files': {'video': '/a/talk.mp4'}, 'seconds': 8.0, 'held_steps': {'arousal': 60, 'valence': 10}}
  (tmp_path / 'talk.json').write_text(json.dumps(about))
  (prediction,) = table.read(tmp_path / 'talk.csv')
  assert prediction.held == {'arousal': 60, 'valence': 10} and prediction.found is None
  assert [tier.segments[0].first for tier in episodes.tiers(prediction)] == [100, 10]
  for damaged in ({'arousal': 60}, {'arousal': 60, 'valence': -1}, 60):
    (tmp_path / 'talk.json').write_text(json.dumps(about | {'held_steps': damaged}))
    with pytest.raises(DataError, match='talk.json: no summary of a clip .*; analyse the clip again'):
      table.read(tmp_path / 'talk.csv')
