"""The CSV of traces: exact columns and times, exact values back, and what is refused."""

import csv
import dataclasses

import numpy as np
import pytest

from data_prep.core.errors import DataError, DiskFullError, WorkdirError
from data_prep.schema.grid import Grid, PAPER
from e2e_affect.traces.table import read_traces, write_csv
from e2e_affect.traces.traces import Trace

TARGETS = ['arousal', 'valence', 'liking']


def make_trace(recording='P16', steps=5, num_targets=3, seed=0):
  rng = np.random.default_rng(seed)
  return Trace(
    recording,
    f'subject of {recording}',
    'test',
    rng.normal(size=(steps, num_targets)).astype(np.float32),
    rng.normal(size=(steps, num_targets)).astype(np.float32),
    (np.arange(steps) != 1).astype(np.float32),
    rng.random(steps).astype(np.float32),
  )


def test_exact_file(tmp_path):
  f32 = lambda *rows: np.array(rows, np.float32)
  trace = Trace('a, b', 's', 'test', f32([0.1, -0.25], [0.5, 1e-7]), f32([0.2, 0.3], [9, 9]), f32(1, 0), f32(1, 0.9))
  post = dataclasses.replace(trace, prediction=f32([0.75, 0.5], [0.75, 0.5]))
  path = tmp_path / 'new folder' / 'test.csv'
  write_csv(path, [trace], ['arousal', 'valence'], ['arousal', 'valence'])
  assert path.read_text() == (
    'recording,time,arousal,arousal_gold,valence,valence_gold,face_found\n'
    '"a, b",0.00,0.1,0.2,-0.25,0.3,1.0\n'
    '"a, b",0.04,0.5,,1e-07,,0.9\n'
  )
  write_csv(path, [trace], ['arousal', 'valence'], ['arousal', 'valence'], [post])
  assert path.read_text() == (
    'recording,time,arousal,arousal_gold,valence,valence_gold,face_found,arousal_post,valence_post\n'
    '"a, b",0.00,0.1,0.2,-0.25,0.3,1.0,0.75,0.5\n'
    '"a, b",0.04,0.5,,1e-07,,0.9,0.75,0.5\n'
  )
  write_csv(path, [trace], ['arousal', 'valence'], ['arousal', 'valence'], [post], simulated=True)
  of_drawings = path.read_text().splitlines()
  assert of_drawings[0].endswith(',arousal_post,valence_post,trained_on')
  assert all(line.endswith(',0.75,0.5,simulated people') for line in of_drawings[1:])
  assert [p.name for p in path.parent.iterdir()] == ['test.csv']  # no temporary file stays


def test_outputs_that_are_no_targets_stand_before_the_gold_standard(tmp_path):
  f32 = lambda *rows: np.array(rows, np.float32)
  trace = Trace('a', 's', 'test', f32([0.5, -1, 2], [0.25, 3, 4]), f32([7, 1], [9, 9]), f32(1, 0), f32(1, 1))
  write_csv(tmp_path / 'test.csv', [trace], ('calm', 'valence', 'tense'), ['emotion', 'valence'])
  assert (tmp_path / 'test.csv').read_text() == (
    'recording,time,calm,valence,valence_gold,tense,emotion_gold,face_found\n'
    'a,0.00,0.5,-1.0,1.0,2.0,7.0,1.0\n'
    'a,0.04,0.25,3.0,,4.0,,1.0\n'
  )


@pytest.mark.parametrize('with_post', [False, True])
def test_values_read_back_exactly(tmp_path, with_post):
  traces = [make_trace('P16', 5, seed=1), make_trace('P21', 7, seed=2)]
  post = [dataclasses.replace(t, prediction=t.prediction * 2) for t in traces] if with_post else None
  write_csv(tmp_path / 'test.csv', traces, TARGETS, TARGETS, post)
  with (tmp_path / 'test.csv').open(encoding='utf-8', newline='') as file:
    rows = list(csv.DictReader(file))
  assert [row['recording'] for row in rows] == ['P16'] * 5 + ['P21'] * 7
  for trace, of in zip(traces, (rows[:5], rows[5:])):
    column = lambda name, of=of: np.array([row[name] or 'nan' for row in of], np.float32)
    for k, target in enumerate(TARGETS):
      np.testing.assert_array_equal(column(target), trace.prediction[:, k])
      np.testing.assert_array_equal(column(f'{target}_gold'), np.where(trace.scored, trace.gold[:, k], np.nan))
      if with_post:
        np.testing.assert_array_equal(column(f'{target}_post'), 2 * trace.prediction[:, k])
    np.testing.assert_array_equal(column('face_found'), trace.face_found)


