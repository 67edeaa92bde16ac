"""Files of sensors in the dialects that they come in, against the numbers that were written."""

import numpy as np
import pytest

from data_prep.core.errors import DataError
from data_prep.physiology import signal_files

TIMES = np.arange(40) / 1000
ECG = np.round(np.sin(TIMES * 200), 4)
EDA = np.round(7 + np.cos(TIMES * 30), 4)


def rows(*columns, delimiter=';', form='{}'):
  return '\n'.join(delimiter.join(form.format(cell) for cell in row) for row in zip(*columns)) + '\n'


@pytest.mark.parametrize(
  'text',
  [
    'time;EDA;ECG \n' + rows(TIMES, EDA, ECG),  # RECOLA's, with the space behind its last name
    'ecg,time_ms,eda\n' + rows(ECG, 1000 * TIMES, EDA, delimiter=','),  # columns go by name
    'Time (s)\tGSR (uS)\tEKG\n' + rows(TIMES, EDA, ECG, delimiter='\t'),
    'time EDA ECG\n' + rows(TIMES, EDA, ECG, delimiter=' '),
    '"time";"eda_us";"ecg_mv";"ecgx"\n' + rows(TIMES, EDA, ECG, 9 + ECG, form='"{}"'),
    'time;EDA;ECG\n' + rows(TIMES, EDA, ECG).replace('.', ','),  # decimal commas
    '# Sampling Rate (Hz):= 1000.00\n# Resolution:= 12\n# Labels:= EDA, ECG\n' + rows(EDA, ECG, delimiter=','),
    '@relation physio\n@attribute Instance_name string\n@attribute frameTime numeric\n@attribute EDA numeric\n'
    '@attribute ECG numeric\n\n@data\n\n' + rows(['train_1'] * 40, TIMES, EDA, ECG, delimiter=','),
  ],
)
def test_columns_are_found_by_their_names(tmp_path, text):
  path = tmp_path / 'P16.csv'
  for encoding in ('utf-8', 'utf-8-sig', 'utf-16'):
    path.write_text(text, encoding=encoding)
    found = signal_files.read(path)
    assert list(found) == ['ecg', 'eda']
    for name, expected in (('ecg', ECG), ('eda', EDA)):
      np.testing.assert_allclose(found[name].times, TIMES, atol=1e-12)
      np.testing.assert_allclose(found[name].values, expected, atol=1e-12)


def test_one_signal_is_enough_and_cells_without_a_number_are_not_there(tmp_path):
  path = tmp_path / 'eda.csv'
  path.write_text('time;EDA\n0;1.5\n0.25;?\n0.5;\n0.75;NaN\n1;2.5\n')
  (signal,) = signal_files.read(path).values()
  np.testing.assert_array_equal(signal.values, [1.5, np.nan, np.nan, np.nan, 2.5])
  np.testing.assert_array_equal(signal.times, [0, 0.25, 0.5, 0.75, 1])


def test_a_file_longer_than_the_part_in_which_its_header_is_sought(tmp_path):
  path = tmp_path / 'long.csv'
  values = np.random.default_rng(0).normal(size=9000).round(4)
  for encoding in ('utf-8', 'utf-16-le', 'utf-16'):
    text = ('\ufeff' if encoding == 'utf-16-le' else '') + 'time,ecg,remark\n'
    text += rows(np.arange(9000) / 1000, values, ['ä'] * 9000, delimiter=',')
    path.write_bytes(text.encode(encoding))
    assert path.stat().st_size > 1.5 * signal_files._HEAD
    np.testing.assert_array_equal(signal_files.read(path)['ecg'].values, values)


@pytest.mark.parametrize(
  'text, said',
  [
    ('', 'empty'),
    ('time;ECG\n', 'no rows of numbers'),
    ('0;1\n0.1;2\n', 'no names above the numbers; expected a header `time,ecg,eda`'),
    ('time;respiration\n0;1\n', 'columns time, respiration; expected one that is called ecg or eda'),
    ('time;ecg;EKG\n0;1;1\n1;1;1\n', '2 columns of ecg; expected one'),
    ('sample;ecg\n0;1\n1;1\n', 'no time column among sample, ecg.*or a comment `# Sampling Rate .Hz.:= 1000`'),
    ('time;ecg\n0;1\n0;2\n', 'time 0 follows 0; expected increasing times'),
    ('time;ecg\n0;1\n', 'fewer than two rows'),
    ('time;ecg\n0;1\n;2\n', 'a time is missing'),
    ('time;ecg\n0;1\n1;high\n', "string 'high'.* at row 1.*expected numbers in rows of the same length"),
    ('time;ecg\n0;1\n1\n', 'invalid column index 1 at row 2 with 1 columns'),
    ('PK\3\4', 'a workbook of a spreadsheet'),
  ],
)
def test_refusals(tmp_path, text, said):
  path = tmp_path / 'P16.csv'
  path.write_text(text)
  with pytest.raises(DataError, match=f'P16.csv: .*{said}' if said != 'empty' else 'P16.csv: empty'):
    signal_files.read(path)
  with pytest.raises(DataError, match=r'absent.csv: cannot be read'):
    signal_files.read(tmp_path / 'absent.csv')


def test_columns_of_a_corpus_with_names_of_its_own(tmp_path):
  path = tmp_path / 'sub_1.csv'
  path.write_text('daqtime,ecg,bvp,gsr\n0,0.5,9,7\n1,0.25,9,\n')
  np.testing.assert_array_equal(signal_files.columns(path, ('daqtime', 'gsr')), [[0, 7], [1, np.nan]])
  with pytest.raises(DataError, match=r'sub_1.csv: no column skt; expected daqtime,skt'):
    signal_files.columns(path, ('daqtime', 'skt'))
