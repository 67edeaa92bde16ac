"""Contact sheets."""

import dataclasses
import subprocess
import sys

import numpy as np
from PIL import Image
import pytest

from data_prep import streams
from data_prep.core.errors import DataError
from data_prep.schema import records
from data_prep.schema.grid import PAPER
from data_prep.schema.manifest import Manifest
from data_prep.shards import contact_sheets, write
from tests.data_prep.shards import test_shards


@pytest.fixture
def folder(tmp_path):
  lost = test_shards.make_records('a/b', 2, seed=2)
  for record in lost:
    record.values['face_found'][:] = record.label_mask[:] = 0
  test_shards.write_folder(
    tmp_path / 'data', [(test_shards.make_records('P16', 3, last_valid=9), 'train'), (lost, 'test')]
  )
  return tmp_path / 'data'


def red_pixels(path):
  image = np.asarray(Image.open(path).convert('RGB')).astype(int)
  return (np.abs(image - contact_sheets.LOST_COLOUR).max(axis=2) < 12).sum()


def test_one_sheet_per_recording(folder, tmp_path):
  paths = contact_sheets.write_sheets(folder, tmp_path / 'sheets')
  assert paths[0].name == 'P16.png' and len(paths) == 2
  # An id that is no file name still gives one, inside the folder.
  assert paths[1].parent == tmp_path / 'sheets' and 'a_b' in paths[1].name
  for path in paths:
    assert min(Image.open(path).size) > 450
  assert Image.open(paths[1]).size[1] < Image.open(paths[0]).size[1]  # no labels: no plot of them
  # Lost faces are framed: in one sheet all are, in the other none.
  assert red_pixels(paths[1]) > 24 * 300 > 24 * 50 > red_pixels(paths[0])


def test_only_the_recordings_asked_for(folder, tmp_path):
  assert [path.name for path in contact_sheets.write_sheets(folder, tmp_path / 'sheets', ['P16'])] == ['P16.png']
  with pytest.raises(DataError, match='no recording P17; it holds P16, a/b'):
    contact_sheets.write_sheets(folder, tmp_path / 'sheets', ['P17'])


def test_a_sheet_of_sensors_alone(tmp_path):
  layout = streams.layout(['arousal'], PAPER, ['physiology'])
  found = np.ones((25, 2), np.float32)
  found[5:9, 0] = 0
  shown = dataclasses.replace(
    records.blank(layout),
    recording='A',
    subject='A',
    valid=np.ones(25, np.float32),
    values={
      'ecg': np.tile(np.float32([0, 0, 1, 0, 0, 0, 0, 0, 0, 0]), (25, 1)) * found[:, :1],
      'eda': np.linspace(-1, 1, 25, dtype=np.float32)[:, None],
      'physiology_found': found,
    },
  )
  shards = write.write_recording(tmp_path / 'data', [shown], layout, partition='train')
  write.finish(tmp_path / 'data', shards, layout, label_scale={'arousal': [1.0, 0.0]}, preparation={})
  (path,) = contact_sheets.write_sheets(tmp_path / 'data', tmp_path / 'sheets')
  image = np.asarray(Image.open(path).convert('RGB')).astype(int)
  red, blue = (np.abs(image - colour).max(axis=2) < 40 for colour in ((214, 39, 40), (31, 119, 180)))
  columns = np.flatnonzero(blue.any(axis=0))  # the EDA goes from end to end
  inside = (columns - columns[0]) * 25 // (columns[-1] - columns[0] + 1)
  assert not red[:, columns[(inside > 5) & (inside < 8)]].any()  # the hole of the ECG
  assert red[:, columns[inside > 9]].any() and red[:, columns[inside < 4]].any()


def test_classes_have_a_row_each_under_their_names(tmp_path, monkeypatch):
  from matplotlib.axes import Axes

  ticks, set_yticks = [], Axes.set_yticks
  monkeypatch.setattr(Axes, 'set_yticks', lambda axes, *a, **k: ticks.append((axes, *a)) or set_yticks(axes, *a, **k))
  names = ('joy', 'a$x$b', 'fear', 'calm')
  layout = streams.layout(['emotion', 'valence'], PAPER, ['speech'], classes={'emotion': names})
  shown = records.blank(layout)
  label = np.stack([np.full(25, 3.0), np.linspace(-1, 1, 25)], axis=1).astype(np.float32)
  shown = dataclasses.replace(
    shown,
    recording='A',
    subject='A',
    valid=np.ones(25, np.float32),
    label=label,
    label_mask=np.ones(25, np.float32),
  )
  shards = write.write_recording(tmp_path / 'data', [shown], layout, partition='train')
  write.finish(tmp_path / 'data', shards, layout, label_scale={'valence': [1.0, 0.0]}, preparation={})
  contact_sheets.write_sheets(tmp_path / 'data', tmp_path / 'sheets')
  ((axes, places, shown_names),) = ticks
  assert (list(places), tuple(shown_names)) == ([0, 1, 2, 3], names)
  assert axes.get_ylabel() == 'emotion' and axes.get_ylim() == (3.5, -0.5)  # the index of every class lies inside
  np.testing.assert_array_equal(axes.lines[0].get_ydata(), np.full(25, 3.0))
  numbers = next(other for other in axes.figure.axes if other.get_ylabel() == 'gold standard')
  np.testing.assert_array_equal(numbers.lines[0].get_ydata(), label[:, 1])


def test_damaged_shards_are_said_so(folder, tmp_path):
  path = folder / Manifest.read(folder).shards[0].file
  test_shards.flip(path, 4000)
  with pytest.raises(DataError, match='affect-train.*--verify'):
    contact_sheets.write_sheets(folder, tmp_path / 'sheets', ['P16'])


@pytest.mark.slow
def test_command(folder, tmp_path):
  command = [sys.executable, '-m', 'data_prep.preview', str(folder), f'--out={tmp_path / "sheets"}', '--recordings=P16']
  done = subprocess.run(command, cwd=test_shards.REPO, capture_output=True, text=True)
  assert done.returncode == 0 and done.stdout.strip().endswith('P16.png'), done.stderr
  done = subprocess.run(command[:3] + [f'--out={tmp_path}'], cwd=test_shards.REPO, capture_output=True, text=True)
  assert done.returncode == 64 and 'error: the data folder is missing' in done.stderr


@pytest.mark.filterwarnings('error::UserWarning')
@pytest.mark.parametrize('name', ['日本 नमस्ते', r'a$\frac$ $x_{$'])  # no font has these signs; no formula is this
def test_the_title_is_the_name_whatever_it_holds(tmp_path, monkeypatch, name):
  from matplotlib.axes import Axes

  titles, set_title = [], Axes.set_title
  monkeypatch.setattr(Axes, 'set_title', lambda axes, *a, **k: titles.append(set_title(axes, *a, **k)) or titles[-1])
  test_shards.write_folder(tmp_path / 'data', [(test_shards.make_records(name, 1), 'train')])
  (path,) = contact_sheets.write_sheets(tmp_path / 'data', tmp_path / 'sheets')
  assert min(Image.open(path).size) > 450
  assert titles[0].get_text().startswith(f'{name} (subject ') and not titles[0].get_parse_math()
