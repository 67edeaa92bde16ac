"""Scores at the labels' own times equal recipes that read the corpora's own files, written from their descriptions.

A recipe knows nothing of manifests and grids: it takes labels from the corpus as it is released, and predictions from a
function of time, or from the files that we write for the corpus's scorer.
"""

import csv
import dataclasses
import json

import av
import numpy as np
import pytest

from data_prep.core.errors import DataError
from data_prep.schema.manifest import Manifest
from data_prep.shards import prepare
from e2e_affect.evaluate import results
from e2e_affect.heads.regression import Regression
from e2e_affect.report import run_report
from e2e_affect.traces import own_clock
from e2e_affect.traces.traces import Trace
from tests import continuous_corpora
from tests.data_prep.corpora.test_continuous_corpora import case_file

STEP = 0.04
VARIABLE = [0.0, 0.013, 0.055, 0.08, 0.121, 0.135, 0.17, 0.2, 0.22, 0.25]


def prepared(tmp_path, corpus):
  prepare.prepare(corpus=corpus, source=tmp_path / corpus, out=tmp_path / 'out', jobs=0, max_lost=1.0)
  return Manifest.read(tmp_path / 'out')


def traces_of(manifest, seed=0):
  """A random trace in [−1, 1] of every recording, as a predictor would give it."""
  rng, traces = np.random.default_rng(seed), []
  for name, shards in manifest.by_recording().items():
    steps, targets = sum(shard.steps for shard in shards), len(manifest.targets)
    prediction = np.cumsum(rng.normal(0, 0.2, (steps, targets)), axis=0).clip(-1, 1).astype(np.float32)
    blank = np.zeros((steps, targets), np.float32)
    ones = np.ones(steps, np.float32)
    traces.append(Trace(name, shards[0].subject, shards[0].partition, prediction, blank, 0 * ones, ones))
  return traces


def score(tmp_path, manifest, traces):
  return own_clock.score(own_clock.read(tmp_path / 'out', manifest, manifest.targets), traces)


def at(trace, time, k):
  """The trace's value at a time: steps end at 0.04, 0.08, …; a line between two, the nearest before and behind them."""
  place = time / STEP - 1
  values = trace.prediction[:, k].astype(np.float64)
  if place <= 0 or place >= len(values) - 1:
    return values[0] if place <= 0 else values[-1]
  whole = int(place)
  return values[whole] * (1 - (place - whole)) + values[whole + 1] * (place - whole)


def ccc(x, y):
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  covariance = np.mean((x - x.mean()) * (y - y.mean()))
  return 2 * covariance / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def rmse(x, y):
  return np.sqrt(np.mean((np.asarray(x) - np.asarray(y)) ** 2))


def test_sewa_is_the_ccc_over_concatenated_recordings(tmp_path):
  labels = continuous_corpora.sewa(tmp_path / 'sewa', ['Devel_01', 'Devel_02'])
  manifest = prepared(tmp_path, 'sewa')
  traces = traces_of(manifest)
  found = score(tmp_path, manifest, traces)
  for k, target in enumerate(('arousal', 'valence', 'liking')):
    predicted = [at(trace, i / 10, k) for trace in traces for i in range(30)]
    gold = [labels[trace.recording][i, k] for trace in traces for i in range(30)]
    assert (
      found['ccc'][target] == found['scorer']['values']['ccc'][target] == pytest.approx(ccc(predicted, gold), abs=1e-9)
    )
    assert found['rmse'][target] == pytest.approx(rmse(predicted, gold), abs=1e-9)
    assert found['rows'][target] == 60


def test_muse_at_half_a_second(tmp_path):
  labels = continuous_corpora.muse(tmp_path / 'muse', {'1': 'devel', '2': 'devel', '3': 'test'})
  manifest = prepared(tmp_path, 'muse')
  traces = traces_of(manifest)
  found = score(tmp_path, manifest, [trace for trace in traces if trace.partition == 'validation'])
  for k, target in enumerate(('arousal', 'valence')):
    predicted = [at(trace, 0.5 * i, k) for trace in traces[:2] for i in range(1, 8)]
    gold = [value for name in '12' for value in labels[name][:, k]]
    assert found['ccc'][target] == pytest.approx(ccc(predicted, gold), abs=1e-9)
    # At the ends of the steps, as on the grid, the numbers are others.
    coarse = [traces[j].prediction[int(0.5 * i / STEP) - 3, k] for j in range(2) for i in range(1, 8)]
    assert abs(ccc(coarse, gold) - found['ccc'][target]) > 1e-4
  assert score(tmp_path, manifest, traces[2:]) is None  # masked


