"""results.json and the prediction files."""

import collections
import csv
import dataclasses
import json

import audmetric
import numpy as np
import pytest

from data_prep.core.errors import DataError
from e2e_affect.evaluate import results
from e2e_affect.heads.regression import Regression
from e2e_affect.traces import band, postprocess
from e2e_affect.traces.traces import Trace

TARGETS = ['arousal', 'valence']
HEAD = Regression()


def make_traces(partition, num_recordings, seed, bias=0.3):
  rng = np.random.default_rng(seed)
  traces = []
  for i in range(num_recordings):
    steps = 300 + 7 * i
    gold = np.cumsum(rng.normal(size=(steps, 2)), axis=0) / 40
    prediction = gold * 0.8 + rng.normal(size=gold.shape) * 0.05 + [bias, 0]
    traces.append(
      Trace(
        f'{partition}{i}',
        f's{seed}{i}',
        partition,
        prediction.astype(np.float32),
        gold.astype(np.float32),
        (rng.random(steps) < 0.9).astype(np.float32),
        np.ones(steps, np.float32),
      )
    )
  return traces


def read_rows(path):
  with path.open(encoding='utf-8', newline='') as file:
    return list(csv.DictReader(file))


def without_labels(traces):
  return [dataclasses.replace(t, mask=np.zeros_like(t.mask), gold=np.full_like(t.gold, np.nan)) for t in traces]


CHECKPOINT = {'step': 1200, 'path': 'checkpoints/1200'}


def evaluate(traces, **kwargs):
  return results.evaluate_traces(traces, HEAD, TARGETS, seed=3, checkpoint=CHECKPOINT, **kwargs)


def test_schema_and_numbers():
  traces = {'validation': make_traces('validation', 4, 1), 'test': make_traces('test', 3, 2)}
  found = evaluate(traces)
  assert list(found) == ['validation', 'test', 'postprocessing', 'checkpoint']
  assert found['checkpoint'] == CHECKPOINT
  fitted = {**postprocess.fit(traces['validation'], TARGETS), 'band': band.fit(traces['validation'], TARGETS)}
  assert found['postprocessing'] == fitted and 'reason' in fitted['band']  # of four people
  assert found['postprocessing']['targets']['arousal']['centring']['kept']
  processed = postprocess.apply(found['postprocessing'], traces['test'])
  assert {k: found['test'][k] for k in ('recordings', 'subjects', 'recordings_without_labels')} == {
    'recordings': 3,
    'subjects': 3,
    'recordings_without_labels': [],
  }
  assert found['test']['scored_steps'] == sum(int(t.mask.sum()) for t in traces['test'])
  for name, of_stage in (('raw', traces['test']), ('postprocessed', processed)):
    r = found['test'][name]
    assert list(r) == ['ccc', 'ccc_recording_mean', 'ccc_interval', 'rmse', 'rmse_interval', 'pearson']
    for k, target in enumerate(TARGETS):
      p = np.concatenate([t.prediction[t.mask > 0, k] for t in of_stage]).astype(np.float64)
      g = np.concatenate([t.gold[t.mask > 0, k] for t in of_stage]).astype(np.float64)
      assert r['ccc'][target] == pytest.approx(audmetric.concordance_cc(g, p), abs=1e-12)
      assert r['pearson'][target] == pytest.approx(audmetric.pearson_cc(g, p), abs=1e-12)
      assert r['rmse'][target] == pytest.approx(np.sqrt(audmetric.mean_squared_error(g, p)), abs=1e-12)
      per_recording = [
        audmetric.concordance_cc(
          t.gold[t.mask > 0, k].astype(np.float64), t.prediction[t.mask > 0, k].astype(np.float64)
        )
        for t in of_stage
      ]
      assert r['ccc_recording_mean'][target] == pytest.approx(np.mean(per_recording), abs=1e-12)
      rmse = HEAD.table(r)[target][-1]
      assert (rmse.value, rmse.interval) == (r['rmse'][target], r['rmse_interval'][target])
      low, high = r['ccc_interval'][target]
      assert low < r['ccc'][target] < high
  assert found['test']['raw']['ccc']['arousal'] < found['test']['postprocessed']['ccc']['arousal']
  assert evaluate(traces) == found


def test_traces_of_other_outputs_are_refused():
  (trace,) = make_traces('test', 1, 2)
  with pytest.raises(ValueError, match=r'test0: .* are \(1, 2\), expected \(2, 2\) of the head regression'):
    evaluate({'test': [dataclasses.replace(trace, prediction=trace.prediction[:, :1])]})


