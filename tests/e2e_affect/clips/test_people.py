"""Several people in a clip: a table, a trace and a row of the index for each."""

import csv
import functools
import io
import json
import re
import types

import numpy as np
import pytest
import soundfile

from data_prep.core.errors import DataError, UserError
from data_prep.recordings import live, who
from data_prep.schema.grid import PAPER
import e2e_affect
from e2e_affect.clips import analyse, analysis, convert, incoming, network, stream
from e2e_affect.clips.everybody import Everybody
from e2e_affect.clips.online import OnlineNetwork
from e2e_affect.traces import figures
from tests import clips
from tests.data_prep.recordings.test_people import TURNS, two_people
from tests.e2e_affect.clips.test_predict import column, rows
from tests.networks import network_with_band, small_network


@pytest.fixture(scope='module')
def duo(tmp_path_factory, face):
  """A clip of two people; who speaks, beside it."""
  path = tmp_path_factory.mktemp('duo') / 'duo.mp4'
  noise = np.random.default_rng(0).normal(0, 0.1, 32_000)
  clips.write_clip(path, two_people(face), sound=noise, rate=16_000, codec='libx264', sound_codec='aac')
  path.with_suffix('.rttm').write_text(TURNS)
  return path


def analysed(duo, out, faces, speakers=None, **options):
  wanted = who.wanted(faces, speakers and str(speakers))
  analyse.analyse(small_network('speech', 'visual'), [str(duo)], out, wanted=wanted, **options)
  return json.loads((out / f'{duo.stem}.json').read_text())


def files(out):
  return sorted(path.relative_to(out).as_posix() for path in out.rglob('*') if path.is_file())


@pytest.mark.slow
def test_each_person_has_a_table(duo, tmp_path, capsys):
  content = analysed(duo, tmp_path, 'all', further=['textgrid'])
  said = capsys.readouterr().out
  assert re.search(
    r'duo: 2.00 s; person 1: post-processed means: .*; face in 100 %; person 2: .*; no face in 30 % of', said
  )
  assert 'the sound is taken for everybody’s: --speakers=FILE' in said and 'targets' not in content
  assert content['settings']['faces'] == 'all' and [one['person'] for one in content['people']] == [1, 2]
  tables = [f'duo.person{k}.csv' for k in (1, 2)]
  formats = [f'textgrid/duo.person{k}.TextGrid' for k in (1, 2)]
  assert files(tmp_path) == ['duo.html', 'duo.json', *tables, 'media/duo.mp4', *formats]
  for one, table in zip(content['people'], tables):
    found = column(tmp_path / table, 'face_found')
    assert len(found) == 50 and one['face']['share_of_steps'] == pytest.approx((found > 0).mean(), abs=1e-6)
    assert one['targets']['arousal']['raw']['mean'] == pytest.approx(
      column(tmp_path / table, 'arousal').mean(), abs=1e-5
    )
  both = [column(tmp_path / table, 'arousal') for table in tables]
  assert np.abs(both[0] - both[1]).max() > 1e-3
  # One of them, picked by number or box, has the same trace; the tables of both are gone.
  content = analysed(duo, tmp_path, '2')
  assert files(tmp_path) == ['duo.csv', 'duo.html', 'duo.json', 'media/duo.mp4'] and content['person'] == 2
  np.testing.assert_array_equal(column(tmp_path / 'duo.csv', 'arousal'), both[1])
  # And with people again the table of one is gone. A table that somebody changed is kept.
  content = analysed(duo, tmp_path, 'all', duo.with_suffix('.rttm'))
  assert files(tmp_path) == ['duo.html', 'duo.json', *tables, 'media/duo.mp4']
  assert content['notes'] == ['duo.rttm: not in the picture: SPEAKER_07']
  assert [one['speaks'] for one in content['people']] == [[[0.25, 0.75]], [[1.0, 1.5]]]
  assert np.abs(column(tmp_path / tables[0], 'arousal') - both[0]).max() > 1e-3
  (prediction,) = convert.convert(tmp_path / tables[1], ['csv'], tmp_path / 'converted')
  assert prediction.name == 'duo.person2.csv' and rows(prediction) == rows(tmp_path / tables[1])
  (tmp_path / tables[0]).write_text('mine')
  with pytest.raises(DataError, match='duo.person1.csv: is there already and no result of this program, or changed'):
    analysed(duo, tmp_path, 'all')


