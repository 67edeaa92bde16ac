"""The band against weighted quantiles of NumPy, and how much of new people it holds."""

import dataclasses
import json

import numpy as np
import pytest

from e2e_affect.evaluate import results
from e2e_affect.heads.clip_regression import ClipRegression
from e2e_affect.traces import band, metrics, postprocess
from tests.e2e_affect.traces.test_metrics import make_trace

TARGETS = ['arousal', 'valence']


def people(count, seed=0, noise=(0.1, 0.3), level=0.1):
  """Raw traces of people who differ, in level and in how well they are read; the last one has two recordings."""
  rng, traces = np.random.default_rng(seed), []
  for i in range(count):
    for part in range(1 + (i == count - 1)):
      steps = 40 + 7 * i + 90 * part
      gold = np.cumsum(rng.normal(size=(steps, 2)), axis=0) / 20
      gold += rng.normal(size=2) * 0.2 - gold.mean(axis=0)
      error = rng.normal(size=(steps, 2)) * np.array(noise) * rng.uniform(0.5, 1.5)
      prediction = 0.4 * gold + error + rng.normal(size=2) * level + [0.3, 0]
      traces.append(make_trace(f'r{i}{part}', f's{i}', prediction, gold, rng.random(steps) < 0.8))
  return traces


def absolute(processed):
  """Subject -> [N, K] of the scored steps."""
  found = {}
  for t in processed:
    error = np.abs(t.prediction.astype(np.float64) - t.gold)[t.mask > 0]
    found[t.subject] = np.concatenate([found.get(t.subject, np.zeros((0, 2))), error])
  return found


def weighted(errors):
  """[K] quantiles by NumPy; a person weighs 1, however many steps there are."""
  values = np.concatenate(list(errors.values()))
  weights = np.concatenate([np.full(len(of), 1 / len(of)) for of in errors.values()])
  return [np.quantile(values[:, k], 0.9, weights=weights, method='inverted_cdf') for k in range(2)]


def test_half_widths_are_weighted_quantiles_of_errors_of_people_left_out():
  traces = people(6)
  unlabelled = dataclasses.replace(traces[0], recording='none', subject='s9', mask=np.zeros_like(traces[0].mask))
  fitted = band.fit([*traces, unlabelled], TARGETS)
  errors, of_constant = {}, {}
  for left_out in {t.subject for t in traces}:
    others = [t for t in traces if t.subject != left_out]
    mine = [t for t in traces if t.subject == left_out]
    errors |= absolute(postprocess.apply(postprocess.fit(others, TARGETS), mine))
    mean = np.concatenate([t.gold[t.mask > 0] for t in others]).mean(axis=0, dtype=np.float64)
    constant = [dataclasses.replace(t, prediction=np.tile(mean, (len(t.gold), 1))) for t in mine]
    of_constant |= absolute(constant)
  np.testing.assert_allclose([fitted['half_width'][t] for t in TARGETS], weighted(errors), rtol=1e-9)
  np.testing.assert_allclose([fitted['of_constant'][t] for t in TARGETS], weighted(of_constant), rtol=1e-6)
  assert fitted['subjects'] == 6 and fitted['level'] == 0.9
  assert fitted['expected'] == pytest.approx([5.4 / 7, 6.4 / 7])
  # With post-processing that has seen the person, arousal's band would be another.
  seen = weighted(absolute(postprocess.apply(postprocess.fit(traces, TARGETS), traces)))
  assert abs(fitted['half_width']['arousal'] - seen[0]) > 1e-4
  assert json.loads(json.dumps(fitted, allow_nan=False)) == fitted


def test_coverage_is_the_share_of_all_scored_steps():
  traces = people(5)
  fitted = {'half_width': {'valence': 0.2, 'arousal': 0.3}}  # by name, in any order
  rows = np.concatenate(list(absolute(traces).values()))
  found = band.coverage(fitted, traces, TARGETS)
  assert found == pytest.approx({'arousal': np.mean(rows[:, 0] <= 0.3), 'valence': np.mean(rows[:, 1] <= 0.2)})
  ends = band.ends(fitted, traces[0].prediction, TARGETS)
  assert list(ends) == ['arousal_low', 'arousal_high', 'valence_low', 'valence_high']
  np.testing.assert_allclose(ends['valence_high'] - ends['valence_low'], 0.4, atol=1e-6)
  inside = (ends['arousal_low'] <= traces[0].gold[:, 0]) & (traces[0].gold[:, 0] <= ends['arousal_high'])
  assert inside[traces[0].mask > 0].mean() == band.coverage(fitted, traces[:1], TARGETS)['arousal']


@pytest.mark.parametrize('differ', [0.0, 0.5, 1.0])
def test_a_new_person_has_as_much_inside_as_is_promised(differ):
  """Nine people and a new one, 1,000 times: the error is a person's own bias and scale, and noise."""
  rng, nine, covered = np.random.default_rng(3), 9, []
  for _ in range(1000):
    scale = np.exp(differ * rng.normal(size=(nine + 1, 1, 1)) / 2)
    bias = differ * rng.normal(size=(nine + 1, 1, 1))
    errors = np.abs(bias + scale * rng.normal(size=(nine + 1, 60, 1)))
    width = band._half_widths({str(i): [errors[i]] for i in range(nine)}, ['arousal'])['arousal']
    covered.append(np.mean(errors[nine] <= width))
  # The mean's own deviation is at most 0.2 / √1000 = 0.006; a step of 60 is 0.017.
  assert 0.81 - 0.02 <= np.mean(covered) <= 0.91 + 0.03
  assert 0.87 < np.mean(covered)  # about 90 % in truth, where people are no further apart than they vary themselves


