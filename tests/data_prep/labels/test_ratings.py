"""Label files of other programs, as those programs write them, and folders with a file a rater."""

import json
import pathlib
import struct

import numpy as np
import pympi
import pytest
import soundfile

from data_prep.core.errors import DataError
from data_prep.corpora import own
from data_prep.labels import label_files, ratings
from data_prep.schema import label_clock
from data_prep.schema.grid import PAPER
from data_prep.shards import prepare, read
from tests import clips


def elan(path, tiers, configuration=None, csv=None):
  """A document written by pympi-ling: tier -> (begin, end, text), milliseconds."""
  document = pympi.Eaf()
  document.remove_tier('default')
  for tier, annotations in tiers.items():
    document.add_tier(tier)
    for begin, end, text in annotations:
      document.add_annotation(tier, begin, end, text)
  if configuration:
    # ELAN names them by where they were when they were linked.
    document.add_secondary_linked_file('file:///C:/Users/eva/glove.csv', mimetype='text/plain')
    document.add_secondary_linked_file(f'file:///C:/Users/eva/{path.stem}_tsconf.xml', mimetype='text/xml')
    path.with_name(f'{path.stem}_tsconf.xml').write_text(configuration)
    path.with_name('glove.csv').write_text(csv)
  document.to_file(str(path))
  return path


CONFIGURATION = """<?xml version="1.0" encoding="UTF-8"?>
<timeseries date="2023-09-18T15:54:44+01:00" version="1.0">
  <tracksource sample-type="Discontinuous Rate" source-url="file:///C:/Users/eva/glove.csv" time-column="1"{origin}>
    <property key="provider" value="mpi.eudico.client.annotator.timeseries.csv.CSVServiceProvider"/>
    <track derivative="{derivative}" name="arousal">
      <property key="detect-range" value="false"/>
      <sample-position><pos col="2" row="0"/></sample-position>
      <description/><units/><range max="1.0" min="-1.0"/><color>0,255,0</color>
    </track>
    <track derivative="0" name="valence">
      <sample-position><pos col="0" row="0"/></sample-position>
    </track>
  </tracksource>
</timeseries>
"""


def configuration(origin='', derivative=0):
  return CONFIGURATION.format(origin=f' time-origin="{origin}"' if origin else '', derivative=derivative)


def test_elans_tiers_of_numbers_hold_from_begin_to_end(tmp_path):
  path = elan(
    tmp_path / 'a.eaf',
    {
      'arousal': [(200, 400, '0.5'), (400, 530, '-0.25')],
      'words': [(0, 300, 'well'), (300, 500, '7')],
      'valence': [(0, 120, ' 1 ')],
    },
  )
  arousal, valence = ratings.read(path, 'a')
  # Step k ends at 0.04 (k + 1); a label is that of the time before it. 0.2 s is the end of a step without one.
  expected = [np.nan] * 5 + [0.5] * 5 + [-0.25] * 3
  assert (arousal.target, valence.target) == ('arousal', 'valence') == ratings.targets(path, 'a')
  np.testing.assert_allclose(arousal.times, 0.04 * np.arange(1, 14), rtol=0, atol=1e-12)
  np.testing.assert_array_equal(arousal.values, expected)
  np.testing.assert_array_equal(valence.values, [1, 1, 1])


@pytest.mark.parametrize(
  'csv, times',
  [
    ('valence\ttime\tarousal\n0.1\t0.5\t0.2\n0.3\t1.25\t-0.4\n', [0.5, 1.25]),
    ('# made by hand\n0.1;500;0.2\n0.3;1250;-0.4\n', [0.5, 1.25]),  # no point: milliseconds
    ('0.1,00:00:59.5,0.2\n0.3,01:01:01.25,-0.4\n', [59.5, 3661.25]),
  ],
)
def test_elans_linked_series(tmp_path, csv, times):
  path = elan(tmp_path / 'a b.eaf', {'words': [(0, 300, 'well')]}, configuration(), csv)
  arousal, valence = ratings.read(path, 'a')
  for rating, values in ((arousal, [0.2, -0.4]), (valence, [0.1, 0.3])):
    np.testing.assert_allclose(rating.times, times, rtol=0, atol=1e-9)
    np.testing.assert_array_equal(rating.values, values)
  assert {file.name for file in ratings.files(path)} == {'a b.eaf', 'a b_tsconf.xml', 'glove.csv'}


