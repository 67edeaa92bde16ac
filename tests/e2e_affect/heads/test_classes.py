"""Losses of classes against PyTorch and NumPy; recalls against scikit-learn; calibration."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize
import sklearn.calibration
import sklearn.metrics

from configs import fused
from data_prep.core.errors import DataError, UserError
from data_prep.schema.fields import Layout
from data_prep.schema.grid import PAPER
from e2e_affect.heads import clip_classes, clip_regression, losses, recordings, regression, step_classes, Targets
from e2e_affect.traces import bootstrap, classes
from e2e_affect.traces.traces import Trace

B, T, C, K = 5, 7, 4, 2
NAMES = ('calm', 'happy', 'sad', 'angry')
WEIGHTS = (0.5, 1.0, 2.5, 0.25)
TARGETS = Targets.of(Layout(['liking', 'emotion'], PAPER, {}, classes={'emotion': NAMES}))


def batch(seed=0):
  """(logits [B, T, C], labels [B, T, K], mask [B, T]); NaN where the mask is 0, and a sequence without a valid step."""
  rng = np.random.default_rng(seed)
  logits = rng.normal(size=(B, T, C)).astype(np.float32)
  target = np.stack([rng.normal(size=(B, T)), rng.integers(0, C, (B, T))], axis=2).astype(np.float32)
  mask = (rng.random((B, T)) < 0.7).astype(np.float32)
  mask[3] = 0
  target[mask == 0], logits[mask == 0] = np.nan, np.nan
  return logits, target, mask


def of_recordings(target):
  """The labels of `batch`, with that of the first step in all of a sequence."""
  return np.where(np.isnan(target), target, np.nan_to_num(target, nan=-9).max(axis=1, keepdims=True))


@pytest.mark.parametrize('weights', [None, WEIGHTS])
@pytest.mark.parametrize('smoothing', [0.0, 0.2])
def test_cross_entropy_equals_pytorch(weights, smoothing):
  torch = pytest.importorskip('torch')
  logits, target, mask = batch()
  given = {'column': 1, 'weights': weights, 'smoothing': smoothing}
  loss, gradient = jax.value_and_grad(
    lambda p: losses.cross_entropy(prediction=p, target=target, mask=mask, **given)[0]
  )(logits)
  theirs = torch.tensor(logits[mask > 0], dtype=torch.float64, requires_grad=True)
  expected = torch.nn.functional.cross_entropy(
    theirs,
    torch.tensor(target[mask > 0][:, 1], dtype=torch.int64),
    weight=None if weights is None else torch.tensor(weights, dtype=torch.float64),
    label_smoothing=smoothing,
  )
  expected.backward()
  np.testing.assert_allclose(loss, expected.item(), rtol=2e-6)
  np.testing.assert_allclose(np.asarray(gradient)[mask > 0], theirs.grad.numpy(), atol=1e-7)
  np.testing.assert_array_equal(np.asarray(gradient)[mask == 0], 0)


def test_cross_entropy_of_recordings_equals_numpy():
  logits, target, mask = batch()
  target = of_recordings(target)
  loss, sums = recordings.loss(losses.cross_entropy)(
    prediction=logits, target=target, mask=mask, column=1, weights=WEIGHTS, smoothing=0.1
  )
  # float64: a recording's logits are the mean over its valid steps
  above = below = 0.0
  counts = np.zeros((C, C))
  for row in (0, 1, 2, 4):
    of = np.asarray(logits[row], np.float64)[mask[row] > 0].mean(0)
    log_p = of - np.log(np.exp(of).sum())
    label = int(target[row][mask[row] > 0][0, 1])
    above += 0.9 * WEIGHTS[label] * -log_p[label] + 0.1 / C * np.dot(WEIGHTS, -log_p)
    below += WEIGHTS[label]
    counts[label, of.argmax()] += 1
  np.testing.assert_allclose(loss, above / below, rtol=2e-6)
  np.testing.assert_array_equal(sums['counts'], counts)


@pytest.mark.slow
@pytest.mark.parametrize('wrapped', [False, True])
def test_two_devices_have_the_loss_and_gradient_of_one(wrapped):
  logits, target, mask = (np.nan_to_num(np.concatenate([values, values[:3]])) for values in batch())
  logits[5:] += 0.5
  if wrapped:
    target = np.repeat(target.max(1, keepdims=True), T, axis=1)
  loss_of = recordings.loss(losses.cross_entropy) if wrapped else losses.cross_entropy
  given = {'column': 1, 'weights': WEIGHTS, 'smoothing': 0.1}
  one, gradient = jax.value_and_grad(lambda p: loss_of(prediction=p, target=target, mask=mask, **given)[0])(logits)
  split = lambda values: values.reshape(2, 4, *values.shape[1:])

  def of_device(p, g, m):
    of = lambda p: loss_of(prediction=p, target=g, mask=m, axis_name='devices', **given)[0]
    loss, grads = jax.value_and_grad(of)(p)
    # As in `update.train_step`: each device has its share times the number of devices, and the mean is the whole.
    return loss, grads / jax.lax.psum(1, 'devices')

  two, gradients = jax.pmap(of_device, axis_name='devices', devices=jax.devices()[:2])(
    *map(split, (logits, target, mask))
  )
  np.testing.assert_allclose(two, [one, one], rtol=1e-6)
  np.testing.assert_allclose(np.reshape(gradients, logits.shape), gradient, atol=1e-7)
  # The mean of the devices' own losses is another number.
  own = [loss_of(prediction=p, target=g, mask=m, **given)[0] for p, g, m in zip(*map(split, (logits, target, mask)))]
  assert abs(np.mean(own) - one) > 3e-4


def test_a_batch_without_labels_has_loss_0_and_gradient_0():
  logits, target, mask = batch()
  loss_of = lambda p: losses.cross_entropy(prediction=p, target=target, mask=0 * mask, column=1, weights=WEIGHTS)[0]
  loss, gradient = jax.value_and_grad(loss_of)(np.nan_to_num(logits))
  assert loss == 0 and not np.any(gradient)


def test_shapes_that_do_not_fit_are_refused():
  logits, target, mask = batch()
  with pytest.raises(ValueError, match=r'got \(5, 7, 4\), \(5, 7, 2\) and \(5, 6\)'):
    losses.cross_entropy(prediction=logits, target=target, mask=mask[:, 1:])


def test_regression_of_recordings_is_a_ccc_over_them():
  audmetric = pytest.importorskip('audmetric')
  logits, target, mask = batch()
  target = of_recordings(target)
  loss, _ = clip_regression.ClipRegression.losses['ccc'](prediction=logits[..., :K], target=target, mask=mask)
  valid = [row for row in range(B) if mask[row].any()]
  said = np.array([logits[row][mask[row] > 0, :K].mean(0, dtype=np.float64) for row in valid])
  gold = np.array([target[row][mask[row] > 0][0] for row in valid])
  cccs = [audmetric.concordance_cc(gold[:, k], said[:, k]) for k in range(K)]
  np.testing.assert_allclose(loss, 1 - np.mean(cccs), rtol=1e-5)


def predictions(seed=2, n=400):
  """(probabilities [N, C], label [N]) of a network that is right more often than not, and too sure."""
  rng = np.random.default_rng(seed)
  label = rng.choice(C, n, p=[0.5, 0.3, 0.15, 0.05])
  return classes.softmax(4 * (rng.normal(size=(n, C)) + np.eye(C)[label])), label


def test_recalls_precision_and_accuracy_equal_scikit_learn():
  probabilities, label = predictions()
  predicted = probabilities.argmax(1)
  gold = np.stack([np.zeros(len(label)), label], 1)
  whole = classes.Confusion.empty(C, column=1).update(probabilities, gold, np.ones(len(label)))
  np.testing.assert_array_equal(whole.counts, sklearn.metrics.confusion_matrix(label, predicted))
  np.testing.assert_allclose(whole.recall(), sklearn.metrics.recall_score(label, predicted, average=None), rtol=1e-12)
  np.testing.assert_allclose(
    whole.precision(), sklearn.metrics.precision_score(label, predicted, average=None), rtol=1e-12
  )
  assert whole.uar() == pytest.approx(sklearn.metrics.balanced_accuracy_score(label, predicted), rel=1e-12)
  assert whole.accuracy() == pytest.approx(sklearn.metrics.accuracy_score(label, predicted), rel=1e-12)
  # In pieces, with steps that do not count.
  pieces = classes.Confusion.empty(C, column=1)
  for first in range(0, len(label), 37):
    of = slice(first, first + 37)
    mask = np.ones(len(label[of]))
    noise = np.full((5, 2), np.nan)
    pieces = pieces.merge(
      classes.Confusion.empty(C, column=1).update(
        np.concatenate([probabilities[of], np.full((5, C), 0.25)]),
        np.concatenate([gold[of], noise]),
        np.concatenate([mask, np.zeros(5)]),
      )
    )
  np.testing.assert_array_equal(pieces.counts, whole.counts)
  # A class that does not occur is left out, as there.
  present = label != 3
  some = classes.Confusion.empty(C, column=1).update(probabilities[present], gold[present], np.ones(present.sum()))
  assert np.isnan(some.recall()[3])
  with pytest.warns(UserWarning, match='not in y_true'):
    expected = sklearn.metrics.balanced_accuracy_score(label[present], predicted[present])
  assert some.uar() == pytest.approx(expected, rel=1e-12)


def test_calibration_error_equals_the_bins_of_scikit_learn():
  probabilities, label = predictions()
  confidence, right = probabilities.max(1).astype(np.float64), probabilities.argmax(1) == label
  share, mean = sklearn.calibration.calibration_curve(right, confidence, n_bins=classes.BINS)
  count, of_confidence, of_right = classes.reliability(probabilities, label)
  filled = count > 0
  np.testing.assert_allclose(of_confidence[filled], mean, rtol=1e-12)
  np.testing.assert_allclose(of_right[filled], share, rtol=1e-12)
  error = classes.calibration_error(probabilities, label)
  assert error == pytest.approx((count[filled] * np.abs(share - mean)).sum() / len(label), rel=1e-12)
  assert classes.negative_log_likelihood(probabilities, label) == pytest.approx(
    -np.log(probabilities[np.arange(len(label)), label]).mean(), rel=1e-6
  )


def test_the_temperature_is_that_of_another_minimiser_and_calibrates():
  probabilities, label = predictions()
  temperature = classes.fit_temperature(probabilities, label)
  logits = np.log(probabilities.astype(np.float64))

  def loss(t):
    scaled = logits / t
    return np.mean(np.log(np.exp(scaled).sum(1)) - scaled[np.arange(len(label)), label])

  assert temperature == pytest.approx(optimize.fmin(loss, 1.0, disp=False, xtol=1e-8, ftol=1e-12)[0], rel=1e-4)
  calibrated = classes.tempered(probabilities, temperature)
  np.testing.assert_allclose(calibrated.sum(1), 1, atol=1e-6)
  np.testing.assert_array_equal(calibrated.argmax(1), probabilities.argmax(1))
  assert temperature > 2 and classes.calibration_error(calibrated, label) < 0.3 * classes.calibration_error(
    probabilities, label
  )
  # A class that float32 cannot hold: the logarithm stays finite.
  sure = np.array([[1, 0, 0, 0], [0, 1, 0, 0]], np.float32)
  assert np.isfinite(classes.tempered(sure, 2.0)).all() and np.isfinite(classes.fit_temperature(sure, np.array([0, 2])))


def traces(steps_of=(3, 5), seed=4, people=6, each=8):
  """Recordings of people, the label repeated in every step, probabilities of each step."""
  rng, made = np.random.default_rng(seed), []
  for i in range(people * each):
    steps, label = steps_of[i % len(steps_of)], int(rng.integers(0, C))
    logits = rng.normal(size=(steps, C)) + 1.2 * np.eye(C)[label]
    made.append(
      Trace(
        recording=f'r{i:02}',
        subject=f's{i % people}',
        partition='validation',
        prediction=logits.astype(np.float32),
        gold=np.tile(np.array([0.5, label], np.float32), (steps, 1)),
        mask=(np.arange(steps) > 0).astype(np.float32),
        face_found=np.ones(steps, np.float32),
      )
    )
  return made


def probable(head, of):
  return [dataclasses.replace(t, prediction=head.prediction(t.prediction)) for t in of]


def test_a_recording_counts_once_by_the_mean_of_its_logits():
  head, of = clip_classes.ClipClasses(), traces()
  said = probable(head, of)
  for one, t in zip(said, of, strict=True):
    mean = t.prediction.mean(0, dtype=np.float64)
    np.testing.assert_allclose(
      one.prediction, np.tile(np.exp(mean) / np.exp(mean).sum(), (len(t.prediction), 1)), rtol=1e-5
    )
  r = head.score(said, TARGETS, seed=0)
  label = np.array([int(t.gold[0, 1]) for t in of])
  predicted = np.array([t.prediction.mean(0).argmax() for t in of])
  assert r['uar']['emotion'] == pytest.approx(sklearn.metrics.balanced_accuracy_score(label, predicted), rel=1e-12)
  assert r['confusion']['counts'] == sklearn.metrics.confusion_matrix(label, predicted).tolist()
  assert sum(of_bin['count'] for of_bin in r['reliability']) == len(of)
  metric = head.metric(TARGETS)
  for t in said:
    metric = metric.update(t.prediction, t.gold, t.mask)
  assert metric.count == len(of) and head.scores(metric, TARGETS)['uar'] == r['uar']['emotion']
  # A step each: another number.
  by_step = step_classes.StepClasses()
  r_steps = by_step.score(probable(by_step, of), TARGETS, seed=0)
  assert np.sum(r_steps['confusion']['counts']) == sum(int(t.mask.sum()) for t in of)
  assert r_steps['uar'] != r['uar']


def test_the_interval_draws_people_and_fits_that_of_a_plain_bootstrap():
  head, of = clip_classes.ClipClasses(), traces(people=12, each=10)
  r = head.score(probable(head, of), TARGETS, seed=0)
  low, high = r['uar_interval']['emotion']
  assert low < r['uar']['emotion'] < high
  predicted, label = ({} for _ in range(2))
  for t in of:
    predicted.setdefault(t.subject, []).append(t.prediction.mean(0).argmax())
    label.setdefault(t.subject, []).append(int(t.gold[0, 1]))
  rng, people, replicates = np.random.default_rng(1), sorted(label), []
  for _ in range(2000):
    drawn = rng.choice(people, len(people))
    of_drawn = [np.concatenate([of[name] for name in drawn]) for of in (label, predicted)]
    replicates.append(sklearn.metrics.recall_score(*of_drawn, average='macro', zero_division=np.nan))
  # Expanded percentiles for 12 people, see bootstrap.py: 2.5 % of a normal distribution lie below those 1.07 % here.
  tail = 100 * bootstrap.special.ndtr(bootstrap.special.stdtrit(11, 0.025) * np.sqrt(12 / 11))
  np.testing.assert_allclose([low, high], np.percentile(replicates, [tail, 100 - tail]), atol=0.02)
  alone = [t for t in of if t.subject == 's0']
  r = head.score(probable(head, alone), TARGETS, seed=0)
  assert r['uar_interval'] == {'emotion': None} and 'too few subjects' in head.notes(r)[0]


def test_a_class_that_does_not_occur_has_no_recall_and_is_named():
  head = clip_classes.ClipClasses()
  of = [t for t in probable(head, traces()) if t.gold[0, 1] != 2]
  r = head.score(of, TARGETS, seed=0)
  assert r['recall']['sad'] is None and 'no label is sad' in head.notes(r)[0]
  assert r['uar']['emotion'] == pytest.approx(np.mean([x for x in r['recall'].values() if x is not None]))


def test_the_temperature_is_kept_for_the_same_classes_alone():
  head, of = clip_classes.ClipClasses(), probable(clip_classes.ClipClasses(), traces())
  fitted = head.fit(of, TARGETS)
  assert fitted['fitted_on'] == 'validation' and head.of_targets(fitted, TARGETS) == fitted
  after = head.score(head.apply(fitted, of), TARGETS, seed=0)
  before = head.score(of, TARGETS, seed=0)
  assert after['uar'] == before['uar'] and after['confusion'] == before['confusion']
  assert after['negative_log_likelihood']['emotion'] < before['negative_log_likelihood']['emotion']
  assert fitted['negative_log_likelihood']['calibrated'] == pytest.approx(
    after['negative_log_likelihood']['emotion'], rel=1e-6
  )
  assert f'{fitted["temperature"]:.3g}' in head.in_words(fitted, PAPER)['probabilities'][0]
  others = Targets.of(Layout(['emotion'], PAPER, {}, classes={'emotion': NAMES[:3]}))
  with pytest.raises(ValueError, match='expected that of'):
    head.of_targets(fitted, others)


def labels_of(**partitions):
  """Reads labels: partition -> the class of each recording, of three steps."""
  rows = {
    name: [(np.tile(np.array([0, label], np.float32), (3, 1)), np.ones(3, np.float32)) for label in of]
    for name, of in partitions.items()
  }
  return lambda partition: rows.get(partition, [])


@pytest.fixture
def config():
  c = fused.get_config()
  c.head, c.loss = 'clip_classes', 'cross_entropy'
  return c


def test_weights_are_the_balanced_ones_of_scikit_learn(config):
  from sklearn.utils import class_weight

  labels = [0, 0, 0, 0, 1, 1, 3, 2, 2, 2]
  head = clip_classes.ClipClasses()
  loss = head.loss(config, TARGETS, labels_of(train=labels))
  expected = class_weight.compute_class_weight('balanced', classes=np.arange(C), y=labels)
  np.testing.assert_allclose(loss.keywords['weights'], expected, rtol=1e-12)
  # Twice the steps in one recording: it still counts once, and each of its steps does in the other head.
  steps = step_classes.StepClasses().loss(config, TARGETS, labels_of(train=labels))
  np.testing.assert_allclose(steps.keywords['weights'], expected, rtol=1e-12)
  config.class_weights = 'none'
  assert head.loss(config, TARGETS, labels_of(train=labels)).keywords['weights'] is None
  # A class that train does not have weighs nothing, and the loss stays finite.
  config.class_weights = 'inverse'
  loss = head.loss(config, TARGETS, labels_of(train=[0, 1, 2]))
  assert loss.keywords['weights'][3] == 0
  logits, target, mask = batch()
  assert np.isfinite(loss(prediction=jnp.asarray(np.nan_to_num(logits)), target=of_recordings(target), mask=mask)[0])


def test_a_class_of_train_that_validation_lacks_is_an_error_with_its_name(caplog):
  head = clip_classes.ClipClasses()
  check = lambda labels: head.check_labels(TARGETS, labels, 'data', ('train',))
  every = [0, 1, 2, 3]
  check(labels_of(train=every, validation=every, test=every))
  with pytest.raises(DataError, match='data: happy, angry: in train and not in validation.*--config.data.fold'):
    check(labels_of(train=every, validation=[0, 2], test=every))
  with caplog.at_level('WARNING', logger='absl'):
    check(labels_of(train=every, validation=every, test=[0, 1, 2]))
  assert 'angry: in train and not in test' in caplog.text
  check(labels_of(train=[0, 1], validation=[0, 1]))  # no class more than there is
  check(labels_of(train=every))  # nothing to validate on: the newest checkpoint counts
  with pytest.raises(DataError, match=r'a label of emotion is 4, expected the index of one of the 4 classes calm'):
    check(labels_of(train=[4]))
  with pytest.raises(DataError, match='a label of emotion is 1.5'):
    check(labels_of(train=[1.5]))


def test_a_label_that_changes_is_for_the_head_of_steps():
  changing = [(np.array([[0, 1], [0, 2]], np.float32), np.ones(2, np.float32))]
  with pytest.raises(DataError, match="steps of 2 classes.*'clip_classes' learns one.*--config.head=step_classes"):
    clip_classes.ClipClasses().check_labels(TARGETS, lambda _: changing, 'data', ('train',))
  step_classes.StepClasses().check_labels(TARGETS, lambda _: changing, 'data', ('train',))


def test_heads_name_the_labels_that_they_cannot_learn():
  with pytest.raises(UserError, match="label emotion of the data is a class.*'regression' learns numbers"):
    regression.Regression().outputs(TARGETS)
  with pytest.raises(UserError, match='arousal, valence, none is one; .*--config.head=regression'):
    clip_classes.ClipClasses().outputs(['arousal', 'valence'])
  assert clip_classes.ClipClasses().outputs(TARGETS) == NAMES
  assert clip_regression.ClipRegression().outputs(['arousal']) == ('arousal',)


def test_scores_of_clip_regression_are_those_of_one_step_each():
  rng, head = np.random.default_rng(5), clip_regression.ClipRegression()
  of = [
    Trace(
      f'r{i}',
      f's{i % 3}',
      'test',
      rng.normal(size=(4, K)).astype(np.float32),
      np.tile(rng.normal(size=K).astype(np.float32), (4, 1)),
      np.ones(4, np.float32),
      np.ones(4, np.float32),
    )
    for i in range(9)
  ]
  said = probable(head, of)
  np.testing.assert_allclose(said[0].prediction, np.tile(of[0].prediction.mean(0), (4, 1)), rtol=1e-6)
  r = head.score(said, ['arousal', 'valence'], seed=0)
  rows = [(t.prediction.mean(0), t.gold[0]) for t in of]
  for k, target in enumerate(('arousal', 'valence')):
    p, g = (np.array([row[j][k] for row in rows], np.float64) for j in range(2))
    expected = 2 * np.mean((p - p.mean()) * (g - g.mean())) / (p.var() + g.var() + (p.mean() - g.mean()) ** 2)
    assert r['ccc'][target] == pytest.approx(expected, rel=1e-6)
    assert r['rmse'][target] == pytest.approx(np.sqrt(np.mean((p - g) ** 2)), rel=1e-6)
  metric = head.metric(['arousal', 'valence'])
  for t in said:
    metric = metric.update(t.prediction, t.gold, t.mask)
  assert head.scores(metric, ['arousal', 'valence'])['ccc_arousal'] == pytest.approx(r['ccc']['arousal'], rel=1e-9)
  assert list(head.table(r)) == ['arousal', 'valence'] and len(head.table(r)['arousal']) == len(head.table_head)