@pytest.mark.slow
def test_faces_are_found_as_in_the_training_or_by_the_detector_that_is_named(duo, tmp_path, fixed_detector):
  cascade = small_network('speech', 'visual')
  fixed = network.Network(
    cascade.config, cascade.variables, cascade.about | {'dataset': {'preparation': {'detector': fixed_detector}}}
  )
  assert (cascade.detector, fixed.detector) == ('cascade', fixed_detector)
  seen = {}
  for name, of, asked in (('own', fixed, None), ('named', cascade, fixed_detector), ('default', cascade, None)):
    (content,) = analyse.analyse(of, [str(duo)], tmp_path / name, wanted=who.wanted('largest', None, asked))
    seen[name] = content['settings']['detector'], content['targets'], content['notes']
  assert seen['own'] == (fixed_detector, seen['named'][1], [])
  assert seen['named'] == (fixed_detector, seen['own'][1], ['faces are found by fixed in place of cascade'])
  assert seen['default'][0] == 'cascade' and seen['default'][1:] != seen['own'][1:]


@pytest.mark.slow
def test_the_index_has_a_row_for_each(duo, tmp_path):
  soundfile.write(duo.with_name('a.wav'), np.random.default_rng(1).normal(0, 0.1, 8000), 16_000)
  analysed(duo, tmp_path, 'all')
  assert not (tmp_path / 'index.html').exists()  # it is one clip
  analyse.analyse(small_network('speech'), [str(duo.with_name('a.wav'))], tmp_path)
  index = (tmp_path / 'index.html').read_text()
  for name, page in (('a', 'a'), ('duo, person 1', 'duo'), ('duo, person 2', 'duo')):
    assert re.search(f'<a href="{page}.html">{name}</a>', index), name
  assert index.count('<svg') == 6


@pytest.mark.slow
def test_each_person_has_an_analysis(duo, tmp_path):
  fused, wanted = network_with_band('speech', 'visual'), who.wanted('all', str(duo.with_suffix('.rttm')))
  analyse.analyse(fused, [str(duo)], tmp_path, wanted=wanted)
  everybody = e2e_affect.analyse(duo, fused, faces='all', speakers=duo.with_suffix('.rttm'))
  assert [one.person for one in everybody] == [1, 2]
  assert everybody.notes[0] == 'duo.rttm: not in the picture: SPEAKER_07'
  for one in everybody:
    assert set(everybody.notes) <= set(one.notes)
    for name in ('arousal_post', 'valence_low', 'face_found'):
      written = column(tmp_path / f'duo.person{one.person}.csv', name)
      np.testing.assert_allclose(one.arrays[name], written, atol=1e-3)
    (written,) = one.write('csv', tmp_path / str(one.person))
    assert written.name == f'duo.person{one.person}.csv'
  second = e2e_affect.analyse(duo, fused, faces=2)
  assert isinstance(second, analysis.Analysis) and second.person == 2
  assert np.abs(second.arrays['arousal'] - everybody[1].arrays['arousal']).max() > 1e-3  # it hears everybody
  boxed = e2e_affect.analyse(duo, fused, faces=[330, 90, 50, 50])
  np.testing.assert_array_equal(boxed.arrays['arousal'], second.arrays['arousal'])

  panels = everybody.plot().axes
  assert [axes.get_ylabel() for axes in panels] == ['arousal [−1, 1]', 'valence [−1, 1]']
  thin, strong = panels[0].lines[2:4]  # of the second, who leaves
  assert thin.get_color() == strong.get_color() == figures.of_person(2) and strong.get_label() == 'person 2'
  lost = everybody[1].arrays['face_found'] == 0
  np.testing.assert_array_equal(np.isnan(strong.get_ydata())[1:], (lost[1:] & lost[:-1]))
  assert not np.isnan(thin.get_ydata()).any()


