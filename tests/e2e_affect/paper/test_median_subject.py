"""The figure of the median test subject: whom it shows, and what."""

import cv2
import numpy as np
import pytest

from data_prep.core.errors import DataError
from data_prep.schema.manifest import Manifest
from e2e_affect.evaluate import results
from e2e_affect.heads.regression import Regression
from e2e_affect.paper import median_subject
from e2e_affect.run import workdir as workdirs
from e2e_affect.traces import figures
from e2e_affect.traces.traces import Trace
from tests.conftest import make_data

TARGETS = ['arousal', 'valence']
NAMES = {'P': 110, 'Q': 135, 'R': 97, 'V': 120}


def write_run(tmp_path, config, partitions, labelled=True):
  """A run that predicts P worst and R best, each target with noise of its own."""
  config.data.dir = make_data(
    tmp_path / 'data', [('A', 'train', 50), ('V', 'validation', 120), *((n, 'test', NAMES[n]) for n in 'PQR')]
  )
  traces = {
    partition: [trace_of(name, partition, labelled) for name in ('PQR' if partition == 'test' else 'V')]
    for partition in partitions
  }
  workdirs.write_config(tmp_path, config)
  workdirs.write_dataset(tmp_path, Manifest.read(config.data.dir))
  found = results.evaluate_traces(traces, Regression(), TARGETS, 0, {})
  results.write_results(tmp_path, found, traces, Regression(), TARGETS)
  return found


def trace_of(name, partition, labelled):
  rng = np.random.default_rng(ord(name))
  gold = np.sin(np.arange(NAMES[name])[:, None] / [9, 14]).astype(np.float32)
  noise = {'P': 0.9, 'Q': 0.5, 'R': 0.1, 'V': 0.3}[name]
  prediction = gold + noise * rng.normal(size=gold.shape) + 0.4
  mask = np.full(len(gold), float(labelled), np.float32)
  mask[20:30] = 0
  return Trace(name, f'S{name}', partition, prediction.astype(np.float32), gold, mask, np.ones(len(gold), np.float32))


@pytest.mark.parametrize('partitions, stage', [(('test',), 'raw'), (('validation', 'test'), 'postprocessed')])
def test_the_median_recording_is_shown(tmp_path, small_config, partitions, stage, monkeypatch):
  found = write_run(tmp_path, small_config, partitions)
  assert (found['test']['postprocessed'] is None) == (stage == 'raw')
  drawn = []
  monkeypatch.setattr(figures, 'png', lambda figure, real=figures.png: drawn.append(figure) or real(figure))
  said = median_subject.figure(tmp_path, tmp_path / 'figure_3.png')
  assert (said['recording'], said['subject'], said['stage']) == ('Q', 'SQ', stage)
  assert '(Q): (a) arousal, (b) valence' in said['caption'] and ('post-processed' in said['caption']) == (
    stage != 'raw'
  )
  raw = trace_of('Q', 'test', True)
  trace = raw if stage == 'raw' else Regression().apply(found['postprocessing'], [raw])[0]
  assert (
    found['postprocessing']['fitted_on'] is None or found['postprocessing']['targets']['arousal']['centring']['kept']
  )
  for k, axes in enumerate(drawn[0].axes):
    gold, prediction = axes.lines
    np.testing.assert_array_equal(prediction.get_ydata(), trace.prediction[:, k])
    np.testing.assert_array_equal(gold.get_ydata(), np.where(raw.scored, raw.gold[:, k], np.nan))
    np.testing.assert_allclose(gold.get_xdata()[[0, 1, -1]], [0, 0.04, 134 * 0.04])
    p, g = trace.prediction[raw.scored, k].astype(float), raw.gold[raw.scored, k].astype(float)
    ccc = 2 * np.cov(p, g, ddof=0)[0, 1] / (p.var() + g.var() + (p.mean() - g.mean()) ** 2)
    assert said['ccc'][TARGETS[k]] == pytest.approx(ccc, abs=1e-4)
    assert axes.get_title(loc='left') == f'({"ab"[k]}) {TARGETS[k].capitalize()}   CCC {ccc:.2f}'
  assert cv2.imread(str(tmp_path / 'figure_3.png')).shape[1] == 900


def test_without_test_or_its_labels_it_is_refused(tmp_path, small_config):
  write_run(tmp_path / 'a', small_config, ('validation',))
  with pytest.raises(DataError, match='its test partition was not evaluated; do so with --mode=evaluate'):
    median_subject.figure(tmp_path / 'a', tmp_path / 'figure_3.png')
  write_run(tmp_path / 'b', small_config, ('test',), labelled=False)
  with pytest.raises(DataError, match='its test partition has no labels'):
    median_subject.figure(tmp_path / 'b', tmp_path / 'figure_3.png')