def test_affwild2_is_the_mean_of_both_over_annotated_frames(tmp_path):
  labels = continuous_corpora.affwild2(
    tmp_path / 'affwild2', {'4': ('Validation', None), '5': ('Validation', VARIABLE)}
  )
  manifest = prepared(tmp_path, 'affwild2')
  traces = traces_of(manifest)
  found = score(tmp_path, manifest, traces)
  predicted, gold = [], []
  for trace in traces:
    with av.open(tmp_path / 'affwild2' / 'batch1' / f'{trace.recording}.mp4') as video:
      frames = list(video.decode(video=0))
    ends = [frame.time for frame in frames[1:]] + [frames[-1].time + float(frames[-1].duration * frames[-1].time_base)]
    for end, (valence, arousal) in zip(ends, labels[trace.recording], strict=True):
      if -5 not in (valence, arousal):
        predicted.append([at(trace, end, 1), at(trace, end, 0)])  # valence, arousal
        gold.append([valence, arousal])
  (p, g) = (np.array(rows) for rows in (predicted, gold))
  mean = (ccc(p[:, 0], g[:, 0]) + ccc(p[:, 1], g[:, 1])) / 2
  assert found['rows'] == {'arousal': 44, 'valence': 44} and len(g) == 44
  assert found['scorer']['mean'] == pytest.approx(mean, abs=1e-9)
  assert found['ccc']['valence'] == pytest.approx(ccc(p[:, 0], g[:, 0]), abs=1e-9)


def test_afewva_is_rmse_and_correlation_of_frames_on_its_own_scale(tmp_path):
  labels = continuous_corpora.afewva(tmp_path / 'afewva', {'001': 'A', '002': 'B'})
  manifest = prepared(tmp_path, 'afewva')
  traces = traces_of(manifest)
  found = score(tmp_path, manifest, traces)
  for k, target in enumerate(('arousal', 'valence')):
    predicted = [10 * at(trace, (i + 1) / 25, k) for trace in traces for i in range(12)]
    gold = [labels[trace.recording][i, k] for trace in traces for i in range(12)]
    assert found['scorer']['values']['rmse'][target] == pytest.approx(rmse(predicted, gold), abs=1e-9)
    assert found['scorer']['values']['pearson'][target] == pytest.approx(np.corrcoef(predicted, gold)[0, 1], abs=1e-9)


def test_omg_is_the_ccc_over_clips(tmp_path):
  said = [(0.75, -0.25), (0.25, 0.5), (1.0, -1.0)]
  utterances = [('Validation', f'v{k}', 'utterance_1', *values) for k, values in enumerate(said)]
  continuous_corpora.omg(tmp_path / 'omg', utterances)
  manifest = prepared(tmp_path, 'omg')
  traces = traces_of(manifest)
  found = score(tmp_path, manifest, traces)
  assert found['rows'] == {'arousal': 3, 'valence': 3}
  with open(tmp_path / 'omg' / 'omg_ValidationVideos.csv', encoding='utf-8', newline='') as file:
    rows = list(csv.DictReader(file))
  for k, target in enumerate(('arousal', 'valence')):
    mean = np.array([trace.prediction[:, k].astype(np.float64).mean() for trace in traces])
    predicted = (mean + 1) / 2 if target == 'arousal' else mean  # arousal runs from 0 to 1
    gold = np.array([float(row[target]) for row in rows])
    rho = np.corrcoef(gold, predicted)[0, 1]  # the organisers' way to write it
    expected = (
      2 * rho * gold.std() * predicted.std() / (gold.var() + predicted.var() + (gold.mean() - predicted.mean()) ** 2)
    )
    assert found['scorer']['values']['ccc'][target] == pytest.approx(expected, abs=1e-9)
    assert found['rmse'][target] == pytest.approx(rmse(predicted, gold), abs=1e-9)


