"""Each format, read back by the library of its own field."""

import csv
import dataclasses
import html
import math
import sys
from xml.etree import ElementTree

import audformat
import numpy as np
from praatio import textgrid as praat
import pyarrow
from pyarrow import parquet
import pympi
import pytest
import webvtt

from data_prep.core import cli
from data_prep.core.errors import DataError, UserError
from data_prep.labels import ratings
from data_prep.schema.grid import Grid
from e2e_affect.clips import formats
from tests import clips
from tests.e2e_affect.clips.formats.predictions import CLASSES, numbers, predicted, probabilities

STEP = 0.04
COARSE, SECONDS = Grid(0.2), Grid(1.0)


def write(tmp_path, name, prediction):
  formats.check([name], prediction.outputs, prediction.shows)
  formats.write([name], tmp_path / 'out', prediction)
  return tmp_path / 'out' / name


def episodes(trace, step=STEP):
  """(begin, end, text) in seconds, by a loop over the steps: the rule as docs/formats.md states it."""
  trace = trace.astype(np.float64)
  mean = sum(trace) / len(trace)
  deviation = math.sqrt(sum((v - mean) ** 2 for v in trace) / len(trace))
  said = ['high' if v > mean + deviation else 'low' if v < mean - deviation else None for v in trace] + [None]
  found, begin = [], 0
  for k in range(1, len(said)):
    if said[k] != said[begin]:
      if said[begin] and (k - begin) * step >= 0.5:
        found.append((begin * step, k * step, said[begin]))
      begin = k
  return found


def runs(texts, step):
  edges = [k for k in range(len(texts)) if not k or texts[k] != texts[k - 1]]
  return [(a * step, b * step, texts[a]) for a, b in zip(edges, [*edges[1:], len(texts)])]


def of_elan(document, tier):
  return sorted((begin / 1000, end / 1000, text) for begin, end, text in document.get_annotation_data_for_tier(tier))


def approx(segments):
  return [(pytest.approx(begin, abs=1e-9), pytest.approx(end, abs=1e-9), text) for begin, end, text in segments]


def test_eaf_is_read_by_pympi_and_its_traces_are_linked(tmp_path):
  values = numbers()
  notes = ['no face in 40 % of the steps', 'odd\x01name.mp4']
  prediction = predicted(tmp_path, values, media=tmp_path / 'ein Clip.mp4', simulated=True, notes=notes)
  folder = write(tmp_path, 'eaf', prediction)
  document = pympi.Eaf(str(folder / 'talk.eaf'))
  assert list(document.get_tier_names()) == ['arousal episodes', 'valence episodes']
  for k, target in enumerate(('arousal', 'valence')):
    expected = episodes(values[:, k])
    assert len(expected) > 1 and of_elan(document, f'{target} episodes') == approx(expected)
  said = dict(document.get_properties())
  assert said['trained on'] == 'simulated people' and 'for at least 0.5 s' in said['arousal episodes']
  assert said['notes'] == 'No face in 40 % of the steps. Odd name.mp4. Trained on simulated people.'
  assert f'above {values[:, 0].mean(dtype=float) + values[:, 0].std(dtype=float):+.4f}' in said['arousal episodes']
  (media,) = document.get_linked_files()
  # No copy of it is known, and nobody need know where it was: by name alone.
  assert media['MEDIA_URL'] == media['RELATIVE_MEDIA_URL'] == './ein%20Clip.mp4' and media['MIME_TYPE'] == 'video/mp4'
  assert str(tmp_path) not in (folder / 'talk.eaf').read_text()
  links = [link['LINK_URL'] for link in document.get_secondary_linked_files()]
  assert links == ['./talk.csv', './talk_tsconf.xml'] and all((folder / link).is_file() for link in links)
  table = np.loadtxt(folder / 'talk.csv', delimiter=',', comments='#')
  np.testing.assert_allclose(table[:, 0], STEP * np.arange(len(values)), rtol=0, atol=1e-9)
  np.testing.assert_array_equal(table[:, 1:].astype(np.float32), values)
  (source,) = ElementTree.parse(folder / 'talk_tsconf.xml').getroot()
  # ELAN finds the file by this text among the links, and takes a header for a sample unless it begins with #.
  assert source.attrib == {'sample-type': 'Discontinuous Rate', 'source-url': './talk.csv', 'time-column': '0'}
  tracks = {track.get('name'): track.find('sample-position/pos').get('col') for track in source.findall('track')}
  assert tracks == {'arousal': '1', 'valence': '2'}
  assert all(line[0] == '#' for line in (folder / 'talk.csv').read_text().splitlines() if not line[0].isdigit())


