"""Predictors: one from outside the package, and the network over lengths of chunks."""

import dataclasses
import functools
import math

from flax import jax_utils
import jax
import numpy as np
import pytest

from data_prep.schema.manifest import Manifest
from e2e_affect.evaluate import chunks, predictor, results
from e2e_affect.heads.regression import Regression
from e2e_affect.models import devices
from e2e_affect.report import plots, run_report
from e2e_affect.traces.traces import Trace
from tests.conftest import make_data
from tests.networks import layout, random_variables

TARGETS = ['arousal', 'valence']


class Ramp:
  """Predicts a line, whatever is said: all that evaluation asks of a predictor is `predict`."""

  def predict(self, partition):
    traces = []
    for name, steps in (('a', 310), ('b', 275)):
      line = np.linspace(-0.5, 0.5, steps, dtype=np.float32)
      gold = np.stack([line, -line], axis=1)
      ones = np.ones(steps, np.float32)
      traces.append(Trace(name, f's{name}', partition, np.stack([line, line], axis=1), gold, ones, ones))
    return traces


def test_a_predictor_from_outside_is_evaluated_and_reported(tmp_path):
  ramp: predictor.Predictor = Ramp()
  head = Regression()
  traces = {partition: ramp.predict(partition) for partition in ('validation', 'test')}
  content = results.evaluate_traces(traces, head, TARGETS, 0, {'step': 0, 'path': 'ramp'})
  # Arousal is predicted exactly; valence with the sign turned around, and the same mean.
  np.testing.assert_allclose(content['test']['raw']['ccc']['arousal'], 1, atol=1e-6)
  np.testing.assert_allclose(content['test']['raw']['ccc']['valence'], -1, atol=1e-6)
  results.write_results(tmp_path, content, traces, head, TARGETS)
  plots.write_figures(tmp_path, content, traces, head, TARGETS)
  run_report.write_report(tmp_path)
  assert '1.000' in (tmp_path / 'report.html').read_text()


@pytest.mark.slow
def test_traces_do_not_depend_on_the_length_of_chunks(small_config):
  manifest = Manifest.read(small_config.data.dir)
  variables = devices.replicate(random_variables(small_config, layout(small_config)))

  def predict(seconds):
    small_config.evaluate_chunk_seconds = seconds
    eval_step = chunks.over_devices(small_config, layout(small_config))
    return predictor.NetworkPredictor(variables, eval_step, small_config, manifest).predict('validation')

  whole, pieces = predict(5), predict(2)
  assert len(whole) == len(pieces) > 0
  for a, b in zip(whole, pieces):
    np.testing.assert_allclose(a.prediction, b.prediction, atol=1e-5)
    for field in dataclasses.fields(Trace):
      if field.name != 'prediction':
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))


@pytest.mark.slow
def test_traces_depend_neither_on_how_many_recordings_a_device_takes_nor_on_the_devices(
  small_config, tmp_path, monkeypatch
):
  steps = [30, 110, 52, 75, 26, 101, 60, 49, 25, 120, 88]  # the longest are not the last by name
  partitions = ['validation'] * len(steps)
  small_config.data.dir = make_data(tmp_path / 'data', zip('ABCDEFGHIJK', partitions, steps, strict=True))
  manifest = Manifest.read(small_config.data.dir)
  variables = devices.replicate(random_variables(small_config, layout(small_config)))
  eval_step = chunks.over_devices(small_config, layout(small_config))

  def predict(sequences):
    small_config.batch_size = sequences
    network = predictor.NetworkPredictor(variables, eval_step, small_config, manifest)
    return list(network.each_trace('validation'))

  alone, together = predict(1), predict(5)  # 250 steps: two recordings of up to 125
  seconds = lambda recording: math.ceil(recording[1] / 25)  # by whole ones; of equals by name
  by_length = sorted(zip('ABCDEFGHIJK', steps, strict=True), key=seconds)
  assert [(trace.recording, len(trace.prediction)) for trace in together] == by_length
  for a, b in zip(alone, together, strict=True):
    np.testing.assert_allclose(a.prediction, b.prediction, atol=1e-5)
    for field in dataclasses.fields(Trace):
      if field.name != 'prediction':
        np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))
  # On one device instead of eight, each recording has the same place in the same shape.
  with monkeypatch.context() as patched:
    patched.setattr(jax, 'local_device_count', lambda: 1)
    replicate = functools.partial(jax_utils.replicate, devices=jax.local_devices()[:1])
    patched.setattr(devices, 'replicate', replicate)
    variables = replicate(random_variables(small_config, layout(small_config)))
    on_one = predict(5)
    network = predictor.NetworkPredictor(variables, eval_step, small_config, manifest)
    by_name = network.predict('validation')
  for a, b in zip(on_one, together, strict=True):
    for field in dataclasses.fields(Trace):
      np.testing.assert_array_equal(getattr(a, field.name), getattr(b, field.name))
  assert [trace.recording for trace in by_name] == list('ABCDEFGHIJK')


@pytest.mark.slow
def test_a_trace_with_a_delay_is_what_the_network_says_moved_later_and_the_gold_standard_stays(small_config):
  manifest = Manifest.read(small_config.data.dir)
  variables = devices.replicate(random_variables(small_config, layout(small_config)))
  eval_step = chunks.over_devices(small_config, layout(small_config))

  def predict(delay):
    small_config.data.label_delay_steps = delay
    return predictor.NetworkPredictor(variables, eval_step, small_config, manifest).predict('validation')

  # 110 steps; 60 reaches over a chunk of 50.
  for before, now in zip(predict(0), predict(60), strict=True):
    np.testing.assert_array_equal(now.prediction[60:], before.prediction[:50])
    np.testing.assert_array_equal(now.prediction[:60], np.tile(before.prediction[:1], (60, 1)))
    for field in dataclasses.fields(Trace):
      if field.name != 'prediction':
        np.testing.assert_array_equal(getattr(now, field.name), getattr(before, field.name))


@pytest.mark.slow
@pytest.mark.parametrize('gone, evidence', [('speech', 'audio_std'), ('visual', 'face_found')])
def test_without_a_stream_the_traces_are_those_of_recordings_that_lack_it(small_config, monkeypatch, gone, evidence):
  """Recordings that lack it hold silence, or black pictures; the face found stands in the traces as it is stored."""
  manifest = Manifest.read(small_config.data.dir)
  variables = devices.replicate(random_variables(small_config, layout(small_config)))
  eval_step = chunks.over_devices(small_config, layout(small_config))
  predict = lambda without: predictor.NetworkPredictor(variables, eval_step, small_config, manifest, without).predict(
    'test'
  )
  found, whole = predict((gone,)), predict(())
  absent = {'speech': ('audio', 'audio_mean', 'audio_std'), 'visual': ('face', 'face_found')}[gone]
  stored = chunks.split

  def lacking(batch, *of):
    return stored(batch | {name: np.zeros_like(batch[name]) for name in absent}, *of)

  monkeypatch.setattr(chunks, 'split', lacking)
  for ours, theirs, with_all in zip(found, predict(()), whole, strict=True):
    np.testing.assert_array_equal(ours.prediction, theirs.prediction)
    assert np.abs(ours.prediction - with_all.prediction).max() > 1e-3
    np.testing.assert_array_equal(ours.face_found, with_all.face_found)
    assert with_all.face_found.any() and evidence in absent