@pytest.mark.slow
def test_a_stream_says_of_everybody_what_the_file_says(face, tmp_path, monkeypatch):
  frames = two_people(face)
  sound = np.random.default_rng(0).normal(0, 0.1, 32_000)
  clips.write_clip(tmp_path / 'duo.mkv', frames, sound=sound, rate=16_000)
  fused = small_network('speech', 'visual')
  file = analysis.analyse(tmp_path / 'duo.mkv', fused, faces='all')
  heard = np.round(sound * 32_767)
  known = functools.partial(OnlineNetwork, statistics=(heard.mean(), heard.std()))  # as in the file, not heard so far
  monkeypatch.setattr(stream, 'OnlineNetwork', known)
  sink = io.StringIO()
  stream.run(fused, (tmp_path / 'duo.mkv').open('rb'), sink, faces='all')
  said = list(csv.DictReader(io.StringIO(sink.getvalue())))
  assert list(said[0]) == ['time', 'person', 'arousal', 'valence', 'trained_on', 'face_found']
  assert [(row['time'], row['person']) for row in said[-2:]] == [('1.96', '1'), ('1.96', '2')]
  for one in file:
    first = np.flatnonzero(one.arrays['face_found'])[0]
    own = [row for row in said if row['person'] == str(one.person)]
    assert [row['time'] for row in own] == [PAPER.time(k) for k in range(first, 50)]  # who is gone for 0.6 s stays
    for name, tolerance in (('arousal', 1e-4), ('valence', 1e-4), ('face_found', 6e-4)):
      np.testing.assert_allclose([float(row[name]) for row in own], one.arrays[name][first:], atol=tolerance)


def test_who_is_gone_from_a_stream_has_no_lines_until_the_face_is_back():
  class Counting:
    """Says how many steps it has taken, and in how many it saw a face."""

    ahead, grid, hears, sees, detector = 1, PAPER, True, True, ''

    def __init__(self, taken=0, saw=0):
      self.taken, self.saw = taken, saw

    def fork(self):
      return Counting(self.taken, self.saw)

    def hear(self, samples):
      return samples

    def say(self, heard, face, found):
      self.taken, self.saw = self.taken + 1, self.saw + (found > 0)
      return np.array([self.taken, self.saw]) if self.taken > self.ahead else None

  running = Everybody(Counting())
  seen = [{1: (None, 1.0)} if k in (2, 3, 400) else {} for k in range(402)]
  said = [running(None, of) for of in seen]
  assert said[0] is None and said[1] == said[2] == {} and len(said) == 402
  # Seen last in step 3: lines until 10 s, 250 steps, after it, and from step 400 on; each a step late.
  assert [k - 1 for k, of in enumerate(said) if of] == [*range(2, 254), 400]
  np.testing.assert_array_equal(said[3][1], [4, 2])
  np.testing.assert_array_equal(said[401][1], [402, 1])  # heard all, and begins to see anew


def test_what_a_stream_cannot_do_for_everybody(tmp_path):
  with pytest.raises(UserError, match='or with --faces=all and without --serve everybody'):
    stream.run(small_network('visual'), io.BytesIO(), io.StringIO(), faces=2)
  with pytest.raises(UserError, match='--faces is for networks that see'):
    stream.run(small_network('speech'), io.BytesIO(), io.StringIO(), faces='all')
  heard = types.SimpleNamespace(hears=True, sees=True, grid=PAPER, ahead=0, detector='')
  with pytest.raises(DataError, match='no container, and a picture is wanted'):
    list(incoming.steps(Everybody(heard), live.Source(io.BytesIO(bytes(2 * 1280)))))


def test_faces_of_a_network_that_does_not_see(tmp_path):
  with pytest.raises(UserError, match='--faces is for networks that see, and this is a speech network; leave it out'):
    analyse.analyse(small_network('speech'), ['a.wav'], tmp_path, wanted=who.wanted('all', None))