# The order of the elements and the attributes that ELAN's schema 3.0 demands.
ORDER = ['HEADER', 'TIME_ORDER', 'TIER', 'LINGUISTIC_TYPE']
DEMANDED = {
  'ANNOTATION_DOCUMENT': {'AUTHOR', 'DATE', 'VERSION'},
  'HEADER': set(),
  'MEDIA_DESCRIPTOR': {'MEDIA_URL', 'MIME_TYPE'},
  'LINKED_FILE_DESCRIPTOR': {'LINK_URL', 'MIME_TYPE'},
  'PROPERTY': set(),
  'TIME_ORDER': set(),
  'TIME_SLOT': {'TIME_SLOT_ID'},
  'TIER': {'TIER_ID', 'LINGUISTIC_TYPE_REF'},
  'ANNOTATION': set(),
  'ALIGNABLE_ANNOTATION': {'ANNOTATION_ID', 'TIME_SLOT_REF1', 'TIME_SLOT_REF2'},
  'ANNOTATION_VALUE': set(),
  'LINGUISTIC_TYPE': {'LINGUISTIC_TYPE_ID'},
}


@pytest.mark.parametrize('shows', ['numbers', 'probabilities', 'recording'])
def test_eaf_is_built_as_elans_schema_demands(tmp_path, shows):
  folder = write(tmp_path, 'eaf', of_kind(tmp_path, shows))
  root = ElementTree.parse(folder / 'talk.eaf').getroot()
  tags = [child.tag for child in root]
  assert tags == sorted(tags, key=ORDER.index) and tags[:2] == ORDER[:2]
  order = [child.tag for child in root.find('HEADER')]
  assert order == sorted(order, key=['MEDIA_DESCRIPTOR', 'LINKED_FILE_DESCRIPTOR', 'PROPERTY'].index)
  for element in root.iter():
    assert DEMANDED[element.tag] <= element.attrib.keys(), element.tag
  slots = {slot.get('TIME_SLOT_ID'): int(slot.get('TIME_VALUE')) for slot in root.find('TIME_ORDER')}
  assert list(slots.values()) == sorted(slots.values())
  used = [a.get(f'TIME_SLOT_REF{i}') for a in root.iter('ALIGNABLE_ANNOTATION') for i in (1, 2)]
  assert sorted(used) == sorted(slots) and len(set(used)) == len(used) > 0
  ids = [a.get('ANNOTATION_ID') for a in root.iter('ALIGNABLE_ANNOTATION')]
  assert len(set(ids)) == len(ids)
  assert {tier.get('LINGUISTIC_TYPE_REF') for tier in root.iter('TIER')} == {
    kind.get('LINGUISTIC_TYPE_ID') for kind in root.iter('LINGUISTIC_TYPE')
  }


def of_kind(tmp_path, shows):
  if shows == 'numbers':
    return predicted(tmp_path, numbers())
  values = probabilities()
  values = values if shows == 'probabilities' else np.repeat(values[-1:], len(values), axis=0)
  return predicted(tmp_path, values, CLASSES, shows, grid=COARSE)