@pytest.mark.parametrize(
  'wrong, csv, reason',
  [
    ({'origin': 40}, '0,0.1,0\n', 'an offset of 40 ms'),
    ({'derivative': 1}, '0,0.1,0\n', 'arousal is a derivative'),
    ({}, '0,0.1\n', 'no time series of ELAN'),
    ({}, '0,0.2,0\n0,0.1,0\n', 'the times do not increase'),
    ({}, '0,0.2,0\n0,0.3,high\n', 'no time series of ELAN'),
  ],
)
def test_series_that_elan_draws_otherwise_are_refused(tmp_path, wrong, csv, reason):
  path = elan(tmp_path / 'a.eaf', {'words': [(0, 300, 'well')]}, configuration(**wrong), csv)
  with pytest.raises(DataError, match=reason) as error:
    ratings.read(path, 'a')
  assert '\n' not in str(error.value)


def test_damaged_documents_are_refused(tmp_path):
  path = tmp_path / 'a.eaf'
  for text in ('', 'no XML', '<ANNOTATION_DOCUMENT/>', '<a><b></a>'):
    path.write_text(text)
    with pytest.raises(DataError, match='a.eaf: no document of ELAN'):
      ratings.read(path, 'a')
  with pytest.raises(DataError, match='a.eaf: no labels in numbers'):
    ratings.read(elan(path, {'words': [(0, 300, 'well')]}), 'a')
  with pytest.raises(DataError, match='a.eaf: arousal has two labels at 0.2 s'):
    ratings.read(elan(path, {'arousal': [(0, 300, '1'), (200, 500, '0')]}), 'a')


# NOVA's documentation, "File Format".
NOVA = (
  '<?xml version="1.0" ?>\n<annotation ssi-v="3">\n  <info ftype="{form}" size="{size}" />\n'
  '  <meta annotator="Annotator"/>\n'
  '  <scheme name="arousal" type="{kind}" sr="25" min="-1" max="1" mincolor="#FFFFFFFF" maxcolor="#FF4F81BD" />\n'
  '</annotation>\n'
)
FRAMES = [(-0.021, 1), (-0.017, 1), (-0.016, 0.6), (0.011, 0.4), (0, 1)]


def nova(path, form='ASCII', kind='CONTINUOUS', size=5, data=None):
  path.write_text(NOVA.format(form=form, kind=kind, size=size))
  if data is None:
    data = '\n'.join(f'{score:g};{confidence:g}' for score, confidence in FRAMES).encode() + b'\n'
    data = data if form == 'ASCII' else b''.join(struct.pack('<ff', *frame) for frame in FRAMES)
  path.with_name(f'{path.name}~').write_bytes(data)
  return path


@pytest.mark.parametrize('form', ['ASCII', 'BINARY'])
def test_novas_frames(tmp_path, form):
  path = nova(tmp_path / 'anna.arousal.eva.annotation', form)
  (rating,) = ratings.read(path, 'a')
  assert rating.target == 'arousal'
  np.testing.assert_allclose(rating.times, [0, 0.04, 0.08, 0.12, 0.16], rtol=0, atol=1e-12)
  np.testing.assert_allclose(rating.values, [score for score, _ in FRAMES], rtol=0, atol=1e-9)
  assert [file.name for file in ratings.files(path)] == [path.name, f'{path.name}~']


@pytest.mark.parametrize(
  'wrong, reason',
  [
    ({'kind': 'DISCRETE'}, 'a discrete scheme; expected a continuous one'),
    ({'size': 6}, '5 frames, and a.annotation says 6'),
    ({'data': b''}, '0 frames, and a.annotation says 5'),
    ({'data': b'high;1\n'}, 'no data of NOVA'),
    ({'form': 'BINARY', 'data': b'123'}, '0 frames'),
    ({'form': 'BINARY', 'data': b'1234'}, 'no data of NOVA'),
  ],
)
def test_damaged_annotations_of_nova_are_refused(tmp_path, wrong, reason):
  with pytest.raises(DataError, match=reason) as error:
    ratings.read(nova(tmp_path / 'a.annotation', **wrong), 'a')
  assert '\n' not in str(error.value)
  (tmp_path / 'a.annotation').write_text('<annotation/>')
  with pytest.raises(DataError, match='no annotation of NOVA'):
    ratings.read(tmp_path / 'a.annotation', 'a')


