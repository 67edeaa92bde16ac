"""The bootstrap over subjects against resampled steps, and how often it errs."""

import dataclasses
import time

import numpy as np
import pytest
from scipy import signal, special

from data_prep.core.errors import DataError
from e2e_affect.traces import bootstrap, metrics
from tests.e2e_affect.traces.test_metrics import make_trace


def subjects(num_subjects, steps=301, seed=0, error=0.2):
  """Two recordings of each subject, drawn together; the gold standard of a number of subjects is always the same."""
  rng, of_prediction = np.random.default_rng(num_subjects), np.random.default_rng(seed)
  traces = []
  for s in range(num_subjects):
    gold = rng.normal(size=(steps, 2)) * 0.2 + rng.normal(size=2) * 0.1 + 5
    mask = rng.random(steps) < rng.uniform(0.3, 1)
    prediction = gold + of_prediction.normal(size=(steps, 2)) * error + of_prediction.normal(size=2) * 0.1
    for half in (slice(0, 120), slice(120, steps)):
      traces.append(make_trace(f'r{s}{half.start}', f's{s}', prediction[half], gold[half], mask[half]))
  return traces


def resampled(several, replicates):
  """[R, 2]: an independent bootstrap, which glues the drawn subjects' steps together; the mean over `several`."""
  names = sorted({t.subject for t in several[0]})
  of = [[metrics.pooled([t for t in traces if t.subject == name]) for name in names] for traces in several]
  rng = np.random.default_rng(1)
  found = []
  for _ in range(replicates):
    drawn = rng.integers(len(names), size=len(names))
    cccs = []
    for pairs in of:
      p, g = (np.concatenate([pairs[s][i] for s in drawn]) for i in (0, 1))
      cov = np.mean((p - p.mean(0)) * (g - g.mean(0)), axis=0)
      cccs.append(2 * cov / (p.var(0) + g.var(0) + (p.mean(0) - g.mean(0)) ** 2))
    found.append(np.mean(cccs, axis=0))
  return np.array(found)


def expanded(replicates, num_subjects):
  """[2, 2] by quantiles of Student's distribution from scipy."""
  z = special.stdtrit(num_subjects - 1, 0.975) * np.sqrt(num_subjects / (num_subjects - 1))
  return np.percentile(replicates, [100 * special.ndtr(-z), 100 * special.ndtr(z)], axis=0).T


def test_interval_equals_resampled_steps():
  traces = subjects(6, steps=157)
  expected = expanded(resampled([traces], 4000), 6)
  found = bootstrap.interval([traces], seed=2)
  assert found.shape == (2, 2)
  # Its ends are the 0.24th percentile: 10 of 4000 replicates lie behind them, which allow a tenth of the width.
  np.testing.assert_allclose(found, expected, atol=0.1 * np.ptp(expected, axis=1).min())
  prediction, gold = metrics.pooled(traces)
  for k in range(2):
    assert found[k, 0] < metrics.ccc(prediction[:, k], gold[:, k]) < found[k, 1]


def test_interval_of_the_rmse_equals_resampled_people():
  traces = subjects(6, steps=157)
  names = sorted({t.subject for t in traces})
  of = [metrics.pooled([t for t in traces if t.subject == name]) for name in names]
  rng, found = np.random.default_rng(1), []
  for _ in range(4000):
    drawn = [of[s] for s in rng.integers(6, size=6)]
    found.append([np.sqrt(np.concatenate([(p - g)[:, k] ** 2 for p, g in drawn]).mean()) for k in range(2)])
  expected = expanded(np.array(found), 6)
  interval = bootstrap.rmse_interval(traces, seed=2)
  # As above: a tenth of the width.
  assert (np.abs(interval - expected) < 0.1 * np.ptp(expected, axis=1, keepdims=True)).all()
  assert np.isnan(bootstrap.rmse_interval(traces[:2], seed=2)).all()  # both of one subject


def test_the_ends_are_percentiles_that_student_asks_for():
  replicates = np.random.default_rng(0).permutation(np.linspace(0, 1, 10_001))[:, None]
  # t(8) = 2.306, · √(9/8) = 2.446, Φ(−2.446) = 0.00722; t(14) = 2.145, · √(15/14) = 2.220, Φ(−2.220) = 0.0132.
  np.testing.assert_allclose(bootstrap._percentiles(replicates, 9), [[0.00722, 0.99278]], atol=1e-5)
  np.testing.assert_allclose(bootstrap._percentiles(replicates, 15), [[0.0132, 0.9868]], atol=1e-4)


def test_interval_of_equal_subjects_is_the_ccc():
  one = subjects(1)
  traces = [make_trace(f'{s}{t.recording}', f's{s}', t.prediction, t.gold, t.mask) for s in range(3) for t in one]
  prediction, gold = metrics.pooled(traces)
  for k, (low, high) in enumerate(bootstrap.interval([traces], seed=0)):
    assert low == pytest.approx(metrics.ccc(prediction[:, k], gold[:, k]), abs=1e-9) == high


def test_interval_is_seeded_and_needs_two_subjects():
  traces = subjects(5)
  of = lambda seed: bootstrap.interval([traces], seed)
  np.testing.assert_array_equal(of(3), of(3))
  assert (of(3) != of(4)).any()
  assert np.isnan(bootstrap.interval([traces[:2]], seed=3)).all()  # both of one subject