def test_test_labels_change_nothing_but_the_score():
  traces = {'validation': make_traces('validation', 4, 1), 'test': make_traces('test', 3, 2)}
  found = evaluate(traces)
  changed = evaluate({**traces, 'test': [dataclasses.replace(t, gold=-t.gold) for t in traces['test']]})
  for key in ('validation', 'postprocessing', 'checkpoint'):
    assert changed[key] == found[key]
  assert changed['test']['raw']['ccc']['arousal'] < 0.1 < found['test']['raw']['ccc']['arousal']


@pytest.mark.parametrize(
  'validation,reason',
  [
    (None, 'the validation partition was not evaluated'),
    (without_labels(make_traces('validation', 2, 1)), 'the validation partition has no labels'),
  ],
)
def test_without_validation_nothing_is_postprocessed(tmp_path, validation, reason):
  traces = {'test': make_traces('test', 3, 2)}
  if validation:
    traces['validation'] = validation
  found = evaluate(traces)
  assert found['postprocessing'] == {'fitted_on': None, 'reason': reason}
  assert found['test']['postprocessed'] is None and found['test']['raw'] is not None
  assert found['test']['reason'] == f'not post-processed: {reason}'
  results.write_results(tmp_path, found, traces, HEAD, TARGETS)
  assert '_post' not in (tmp_path / 'predictions' / 'test.csv').read_text().splitlines()[0]


def test_partition_without_labels(tmp_path):
  traces = {'validation': make_traces('validation', 4, 1), 'test': without_labels(make_traces('test', 3, 2))}
  found = evaluate(traces)
  assert found['test'] == {
    'raw': None,
    'postprocessed': None,
    'recordings': 3,
    'subjects': 3,
    'scored_subjects': 0,
    'scored_steps': 0,
    'recordings_without_labels': ['test0', 'test1', 'test2'],
    'reason': 'no labels in this partition',
  }
  results.write_results(tmp_path, found, traces, HEAD, TARGETS)
  rows = [row for row in read_rows(tmp_path / 'predictions' / 'test.csv') if row['arousal_post']]
  assert collections.Counter(row['recording'] for row in rows) == {'test0': 300, 'test1': 307, 'test2': 314}


def test_one_subject_has_no_interval():
  found = evaluate({'validation': make_traces('validation', 1, 1)})
  assert found['validation']['raw']['ccc_interval'] == {'arousal': None, 'valence': None}


def test_some_recordings_without_labels_are_named():
  traces = make_traces('validation', 3, 1)
  traces[1:2] = without_labels(traces[1:2])
  found = evaluate({'validation': traces})['validation']
  assert found['recordings_without_labels'] == ['validation1']
  assert (found['recordings'], found['subjects'], found['scored_subjects']) == (3, 3, 2)


def test_files(tmp_path):
  traces = {'validation': make_traces('validation', 4, 1), 'test': make_traces('test', 3, 2)}
  found = evaluate(traces)
  results.write_results(tmp_path / 'run', found, traces, HEAD, TARGETS)
  files = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob('*') if p.is_file())
  assert files == ['run/predictions/test.csv', 'run/predictions/validation.csv', 'run/results.json']
  text = (tmp_path / 'run' / 'results.json').read_text()
  assert json.loads(text, parse_constant=lambda c: pytest.fail(f'{c} is not JSON')) == found
  assert results.read_results(tmp_path / 'run') == found
  rows = read_rows(tmp_path / 'run' / 'predictions' / 'test.csv')
  assert [row['recording'] for row in rows] == [t.recording for t in traces['test'] for _ in t.prediction]
  for end, expected in (('', traces['test']), ('_post', postprocess.apply(found['postprocessing'], traces['test']))):
    stored = np.array([[row[target + end] for target in TARGETS] for row in rows], np.float32)
    np.testing.assert_array_equal(stored, np.concatenate([trace.prediction for trace in expected]))


def test_constant_predictions_are_strict_json(tmp_path):
  traces = {
    'validation': [
      dataclasses.replace(t, prediction=np.zeros_like(t.prediction)) for t in make_traces('validation', 3, 1)
    ]
  }
  found = evaluate(traces)
  assert found['validation']['raw']['ccc'] == {'arousal': 0, 'valence': 0}
  assert found['validation']['raw']['pearson'] == {'arousal': None, 'valence': None}
  results.write_results(tmp_path, found, traces, HEAD, TARGETS)
  json.loads((tmp_path / 'results.json').read_text(), parse_constant=lambda c: pytest.fail(f'{c} is not JSON'))