def region(begin, end, number=None, label='', target='arousal', instant=False):
  """A region as Label Studio's documentation has it, and what a `Number` control says of it."""
  value = {'start': begin, 'end': end, 'instant': instant}
  of_label = {'value': value | {'timeserieslabels': [label]}, 'id': 'S1', 'to_name': 'ts', 'type': 'timeserieslabels'}
  if number is None:
    return [of_label | {'from_name': target}]
  of_number = {'value': value | {'number': number}, 'id': 'S1', 'to_name': 'ts', 'type': 'number', 'from_name': target}
  return [of_label | {'from_name': 'label'}, of_number]


def task(file, *raters):
  annotations = [{'completed_by': k, 'was_cancelled': False, 'result': result} for k, result in enumerate(raters)]
  return {'id': 1, 'data': {'csv': file}, 'annotations': annotations}


def test_label_studios_regions(tmp_path):
  path = tmp_path / 'export.json'
  eva = region(0, 0.08, 0.5) + region(0.08, 0.2, -1) + region(0.1, 0.1, 7, instant=True)
  max_ = region(0, 0.2, label='0.25') + region(0, 0.2, label='well', target='mood')
  path.write_text(json.dumps([task('/data/upload/1/8a7b-anna_1.csv', eva, max_), task('/data/x-anna_11.csv', max_)]))
  first, second = ratings.read(path, 'anna_1')
  np.testing.assert_array_equal(first.values, [0.5, 0.5, -1, -1, -1])
  np.testing.assert_array_equal(second.values, [0.25] * 5)
  assert first.target == second.target == 'arousal' and ratings.targets(path, 'anna_1') == ('arousal',)
  with pytest.raises(DataError, match='0 of 2 tasks are of a file ben_1'):
    ratings.read(path, 'ben_1')
  path.write_text(json.dumps(task('whatever.csv', eva)))  # one alone
  assert len(ratings.read(path, 'ben_1')) == 1


@pytest.mark.parametrize(
  'content, reason',
  [
    ('{', 'no export of Label Studio'),
    ('[]', '0 of 0 tasks'),
    ('[{"data": {}}]', 'no export of Label Studio'),
    ('[7]', 'no export of Label Studio'),
    (
      json.dumps([task('a.csv', region('2020-01-01', '2020-01-02', 1))]),
      "a label from '2020-01-01' on; expected seconds",
    ),
    (json.dumps([task('a.csv', region(1592250751951.8, 1592250751999.0, 1))]), 'on; expected seconds'),
    (json.dumps([task('a.csv', region(2, 1, 1))]), 'a label from 2 to 1 s; expected a stretch of time'),
    (json.dumps([task('a.csv', region(0, 1, label='high'))]), 'no labels in numbers'),
  ],
)
def test_what_is_no_export_of_label_studio_is_refused(tmp_path, content, reason):
  (tmp_path / 'a.json').write_text(content)
  with pytest.raises(DataError, match=reason) as error:
    ratings.read(tmp_path / 'a.json', 'a')
  assert '\n' not in str(error.value)


# The cells that CARMA's and DARMA's source writes: fig_collect.m and fig_review.m.
CARMA = (
  'Time of Rating,29-Nov-2026 10:00:00\nMultimedia File,a.mp4\nLower Label,negative\nUpper Label,positive\n'
  'Minimum Value,-100\nMaximum Value,100\nNumber of Steps,9\nSecond,Rating\n%%%%%%,%%%%%%\n'
)
DARMA = (
  'Time of Rating,29-Nov-2026 10:00:00,,\nMultimedia File,a.mp4,,\nMagnitude,100,,\n'
  'Second,{x},{y},{button}\n%%%%%%,%%%%%%,%%%%%%,%%%%%%\n'
)


def test_exports_of_carma_leave_out_bins_without_a_sample(tmp_path):
  (tmp_path / 'a.csv').write_text(CARMA + '1,25\n2,NaN\n3,-75.5\n')
  table = label_files.read_table(tmp_path / 'a.csv', low=-100, high=100)
  np.testing.assert_array_equal(table.times, [1, 3])
  np.testing.assert_array_equal(table.values, [[25], [-75.5]])


