"""A clip in a notebook has the values that the command writes; `import e2e_affect` stays cheap."""

import csv
import dataclasses
import pathlib
import re
import subprocess
import sys
import types
import warnings

from matplotlib.figure import Figure
import numpy as np
import pytest
import soundfile

from data_prep.core.errors import DataError, UserError
from data_prep.schema.grid import PAPER
import e2e_affect
from e2e_affect.clips import analyse, analysis, exported, formats
from e2e_affect.run import origin
from e2e_affect.traces import figures
from e2e_affect.traces.traces import Trace
from tests import clips
from tests.networks import network_with_band, small_network


@pytest.fixture(scope='module')
def network(tmp_path_factory):
  """A fused network that was exported, as `load` gives it."""
  folder = tmp_path_factory.mktemp('exported')
  exported.save(network_with_band('speech', 'visual'), folder)
  with pytest.warns(UserWarning, match=origin.SIMULATED[:20]):
    return e2e_affect.load(folder)


@pytest.mark.slow
def test_an_analysis_has_what_the_command_writes(network, tmp_path, monkeypatch):
  clips.write_clip(tmp_path / 'a talk.mkv', clips.counted_frames(50, 96, 112), sound=clips.tone(2.0, 44_100))
  analyse.analyse(network, [str(tmp_path / 'a talk.mkv')], tmp_path / 'out', further=['vtt'])
  with warnings.catch_warnings(action='error'):  # loading the network gave it
    talk = e2e_affect.analyse(tmp_path / 'a talk.mkv', network)
    network(audio=np.ones(640, np.int16), faces=np.zeros((1, 96, 96, 3), np.uint8))
  with (tmp_path / 'out' / 'a talk.csv').open(encoding='utf-8', newline='') as file:
    rows = list(csv.DictReader(file))
  monkeypatch.setitem(sys.modules, 'pandas', None)  # as if it were not installed
  assert [len(of) for of in talk.traces.values()] == [50] * 10
  assert set(talk.traces) == set(rows[0]) - {'trained_on', 'face_x', 'face_y', 'face_size'}
  for name, values in talk.traces.items():
    np.testing.assert_allclose(values, [float(row[name]) for row in rows], atol=6e-4 if name == 'face_found' else 1e-6)
  monkeypatch.setitem(sys.modules, 'pandas', types.SimpleNamespace(DataFrame=lambda columns: ['table', *columns]))
  assert talk.traces[:3] == ['table', 'time', 'arousal']

  figure = talk.plot()
  assert isinstance(figure, Figure) and figure.axes[1].get_ylabel() == 'valence [−1, 1]'
  assert talk.simulated and figure.get_suptitle() == 'a talk: by a network of drawings, not of people'
  (written,) = talk.write('vtt', tmp_path / 'for_others')
  assert written.read_bytes() == (tmp_path / 'out' / 'vtt' / 'a talk.vtt').read_bytes()
  assert any('unlike' in note or 'face' in note for note in talk.notes)
  with pytest.raises(UserError, match='--format=xyz; expected some of csv, eaf'):
    talk.write('xyz', tmp_path)
  assert not (tmp_path / 'xyz').exists()


@pytest.mark.slow
def test_nobody_among_all(network, tmp_path):
  clips.write_clip(tmp_path / 'empty.mkv', clips.counted_frames(10, 96, 112))
  (alone,) = everybody = e2e_affect.analyse(tmp_path / 'empty.mkv', network, faces='all')
  assert (
    alone.person is None
    and 'no face: the values are worth nothing' in everybody.notes
    and len(alone.arrays['time']) == 10
  )
  assert isinstance(everybody.plot(), Figure)


def test_faces_that_are_none(network, tmp_path):
  with pytest.raises(UserError, match='--faces=biggest; expected largest, all'):
    e2e_affect.analyse(tmp_path / 'a.mp4', network, faces='biggest')
  with pytest.raises(UserError, match='give --faces=all'):
    e2e_affect.analyse(tmp_path / 'a.mp4', network, speakers='a.rttm')
  with pytest.raises(UserError, match='--faces is for networks that see'):
    e2e_affect.analyse(tmp_path / 'a.mp4', small_network('speech'), faces='all')


def test_people_have_the_colours_of_the_page():
  css = (pathlib.Path(analysis.__file__).parent / 'assets' / 'colours.css').read_text()
  light = dict(re.findall(r'--(class-\d): (#\w+)', css.partition('@media')[0]))
  of_page = [light[of] for of in re.findall(r'--person-\d: var\(--(class-\d)\)', css)]
  assert [figures.of_person(number) for number in range(1, 8)] == [*of_page, of_page[0]]


def test_classes_are_plotted_as_probabilities():
  values = np.array([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]], np.float32)
  trace = Trace('a', '', 'new', values, np.zeros_like(values), np.zeros(2, np.float32), np.ones(2, np.float32))
  prediction = formats.Prediction('a', ('calm', 'happy', 'angry'), 'probabilities', values, PAPER, {})
  panels = analysis.Analysis({}, (), prediction, trace, None, simulated=False).plot().axes
  assert [axes.get_ylabel() for axes in panels] == [f'probability of {name}' for name in prediction.outputs]
  assert {axes.get_ylim() for axes in panels} == {(0, 1)}


def test_an_analysis_is_shown_in_a_few_lines():
  values = np.zeros((1500, 2), np.float32)
  trace = Trace('talk', '', 'new', values, values, values[:, 0], values[:, 0])
  columns = {'time': [str(k) for k in range(1500)]}
  prediction = formats.Prediction('talk', ('arousal', 'valence'), 'numbers', values, PAPER, columns, length=59.97)
  notes = ('no face: the values are worth nothing', 'no sound')
  talk = analysis.Analysis({}, notes, prediction, trace, trace, simulated=True)
  said = [
    'Analysis of talk: 59.97 s, 1500 steps',
    '  arousal, valence, raw and post-processed',
    '  no face: the values are worth nothing',
    '  no sound',
    '  by a network of drawings, not of people',
  ]
  assert repr(talk).splitlines() == said and len(repr(prediction)) < 1000
  classes = dataclasses.replace(prediction, shows='probabilities', outputs=('calm', 'angry'))
  second = analysis.Analysis({}, (), classes, trace, None, simulated=False, person=2)
  both = [*said, 'Analysis of talk, person 2: 59.97 s, 1500 steps', '  probabilities of calm, angry']
  assert repr(analysis.People([talk, second], notes)).splitlines() == both


def test_a_clip_that_cannot_be_read_is_named(network, tmp_path):
  with pytest.raises(DataError, match='gone.wav'):
    e2e_affect.analyse(tmp_path / 'gone.wav', network)
  soundfile.write(tmp_path / 'a.wav', np.zeros(0), 16_000)
  with pytest.raises(DataError, match='a.wav'):
    e2e_affect.analyse(tmp_path / 'a.wav', network)


def test_the_package_imports_nothing_heavy():
  code = (
    'import e2e_affect, sys; print(e2e_affect.load, e2e_affect.analyse, *{"jax", "numpy", "absl"} & set(sys.modules))'
  )
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert done.stdout.count('function') == 2 and done.stdout.endswith('>\n')