def test_what_is_written_for_elan_is_read_as_labels_of_an_own_corpus(tmp_path):
  values = numbers(50)
  folder = write(tmp_path, 'eaf', predicted(tmp_path, values))
  found = {rating.target: rating for rating in ratings.read(folder / 'talk.eaf', 'talk')}
  assert list(found) == ['arousal', 'valence']  # the tiers of episodes are words
  for k, target in enumerate(found):
    np.testing.assert_allclose(found[target].times, STEP * np.arange(50), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(found[target].values.astype(np.float32), values[:, k])


def test_textgrid_is_read_by_praatio(tmp_path):
  values = numbers()
  prediction = predicted(tmp_path, numbers(seed=5), post=values, simulated=True, notes=['a "loud" room'])
  folder = write(tmp_path, 'textgrid', prediction)
  grid = praat.openTextgrid(str(folder / 'talk.TextGrid'), includeEmptyIntervals=True)
  assert grid.tierNames == ('arousal', 'valence', 'arousal episodes', 'valence episodes', 'notes')
  assert grid.maxTimestamp == pytest.approx(STEP * len(values), abs=1e-9)
  for k, target in enumerate(('arousal', 'valence')):
    begins, ends, texts = zip(*grid.getTier(target).entries)
    np.testing.assert_allclose(begins, STEP * np.arange(len(values)), rtol=0, atol=1e-9)
    np.testing.assert_allclose(ends, STEP * np.arange(1, len(values) + 1), rtol=0, atol=1e-9)
    np.testing.assert_array_equal(np.array(texts, np.float32), values[:, k])
    entries = [tuple(entry) for entry in grid.getTier(f'{target} episodes').entries]
    assert [entry for entry in entries if entry[2]] == approx(episodes(values[:, k]))
    assert [entry[0] for entry in entries] == [0, *(entry[1] for entry in entries[:-1])]  # no holes
  ((_, _, notes),) = grid.getTier('notes').entries
  assert 'arousal is high above' in notes and notes.endswith('A "loud" room. Trained on simulated people.')


def test_vtt_has_the_means_of_each_second(tmp_path):
  values = numbers(163)  # 6.52 s
  path = write(tmp_path, 'vtt', predicted(tmp_path, values, notes=['a --> b'])) / 'talk.vtt'
  found = webvtt.read(path)
  assert len(found) == 7 and 'A --&gt; b.' in path.read_text()
  for i, caption in enumerate(found):
    # Steps of second i: those that begin in [i, i + 1).
    of_second = [k for k in range(163) if i <= k * 4 // 100 < i + 1]
    assert caption.start_in_seconds == i and caption.start == f'00:00:0{i}.000'
    assert caption.end == (f'00:00:0{i + 1}.000' if i < 6 else '00:00:06.520')
    said = [part.split(' ') for part in caption.text.split(', ')]
    assert [name for name, _ in said] == ['arousal', 'valence']
    expected = values[of_second].astype(np.float64).mean(axis=0)
    np.testing.assert_allclose([float(number) for _, number in said], expected, rtol=0, atol=0.005 + 1e-9)


def test_vtt_over_an_hour_and_classes(tmp_path):
  values = np.repeat(probabilities(3), 1220, axis=0)  # 3660 s
  found = webvtt.read(
    write(tmp_path, 'vtt', predicted(tmp_path, values, CLASSES, 'probabilities', grid=SECONDS)) / 'talk.vtt'
  )
  assert len(found) == 3660 and found[-1].start == '01:00:59.000' and found[-1].end == '01:01:00.000'
  best = values[-1].argmax()
  assert html.unescape(found[-1].text) == f'{CLASSES[best]} {values[-1, best]:.2f}'


def test_parquet_is_the_table_with_types(tmp_path):
  raw, values = numbers(seed=5), numbers()
  prediction = predicted(tmp_path, raw, post=values, simulated=True)
  found = parquet.read_table(write(tmp_path, 'parquet', prediction) / 'talk.parquet')
  with (tmp_path / 'talk.csv').open() as file:
    assert found.column_names == ['recording', *next(csv.reader(file))]
  np.testing.assert_allclose(found['time'].to_numpy(), STEP * np.arange(len(values)), rtol=0, atol=1e-12)
  for k, target in enumerate(('arousal', 'valence')):
    assert found.schema.field(target).type == pyarrow.float32()
    np.testing.assert_array_equal(found[target].to_numpy(), raw[:, k])
    np.testing.assert_array_equal(found[f'{target}_post'].to_numpy(), values[:, k])
  assert set(found['recording'].to_pylist()) == {'talk'} and set(found['trained_on'].to_pylist()) == {
    'simulated people'
  }
  assert found['face_found'].null_count == len(values)


@pytest.mark.parametrize('media', [None, 'a clip.wav'])
def test_audformat_is_a_table_of_segments(tmp_path, media):
  values = numbers()
  prediction = predicted(tmp_path, values, media=media and tmp_path / media)
  found = audformat.utils.read_csv(write(tmp_path, 'audformat', prediction) / 'talk.csv')
  assert audformat.is_segmented_index(found) and list(found.columns) == ['arousal', 'valence']
  assert set(found.index.get_level_values('file')) == {str(tmp_path / media) if media else 'talk'}
  seconds = lambda level: found.index.get_level_values(level).total_seconds().to_numpy()
  np.testing.assert_allclose(seconds('start'), STEP * np.arange(len(values)), rtol=0, atol=1e-9)
  np.testing.assert_allclose(seconds('end'), STEP * np.arange(1, len(values) + 1), rtol=0, atol=1e-9)
  np.testing.assert_array_equal(found.to_numpy().astype(np.float32), values)


def test_the_end_is_that_of_the_recording(tmp_path):
  # A clip of 5.98 s has 150 steps, the last of which is half as long.
  prediction = predicted(tmp_path, numbers(150), length=5.98)
  assert webvtt.read(write(tmp_path, 'vtt', prediction) / 'talk.vtt')[-1].end == '00:00:05.980'
  assert praat.openTextgrid(str(write(tmp_path, 'textgrid', prediction) / 'talk.TextGrid'), True).maxTimestamp == 5.98
  found = audformat.utils.read_csv(write(tmp_path, 'audformat', prediction) / 'talk.csv')
  assert found.index.get_level_values('end')[-1].total_seconds() == 5.98
  for length, end in ((6.0001, 6.0), (5.96, 5.961), (None, 6.0)):
    assert dataclasses.replace(prediction, length=length).seconds(150) == pytest.approx(end, abs=1e-9)
    assert dataclasses.replace(prediction, length=length).seconds(149) == pytest.approx(5.96, abs=1e-9)


def test_csv_is_the_table(tmp_path):
  path = write(tmp_path, 'csv', predicted(tmp_path, numbers(), post=numbers(seed=2), simulated=True)) / 'talk.csv'
  with path.open(newline='') as ours, (tmp_path / 'talk.csv').open(newline='') as table:
    assert list(csv.reader(ours)) == list(csv.reader(table))


@pytest.mark.parametrize('shows', ['probabilities', 'recording'])
def test_classes(tmp_path, shows):
  prediction = of_kind(tmp_path, shows)
  values, step = prediction.values, COARSE.step_seconds
  texts = [CLASSES[k] for k in values.argmax(1)]
  expected = runs(texts, step)
  assert len(expected) == 1 if shows == 'recording' else len(expected) > 2
  document = pympi.Eaf(str(write(tmp_path, 'eaf', prediction) / 'talk.eaf'))
  assert of_elan(document, 'most probable class') == approx(expected)
  grid = praat.openTextgrid(str(write(tmp_path, 'textgrid', prediction) / 'talk.TextGrid'), includeEmptyIntervals=True)
  assert [tuple(entry) for entry in grid.getTier('most probable class').entries] == approx(expected)
  rows = values if shows == 'probabilities' else values[:1]
  for k, name in enumerate(CLASSES):
    entries = grid.getTier(name).entries
    np.testing.assert_array_equal(np.array([entry[2] for entry in entries], np.float32), rows[:, k])
    assert entries[-1][1] == pytest.approx(step * len(values), abs=1e-9)
  found = audformat.utils.read_csv(write(tmp_path, 'audformat', prediction) / 'talk.csv')
  np.testing.assert_array_equal(found.to_numpy().astype(np.float32), rows)
  assert list(found.columns) == list(CLASSES) and len(found) == len(rows)
  table = parquet.read_table(write(tmp_path, 'parquet', prediction) / 'talk.parquet')
  np.testing.assert_array_equal(np.stack([table[name].to_numpy() for name in CLASSES], axis=1), values)
  captions = webvtt.read(write(tmp_path, 'vtt', prediction) / 'talk.vtt')
  assert len(captions) == (1 if shows == 'recording' else math.ceil(len(values) * step))
  mean = values[:5].astype(np.float64).mean(axis=0)  # of the first second; of the whole all are equal
  assert html.unescape(captions[0].text) == f'{CLASSES[mean.argmax()]} {mean.max():.2f}'


def test_a_recording_of_one_number_has_one_segment(tmp_path):
  prediction = predicted(tmp_path, np.full((40, 2), (0.25, -0.5), np.float32))
  document = pympi.Eaf(str(write(tmp_path, 'eaf', prediction) / 'talk.eaf'))
  assert of_elan(document, 'valence of the recording') == [(0, pytest.approx(1.6), '-0.50')]
  (caption,) = webvtt.read(write(tmp_path, 'vtt', prediction) / 'talk.vtt')
  assert caption.text == 'arousal +0.25, valence -0.50' and caption.end == '00:00:01.600'
  assert len(audformat.utils.read_csv(write(tmp_path, 'audformat', prediction) / 'talk.csv')) == 1


def at(times, trace):
  """A value at the end of each step, a line between two, the nearest before the first and behind the last."""
  ends = STEP * np.arange(1, len(trace) + 1)
  return np.interp(times, ends, trace.astype(np.float64))


def test_files_of_challenges(tmp_path):
  values = np.column_stack([numbers(), numbers(seed=3)[:, 0]])
  prediction = predicted(tmp_path, values, ('valence', 'liking', 'arousal'))
  for name, header in (('avec2017', []), ('avec2019', ['name;timestamp;arousal;valence;liking'])):
    lines = (write(tmp_path, name, prediction) / 'talk.csv').read_text().splitlines()
    assert lines[: len(header)] == header
    rows = [line.split(';') for line in lines[len(header) :]]
    assert {row[0] for row in rows} == {"'talk'"}
    table = np.array([row[1:] for row in rows], np.float64)
    np.testing.assert_allclose(table[:, 0], np.arange(66) / 10, rtol=0, atol=1e-9)  # 6.52 s
    for column, k in ((1, 2), (2, 0), (3, 1)):
      np.testing.assert_allclose(table[:, column], at(table[:, 0], values[:, k]), rtol=0, atol=5.1e-7)
  folder = write(tmp_path, 'muse', prediction)
  for k, target in enumerate(prediction.outputs):
    header, *rows = (folder / target / 'talk.csv').read_text().splitlines()
    assert header == 'timestamp,value,segment_id'
    table = np.array([row.split(',')[:2] for row in rows], np.float64)
    np.testing.assert_array_equal(table[:, 0], 500 * np.arange(1, 14))
    np.testing.assert_allclose(table[:, 1], at(table[:, 0] / 1000, values[:, k]), rtol=0, atol=5.1e-7)


def test_affwild2_has_a_line_for_every_frame(tmp_path):
  video = tmp_path / 'talk.mp4'
  clips.write_clip(video, clips.counted_frames(20), codec='libx264')
  values = numbers(20)
  folder = write(tmp_path, 'affwild2', predicted(tmp_path, values, media=video))
  header, *lines = (folder / 'talk.txt').read_text().splitlines()
  assert header == 'valence,arousal' and len(lines) == 20 and not (folder / 'predictions.txt').exists()
  table = np.array([line.split(',') for line in lines], np.float64)
  # 25 frames a second: each ends where a step ends.
  np.testing.assert_allclose(table, values[:, ::-1], rtol=0, atol=1e-4)
  with pytest.raises(DataError, match='nothing says which video it is'):
    write(tmp_path, 'affwild2', predicted(tmp_path, values))


@pytest.mark.parametrize(
  'name, outputs, shows, reason',
  [
    (
      'mp4',
      ('arousal',),
      'numbers',
      '--format=mp4; expected some of csv, eaf, textgrid, vtt, parquet, audformat, avec2017',
    ),
    (
      'muse',
      CLASSES,
      'probabilities',
      'holds numbers, and here are probabilities of classes; expected some of csv, eaf',
    ),
    ('avec2019', CLASSES, 'recording', 'holds numbers, and here are classes of a recording'),
    ('affwild2', ('arousal', 'liking'), 'numbers', 'needs valence, and here are arousal, liking'),
  ],
)
def test_what_a_format_cannot_hold_is_told_at_once(name, outputs, shows, reason):
  with pytest.raises(UserError, match=reason) as error:
    formats.check([name], outputs, shows)
  assert '\n' not in str(error.value)


def test_a_library_that_is_absent_is_one_line_that_names_the_extra(monkeypatch, capsys):
  monkeypatch.setitem(sys.modules, 'pyarrow', None)
  with pytest.raises(SystemExit), cli.one_line():
    formats.check(['parquet'], ('arousal',), 'numbers')
  assert capsys.readouterr().err == "error: pyarrow: not installed; `pip install 'e2e_affect[formats]'` brings it\n"


def test_a_format_is_registered_once():
  with pytest.raises(ValueError, match="a format 'eaf' is registered already"):
    formats.register(formats.FORMATS['eaf'])
