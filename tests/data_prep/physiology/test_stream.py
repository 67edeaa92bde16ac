"""From the files of a recording's sensors to the fields of its records."""

import dataclasses

import numpy as np
import pytest

from data_prep.core.errors import DataError
from data_prep.corpora.recording import LabelSource, Recording, SensorFile
from data_prep.corpora.settings import Settings
from data_prep.physiology import conditioning
from data_prep.recordings import assemble
from data_prep.schema.grid import Grid, PAPER
from data_prep.shards import sidecars
from data_prep.streams import layout
from data_prep.streams.physiology import Physiology
from data_prep.streams.speech import Speech
from data_prep.streams.visual import Visual

SETTINGS = Settings(
  targets=('arousal',),
  label_range=(-1, 1),
  label_slack=0,
  annotated_seconds=None,
  recipe='mean',
  max_lost=1,
  streams=('physiology',),
)


def write(path, seconds, first=0.0, rate=1000, **columns):
  """A file of sensors: `name=function of the time`."""
  times = first + np.arange(round(seconds * rate)) / rate
  rows = np.column_stack([times, *(of(times) for of in columns.values())])
  np.savetxt(path, rows, '%.5f', delimiter=';', header=';'.join(['time', *columns]), comments='')
  return path


def heart(times):
  return np.exp(-0.5 * np.square((times % 0.9 - 0.4) / 0.012)) + 0.3 * np.sin(times)


def skin(times):
  return 5 + np.sin(0.9 * times)


def recording(*sensors, labels=()):
  return Recording('a', 'A', 'train', None, None, labels, sensors=sensors)


@pytest.fixture
def both(tmp_path):
  return write(tmp_path / 'both.csv', 8, ECG=heart, EDA=skin)


def test_fields_are_whole_numbers_of_samples_on_any_grid():
  shapes = lambda grid: [field.shape for field in Physiology().fields(grid, {})]
  assert shapes(PAPER) == [(10,), (1,), (2,)]
  assert shapes(Grid(0.5, 16_000, 2)) == [(125,), (12,), (2,)]
  assert shapes(Grid(0.001, 16_000, 2)) == [(1,), (1,), (2,)]
  assert not Speech.ends_early and not Visual.ends_early


def test_both_signals_come_to_the_grid(both):
  stream, of = Physiology(), recording(SensorFile(both))
  track = stream.read(of, SETTINGS)
  assert (track.start, track.notes) == (0, []) and track.end == pytest.approx(8)
  fields = stream.cut(of, track, 8.0, SETTINGS)
  assert {name: (value.shape, str(value.dtype)) for name, value in fields.items()} == {
    'ecg': ((200, 10), 'float32'),
    'eda': ((200, 1), 'float32'),
    'physiology_found': ((200, 2), 'float32'),
  }
  assert fields['physiology_found'].all()
  # The R waves of 0.4, 1.3, … s are in the steps of these times.
  strongest = [0.9 * k + 0.4 for k in range(1, 8)]
  assert all(fields['ecg'][int(second / 0.04)].max() > 0.8 for second in strongest)
  assert np.corrcoef(fields['eda'][:, 0], skin(np.arange(200) / 25))[0, 1] > 0.999
  # A grid with steps of half a second holds the same samples.
  coarse = dataclasses.replace(SETTINGS, grid=Grid(0.5, 16_000, 2))
  np.testing.assert_allclose(stream.cut(of, track, 8.0, coarse)['ecg'].ravel(), fields['ecg'].ravel(), atol=1e-6)


@pytest.mark.parametrize('absent', ['ECG', 'EDA', 'both'])
def test_what_a_recording_lacks_is_masked(tmp_path, absent):
  stream = Physiology()
  if absent == 'both':
    of = recording()
    assert stream.read(of, SETTINGS) is None and stream.absent == 'no physiology: masked'
    fields = stream.cut(of, None, 2.0, SETTINGS)
    assert not any(values.any() for values in fields.values()) and fields['ecg'].shape == (50, 10)
    return
  name, function = ('EDA', skin) if absent == 'ECG' else ('ECG', heart)
  of = recording(SensorFile(write(tmp_path / 'one.csv', 4, **{name: function})))
  track = stream.read(of, SETTINGS)
  assert track.notes == [f'no {absent}: masked']
  fields = stream.cut(of, track, 4.0, SETTINGS)
  there, gone = (1, 0) if absent == 'ECG' else (0, 1)
  assert fields['physiology_found'][:, there].all() and not fields['physiology_found'][:, gone].any()
  assert not fields[absent.lower()].any() and fields[name.lower()].any()