def test_case_is_the_mean_rmse_of_recordings_on_its_own_scale(tmp_path):
  case_file(tmp_path / 'case' / 'sub_3.csv', [10, 4, 11, 2, 12], rows=21)
  manifest = prepared(tmp_path, 'case')
  traces = traces_of(manifest)
  found = score(tmp_path, manifest, traces)
  for k, target in enumerate(('arousal', 'valence')):
    of_recordings = []
    for trace in traces:
      sign = -1 if target == 'arousal' else 1  # valence rises by 0.1 in every 50 ms, arousal falls
      gold = [5 + sign * i / 10 for i in range(21)]
      predicted = [5 + 4.5 * at(trace, 0.05 * i, k) for i in range(21)]
      of_recordings.append(rmse(predicted, gold))
    assert found['scorer']['values']['rmse'][target] == pytest.approx(np.mean(of_recordings), abs=1e-9)


def read_avec(path, header):
  """name, time, values of a file as AVEC's scorer reads it."""
  lines = path.read_text().splitlines()
  assert (lines[0] == continuous_corpora.AVEC_2019) == header
  rows = [line.split(';') for line in lines[header:]]
  return [row[0] for row in rows], np.array([[float(cell) for cell in row[1:]] for row in rows])


@pytest.mark.parametrize('header', [True, False])
def test_results_files_and_page_of_sewa(tmp_path, header):
  labels = continuous_corpora.sewa(
    tmp_path / 'sewa', ['Devel_01', 'Devel_02', 'Test_01'], header=continuous_corpora.AVEC_2019 if header else None
  )
  (tmp_path / 'sewa' / 'labels' / 'Test_01.csv').unlink()
  manifest = prepared(tmp_path, 'sewa')
  own = own_clock.read(tmp_path / 'out', manifest, manifest.targets)
  traces = {}
  for trace in traces_of(manifest):
    ones = np.ones(len(trace.prediction), np.float32)
    mask = 0 * ones if trace.partition == 'test' else ones
    gold = np.clip(trace.prediction * 0.5 + 0.3, -1, 1)
    traces.setdefault(trace.partition, []).append(dataclasses.replace(trace, gold=gold, mask=mask))
  head = Regression()
  content = results.evaluate_traces(traces, head, manifest.targets, 0, {'step': 1}, own=own)
  plain = results.evaluate_traces(traces, head, manifest.targets, 0, {'step': 1})
  found = content['validation'].pop('own_clock')
  assert content == plain and 'own_clock' not in content['test']  # nothing else changes
  assert found['units'] == {target: [-1, 1] for target in manifest.targets}
  content['validation']['own_clock'] = found
  results.write_results(tmp_path / 'run', content, traces, head, manifest.targets, own=own)
  assert json.loads((tmp_path / 'run' / 'results.json').read_text()) == content
  kind = 'avec2019' if header else 'avec2017'
  for stage in ('raw', 'postprocessed'):
    folder = tmp_path / 'run' / 'predictions' / kind / 'validation' / stage
    read = {name: read_avec(folder / f'{name}.csv', header) for name in ('Devel_01', 'Devel_02')}
    for name, (names, rows) in read.items():
      assert names == [f"'{name}'"] * 30
      np.testing.assert_array_equal(rows[:, 0], [float(f'{i / 10:.1f}') for i in range(30)])
    for k, target in enumerate(manifest.targets):
      predicted = np.concatenate([rows[:, 1 + k] for _, rows in read.values()])
      gold = np.concatenate([labels[name][:, k] for name in read])
      assert found[stage]['ccc'][target] == pytest.approx(ccc(predicted, gold), abs=1e-5)  # six digits in the files
  _, rows = read_avec(tmp_path / 'run' / 'predictions' / kind / 'test' / 'raw' / 'Test_01.csv', header)
  np.testing.assert_allclose(rows[:, 0], np.arange(31) / 10)
  page = run_report.write_report(tmp_path / 'run').read_text()
  assert 'At the labels' in page and 'own scorer, raw, over all labels in one row: CCC arousal' in page
  del content['validation']['own_clock']
  (tmp_path / 'run' / 'results.json').write_text(json.dumps(content))
  assert 'At the labels' not in run_report.write_report(tmp_path / 'run').read_text()