@pytest.mark.parametrize('names', [('X', 'Y', 'B'), ('valence', 'arousal', 'Button')])
def test_exports_of_darma_have_two_axes_and_a_button(tmp_path, names):
  x, y, button = names
  (tmp_path / 'a.csv').write_text(DARMA.format(x=x, y=y, button=button) + '0.5,25,-1,0\n1,-75.5,2,1\n')
  table = label_files.read_table(tmp_path / 'a.csv', low=-100, high=100)
  assert table.columns == (x, y) == label_files.value_columns(tmp_path / 'a.csv')
  np.testing.assert_array_equal(table.times, [0.5, 1])
  np.testing.assert_array_equal(table.values, [[25, -1], [-75.5, 2]])
  (tmp_path / 'b.csv').write_text('time,a,b\n1,0.5,0.25\n')  # a plain b is a name like others
  assert label_files.value_columns(tmp_path / 'b.csv') == ('a', 'b')


def test_a_folder_has_a_file_a_rater(tmp_path):
  for rater, rows in (('eva', '1,20\n2,40\n3,60\n4,80\n'), ('max', '1.5,-10\n2.5,30\n3.5,50\n'), ('.hidden', 'x')):
    for target in ('arousal', 'valence'):
      (tmp_path / target).mkdir(exist_ok=True)
      (tmp_path / target / f'{rater}.csv').write_text(CARMA + rows)
  assert ratings.targets(tmp_path, 'a') == ('arousal', 'valence') and not ratings.is_one_table(tmp_path)
  table = ratings.parse(tmp_path, 'Valence', 'a')
  np.testing.assert_array_equal(table.times, [1, 2, 3, 4])
  np.testing.assert_array_equal(table.values[:, 0], [20, 40, 60, 80])
  np.testing.assert_array_equal(table.values[:, 1], [np.nan, 10, 40, np.nan])  # a line between his rows, none around
  assert len(ratings.files(tmp_path)) == 4
  (tmp_path / 'valence' / 'max.csv').write_text(CARMA + '1.5,-10\n2.5,30\n3.5,50\n8.5,50\n9.5,50\n')
  table = ratings.parse(tmp_path, 'valence', 'a')
  np.testing.assert_array_equal(table.times, [1.5, 2.5, 3.5, 8.5, 9.5])
  (tmp_path / 'valence' / 'eva.csv').write_text(CARMA + ''.join(f'{k},0\n' for k in range(1, 10)))
  table = ratings.parse(tmp_path, 'valence', 'a')
  np.testing.assert_array_equal(np.isnan(table.values[:, 1]), [True, False, False] + [True] * 5 + [False])  # his hole
  with pytest.raises(DataError, match='no liking; expected it as in most'):
    ratings.parse(tmp_path, 'liking', 'a')
  (tmp_path / 'valence' / 'eva.csv').write_text('time,a,b\n1,0.5,0.25\n')
  with pytest.raises(DataError, match='eva.csv: 2 traces, a, b; expected one in the folder of valence'):
    ratings.read(tmp_path, 'a')
  (tmp_path / 'valence' / 'eva.csv').write_text('time,a,Valence\n1,0.5,0.25\n')
  assert ratings.parse(tmp_path, 'valence', 'a').values.shape == (5, 2)


def test_a_folder_of_a_programs_files(tmp_path):
  elan(tmp_path / 'eva.eaf', {'arousal': [(0, 200, '0.5')]}, configuration(), '0.1,0.5,0.2\n')
  nova(tmp_path / 'max.annotation')
  (tmp_path / 'notes.txt').write_text('of no interest')
  found = [(rating.target, len(rating.times)) for rating in ratings.read(tmp_path, 'a')]
  assert found == [('arousal', 5), ('arousal', 1), ('valence', 1), ('arousal', 5)]
  (tmp_path / 'away.annotation').symlink_to(tmp_path.parent / 'secret.annotation')
  with pytest.raises(DataError, match='away.annotation leads out of'):
    ratings.read(tmp_path, 'a')


