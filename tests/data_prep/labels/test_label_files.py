"""The strict label-file parser, and labels on the grid."""

import pathlib
import tempfile

import numpy as np
import pytest

from data_prep.core.errors import DataError
from data_prep.labels import label_files, resample
from data_prep.schema.grid import PAPER


def write(tmp_path, text, name='a.csv', encoding='utf-8'):
  path = tmp_path / name
  path.write_bytes(text.encode(encoding))
  return path


@pytest.mark.parametrize(
  'text, columns',
  [
    ('time;FM1 ;FM2 \n0.00;0.25;-0.5\n0.04;0.5;1\n', ('FM1', 'FM2')),  # RECOLA: a trailing space in the names
    ('time,a,b\n0,0.25,-0.5\n0.04,0.5,1\n', ('a', 'b')),
    ('time\ta\tb\n0\t0.25\t-0.5\n0.04\t0.5\t1\n', ('a', 'b')),
    ('0.00,0.25,-0.5\n0.04,0.5,1\n', ('', '')),  # the authors' files have no header
    ('0,00;0,25;-0,5\n0,04;0,5;1\n', ('', '')),  # decimal commas
    ('\ufefftime;a;b\r\n0;0.25;-0.5\r\n\r\n0.04;0.5;1\r\n', ('a', 'b')),  # byte-order mark, CRLF, blank line
    ('"time","a","b"\n"0","0.25","-0.5"\n0.04,.5,1e0\n', ('a', 'b')),
    ("name;timestamp;a;b\n'T1';0.0;0.25;-0.5\n'T1';0.04;0.5;1\n", ('a', 'b')),  # SEWA: whose label it is
    ('b,a,time\n0.25,-0.5,0\n0.5,1,0.04\n', ('b', 'a')),  # by name, not by position
  ],
)
def test_reads_every_dialect(tmp_path, text, columns):
  table = label_files.read_table(write(tmp_path, text), low=-1, high=1)
  assert table.columns == columns
  np.testing.assert_array_equal(table.times, [0, 0.04])
  np.testing.assert_array_equal(table.values, [[0.25, -0.5], [0.5, 1]])


def test_reads_arff(tmp_path):
  text = (
    '@relation GOLDSTANDARD\n\n@attribute Instance_name string\n@attribute frameTime numeric\n'
    '@attribute GoldStandard numeric\n\n@data\n\ndev_1,0.00,0.1\ndev_1,0.04,-0.2\ndev_1,284,0.3\n'
  )
  table = label_files.read_table(write(tmp_path, text, 'dev_1.arff'), low=-1, high=1)
  assert table.columns == ('GoldStandard',)
  np.testing.assert_array_equal(table.times, [0, 0.04, 284])
  np.testing.assert_array_equal(table.values[:, 0], [0.1, -0.2, 0.3])


@pytest.mark.parametrize(
  'text, line, reason',
  [
    ('time,a\n0,0.1\n0.04,NaN\n', 3, "'NaN' is a missing value"),
    ('time,a\n0,?\n', 2, "'?' is a missing value"),
    ('0.00;?\n0.04;0.1\n', 1, "'?' is a missing value"),
    ('time,a\n0,\n', 2, "'' is a missing value"),
    ('time,a\n0,0.1\n\n0.08,0.1\n0.04,0.1\n', 5, 'time 0.04 comes after 0.08; expected increasing times'),
    ('time,a\n0,0.1\n0.04,0.1\n0.04,0.2\n', 4, 'time 0.04 is a duplicate; expected increasing times'),
    ('time,a\n0,0.1\n0.04,1.5\n', 3, '1.5 is out of range; expected values from -1 to 1'),
    ('time,a\n0,0.1\n0.04,inf\n', 3, "'inf' is no number"),
    ('time,a\n0,0.1\n0.04,1_0\n', 3, "'1_0' is no number"),
    ('time,a\n0,0.1\n0.04,zero\n', 3, "'zero' is no number"),
    ('time,a\n0,0.1\n0.04,0,1\n', 3, '3 columns, expected 2'),
    ('time;a\n0;0.1\n0.04;0.1;0.2\n', 3, '3 columns, expected 2'),
    ('when,a\n0,0.1\n', 1, 'no time column among when, a; expected one `time`'),
    ('time|a|b\n0|0.1|0.2\n', 1, 'no time column among time|a|b; expected one `time`; is the delimiter one of `;`'),
    ('time,Time,a\n0,0.1,0.2\n', 1, '2 time columns among time, Time, a; expected one `time`'),
    ('time,a,a\n0,0.1,0.2\n', 1, "column 'a' twice"),
  ],
)
def test_refuses_with_file_line_and_reason(tmp_path, text, line, reason):
  path = write(tmp_path, text)
  with pytest.raises(DataError) as error:
    label_files.read_table(path, low=-1, high=1)
  assert str(error.value).startswith(f'{path}, line {line}: ') and reason in str(error.value)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize(
  'text, reason',
  [
    ('', 'empty'),
    ('\n \n', 'empty'),
    ('time,a\n', 'no rows of numbers'),
    ('time\n0\n', 'no value column'),
    ('@relation x\n@data\n', 'without @attribute'),
    ('@relation x\n@attribute frameTime numeric\n@attribute a numeric\n@data\n', 'no rows'),
  ],
)
def test_refuses_files_without_data(tmp_path, text, reason):
  with pytest.raises(DataError, match=reason):
    label_files.read_table(write(tmp_path, text), low=-1, high=1)