@pytest.mark.parametrize('postprocessed', [False, True])
def test_traces_are_read_back(tmp_path, postprocessed):
  grid = Grid(0.5, 8000, 2)
  traces = [dataclasses.replace(make_trace(name, steps), grid=grid) for name, steps in (('P21', 7), ('P16', 5))]
  post = [dataclasses.replace(t, prediction=t.prediction * 2) for t in traces]
  write_csv(tmp_path / 'test.csv', traces, TARGETS, TARGETS, post)
  subjects = {t.recording: t.subject for t in traces}
  chosen = [TARGETS[2], TARGETS[0]]  # others than in the file, in another order
  found = read_traces(
    tmp_path / 'test.csv', chosen, chosen, partition='test', subjects=subjects, grid=grid, postprocessed=postprocessed
  )
  for trace, read in zip(post if postprocessed else traces, found, strict=True):
    assert (read.recording, read.subject, read.partition) == (trace.recording, trace.subject, 'test')
    assert read.grid == grid
    np.testing.assert_array_equal(read.prediction, trace.prediction[:, [2, 0]])
    np.testing.assert_array_equal(read.mask, trace.mask)
    np.testing.assert_array_equal(read.gold, np.where(trace.scored[:, None], trace.gold[:, [2, 0]], 0))
    np.testing.assert_array_equal(read.face_found, trace.face_found)


def test_other_tables_are_refused(tmp_path):
  read = lambda **of: read_traces(
    tmp_path / 'a.csv', TARGETS, TARGETS, **{'partition': 'test', 'subjects': {'P16': 's'}, 'grid': PAPER, **of}
  )
  with pytest.raises(DataError, match='not found'):
    read()
  (tmp_path / 'a.csv').write_text('')
  with pytest.raises(DataError, match='has no column arousal and no valence'):
    read()
  write_csv(tmp_path / 'a.csv', [make_trace()], TARGETS, TARGETS)
  with pytest.raises(DataError, match='has no column arousal_post'):
    read(postprocessed=True)
  with pytest.raises(DataError, match='recording P16 is not in the data'):
    read(subjects={})
  text = (tmp_path / 'a.csv').read_text()
  (tmp_path / 'a.csv').write_text(text.rstrip()[:-60])
  with pytest.raises(DataError, match='damaged'):
    read()


def test_trace_refuses_what_is_not_finite():
  trace = make_trace()
  bad = trace.prediction.copy()
  bad[2, 1] = np.nan
  with pytest.raises(DataError, match='recording P16: prediction is not finite in 1 of 5 steps'):
    dataclasses.replace(trace, prediction=bad)
  with pytest.raises(DataError, match='gold standard is not finite in 1 of 4'):
    dataclasses.replace(trace, gold=bad)
  masked = trace.gold.copy()
  masked[1] = np.nan  # mask is 0 there
  dataclasses.replace(trace, gold=masked)


def test_trace_refuses_wrong_shapes():
  trace = make_trace()
  for field, value in (
    ('gold', trace.gold[:, 0]),
    ('gold', trace.gold[:4]),
    ('mask', trace.mask[:4]),
    ('face_found', trace.face_found[:, None]),
    ('prediction', trace.prediction[:, 0]),
  ):
    with pytest.raises(ValueError, match='expected'):
      dataclasses.replace(trace, **{field: value})
  nothing = np.zeros((0, 3), np.float32)
  with pytest.raises(ValueError, match='expected'):
    Trace('P16', 's', 'test', nothing, nothing, np.zeros(0), np.zeros(0))


def test_write_refuses_what_does_not_fit(tmp_path):
  with pytest.raises(ValueError, match='different recordings'):
    write_csv(tmp_path / 'a.csv', [make_trace('P16')], TARGETS, TARGETS, [make_trace('P17')])
  with pytest.raises(ValueError, match='3 numbers per step for arousal, valence$'):
    write_csv(tmp_path / 'a.csv', [make_trace('P16')], TARGETS[:2], TARGETS)
  with pytest.raises(ValueError, match='3 numbers per step for arousal, valence$'):
    write_csv(tmp_path / 'a.csv', [make_trace('P16')], TARGETS, TARGETS[:2])
  assert not list(tmp_path.iterdir())


def test_unwritable(tmp_path, monkeypatch):
  (tmp_path / 'file').write_text('')
  with pytest.raises(WorkdirError, match='choose another folder'):
    write_csv(tmp_path / 'file' / 'test.csv', [make_trace()], TARGETS, TARGETS)
  good = tmp_path / 'test.csv'
  good.write_text('old')

  with monkeypatch.context() as patched:
    patched.setattr('pathlib.Path.open', lambda *_, **__: open('/dev/full', 'w'))
    with pytest.raises(DiskFullError, match='no space left'):
      write_csv(good, [make_trace()], TARGETS, TARGETS)
  assert good.read_text() == 'old'
