"""Post-processing on made traces whose right answer is known."""

import dataclasses
import inspect
import json
import time

import numpy as np
import pytest
from scipy import ndimage

from data_prep.schema.grid import Grid, PAPER
from e2e_affect.traces import metrics, postprocess
from e2e_affect.traces.traces import Trace

STEPS = (2000, 1500, 1001)  # three recordings, none as long as another
TARGETS = ['arousal', 'valence']


def make_gold(seed, steps, smooth=60):
  """[steps, 2], smooth, standard deviation 0.2, mean 0 over the recording."""
  gold = ndimage.gaussian_filter1d(np.random.default_rng(seed).normal(size=(steps, 2)), smooth, axis=0)
  return (gold - gold.mean(axis=0)) / gold.std(axis=0) * 0.2


def make_traces(predict, partition='validation', seed=0, smooth=60):
  """predict(gold [T, 2], rng) -> prediction [T, 2]."""
  traces = []
  for i, steps in enumerate(STEPS):
    gold = make_gold(100 * seed + i, steps, smooth)
    prediction = predict(gold, np.random.default_rng(1000 * seed + i))
    traces.append(
      Trace(
        f'r{i}',
        f's{i}',
        partition,
        prediction.astype(np.float32),
        gold.astype(np.float32),
        np.ones(steps, np.float32),
        np.ones(steps, np.float32),
      )
    )
  return traces


def kept(params, target='arousal'):
  return [
    name for name in ('median_filter', 'centring', 'scaling', 'time_shift') if params['targets'][target][name]['kept']
  ]


def pooled_ccc(traces, k=0):
  prediction, gold = metrics.pooled(traces)
  return metrics.ccc(prediction[:, k], gold[:, k])


def early(gold, steps):
  """What a network without lag says: the gold standard before the raters' delay; random walk on at the end."""
  return np.concatenate([gold[steps:], np.repeat(gold[-1:], steps, axis=0)])


def test_perfect_prediction_is_left_alone():
  traces = make_traces(lambda gold, rng: gold)
  params = postprocess.fit(traces, TARGETS)
  assert kept(params) == kept(params, 'valence') == []
  for before, after in zip(traces, postprocess.apply(params, traces), strict=True):
    np.testing.assert_array_equal(after.prediction, before.prediction)


def test_finds_a_shift_of_two_seconds():
  # 2 s are 50 steps. The prediction is early by them; moving it later is the cure.
  traces = make_traces(lambda gold, rng: early(gold, 50))
  params = postprocess.fit(traces, TARGETS)
  assert kept(params) == ['time_shift']
  assert params['targets']['arousal']['time_shift']['steps'] == 50
  shifted = postprocess.apply(params, traces)
  for before, after in zip(traces, shifted, strict=True):
    np.testing.assert_array_equal(after.prediction[50:], before.gold[50:])
    np.testing.assert_array_equal(after.prediction[:50], np.repeat(before.prediction[:1], 50, axis=0))
  assert pooled_ccc(shifted) > 0.98 > pooled_ccc(traces) + 0.1


def test_never_moves_a_prediction_earlier():
  # Late by 50 steps: only a shift backwards would help, and the paper has none.
  traces = make_traces(lambda gold, rng: np.concatenate([np.repeat(gold[:1], 50, axis=0), gold[:-50]]))
  assert kept(postprocess.fit(traces, TARGETS)) == []


def test_removes_a_bias():
  traces = make_traces(lambda gold, rng: gold + [0.25, 0.0])
  params = postprocess.fit(traces, TARGETS)
  assert kept(params) == ['centring'] and kept(params, 'valence') == []
  assert params['targets']['arousal']['centring']['bias'] == pytest.approx(-0.25, abs=1e-6)
  # CCC of equal shapes 0.25 apart, variance 0.04: 2·0.04 / (2·0.04 + 0.0625) = 0.5614.
  assert params['targets']['arousal']['ccc_raw'] == pytest.approx(0.08 / 0.1425, abs=1e-6)
  assert pooled_ccc(postprocess.apply(params, traces)) == pytest.approx(1, abs=1e-6)


def test_corrects_a_gain_around_the_mean():
  traces = make_traces(lambda gold, rng: gold * [0.5, 1.0] + 0.01)
  params = postprocess.fit(traces, TARGETS)
  assert kept(params) == ['scaling']  # a bias of 0.01 is worth less than min_gain
  scaling = params['targets']['arousal']['scaling']
  assert scaling['factor'] == pytest.approx(2, abs=1e-5)
  assert scaling['mean'] == pytest.approx(0.01, abs=1e-6)
  # Around the mean, the bias stays 0.01; (p + bias) · factor would make it 0.02.
  after = postprocess.apply(params, traces)
  prediction, gold = metrics.pooled(after)
  assert np.mean(prediction[:, 0] - gold[:, 0]) == pytest.approx(0.01, abs=1e-6)