def test_affwild2_files_have_a_line_for_every_frame_in_order(tmp_path):
  videos = {'4': ('Validation', None), '5': ('Validation', VARIABLE)}
  continuous_corpora.affwild2(tmp_path / 'affwild2', videos)
  manifest = prepared(tmp_path, 'affwild2')
  own = own_clock.read(tmp_path / 'out', manifest, manifest.targets)
  # Arousal is time itself, valence falls with it: lines in another order, or at other times, would show.
  traces = []
  for trace in traces_of(manifest):
    time = (STEP * np.arange(1, len(trace.prediction) + 1)).astype(np.float32)
    traces.append(dataclasses.replace(trace, prediction=np.stack([time / 2, -time / 2], axis=1)))
  content = results.evaluate_traces({'validation': traces}, Regression(), manifest.targets, 0, {})
  results.write_results(tmp_path, content, {'validation': traces}, Regression(), manifest.targets, own=own)
  folder = tmp_path / 'predictions' / 'affwild2' / 'validation' / 'raw'
  assert not (folder.parent / 'postprocessed').exists()
  together = ['image_location,valence,arousal']
  for name, times in (('4', [i * 1001 / 30_000 for i in range(40)]), ('5', VARIABLE)):
    header, *lines = (folder / f'{name}.txt').read_text().splitlines()
    assert header == 'valence,arousal' and len(lines) == len(times)
    valence, arousal = np.array([[float(cell) for cell in line.split(',')] for line in lines]).T
    np.testing.assert_array_equal(valence, -arousal)
    ends = np.clip(times[1:], STEP, None)  # of the frames; before the first step's end its value holds
    np.testing.assert_allclose(2 * arousal[:-1], ends, atol=1.1e-3)  # milliseconds in the file
    assert (np.diff(arousal[1:]) >= 0).all() and arousal[-1] >= arousal[-2]
    together += [f'{name}/{frame:05d}.jpg,{line}' for frame, line in enumerate(lines, 1)]
  assert (folder / 'predictions.txt').read_text().splitlines() == together


def test_muse_files_are_as_its_labels(tmp_path):
  continuous_corpora.muse(tmp_path / 'muse', {'1': 'test'})
  manifest = prepared(tmp_path, 'muse')
  own = own_clock.read(tmp_path / 'out', manifest, manifest.targets)
  traces = traces_of(manifest)
  content = results.evaluate_traces({'test': traces}, Regression(), manifest.targets, 0, {}, own=own)
  results.write_results(tmp_path, content, {'test': traces}, Regression(), manifest.targets, own=own)
  for k, target in enumerate(('arousal', 'valence')):
    ours = (tmp_path / 'predictions' / 'muse' / 'test' / 'raw' / target / '1.csv').read_text().splitlines()
    theirs = (tmp_path / 'muse' / 'label_segments' / target / '1.csv').read_text().splitlines()
    assert ours[0] == theirs[0] and len(ours) == len(theirs) == 8
    for our, their in zip(ours[1:], theirs[1:], strict=True):
      time, value, segment = our.split(',')
      assert (time, segment) == (their.split(',')[0], their.split(',')[2])
      assert float(value) == pytest.approx(at(traces[0], int(time) / 1000, k), abs=1e-6)


def test_labels_of_the_grid_are_their_own_clock_where_others_have_one():
  """Of a recording without a file the grid's labels count, mapped back to the corpus's units."""
  steps = np.ones(3, np.float32)
  prediction = np.array([[0.1], [0.2], [0.4]], np.float32)
  trace = Trace('a', 'A', 'test', prediction, 2 * prediction, np.array([1, 0, 1], np.float32), steps)
  clock = own_clock.OwnClock(('arousal',), {'arousal': [0.5, -0.5]}, {}, None, '')  # stored = original / 2 − 1 / 2
  found = own_clock.rows(clock, trace)
  np.testing.assert_allclose(found.labels.times, [0.04, 0.12])
  np.testing.assert_allclose(found.labels.values[:, 0], [2 * 0.2 + 1, 2 * 0.8 + 1], atol=1e-6)
  np.testing.assert_allclose(found.prediction[:, 0], [2 * 0.1 + 1, 2 * 0.4 + 1], atol=1e-6)
  assert own_clock.units(clock) == {'arousal': [-1, 3]} and 'scorer' not in own_clock.score(clock, [trace])


def test_a_format_that_is_not_known_is_named(tmp_path):
  scale = {'arousal': [1, 0], 'valence': [1, 0]}
  clock = own_clock.OwnClock(('arousal', 'valence'), scale, {}, None, 'other')
  content = {'postprocessing': {'fitted_on': None}}
  ones = np.ones(3, np.float32)
  traces = {'test': [Trace('a', 'A', 'test', np.zeros((3, 2), np.float32), np.zeros((3, 2), np.float32), ones, ones)]}
  with pytest.raises(DataError, match="prediction format 'other', expected one of avec2017, avec2019, affwild2, muse"):
    results.write_results(tmp_path, content, traces, Regression(), clock.targets, own=clock)
