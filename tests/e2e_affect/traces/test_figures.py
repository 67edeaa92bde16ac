"""Figures of traces: what they show, not how they look (that was looked at)."""

import dataclasses

import numpy as np
import pytest

from e2e_affect.traces import figures
from e2e_affect.traces.traces import Trace

TARGETS = ['arousal', 'valence']


def make_trace(recording, noise, steps=200, partition='validation'):
  rng = np.random.default_rng(steps)
  gold = np.cumsum(rng.normal(size=(steps, 2)), axis=0) / 30
  prediction = gold + noise * rng.normal(size=gold.shape)
  face_found = np.ones(steps)
  face_found[20:50] = face_found[90:100] = 0
  mask = np.ones(steps)
  mask[150:160] = 0
  return Trace(
    recording, f's{recording}', partition, *(x.astype(np.float32) for x in (prediction, gold, mask, face_found))
  )


def without_labels(trace):
  return dataclasses.replace(trace, mask=np.zeros_like(trace.mask))


def lines(axes):
  return {line.get_label(): line for line in axes.lines}


def test_recording_shows_what_the_trace_says():
  raw = make_trace('P13', 0.1)
  processed = dataclasses.replace(raw, prediction=raw.prediction * 0.5)
  figure = figures.recording(raw, processed, TARGETS)
  assert len(figure.axes) == 2
  for k, axes in enumerate(figure.axes):
    drawn = lines(axes)
    np.testing.assert_allclose(drawn['prediction, raw'].get_xdata()[[0, 3, 199]], [0, 0.12, 7.96])  # seconds
    np.testing.assert_array_equal(drawn['prediction, raw'].get_ydata(), raw.prediction[:, k])
    np.testing.assert_array_equal(drawn['prediction, post-processed'].get_ydata(), processed.prediction[:, k])
    gold = drawn['gold standard'].get_ydata()
    assert np.isnan(gold[150:160]).all() and np.isfinite(np.delete(gold, np.s_[150:160])).all()
    spans = [(p.get_x(), p.get_x() + p.get_width()) for p in axes.patches]
    np.testing.assert_allclose(spans, [(0.8, 2.0), (3.6, 4.0)])  # steps 20–50 and 90–100
    assert axes.get_ylabel() == f'{TARGETS[k]} [−1, 1]'
  assert figure.axes[-1].get_xlabel() == 'time [s]'


def test_recording_without_labels_and_postprocessing():
  figure = figures.recording(without_labels(make_trace('P13', 0.1)), None, TARGETS)
  for axes in figure.axes:
    assert set(lines(axes)) == {'prediction, raw'}
    assert 'CCC' not in axes.get_title(loc='left')


def test_typical_recording_is_the_median():
  noises = [0.5, 0.01, 0.2, 1.5, 0.05]  # in order: 0.01 0.05 0.2 0.5 1.5
  traces = [make_trace(f'r{i}', noise) for i, noise in enumerate(noises)]
  assert figures.typical_recording(traces) == 2
  assert figures.typical_recording([without_labels(traces[2]), *traces[3:]]) == 1  # of 1.5 and 0.05 the lower CCC
  assert figures.typical_recording([without_labels(t) for t in traces]) == 0


def test_scatter_of_constants():
  trace = make_trace('P13', 0.1)
  constant = dataclasses.replace(trace, prediction=np.zeros_like(trace.prediction), gold=np.zeros_like(trace.gold))
  figure = figures.scatter([constant], TARGETS, 'raw')
  assert figures.png(figure).startswith(b'\x89PNG')
  assert figure.axes[0].get_title(loc='left').endswith('CCC 0.00')


def test_one_target(tmp_path):
  trace = make_trace('a', 0.1)
  trace = dataclasses.replace(trace, prediction=trace.prediction[:, :1], gold=trace.gold[:, :1])
  assert len(figures.recording(trace, trace, ['arousal']).axes) == 1
  assert len(figures.scatter([trace], ['arousal'], 'raw').axes) == 1


def test_no_pyplot():
  # pyplot keeps every figure open for ever, and picks a backend from the environment.
  source = open(figures.__file__, encoding='utf-8').read()
  assert 'import matplotlib.pyplot' not in source and 'from matplotlib import pyplot' not in source


@pytest.mark.filterwarnings('error::UserWarning')
@pytest.mark.parametrize('name', ['日本 नमस्ते', r'a$\frac$ $x_{$'])  # no font has these signs; no formula is this
def test_a_recording_is_drawn_whatever_its_name_holds(name):
  figure = figures.recording(make_trace(name, 0.1), None, TARGETS)
  assert figure.get_suptitle() == f'Recording {name} (validation)'
  assert figures.png(figure) != figures.png(figures.recording(make_trace('P13', 0.1), None, TARGETS))