def test_filters_impulses():
  def impulses(gold, rng):
    return np.where(rng.random(gold.shape) < 0.15, rng.choice([-1, 1], size=gold.shape), gold)

  traces = make_traces(impulses)
  params = postprocess.fit(traces, TARGETS)
  assert kept(params) == ['median_filter']
  assert params['targets']['arousal']['median_filter']['steps'] in postprocess.median_steps(PAPER)
  assert pooled_ccc(traces) < 0.7 and pooled_ccc(postprocess.apply(params, traces)) > 0.98


def test_all_four_together_on_recordings_not_seen():
  def damaged(gold, rng):
    return early(gold, 30) * 0.4 - 0.2 + rng.normal(size=gold.shape) * 0.1

  params = postprocess.fit(make_traces(damaged), TARGETS)
  assert len(kept(params)) == len(kept(params, 'valence')) == 4
  test = make_traces(damaged, 'test', seed=7)
  assert pooled_ccc(test) < 0.4 and pooled_ccc(postprocess.apply(params, test)) > 0.9


def test_gain_must_exceed_the_threshold():
  # A bias b at variance v costs 1 − 2v / (2v + b²): 0.0303 for b = 0.05, v = 0.04.
  traces = make_traces(lambda gold, rng: gold + 0.05)
  gain = 1 - 0.08 / 0.0825
  assert kept(postprocess.fit(traces, TARGETS, min_gain=gain - 1e-3)) == ['centring']
  assert kept(postprocess.fit(traces, TARGETS, min_gain=gain + 1e-3)) == []


