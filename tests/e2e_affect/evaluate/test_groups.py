"""Scores of groups of people, against what is computed of their steps alone."""

import audmetric
import numpy as np
import pytest

from e2e_affect.evaluate import groups
from e2e_affect.heads import step_classes, Targets
from e2e_affect.heads.regression import Regression
from e2e_affect.traces.traces import Trace

TARGETS = ['arousal', 'valence']
BAND = {'level': 0.9, 'half_width': {'arousal': 0.1, 'valence': 0.2}}


def make(people=13):
  """Two recordings of each of the first two people, one of the others; the last one has no label."""
  rng, traces, about = np.random.default_rng(1), [], {}
  for i in range(people):
    for part in range(1 + (i < 2)):
      name, steps = f'r{i:02}{part}', 50 + 3 * i
      gold = np.cumsum(rng.normal(size=(steps, 2)), axis=0) / 10
      prediction = gold + rng.normal(size=gold.shape) * (0.1 if i % 2 else 0.3)
      mask = (rng.random(steps) < 0.9) * (i < people - 1)
      arrays = (x.astype(np.float32) for x in (prediction, gold, mask, np.ones(steps)))
      traces.append(Trace(name, f's{i:02}', 'test', *arrays))
      about[name] = {
        'sex': 'male' if i % 2 else 'female',
        'language': ('French', 'German', '')[min(i // 6, 2)] if i != 3 else 'Basque',
        'height': f'{150 + 1.5 * i}',
        'camera': 'same',
      }
  return traces, about


def steps_of(traces, names):
  return [
    np.concatenate([getattr(t, field)[t.mask > 0] for t in traces if t.recording in names]).astype(np.float64)
    for field in ('prediction', 'gold')
  ]


def test_groups_are_scored_by_their_own_steps(monkeypatch):
  traces, about = make()
  monkeypatch.setattr(groups, 'MOST_VALUES', 11)
  found = groups.evaluate(traces, about, Regression(), TARGETS, 0, BAND)
  assert list(found) == ['subject', 'sex', 'language', 'height']  # the camera divides nobody
  for column, value, people, recordings in (
    ('sex', 'female', 6, 7),
    ('sex', 'male', 6, 7),
    ('language', 'Basque', 1, 1),
    ('language', 'French', 5, 7),
    ('language', 'German', 6, 6),
    ('subject', 's01', 1, 2),
  ):
    of = found[column]['groups'][value]
    assert (of['subjects'], of['recordings']) == (people, recordings)
    names = {t.recording for t in traces if value in (t.subject, *about[t.recording].values())}
    prediction, gold = steps_of(traces, names)
    for k, target in enumerate(TARGETS):
      expected = audmetric.concordance_cc(gold[:, k], prediction[:, k])
      assert of['score']['ccc'][target] == pytest.approx(expected, abs=1e-12)
      rmse = np.sqrt(np.mean((prediction[:, k] - gold[:, k]) ** 2))
      assert of['score']['rmse'][target] == pytest.approx(rmse, abs=1e-12)
      inside = np.abs(prediction[:, k] - gold[:, k]) <= BAND['half_width'][target]
      assert of['coverage'][target] == pytest.approx(inside.mean(), abs=1e-12)
      interval = of['score']['rmse_interval'][target]
      assert interval is None if people == 1 else interval[0] < rmse < interval[1]
  assert list(found['language']['groups']) == ['Basque', 'French', 'German']  # '' is not known
  assert found['language']['few'] == ['Basque'] and found['sex']['few'] == []
  assert len(found['subject']['groups']) == 12  # without the one who has no label
  assert found['height'] == {'groups': {}, 'values': 12}
  # The women are read worse, and the bootstrap over people says so.
  women, men = (found['sex']['groups'][of]['score']['rmse_interval']['arousal'] for of in ('female', 'male'))
  assert women[0] > men[1]


def test_without_columns_there_are_people_and_without_people_nothing():
  traces, _ = make(4)
  found = groups.evaluate(traces, {}, Regression(), TARGETS, 0, {})
  assert list(found) == ['subject'] and found['subject']['groups']['s02']['coverage'] is None
  assert groups.evaluate(traces[:2], {}, Regression(), TARGETS, 0, {}) == {}


def test_groups_of_classes():
  targets = Targets(['mood'])
  targets.classes = {'mood': ('joy', 'anger', 'fear')}
  rng, traces = np.random.default_rng(0), []
  for i in range(4):
    label = rng.integers(0, 2 + i % 2, (30, 1))  # every other person is never afraid
    logits = rng.normal(size=(30, 3)) + 2 * np.eye(3)[label[:, 0]]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    arrays = (x.astype(np.float32) for x in (probabilities, label, np.ones(30), np.ones(30)))
    traces.append(Trace(f'r{i}', f's{i}', 'test', *arrays))
  about = {f'r{i}': {'sex': 'm' if i % 2 else 'f'} for i in range(4)}
  found = groups.evaluate(traces, about, step_classes.StepClasses(), targets, 0, {})
  assert list(found) == ['subject', 'sex'] and found['sex']['few'] == ['f', 'm']
  f = [t for t in traces if about[t.recording]['sex'] == 'f']
  right = [np.concatenate([t.prediction.argmax(1)[t.gold[:, 0] == c] == c for t in f]).mean() for c in (0, 1)]
  assert found['sex']['groups']['f']['score']['uar']['mood'] == pytest.approx(np.mean(right), abs=1e-12)