def test_refuses_what_is_not_utf8(tmp_path):
  with pytest.raises(DataError, match='not text in UTF-8'):
    label_files.read_table(write(tmp_path, 'time,é\n0,0.1\n', encoding='latin-1'), low=-1, high=1)
  with pytest.raises(DataError, match='absent.csv: cannot be read'):
    label_files.read_table(tmp_path / 'absent.csv', low=-1, high=1)


def test_recola_grid_drops_the_row_at_zero():
  times = np.round(np.arange(7501) * 0.04, 2)
  trace, mask = resample.on_grid(times, np.arange(7501.0), 7500, PAPER)
  np.testing.assert_array_equal(trace, np.arange(1, 7501))  # row k goes to step k − 1, unchanged
  assert mask.all() and mask.dtype == np.float32


def test_resamples_by_time_not_by_row():
  # Rows every 100 ms with value = time; step k gets the value at its end, 0.04 (k + 1).
  times = np.array([0.0, 0.1, 0.2, 0.3])
  trace, mask = resample.on_grid(times, times, 9, PAPER)
  np.testing.assert_array_equal(mask, [1] * 7 + [0] * 2)  # 0.28 is inside, 0.32 and 0.36 are past the last row
  np.testing.assert_allclose(trace[:7], 0.04 * np.arange(1, 8), atol=1e-12)
  assert not trace[7:].any()


def test_holes_and_a_late_start_have_no_label():
  times = np.array([0.12, 0.16, 0.20, 0.32, 0.36])  # 0.24 and 0.28 are missing, and so are 0.04 and 0.08
  trace, mask = resample.on_grid(times, np.stack([times, -times], 1), 9, PAPER)
  np.testing.assert_array_equal(mask, [0, 0, 1, 1, 1, 0, 0, 1, 1])
  np.testing.assert_allclose(trace[mask > 0], np.stack([times, -times], 1), atol=1e-12)


@pytest.mark.parametrize('interval', [0.02, 0.5, 2.5, 3.0, 7.5])
def test_labels_of_any_rate_are_joined_by_lines(interval):
  times = np.arange(0, 15.001, interval)
  trace, mask = resample.on_grid(times, times / 20, 375, PAPER)
  assert mask.all()
  np.testing.assert_allclose(trace, 0.04 * np.arange(1, 376) / 20, atol=1e-12)


def test_a_hole_is_what_is_longer_than_the_files_own_interval():
  # Every 2 s but for 4 to 10 s: steps 1 to 100 and 250 to 300.
  mask = resample.on_grid([0, 2, 4, 10, 12], np.zeros(5), 300, PAPER)[1]
  assert list(np.flatnonzero(mask) + 1) == [*range(1, 101), *range(250, 301)]


def test_a_label_holds_until_the_next_where_it_was_stored_on_change():
  trace, mask = resample.on_grid([0.12, 0.2, 0.36], [0.1, -0.5, 0.9], 12, PAPER, 'hold')
  np.testing.assert_array_equal(mask, [0, 0] + [1] * 10)  # nothing is known before the first
  np.testing.assert_array_equal(trace, [0, 0, 0.1, 0.1, -0.5, -0.5, -0.5, -0.5, 0.9, 0.9, 0.9, 0.9])