def test_read_refuses(tmp_path):
  with pytest.raises(DataError, match='results.json: not found'):
    results.read_results(tmp_path / 'absent')
  for text in ('{', '{}', '[]', '{"postprocessing": {"fitted_on": null}}'):
    (tmp_path / 'results.json').write_text(text)
    with pytest.raises(DataError, match='results.json: damaged'):
      results.read_results(tmp_path)


def reordered(traces):
  return [dataclasses.replace(t, prediction=t.prediction[:, ::-1], gold=t.gold[:, ::-1]) for t in traces]


def test_postprocessing_of_another_run_goes_by_the_names_of_the_targets():
  traces = {'validation': make_traces('validation', 4, 1), 'test': make_traces('test', 3, 2)}
  theirs = json.loads(json.dumps(evaluate(traces)))
  ours = results.evaluate_traces(
    {'test': reordered(traces['test'])},
    HEAD,
    TARGETS[::-1],
    seed=3,
    checkpoint=CHECKPOINT,
    fitted=theirs['postprocessing'],
  )
  assert ours['test']['postprocessed']['ccc'] == theirs['test']['postprocessed']['ccc']
  assert list(ours['postprocessing']['targets']) == TARGETS[::-1]


@pytest.mark.parametrize(
  'change, said',
  [
    (lambda p: p['targets'].pop('valence'), 'post-processing of arousal, expected that of valence, arousal'),
    (
      lambda p: p['targets'].update(liking=p['targets']['valence']),
      'post-processing of arousal, valence, liking, expected',
    ),
    (lambda p: p.update(fitted_on=None, reason='no labels'), r'holds no post-processing \(no labels\)'),
    (lambda p: p.pop('targets'), 'damaged, its post-processing cannot be applied .*targets'),
    (lambda p: p['targets']['arousal'].pop('scaling'), 'damaged, its post-processing cannot be applied .*scaling'),
  ],
)
def test_postprocessing_of_other_targets_is_refused_in_one_line(tmp_path, change, said):
  content = json.loads(json.dumps(evaluate({'validation': make_traces('validation', 4, 1)})))
  (tmp_path / 'results.json').write_text(json.dumps(content))
  assert list(results.read_postprocessing(tmp_path, HEAD, TARGETS[::-1])['targets']) == TARGETS[::-1]
  change(content['postprocessing'])
  (tmp_path / 'results.json').write_text(json.dumps(content))
  with pytest.raises(DataError, match=f'results.json: {said}[^\n]*; name another run') as e:
    results.read_postprocessing(tmp_path, HEAD, TARGETS[::-1])
  assert e.value.exit_code == 65


def test_band_groups_and_ranges(tmp_path):
  traces = {'validation': make_traces('validation', 6, 1), 'test': make_traces('test', 3, 2)}
  about = {t.recording: {'sex': 'fm'[k % 2]} for of in traces.values() for k, t in enumerate(of)}
  found = evaluate(traces, about=about)
  of_band = found['postprocessing']['band']
  assert of_band['subjects'] == 6
  for partition, of in traces.items():
    processed = postprocess.apply(found['postprocessing'], of)
    assert found[partition]['coverage'] == band.coverage(of_band, processed, TARGETS)
    assert list(found[partition]['groups']) == ['subject', 'sex']
    (first,) = [t for t in processed if t.recording == f'{partition}0']
    group = found[partition]['groups']['subject']['groups'][first.subject]
    assert group['score'] == HEAD.score([first], TARGETS, 3)  # as post-processed
    assert group['coverage'] == band.coverage(of_band, [first], TARGETS)
  assert list(found['validation']['seen']['outputs']) == TARGETS and 'seen' not in found['test']
  results.write_results(tmp_path, found, traces, HEAD, TARGETS)
  # Another run takes the post-processing, and no band of a network that is not its own.
  theirs = results.read_postprocessing(tmp_path, HEAD, TARGETS)
  ours = evaluate({'test': traces['test']}, fitted=theirs)
  assert ours['test']['coverage'] is None and 'another run' in ours['postprocessing']['band']['reason']
  # What travels names nobody.
  text = json.dumps(results.without_people(found))
  assert not any(t.subject in text for of in traces.values() for t in of) and '"coverage"' in text