def test_where_labels_say_nothing_the_band_says_so():
  traces = people(12, noise=(0.02, 0.04), level=0.02)
  said = band.in_words(band.fit(traces, TARGETS), TARGETS)
  assert said[0].startswith('The 90 % band is arousal ±') and 'of the 12 people of validation' in said[0]
  assert 'from 83 to 91 % of the steps' in said[0]  # 10.8 / 13 and 11.8 / 13
  assert '% as wide as the band of always saying the mean' in said[1] and 'nothing is known' not in said[1]
  # Everybody with the labels of the next one: what is predicted has nothing to do with them.
  shuffled = []
  for mine, other in zip(traces, traces[1:] + traces[:1], strict=True):
    gold = other.gold[np.arange(len(mine.gold)) % len(other.gold)][::-1]
    shuffled.append(dataclasses.replace(mine, gold=gold, prediction=0.05 * mine.prediction))
  fitted = band.fit(shuffled, TARGETS)
  spread = np.quantile(np.abs(metrics.pooled(shuffled)[1] - metrics.pooled(shuffled)[1].mean(0)), 0.9, axis=0)
  for k, target in enumerate(TARGETS):
    assert fitted['of_constant'][target] == pytest.approx(spread[k], rel=0.2)
    assert fitted['half_width'][target] > 0.95 * fitted['of_constant'][target]
  assert all(line.endswith(': of a single moment nothing is known.') for line in band.in_words(fitted, TARGETS)[1:])


def test_numbers_of_recordings_have_a_band_over_recordings():
  rng, head, traces = np.random.default_rng(2), ClipRegression(), []
  for i in range(23):  # 19 people: four have two recordings
    steps = 5 + i
    gold = np.tile(rng.normal(size=2) / 2, (steps, 1))
    mask = (np.arange(steps) > 2).astype(np.float32)  # a step without a label counts as little as its neighbours
    traces.append(make_trace(f'r{i}', f's{i % 19}', 0.8 * gold + [0.1, 0.2] * rng.normal(size=2), gold, mask))
  found = results.evaluate_traces({'validation': traces}, head, TARGETS, 0, {})
  fitted = found['postprocessing']
  assert fitted['fitted_on'] is None and fitted['reason'] == 'the head clip_regression has no post-processing'
  errors = {}
  for t in traces:
    error = np.abs(t.prediction[:1].astype(np.float64) - t.gold[:1])
    errors[t.subject] = np.concatenate([errors.get(t.subject, np.zeros((0, 2))), error])
  of_band = head.band(fitted)
  np.testing.assert_allclose([of_band['half_width'][t] for t in TARGETS], weighted(errors), rtol=1e-6)
  assert of_band['subjects'] == 19 and of_band['of'] == 'recordings'
  inside = np.concatenate(list(errors.values())) <= [of_band['half_width'][t] + 1e-7 for t in TARGETS]
  assert found['validation']['coverage'] == pytest.approx(dict(zip(TARGETS, inside.mean(axis=0))))
  assert found['validation']['groups']['subject']['groups']['s0']['coverage'].keys() == set(TARGETS)
  said = band.in_words(of_band, TARGETS)
  assert 'around the values. It held 90 % of the gold standard of the 19 people of validation' in said[0]
  assert 'from 86 to 90 % of the recordings inside' in said[0]  # 17.1 / 20 and 18.1 / 20
  assert head.of_targets(fitted, TARGETS) == fitted  # as across corpora
  few = results.evaluate_traces({'validation': traces[:4]}, head, TARGETS, 0, {})
  assert head.band(few['postprocessing'])['reason'].endswith('a band needs 5')
  assert few['validation']['coverage'] is None


def test_too_few_people_have_no_band():
  traces = people(4)
  fitted = band.fit(traces, TARGETS)
  assert fitted == {'level': 0.9, 'subjects': 4, 'reason': 'validation has labels of 4 people; a band needs 5'}
  assert band.fit(traces[:1], TARGETS)['reason'].startswith('validation has labels of 1 person;')
  for none in (fitted, {}):
    assert band.half_widths(none, TARGETS) is None and band.coverage(none, traces, TARGETS) is None
    assert band.ends(none, traces[0].prediction, TARGETS) == {}
  assert band.in_words(fitted, TARGETS) == [
    'There is no 90 % band: validation has labels of 4 people; a band needs 5.'
  ] and not band.in_words({}, TARGETS)


def test_more_than_ten_people_are_left_out_in_ten_groups(monkeypatch):
  calls = []
  real = postprocess.fit
  monkeypatch.setattr(postprocess, 'fit', lambda traces, targets: calls.append(len(traces)) or real(traces, targets))
  assert band.fit(people(13), TARGETS)['subjects'] == 13
  assert len(calls) == 10 and set(calls) <= {11, 12, 13}  # of 14 recordings; one person has two


def test_the_band_of_another_run_is_not_ours():
  theirs = {'fitted_on': 'validation', 'targets': {}, 'band': band.fit(people(5), TARGETS)}
  ours = band.of_another_run(theirs)
  assert band.half_widths(ours['band'], TARGETS) is None and 'that of another run' in ours['band']['reason']
  assert band.of_another_run({'fitted_on': 'validation'}) == {'fitted_on': 'validation'}