@pytest.mark.parametrize(
  'name, factor',
  [
    ('Time (s)', 1),
    ('time [ms]', 1000),
    ('time_ms', 1000),
    ('Time in seconds', 1),
    ('seconds', 1),
    ('ms', 1000),
    ('timestamp_ms', 1000),
    ('Frame Time', 1),
    ('frame_time (msec)', 1000),
    ('Time_Stamp', 1),
    ('t', 1),
    ('milliseconds', 1000),
  ],
)
def test_time_columns_by_other_names_and_units(tmp_path, name, factor):
  text = f'{name},arousal\n0,0.1\n{0.04 * factor:g},0.2\n{0.08 * factor:g},0.3\n'
  table = label_files.read_table(write(tmp_path, text), low=-1, high=1)
  np.testing.assert_allclose(table.times, [0, 0.04, 0.08], atol=1e-12)
  assert table.columns == ('arousal',) == label_files.value_columns(tmp_path / 'a.csv')


@pytest.mark.parametrize('name, unit', [('Time (min)', 'min'), ('time_frames', 'frames'), ('time [hh:mm]', 'hh:mm')])
def test_a_time_in_another_unit_is_refused_by_name(tmp_path, name, unit):
  with pytest.raises(DataError, match=f"is a time in '{unit}'; expected seconds"):
    label_files.read_table(write(tmp_path, f'{name},arousal\n0,0.1\n1,0.2\n'), low=-1, high=1)


CARMA = (
  'Time of Rating,01-Jan-2020 10:00:00\nMultimedia File,a.mp4\nLower Label,negative\nUpper Label,positive\n'
  'Minimum Value,-100\nMaximum Value,100\nNumber of Steps,9\nSecond,Rating\n%%%%%%,%%%%%%\n1,25\n2,-75.5\n'
)


@pytest.mark.parametrize(
  'text, columns, values',
  [
    ('time arousal valence\n1 25 3\n2 -75.5 4\n', ('arousal', 'valence'), [[25, 3], [-75.5, 4]]),
    ('Time (s)  arousal\n1  25\n2  -75.5\n', ('arousal',), [[25], [-75.5]]),
    ('1,0 25,0\n2,0 -75,5\n', ('',), [[25], [-75.5]]),  # spaces and decimal commas
    ('# time arousal\n1.0e+00 2.5e+01\n2.0e+00 -7.55e+01\n', ('arousal',), [[25], [-75.5]]),  # NumPy
    ('# made by hand\n#\ntime,arousal\n1,25\n2,-75.5\n', ('arousal',), [[25], [-75.5]]),
    (',time,arousal\n0,1,25\n1,2,-75.5\n', ('arousal',), [[25], [-75.5]]),  # pandas counts the rows
    (CARMA, ('Rating',), [[25], [-75.5]]),
    (
      'Filename,Lower Label,Upper Label,Minimum Value,Midpoint Value,Maximum Value,Number of Steps,Second,Rating\n'
      'a.avi,low,high,-100,0,100,9,1,25\na.avi,low,high,-100,0,100,9,2,-75.5\n',
      ('Rating',),
      [[25], [-75.5]],
    ),
  ],
)
def test_exports_of_carma_and_with_spaces_are_read(tmp_path, text, columns, values):
  table = label_files.read_table(write(tmp_path, text), low=-100, high=100)
  assert table.columns == columns
  np.testing.assert_array_equal(table.times, [1, 2])
  np.testing.assert_array_equal(table.values, values)


def test_columns_that_nobody_asked_for_are_left_unread(tmp_path):
  path = write(tmp_path, 'time,Valence,remark,arousal\n1,0.5,good,0.25\n2,-0.5,999,0.75\n')
  table = label_files.read_table(path, low=-1, high=1, only=('arousal', 'valence'))
  np.testing.assert_array_equal(table.values, [[0.25, 0.5], [0.75, -0.5]])
  assert table.unread == ('remark',)
  with pytest.raises(DataError, match='columns Valence, remark, arousal; expected time,arousal,liking'):
    label_files.read_table(path, low=-1, high=1, only=('arousal', 'liking'))


