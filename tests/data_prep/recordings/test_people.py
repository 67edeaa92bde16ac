"""Several people in one clip: whose faces are read, and who is heard."""

import tracemalloc

import numpy as np
import pytest
import soundfile

from data_prep.core.errors import DataError, UserError
from data_prep.face import people
from data_prep.recordings import clip, who
from tests import clips
from tests.data_prep.face.test_people import GREEN, RED, scene
from tests.data_prep.recordings.test_clip import source

TURNS = (
  ';; a comment\n'
  'SPKR-INFO duo 1 <NA> <NA> <NA> unknown person1 <NA> <NA>\n'
  'SPEAKER duo 1 0.25 0.5 <NA> <NA> person1 <NA> <NA>\n'
  'SPEAKER duo 1 1.0 0.5 <NA> <NA> 2 <NA> <NA>\n'
  'SPEAKER duo 1 1.5 0.25 <NA> <NA> SPEAKER_07 <NA> <NA>\n'
  'SPEAKER other 1 0 9 <NA> <NA> 2 <NA> <NA>\n'
)


def two_people(face):
  """2 s; the second leaves after 1.4 s."""
  return [scene(face, (RED, 110 + i / 2, 115), *[(GREEN, 350, 115)] * (i < 35)) for i in range(50)]


@pytest.fixture(scope='module')
def duo(tmp_path_factory, face):
  """A clip of two people, with noise for sound."""
  path = tmp_path_factory.mktemp('duo') / 'duo.mkv'
  clips.write_clip(path, two_people(face), sound=np.random.default_rng(0).normal(0, 0.1, 32_000), rate=16_000)
  path.with_suffix('.rttm').write_text(TURNS)
  return path


def read(path, folder, faces, speakers=None):
  folder.mkdir(exist_ok=True)
  return clip.read(source(path), folder, picture=True, wanted=who.wanted(faces, speakers and str(speakers)))


def test_everybody_or_one_of_them(duo, tmp_path):
  both = read(duo, tmp_path / 'all', 'all')
  assert both.crops is None and len(both.people) == 2 and both.notes == []
  first, second = both.people
  assert [one.person for one in both.people] == [1, 2] and first.steps == second.steps == len(first.face_found) == 50
  assert (first.face_found > 0.6).all()
  assert (second.face_found[:35] > 0.6).all() and not second.face_found[38:].any()
  assert np.isnan(second.boxes[38:]).all() and second.crops.same(40, 49) and len(second.crops) == 50
  assert np.nanmax(first.boxes[:, 0]) < 180 < np.nanmin(second.boxes[:, 0])
  for faces, same in (('2', second), ('330,90,50,50', second)):
    one = read(duo, tmp_path / 'one', faces)
    assert one.person == same.person and one.people == ()
    np.testing.assert_array_equal(one.face_found, same.face_found)
    assert [one.crops.jpeg(k) for k in (0, 20, 49)] == [same.crops.jpeg(k) for k in (0, 20, 49)]
  for faces in ('3', '0,0,30,20'):
    with pytest.raises(
      DataError, match=rf'nobody is --faces={faces}; the people in it: 1 at \d+,\d+,\d+,\d+; 2 at \d+'
    ):
      clip._picked(both.people, source(duo), who.wanted(faces, None).faces)


def test_each_is_heard_in_turn(duo, tmp_path):
  both = read(duo, tmp_path / 'all', 'all', duo.with_suffix('.rttm'))
  assert both.notes == ['duo.rttm: not in the picture: SPEAKER_07']
  for one, begin, end in zip(both.people, (4000, 16_000), (12_000, 24_000)):
    heard = np.zeros(32_000, bool)
    heard[begin:end] = True
    np.testing.assert_array_equal(one.samples, np.where(heard, both.samples, 0))
    assert one.speaks == [(begin / 16_000, end / 16_000)] and one.notes == []
    assert (one.audio_mean, one.audio_std) == pytest.approx((one.samples.mean(), one.samples.std()))
  (duo.with_suffix('.rttm')).with_name('b.rttm').write_text(TURNS.replace('person1', '7'))
  second = read(duo, tmp_path / 'two', '2', duo.with_name('b.rttm'))
  np.testing.assert_array_equal(second.samples, both.people[1].samples)
  first = read(duo, tmp_path / 'three', '1', duo.with_name('b.rttm'))
  assert not first.samples.any() and 'b.rttm: never speaks' in first.notes and first.audio_std == 0