def test_holes_ends_and_sensors_that_are_off_are_masked(tmp_path):
  stream = Physiology()
  times = 1.0 + np.arange(5000) / 1000  # from 1 s to 6 s
  ecg, eda = heart(times), np.full(5000, 3.25)
  ecg[2000:2500] = np.nan  # from 3 s to 3.5 s
  rows = np.column_stack([times, ecg, eda])
  np.savetxt(tmp_path / 'a.csv', rows, '%.5f', delimiter=',', header='time,ecg,eda', comments='')
  of = recording(SensorFile(tmp_path / 'a.csv'))
  track = stream.read(of, SETTINGS)
  assert (track.start, track.end) == (pytest.approx(1), pytest.approx(6))
  assert track.notes == ['ECG has holes of 0.50 s in all: masked', 'EDA is constant: masked']
  fields = stream.cut(of, track, 8.0, SETTINGS)
  found = fields['physiology_found'][:, 0]
  # Steps 25 to 149 are measured; 75 to 87 touch the hole from 3.0 to 3.5 s: the last ends at 3.52 s.
  np.testing.assert_array_equal(np.flatnonzero(found), [*range(25, 75), *range(88, 150)])
  assert not fields['ecg'][found == 0].any() and not fields['physiology_found'][:, 1].any()
  assert not fields['eda'].any() and np.abs(fields['ecg']).max() <= conditioning.LIMIT


def test_files_share_signals_out(tmp_path, both):
  stream = Physiology()
  other = write(tmp_path / 'other.csv', 3, EDA=heart)
  first = stream.read(recording(SensorFile(other), SensorFile(both)), SETTINGS)
  assert len(first.signals['eda'].times) == 3000 and len(first.signals['ecg'].times) == 8000
  chosen = stream.read(recording(SensorFile(both, ('eda',))), SETTINGS)
  assert list(chosen.signals) == ['eda']
  with pytest.raises(DataError, match='other.csv: has no ecg, but eda'):
    stream.read(recording(SensorFile(other, ('ecg',))), SETTINGS)


def test_labels_say_how_long_a_recording_of_sensors_is(tmp_path, both):
  """The body is measured for eight of twelve seconds; the rest is masked, and a note says so."""
  path = tmp_path / 'labels.csv'
  path.write_text('time,arousal\n' + ''.join(f'{k / 25:.2f},{k / 300:.4f}\n' for k in range(1, 301)))
  of = recording(SensorFile(both), labels=(LabelSource('arousal', path),))
  rows, summary = assemble.assemble(of, SETTINGS)
  assert summary.steps == summary.labels == 300 and summary.audio_seconds is None
  assert summary.notes == ['physiology ends at 8.00 s']
  found = np.concatenate([row.values['physiology_found'] for row in rows])
  np.testing.assert_array_equal(np.flatnonzero(found.all(axis=1)), np.arange(200))
  assert [field.name for field in layout(['arousal'], PAPER, ['physiology']).fields()] == list(rows[0].values)


def test_a_recording_is_prepared_anew_when_its_sensors_change(tmp_path, both):
  plain, with_sensors = recording(), recording(SensorFile(both))
  digests = [sidecars.fingerprint(of, {}) for of in (plain, with_sensors, recording(SensorFile(both, ('ecg',))))]
  assert len(set(digests)) == 3
  # Who has no sensors has the digest of before there were any.
  assert [stamp and stamp[1] for stamp in sidecars.stamps(plain)] == [None, None]
  before = sidecars.stamps(with_sensors)[2]
  write(both, 8, ECG=skin, EDA=heart)
  after = sidecars.stamps(with_sensors)[2]
  assert before[1] != after[1]
