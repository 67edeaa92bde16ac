"""Figures of a run: its files, and the learning curves."""

import cv2
import numpy as np
import pytest

from e2e_affect.evaluate import results
from e2e_affect.heads.regression import Regression
from e2e_affect.report import plots
from e2e_affect.run.metric_writer import MetricWriter, read_metrics
from e2e_affect.traces import figures
from tests.e2e_affect.traces.test_figures import lines, make_trace, TARGETS, without_labels

HEAD = Regression()


def write_record(workdir):
  writer = MetricWriter(workdir)
  for step in (10, 20, 30):
    writer.write(
      step,
      'train',
      {'loss': 1 / step, 'ccc_arousal': 0.5, 'ccc_valence': float('nan'), 'grad_norm': 2.0, 'learning_rate': 1e-4},
    )
    writer.write(step, 'validation', {'ccc_arousal': 0.3, 'ccc_valence': 0.2, 'ccc_mean': 0.4 if step == 20 else 0.1})
  writer.close()


def test_learning_curves(tmp_path):
  write_record(tmp_path)
  loss, cccs, norm, rate = plots.learning_curves(read_metrics(tmp_path), HEAD, TARGETS).axes
  np.testing.assert_allclose(loss.lines[0].get_xydata(), [(10, 0.1), (20, 0.05), (30, 1 / 30)])
  drawn = lines(cccs)
  np.testing.assert_allclose(drawn['arousal, validation'].get_ydata(), 0.3)
  assert list(drawn['best on validation, update 20'].get_xdata()) == [20, 20]
  assert norm.get_yscale() == 'log'
  np.testing.assert_allclose(rate.lines[0].get_ydata(), 1e-4)


def test_learning_curves_before_the_first_validation(tmp_path):
  writer = MetricWriter(tmp_path)
  writer.write(1, 'train', {'loss': float('nan')})
  writer.close()
  assert figures.png(plots.learning_curves(read_metrics(tmp_path), HEAD, TARGETS)).startswith(b'\x89PNG')


def test_every_target_has_a_learning_curve(tmp_path):
  targets = [f'target{k}' for k in range(5)]
  writer = MetricWriter(tmp_path)
  writer.write(1, 'validation', {f'ccc_{target}': 0.1 * k for k, target in enumerate(targets)})
  writer.close()
  drawn = lines(plots.learning_curves(read_metrics(tmp_path), HEAD, targets).axes[1])
  for k, target in enumerate(targets):
    np.testing.assert_allclose(drawn[f'{target}, validation'].get_ydata(), [0.1 * k])


@pytest.mark.slow
@pytest.mark.parametrize('labelled', [True, False])
def test_files(tmp_path, labelled):
  traces = {
    'validation': [make_trace('a', 0.1), make_trace('b', 0.2, 207)],
    'test': [make_trace('c', 0.1, 211, 'test'), make_trace('d', 0.2, 223, 'test')],
  }
  if not labelled:
    traces['test'] = [without_labels(t) for t in traces['test']]
  write_record(tmp_path)
  found = results.evaluate_traces(traces, HEAD, TARGETS, seed=0, checkpoint={})
  paths = plots.write_figures(tmp_path, found, traces, HEAD, TARGETS)
  expected = {'learning_curves', 'validation_trace', 'validation_scatter', 'test_trace'}
  expected |= {'test_scatter'} if labelled else set()
  assert {p.stem for p in paths} == expected == {p.stem for p in (tmp_path / 'figures').iterdir()}
  for path in paths:
    image = cv2.imread(str(path))
    assert image.shape[1] > 1000 and image.std() > 5  # wide enough to read, and not blank
  before = {p: p.read_bytes() for p in paths}
  plots.write_figures(tmp_path, found, traces, HEAD, TARGETS)
  assert before == {p: p.read_bytes() for p in paths}  # the same input, the same bytes


def test_without_record_no_learning_curves(tmp_path):
  traces = {'validation': [make_trace('a', 0.1)]}
  found = results.evaluate_traces(traces, HEAD, TARGETS, seed=0, checkpoint={})
  assert 'learning_curves' not in {p.stem for p in plots.write_figures(tmp_path, found, traces, HEAD, TARGETS)}
