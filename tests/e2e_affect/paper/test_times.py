"""How long what is missing takes, by what was measured."""

import pathlib

import pytest

from e2e_affect.paper import plan, times
from e2e_affect.paper.experiments import EXPERIMENTS

USUAL = {name: 60 * experiment.minutes for name, experiment in EXPERIMENTS.items()}  # seconds


@pytest.fixture
def steps(tmp_path):
  options = plan.Options(data=pathlib.Path('d'), out=tmp_path, seeds=2, demo=True)
  return {step.name: step for step in plan.plan(options, lambda config: 4.0)}


def test_times_add_up_over_starts(tmp_path):
  times.add(tmp_path, 'speech', 10.5, False)
  times.add(tmp_path, 'speech', 20.4, True)
  assert times.read(tmp_path) == {'speech': {'seconds': 30.9, 'ended': True}}
  (tmp_path / 'times.json').write_text('[]')
  assert times.read(tmp_path) == {}


def test_another_seed_tells_best_and_the_pace_of_the_others_next(steps):
  every = list(steps.values())
  took = 2 * USUAL['speech']
  past = {'speech': {'seconds': took, 'ended': True}, 'visual': {'seconds': 100.0, 'ended': False}}
  assert times.estimate(steps['seed1/speech'], every, past, demo=True) == took
  assert times.estimate(steps['fused'], every, past, demo=True) == 2 * USUAL['fused']
  assert times.estimate(steps['fused'], every, {}, demo=True) == USUAL['fused']
  assert times.estimate(steps['fused'], every, past, demo=False) is None


def test_what_an_interrupted_step_has_done_is_not_left(steps):
  every = list(steps.values())
  past = {'speech': {'seconds': USUAL['speech'], 'ended': True}, 'visual': {'seconds': 100.0, 'ended': False}}
  missing = [steps['visual'], steps['fused']]
  assert times.left(missing, every, past, demo=True) == (USUAL['visual'] - 100 + USUAL['fused'], 0)
  assert times.left(missing, every, past, demo=False) == (0, 2)


@pytest.mark.parametrize('seconds, words', [(40.2, '40 s'), (12 * 60, '12 min'), (3 * 3600 + 300, '3 h 05 min')])
def test_in_words(seconds, words):
  assert times.in_words(seconds) == words