@pytest.mark.parametrize('steps,window', [(50, 11), (51, 15), (300, 249), (300, 499), (7, 11), (2, 11), (1, 11)])
def test_median_filter_mirrors_the_ends(steps, window):
  values = np.random.default_rng(steps).normal(size=steps) + 3
  window_used = min(window, steps if steps % 2 else steps - 1)
  mirrored = np.pad(values, window_used // 2, mode='symmetric')
  expected = [np.median(mirrored[i : i + window_used]) for i in range(steps)]
  np.testing.assert_array_equal(postprocess.median_filter(values, window), expected)


def test_ranges_of_the_paper():
  assert postprocess.median_steps(PAPER) == [11, 15, 21, 29, 43, 61, 87, 123, 175, 249, 353, 499]
  assert postprocess.shift_steps(PAPER) == range(1, 251)


def test_ranges_of_another_grid_are_of_the_same_seconds():
  # 0.44, 0.6 and 0.84 s are nearest to one step of 0.5 s, 1.16 and 1.72 s to three, …, 19.96 s to 39.
  coarse = Grid(0.5, 8000, 2)
  assert postprocess.median_steps(coarse) == [1, 3, 5, 7, 9, 13, 19, 29, 39]
  assert postprocess.shift_steps(coarse) == range(1, 21)
  fine = postprocess.median_steps(Grid(0.02, 16_000, 50))
  assert all(steps % 2 for steps in fine) and (fine[0], fine[-1]) == (21, 997)  # 22 and 998 are even
  assert postprocess.median_steps(Grid(60.0, 8000, 1)) == [1] and postprocess.shift_steps(Grid(60.0, 8000, 1)) == range(
    1, 2
  )


def test_shift_longer_than_the_recording():
  np.testing.assert_array_equal(postprocess.time_shift(np.array([3.0, 4.0, 5.0]), 250), [3, 3, 3])


def test_recordings_do_not_leak_into_each_other():
  def damaged(gold, rng):
    return early(gold, 30) * 0.4 - 0.2 + rng.normal(size=gold.shape) * 0.1

  traces = make_traces(damaged)
  params = postprocess.fit(traces, TARGETS)
  together = postprocess.apply(params, traces)
  for i, trace in enumerate(traces):
    (alone,) = postprocess.apply(params, [trace])
    np.testing.assert_array_equal(alone.prediction, together[i].prediction)


def test_only_what_is_scored_counts():
  traces = make_traces(lambda gold, rng: gold + 0.25)
  unlabelled = dataclasses.replace(
    traces[1],
    mask=np.zeros(STEPS[1], np.float32),
    gold=np.full((STEPS[1], 2), np.nan, np.float32),
    prediction=traces[1].prediction + 50,
  )
  half_mask = (np.arange(STEPS[0]) < 900).astype(np.float32)
  half_prediction = traces[0].prediction + 50 * (1 - half_mask[:, None])
  half = dataclasses.replace(traces[0], mask=half_mask, prediction=half_prediction)
  params = postprocess.fit([half, unlabelled, traces[2]], TARGETS)
  assert kept(params) == ['centring']
  assert params['targets']['arousal']['centring']['bias'] == pytest.approx(-0.25, abs=1e-6)
  assert postprocess.apply(params, [unlabelled])[0].prediction.shape == (STEPS[1], 2)


def test_constants():
  traces = make_traces(lambda gold, rng: np.full_like(gold, 0.3))
  params = postprocess.fit(traces, TARGETS)
  assert kept(params) == []
  assert params['targets']['arousal']['scaling'] == {'kept': False, 'ccc': None}
  constant_gold = [dataclasses.replace(t, gold=np.full_like(t.gold, 0.3)) for t in traces]
  assert kept(postprocess.fit(constant_gold, TARGETS)) == []
  for chosen in (params, postprocess.fit(constant_gold, TARGETS)):
    words = postprocess.in_words(chosen, PAPER)
    assert 'nothing to work on' in words['arousal'][2]


def test_cancelling_a_wrong_trace_is_no_gain():
  # Upside down, and much too large: scaling and long medians would lead from -0.47 towards 0, and gain nothing.
  traces = make_traces(lambda gold, rng: gold * [-4.0, 1.0], smooth=400)
  params = postprocess.fit(traces, TARGETS)
  of = params['targets']['arousal']
  assert (
    of['ccc_raw'] < -0.2 and max(of[name]['ccc'] for name in ('median_filter', 'time_shift')) > of['ccc_raw'] + 0.02
  )
  assert kept(params) == []
  assert 'to cancel a wrong trace is no gain' in postprocess.in_words(params, PAPER)['arousal'][0]
  for before, after in zip(traces, postprocess.apply(params, traces), strict=True):
    np.testing.assert_array_equal(after.prediction, before.prediction)


def test_parameters_survive_json():
  traces = make_traces(lambda gold, rng: early(gold, 50) * 0.6 + 0.1 + rng.normal(size=gold.shape) * 0.1)
  params = postprocess.fit(traces, TARGETS)
  again = json.loads(json.dumps(params, allow_nan=False))
  assert again == params
  for a, b in zip(postprocess.apply(params, traces), postprocess.apply(again, traces), strict=True):
    np.testing.assert_array_equal(a.prediction, b.prediction)


def test_words():
  traces = make_traces(lambda gold, rng: np.stack([early(gold[:, :1], 50)[:, 0], gold[:, 1] + 0.25], axis=1))
  words = postprocess.in_words(postprocess.fit(traces, TARGETS), PAPER)
  assert words['arousal'][3].startswith('Shifted 2.00 s later: validation CCC 0.')
  assert words['arousal'][1].startswith('Centring: not kept, the best gain on validation was ')
  assert words['valence'][1] == 'Centring, −0.250 added: validation CCC 0.561 → 1.000.'


# Test labels cannot influence what comes out: `fit` refuses them, `apply` returns the same whatever they are.


@pytest.mark.parametrize('partition', ['test', 'train'])
def test_fit_refuses_other_partitions(partition):
  traces = make_traces(lambda gold, rng: gold)
  with pytest.raises(ValueError, match=f"validation alone, got traces of .'{partition}'"):
    postprocess.fit(traces[:2] + [dataclasses.replace(traces[2], partition=partition)], TARGETS)


def test_apply_reads_no_labels():
  params = postprocess.fit(make_traces(lambda gold, rng: early(gold, 50) * 0.5 + 0.3), TARGETS)
  test = make_traces(lambda gold, rng: early(gold, 20) * 0.5, 'test', seed=3)
  expected = [t.prediction for t in postprocess.apply(params, test)]
  garbage = [dataclasses.replace(t, gold=-7 * t.gold[::-1]) for t in test]
  absent = [dataclasses.replace(t, gold=np.full_like(t.gold, np.nan), mask=np.zeros_like(t.mask)) for t in test]
  for other in (garbage, absent):
    for after, prediction in zip(postprocess.apply(params, other), expected, strict=True):
      np.testing.assert_array_equal(after.prediction, prediction)
  source = inspect.getsource(postprocess.apply)
  assert '.gold' not in source and '.mask' not in source and '.scored' not in source


def test_refuses_what_does_not_fit():
  traces = make_traces(lambda gold, rng: gold)
  with pytest.raises(ValueError, match="2 predictions per step for the targets .'arousal'"):
    postprocess.fit(traces, TARGETS[:1])
  with pytest.raises(ValueError, match='no step with a gold standard'):
    postprocess.fit([dataclasses.replace(t, mask=np.zeros_like(t.mask)) for t in traces], TARGETS)
  with pytest.raises(ValueError, match='not fitted: no labels'):
    postprocess.apply({'fitted_on': None, 'reason': 'no labels'}, traces)
  params = postprocess.fit(traces, TARGETS)
  one_target = [dataclasses.replace(t, prediction=t.prediction[:, :1], gold=t.gold[:, :1]) for t in traces]
  with pytest.raises(ValueError, match='1 predictions per step'):
    postprocess.apply(params, one_target)


def test_fit_is_fast():
  rng = np.random.default_rng(0)
  values = rng.normal(size=(15, 7500, 2)).astype(np.float32)
  ones = np.ones(7500, np.float32)
  traces = [Trace(f'r{i}', f's{i}', 'validation', values[i], values[-i], ones, ones) for i in range(15)]
  start = time.thread_time()
  postprocess.fit(traces, TARGETS)
  assert time.thread_time() - start < 20  # RECOLA's validation partition; measured: 1.7 s


def test_by_how_much_a_target_is_shifted():
  fitted = {'targets': {'arousal': {'time_shift': {'kept': True, 'steps': 7}}, 'b': {'time_shift': {'kept': False}}}}
  assert [postprocess.shifted(fitted, name) for name in ('arousal', 'b', 'other')] == [7, 0, 0]
  assert postprocess.shifted({'fitted_on': None}, 'arousal') == 0