def test_damaged_label_files_are_refused_in_a_line_and_nothing_else():
  rng = np.random.default_rng(0)
  seeds = [
    CARMA.encode(),
    b'time;FM1 ;FM2 \n0.00;0.25;-0.5\n0.04;0.5;1\n0.08;0.5;1\n',
    b'# time arousal\n1 25\n2 -75\n',
    b'@relation x\n@attribute frameTime numeric\n@attribute a numeric\n@data\n0,1\n',
  ]
  pieces = [
    b'\n',
    b';',
    b',',
    b' ',
    b'%',
    b'#',
    b'"',
    b'\x00',
    b'\xff',
    b'1e999',
    b'nan',
    b'time',
    b'(',
    b'@data',
    b'-',
  ]
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'x.csv'
    read = refused = 0
    for i in range(600):
      data = bytearray(seeds[i % len(seeds)])
      for _ in range(rng.integers(1, 5)):
        at = rng.integers(len(data) + 1)
        data[at : at + rng.integers(0, 9)] = pieces[rng.integers(len(pieces))] * rng.integers(0, 3)
      path.write_bytes(data)
      try:
        table = label_files.read_table(path, low=-100, high=100)
        resample.on_grid(table.times, table.values, 50, PAPER, label_files.METHODS[i % 2])
        read += 1
      except DataError as e:
        assert '\n' not in str(e) and len(str(e)) < 700, str(e)
        refused += 1
  assert read > 50 and refused > 50


def test_times_with_rounding_are_not_moved():
  times = np.array([0.04, 0.0801, 0.1199])  # written with another precision
  trace, mask = resample.on_grid(times, np.array([1.0, 2.0, 3.0]), 3, PAPER)
  np.testing.assert_array_equal(trace, [1, 2, 3])
  assert mask.all()


@pytest.mark.parametrize(
  'data, advice',
  [
    (b'PK\3\4\x14\0\6\0', 'a workbook .*: save it as CSV'),
    (b'\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1', 'a workbook of Excel.*: save it as CSV'),
    (b'\x93NUMPY\1\0v\0', 'an array of NumPy.*: write it with `numpy.savetxt`'),
    (b'MATLAB 5.0 MAT-file, Platform: GLNXA64', 'a file of MATLAB.*`writematrix`'),
    (b'\x1f\x8b\x08\0', 'packed by gzip.*: unpack it with `gunzip`'),
    (b'\x80\4\x95', 'a pickle of Python.*`DataFrame.to_csv`'),
    (b'File type = "ooTextFile"\nObject class = "TextGrid"\n', 'a file of Praat.*: extract its tier as a table'),
    (b'<?xml version="1.0"?>\n<ANNOTATION_DOCUMENT>', 'XML, as ELAN.*: export it as delimited text'),
    (b' {"time": [0, 0.04]}', 'JSON.*: write it as CSV'),
    (b'[[0, 0.5]]', 'JSON.*: write it as CSV'),
    (b'temps,\xe9veil\n0,0.5\n', 'not text in UTF-8; .* iconv -f LATIN1 -t UTF-8'),
    (b'time,a\n00:01:02.5,0.5\n', "line 2: '00:01:02.5' is hours, minutes and seconds; expected seconds: 62.5"),
    (b'time;a\n1:02,5;0,5\n', "line 2: '1:02,5' is hours, minutes and seconds; expected seconds: 62.5"),
    (b'time,a\n0,50%\n', "line 2: '50%' is a percentage; .* --label_range=0,100"),
    (b'time,a\n0,50\n', 'line 2: 50 is out of range; expected values from -1 to 1 .*--label_range'),
    (b'frame_time (min),a\n0,0.5\n', "is a time in 'min'; .*: multiply minutes by 60"),
    (b'arousal,valence\n0.1,0.5\n', 'no time column .*: of a fixed rate, it is the number of the row over the rate'),
  ],
)
def test_what_is_no_label_file_is_told_how_to_become_one(tmp_path, data, advice):
  (tmp_path / 'labels.csv').write_bytes(data)
  with pytest.raises(DataError, match=advice) as error:
    label_files.read_table(tmp_path / 'labels.csv', low=-1, high=1)
  assert '\n' not in str(error.value)


@pytest.mark.parametrize('encoding', ['utf-16', 'utf-16-le', 'utf-16-be'])
def test_unicode_text_of_excel_is_read(tmp_path, encoding):
  mark = {'utf-16': '', 'utf-16-le': '\ufeff', 'utf-16-be': '\ufeff'}[encoding]
  (tmp_path / 'a.txt').write_bytes((mark + 'time\tarousal\r\n0\t0,5\r\n0,04\t-0,25\r\n').encode(encoding))
  table = label_files.read_table(tmp_path / 'a.txt', low=-1, high=1)
  assert table.columns == ('arousal',)
  np.testing.assert_array_equal(table.times, [0, 0.04])
  np.testing.assert_array_equal(table.values[:, 0], [0.5, -0.25])