def test_an_own_corpus_of_labels_of_four_programs(tmp_path):
  rows = ['anna,A,train,,anna.wav,anna.eaf', 'ben,B,train,,ben.wav,ben', 'cleo,C,validation,,cleo.wav,cleo.annotation']
  rows += ['dora,D,test,,dora.wav,export.json', 'emil,E,test,,emil.wav,emil.eaf']
  (tmp_path / 'm.csv').write_text('\n'.join(['recording,subject,partition,video,audio,labels', *rows]) + '\n')
  for name in ('anna', 'ben', 'cleo', 'dora', 'emil'):
    soundfile.write(tmp_path / f'{name}.wav', clips.tone(2.0, 16_000), 16_000)
  elan(tmp_path / 'anna.eaf', {'arousal': [(0, 1000, '0.5'), (1000, 2000, '-0.5')]})
  (tmp_path / 'ben' / 'arousal').mkdir(parents=True)
  for rater, value in (('eva', 0.25), ('max', 0.75)):
    trace = ''.join(f'{k / 10},{value + k / 100}\n' for k in range(21))
    (tmp_path / 'ben' / 'arousal' / f'{rater}.csv').write_text('time,x\n' + trace)
  nova(tmp_path / 'cleo.annotation', size=50, data=b'0.125;1\n' * 50)
  (tmp_path / 'export.json').write_text(json.dumps(task('dora.csv', region(0, 2.0, 0.75), region(0, 2.0, 0.25))))
  (tmp_path / 'emil.eaf').write_text('damaged')
  corpus = own.read(tmp_path / 'm.csv')
  assert corpus.targets == ('arousal',) and corpus.recordings[0].labels[0].files == ()
  assert len(corpus.recordings[1].labels[0].files) == 2 and len(corpus.recordings[2].labels[0].files) == 1

  out = tmp_path / 'out'
  result = prepare.prepare(corpus='csv', source=tmp_path / 'm.csv', out=out, jobs=0, allow_rejects=True)
  ((reject, reason),) = ((row['recording'], row['reason']) for row in result.rejects)
  assert reject == 'emil' and 'emil.eaf: no document of ELAN' in reason
  stored = {}
  for name, shards in result.manifest.by_recording().items():
    records = [record for shard in shards for record in read.read_shard(out / shard.file, result.manifest)]
    label, mask = (np.concatenate([getattr(r, field) for r in records]) for field in ('label', 'label_mask'))
    stored[name] = np.where(mask > 0, label[:, 0], np.nan)
  times = PAPER.step_seconds * np.arange(1, 51)
  np.testing.assert_allclose(stored['anna'], np.where(times < 1.001, 0.5, -0.5), rtol=0, atol=1e-7)
  # Two raters who agree but for their level: the gold standard lies halfway, at 0.5 and rising.
  np.testing.assert_allclose(stored['ben'], 0.5 + times / 10, rtol=0, atol=1e-6)
  np.testing.assert_allclose(stored['cleo'][:49], 0.125, rtol=0, atol=1e-7)  # its last frame is at 1.96 s
  np.testing.assert_allclose(stored['dora'], 0.5, rtol=0, atol=1e-7)
  clock = result.manifest.label_clock
  assert set(clock.files) == {'anna', 'ben', 'cleo', 'dora'}
  ben = label_clock.read(out, clock.files['ben'], ['arousal'])
  np.testing.assert_allclose(ben.times, np.arange(21) / 10, rtol=0, atol=1e-9)

  # What was prepared is left; a rater's file that changes prepares its recording again.
  before = {path.name: path.stat().st_mtime_ns for path in out.glob('labels/*.csv')}
  (tmp_path / 'ben' / 'arousal' / 'max.csv').write_text('time,x\n0,0\n1,0\n2,0\n')
  prepare.prepare(corpus='csv', source=tmp_path / 'm.csv', out=out, jobs=0, allow_rejects=True)
  after = {path.name: path.stat().st_mtime_ns for path in out.glob('labels/*.csv')}
  assert {name for name in before if before[name] != after[name]} == {pathlib.Path(clock.files['ben'].file).name}


def test_faults_that_fuzzing_found_are_short_lines(tmp_path):
  path = elan(tmp_path / 'a.eaf', {'arousal': [(0, 500, '1')]})
  path.write_text(path.read_text().replace('TIME_SLOT_REF2="', 'TIME_SLOT_REF2="no'))
  with pytest.raises(DataError, match=r"a.eaf: no document of ELAN \(KeyError\('no"):
    ratings.targets(path, 'a')
  export = tmp_path / 'a.json'
  export.write_text(json.dumps([task('a.csv', region(0, 1, 0.5, target=7))]))
  with pytest.raises(DataError, match="from_name is '7'"):
    ratings.targets(export, 'a')
  export.write_bytes(b'[' + b' ' * 10_000 + b'\xff]')
  with pytest.raises(DataError, match="can't decode byte 0xff") as error:
    ratings.targets(export, 'a')
  assert len(str(error.value)) < 500