def test_without_people(tmp_path):
  clips.write_clip(tmp_path / 'v.mkv', clips.counted_frames(10))
  soundfile.write(tmp_path / 'a.wav', np.random.default_rng(0).normal(0, 0.1, 8000), 16_000)
  nobody = read(tmp_path / 'v.mkv', tmp_path, 'all')
  assert nobody.people == () and not nobody.face_found.any()
  sound = read(tmp_path / 'a.wav', tmp_path, 'all')
  assert sound.people == () and sound.crops is None and sound.notes == ['no picture']
  with pytest.raises(DataError, match='nobody is --faces=1; the people in it: none'):
    read(tmp_path / 'v.mkv', tmp_path, '1')
  with pytest.raises(DataError, match='a.wav: no picture, so that nobody is found in it; leave out --faces'):
    read(tmp_path / 'a.wav', tmp_path, '1')


@pytest.mark.parametrize('text', ['larger', '0', '-1', '1,2,3', '1,2,0,4', '1,2,nan,4', '1,2,3,4,5', '', '1e9,0,1,1'])
def test_faces_that_are_none(text):
  with pytest.raises(
    UserError, match=r'^--faces=.*; expected largest, all, the number of a person, or a box x,y,width'
  ):
    who.wanted(text, None)


def test_wanted():
  assert who.wanted('largest', None) == who.Wanted() and who.wanted('12', None).faces == 12
  assert who.wanted('1,2.5,30,40', None).faces == (1, 2.5, 30, 40)
  with pytest.raises(UserError, match='--speakers=x.rttm says who speaks by the numbers of people; give --faces=all'):
    who.wanted('largest', 'x.rttm')


def test_turns(duo, tmp_path):
  path = duo.with_suffix('.rttm')
  assert who.turns(path, 'duo') == {'person1': [(0.25, 0.75)], '2': [(1.0, 1.5)], 'SPEAKER_07': [(1.5, 1.75)]}
  assert [who.number_of(name) for name in ('1', 'person12', 'Person 3', '0', 'SPEAKER_00', 'person')] == [
    1,
    12,
    3,
    None,
    None,
    None,
  ]
  bad = tmp_path / 'bad.rttm'
  for text, message in (
    ('SPEAKER duo 1 0.5 x <NA> <NA> 1', "line 1: 'SPEAKER duo 1 0.5 x <NA> <NA> 1'; expected SPEAKER, recording"),
    ('SPEAKER duo 1 -1 2 <NA> <NA> 1', 'line 1: .*; expected SPEAKER'),
    ('\nSPEAKER duo 1 1 2', 'line 2: .*; expected SPEAKER'),
    ('SPEAKER other 1 1 2 <NA> <NA> 1', "has turns of other, and none of 'duo'; the second field names the recording"),
    ('', 'no line begins with SPEAKER; expected an RTTM file'),
  ):
    bad.write_text(text)
    with pytest.raises(DataError, match=message):
      who.turns(bad, 'duo')
  with pytest.raises(DataError, match='cannot be read .*; expected an RTTM file'):
    who.turns(tmp_path / 'absent.rttm', 'duo')
  bad.write_text(TURNS.replace(' 2 <', ' b <').replace('person1 <', 'a <'))
  with pytest.raises(DataError, match='speakers a, b, SPEAKER_07; expected numbers of the people in the picture: 1, 2'):
    read(duo, tmp_path, 'all', bad)


@pytest.mark.slow
def test_a_face_of_a_moment_is_nobody_and_twenty_minutes_stay_out_of_memory(tmp_path, monkeypatch):
  """30 000 steps of two people: 600 MB of crops; and one who is seen for 0.8 s."""
  clips.write_clip(tmp_path / 'v.mkv', [np.zeros((32, 32, 3), np.uint8)] * 601, times=range(0, 1202, 2))
  steps = 30_000

  def follow(frames, grid, crop, detector):
    for step, frame in zip(range(steps), frames):
      seen = [1, 2] if step % 1000 < 900 else [1]
      seen += [3] * (500 <= step < 520)
      of = lambda person: (people.Sighting(person, 0.5, (1.0, 2.0, 30.0 + person)), step.to_bytes(4) * 2500)
      yield frame, [of(person) for person in seen]

  monkeypatch.setattr(people, 'follow', follow)
  tracemalloc.start()
  read_clip = read(tmp_path / 'v.mkv', tmp_path, 'all')
  peak = tracemalloc.get_traced_memory()[1]
  tracemalloc.stop()
  assert len(read_clip.people) == 2 and read_clip.notes == ['no sound', 'faces seen for less than 1 s, left out: 1']
  first, second = read_clip.people
  assert 29_900 < first.steps <= len(first.crops) and first.crops.jpeg(29_800) == (29_800).to_bytes(4) * 2500
  assert second.crops.jpeg(950) == (899).to_bytes(4) * 2500 and second.face_found[950] == 0
  assert peak < 30e6, peak  # rows of 36 bytes for each of them, with room to grow
