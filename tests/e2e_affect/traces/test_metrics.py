"""Metrics against audmetric, against numbers by hand, and the promises of `Moments`."""

import audmetric
import numpy as np
import pytest

from e2e_affect.traces import metrics
from e2e_affect.traces.traces import Trace


def make_trace(recording, subject, prediction, gold, mask=None):
  prediction, gold = np.asarray(prediction, np.float32), np.asarray(gold, np.float32)
  steps = len(prediction)
  mask = np.ones(steps, np.float32) if mask is None else np.asarray(mask, np.float32)
  return Trace(recording, subject, 'validation', prediction, gold, mask, np.ones(steps, np.float32))


def noisy_pair(seed, steps, offset=0.0):
  rng = np.random.default_rng(seed)
  gold = rng.normal(size=steps) * 0.3 + offset
  return gold * 0.7 + rng.normal(size=steps) * 0.2 + 0.1, gold


@pytest.mark.parametrize('steps,offset', [(2, 0.0), (7, 0.0), (7501, 0.0), (7501, 1000.0), (7501, -1e-3)])
def test_ccc_equals_audmetric(steps, offset):
  prediction, gold = noisy_pair(steps, steps, offset)
  assert metrics.ccc(prediction, gold) == pytest.approx(audmetric.concordance_cc(gold, prediction), abs=1e-12)


def test_pearson_and_rmse_equal_audmetric():
  prediction, gold = noisy_pair(3, 501)
  assert metrics.pearson(prediction, gold) == pytest.approx(audmetric.pearson_cc(gold, prediction), abs=1e-12)
  mse = audmetric.mean_squared_error(gold, prediction)
  assert metrics.rmse(prediction, gold) == pytest.approx(np.sqrt(mse), abs=1e-12)


def test_ccc_by_hand():
  # p = 0 1 2, g = 0 1 1: means 1 and 2/3, sums of deviations: pp 2, gg 2/3, pg 1; 2·1 / (2 + 2/3 + 3·(1/3)²) = 2/3.
  assert metrics.ccc([0, 1, 2], [0, 1, 1]) == pytest.approx(2 / 3, abs=1e-15)
  # With ddof 1 (3 / 2 on every second moment) it would be 3 / (4 + 1/3) = 0.692: the tolerance tells them apart.


@pytest.mark.parametrize('value', [0.0, 0.1, 1 / 3, -12345.678])
def test_constants(value):
  # Equal constants are 0/0; the rounding of their means must not make a 1 of it.
  constant = np.full(7501, value)
  varying = np.sin(np.arange(7501))
  assert metrics.ccc(constant, constant) == 0
  assert metrics.ccc(constant, constant + 1) == 0  # 0 / 1
  assert metrics.ccc(constant, varying) == 0
  assert metrics.ccc(varying, constant) == 0
  assert np.isnan(metrics.pearson(constant, varying)) and np.isnan(metrics.pearson(varying, constant))
  moments = metrics.Moments.empty(1)
  for part in np.split(constant[:7500, None], 5):
    moments = moments.update(part, part, np.ones(len(part)))
  assert moments.ccc() == [0]


def test_nothing_to_score():
  assert np.isnan(metrics.ccc([], [])) and np.isnan(metrics.pearson([], [])) and np.isnan(metrics.rmse([], []))
  assert np.isnan(metrics.Moments.empty(3).ccc()).tolist() == [True] * 3


def test_shapes_are_checked():
  for metric in (metrics.ccc, metrics.pearson, metrics.rmse):
    with pytest.raises(ValueError, match=r'expected \[N\] twice'):
      metric(np.zeros((5, 1)), np.zeros(5))  # would broadcast to [5, 5]
  with pytest.raises(ValueError, match=r'expected \[N, 2\]'):
    metrics.Moments.empty(2).update(np.zeros((5, 3)), np.zeros((5, 3)), np.zeros(5))


@pytest.mark.parametrize('offset', [0.0, 1000.0])
def test_moments_in_ragged_parts_equal_audmetric(offset):
  rng = np.random.default_rng(5)
  gold = rng.normal(size=(997, 3)) * 0.2 + offset
  prediction = gold * 0.8 + rng.normal(size=(997, 3)) * 0.1
  mask = (rng.random(997) < 0.7).astype(np.float32)
  mask[100:230] = 0  # one whole part without a scored step
  prediction[mask == 0] = np.nan  # what is masked may be anything
  parts = [(0, 100), (100, 230), (230, 231), (231, 900), (900, 997)]
  moments = metrics.Moments.empty(3)
  one_by_one = metrics.Moments.empty(3)
  for first, last in parts:
    part = slice(first, last)
    moments = moments.update(prediction[part], gold[part], mask[part])
    one_by_one = metrics.Moments.empty(3).update(prediction[part], gold[part], mask[part]).merge(one_by_one)
  scored = mask > 0
  expected = [audmetric.concordance_cc(gold[scored, k], prediction[scored, k]) for k in range(3)]
  np.testing.assert_allclose(moments.ccc(), expected, atol=1e-12, rtol=0)
  np.testing.assert_allclose(one_by_one.ccc(), expected, atol=1e-12, rtol=0)
  assert moments.count == scored.sum()


def test_moments_take_batches_of_sequences():
  rng = np.random.default_rng(6)
  prediction, gold, mask = rng.normal(size=(2, 5, 3)), rng.normal(size=(2, 5, 3)), rng.random((2, 5)) < 0.8
  flat = metrics.Moments.empty(3).update(prediction.reshape(10, 3), gold.reshape(10, 3), mask.reshape(10))
  np.testing.assert_array_equal(metrics.Moments.empty(3).update(prediction, gold, mask).ccc(), flat.ccc())


def test_no_mean_of_cccs():
  # Two batches, each perfect but for an offset of its own: the mean of their CCCs is not the CCC of both.
  ramp = np.linspace(-0.1, 0.1, 50)[:, None]
  parts = [(ramp, ramp), (ramp + 0.5, ramp - 0.5)]
  moments = metrics.Moments.empty(1)
  for prediction, gold in parts:
    moments = moments.update(prediction, gold, np.ones(50))
  mean_of_cccs = np.mean([metrics.ccc(p[:, 0], g[:, 0]) for p, g in parts])
  both = [np.concatenate(x)[:, 0] for x in zip(*parts, strict=True)]
  assert moments.ccc()[0] == pytest.approx(audmetric.concordance_cc(both[1], both[0]), abs=1e-12)
  assert abs(moments.ccc()[0] - mean_of_cccs) > 0.5


def test_pooled_and_recording_mean():
  ramp = np.linspace(-1, 1, 11)
  perfect = np.stack([ramp, ramp], axis=1)
  shifted = np.stack([ramp + 1, ramp], axis=1)
  traces = [
    make_trace('a', 's1', perfect, perfect),
    make_trace('b', 's2', shifted, perfect, mask=[1] * 9 + [0] * 2),
    make_trace('c', 's3', shifted, perfect, mask=[0] * 11),
  ]
  prediction, gold = metrics.pooled(traces)
  assert prediction.shape == gold.shape == (20, 2) and prediction.dtype == np.float64
  # Nine steps 0.2 apart: variance 0.2²·(81 − 1)/12 = 4/15. CCC of b = 2·4/15 / (2·4/15 + 1) = 8/23; c does not count.
  np.testing.assert_allclose(metrics.ccc_recording_mean(traces), [(1 + 8 / 23) / 2, 1], atol=1e-6)
  assert np.isnan(metrics.ccc_recording_mean(traces[2:])).all()