def test_of_several_trainings_the_mean_ccc_is_taken():
  of_a = [subjects(7, 163, seed, error=0.15) for seed in (1, 2, 3)]
  of_b = [subjects(7, 163, seed, error=0.3) for seed in (4, 5)]
  found = bootstrap.better(of_a, of_b, seed=0)
  cccs = [[[metrics.ccc(*(x[:, k] for x in metrics.pooled(t))) for k in range(2)] for t in of] for of in (of_a, of_b)]
  np.testing.assert_allclose(found.difference, np.mean(cccs[0], axis=0) - np.mean(cccs[1], axis=0), atol=1e-12)
  # Both meet the same people in every replicate: the random numbers are the same in both calls. t(6) = 2.447.
  half = 2.447 * np.sqrt(7 / 6) * np.std(resampled(of_a, 800) - resampled(of_b, 800), axis=0)
  np.testing.assert_allclose(np.diff(found.interval)[:, 0] / 2, half, rtol=0.1)  # 800 replicates: 2.5 % deviation
  np.testing.assert_allclose(found.interval.mean(axis=1), found.difference, atol=1e-12)
  assert ((found.interval[:, 0] > 0) == (found.p < 0.05)).all() and found.p.shape == (2,)
  turned = bootstrap.better(of_b, of_a, seed=0)
  np.testing.assert_allclose(turned.interval[:, ::-1], -found.interval, atol=1e-12)
  np.testing.assert_array_equal(turned.p, found.p)


def test_no_difference_is_no_difference():
  found = bootstrap.better([subjects(5)], [subjects(5)], seed=0)
  np.testing.assert_array_equal(found.difference, 0)
  np.testing.assert_array_equal(found.interval, 0)
  np.testing.assert_array_equal(found.p, 1)
  one = bootstrap.better([subjects(5)[:2]], [subjects(5)[:2]], seed=0)
  assert np.isnan([*one.difference, *one.p, *one.interval.ravel()]).tolist() == [True] * 8


def test_other_recordings_or_steps_are_refused():
  a = subjects(4)
  with pytest.raises(DataError, match='recording r3120: in one run and not in the other'):
    bootstrap.better([a], [a[:-1]], seed=0)
  with pytest.raises(DataError, match='recording r3120: in one run and not in the other'):
    bootstrap.interval([a[:-1], a], seed=0)
  masked = dataclasses.replace(a[5], mask=a[5].mask * (np.arange(len(a[5].mask)) < 50))
  with pytest.raises(DataError, match='recording r2120: .* steps of s2 have a gold standard'):
    bootstrap.better([a], [[*a[:5], masked, *a[6:]]], seed=0)


def test_it_is_fast():
  traces = subjects(15, steps=7500)
  start = time.thread_time()
  bootstrap.interval([traces], seed=0)
  assert time.thread_time() - start < 20  # by moments: 1 s; by concatenation it would take minutes


def slow_noise(rng, *shape):
  """Autocorrelated noise of variance 1, smooth as ratings are: two poles of 4 s at two steps a second."""
  pole = np.exp(-1 / 8)
  noise = signal.lfilter([1], np.poly([pole, pole]), rng.normal(size=(*shape[:-1], shape[-1] + 80)), axis=-1)[..., 80:]
  return noise / np.sqrt((1 + pole**2) / (1 - pole**2) ** 3)


def pair(rng, num_subjects, gap):
  """Traces of two predictors of five minutes of each subject, whose CCC is the same but for `gap` in their noise.

  People differ in level and liveliness, and in how well they are predicted. Half of the error is common to both.
  """
  shape = (num_subjects, 600)
  normal = lambda: rng.normal(size=(num_subjects, 1))
  gold = 0.15 * slow_noise(rng, *shape) * np.exp(0.3 * normal()) + 0.12 * normal()
  error, level = slow_noise(rng, *shape), normal()
  both = []
  for noise in (0.08, 0.08 + gap):
    own = np.exp(0.3 * normal()) * (error + slow_noise(rng, *shape)) / np.sqrt(2)
    prediction = 0.6 * gold + noise * own + 0.08 * (level + normal()) / np.sqrt(2)
    both.append([make_trace(f'r{s}', f's{s}', prediction[s, :, None], gold[s, :, None]) for s in range(num_subjects)])
  return both


@pytest.mark.slow
@pytest.mark.parametrize('num_subjects', [9, 15])
def test_false_positives_are_one_in_twenty(num_subjects):
  rng = np.random.default_rng(num_subjects)
  p = np.array([bootstrap.better(*([traces] for traces in pair(rng, num_subjects, 0.0)), 0).p[0] for _ in range(1000)])
  assert 0.035 <= np.mean(p < 0.05) <= 0.065


@pytest.mark.parametrize('num_subjects', [9, 15])
def test_a_difference_is_found(num_subjects):
  rng = np.random.default_rng(num_subjects)
  found = [bootstrap.better(*([traces] for traces in pair(rng, num_subjects, 0.15)), 0) for _ in range(60)]
  assert np.mean([of.p[0] < 0.05 and of.difference[0] > 0 for of in found]) > 0.8
