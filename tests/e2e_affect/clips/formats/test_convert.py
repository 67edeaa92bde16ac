"""From trace CSVs, of clips and of runs, to files of other programs."""

import json
from urllib.parse import unquote

import numpy as np
from pyarrow import parquet
import pympi
import pytest
import soundfile
import webvtt

from data_prep.core.errors import DataError, UserError, WorkdirError
from data_prep.media import playback
from e2e_affect.clips import analyse, convert, formats
from e2e_affect.clips.formats import table
from e2e_affect.traces.table import write_csv
from e2e_affect.traces.traces import Trace
from tests import clips
from tests.e2e_affect.clips.formats.predictions import CLASSES, numbers, predicted, probabilities
from tests.networks import small_network


def trace(name, prediction, gold):
  ones = np.ones(len(prediction), np.float32)
  return Trace(name, name, 'test', prediction, gold, ones, ones)


def test_the_traces_of_a_run(tmp_path, capsys):
  raw = {'P1': numbers(60), 'P 2/ä': numbers(40, seed=2)}
  post = {name: values / 2 for name, values in raw.items()}
  of = lambda values: [trace(name, v, 0 * v) for name, v in values.items()]
  write_csv(tmp_path / 'test.csv', of(raw), ['arousal', 'valence'], ['arousal', 'valence'], of(post))
  files = convert.convert(tmp_path / 'test.csv', ['parquet', 'vtt', 'muse'], tmp_path / 'out')
  assert sorted(file.relative_to(tmp_path / 'out').as_posix() for file in files) == sorted(
    f'{folder}/{name}.{ending}'
    for name in ('P1', 'P 2_ä')
    for folder, ending in (('parquet', 'parquet'), ('vtt', 'vtt'), ('muse/arousal', 'csv'), ('muse/valence', 'csv'))
  )
  for name, file in (('P1', 'P1'), ('P 2/ä', 'P 2_ä')):
    found = parquet.read_table(tmp_path / 'out' / 'parquet' / f'{file}.parquet')
    np.testing.assert_array_equal(found['valence'].to_numpy(), raw[name][:, 1])
    np.testing.assert_array_equal(found['valence_post'].to_numpy(), post[name][:, 1])
    assert set(found['recording'].to_pylist()) == {name}
    caption = webvtt.read(tmp_path / 'out' / 'vtt' / f'{file}.vtt')[0]
    assert caption.text.startswith(f'arousal {post[name][:25, 0].astype(float).mean():+.2f}')  # what is final is said
  assert f'{tmp_path / "test.csv"}: 2 recordings -> {tmp_path / "out" / "parquet"}' in capsys.readouterr().out
  with pytest.raises(WorkdirError, match='P 2_ä.*is there already; left as it is: move it away'):
    convert.convert(tmp_path / 'test.csv', ['vtt'], tmp_path / 'out')
  assert not list((tmp_path / 'out').glob('.*'))


def test_classes_of_a_run_are_known_by_their_sum(tmp_path):
  one, other = probabilities(30), probabilities(20, seed=4)
  whole = [np.repeat(values[:1], len(values), axis=0) for values in (one, other)]
  for values, shows in (((one, other), 'probabilities'), (whole, 'recording'), ((one, 2 * other), 'numbers')):
    traces = [trace(name, v, np.zeros((len(v), 1), np.float32)) for name, v in zip('ab', values)]
    write_csv(tmp_path / 'test.csv', traces, CLASSES, ['emotion'])
    found = table.read(tmp_path / 'test.csv')
    assert [(p.recording, p.shows, p.outputs) for p in found] == [('a', shows, CLASSES), ('b', shows, CLASSES)]
    np.testing.assert_array_equal(found[1].values, values[1])
  with pytest.raises(UserError, match='--format=muse holds numbers'):
    write_csv(tmp_path / 'test.csv', [trace('a', one, np.zeros((30, 1), np.float32))], CLASSES, ['emotion'])
    convert.convert(tmp_path / 'test.csv', ['muse'], tmp_path)


@pytest.mark.parametrize(
  'text, reason',
  [
    ('', 'no trace CSV'),
    ('time,arousal\n', 'no rows'),
    ('time,arousal\n0.00,0.5\n', 'nothing says how long it is'),
    ('time,arousal\n0.00,0.5\n0.04\n', 'row 3: 1 columns, expected 2'),
    ('time,arousal\n0.00,0.5\n0.04,x\n', 'damaged .*expected a number for each of arousal'),
    ('time,arousal\n0.00,0.5\n0.04,nan\n', 'not finite'),
    ('time,arousal\n0.00,0.5\n0.04,1\n0.12,1\n', "time '0.12' in step 2 of a recording, expected 0.08"),
    ('time,arousal\n0.04,0.5\n0.00,1\n', 'the times are no grid'),
    ('time,arousal\na,0.5\nb,1\n', 'the times are no grid'),
    ('time,arousal,arousal\n0.00,0.5,1\n', 'columns of one name'),
    ('when,arousal\n0.00,0.5\n', 'columns when, arousal; expected `time`'),
    ('recording,time,face_found\na,0.00,0.5\n', 'expected `time` and a column for each output'),
    ('recording,time,arousal\na/b,0.00,0.5\na/b,0.04,1\na_b,0.00,1\na_b,0.04,1\n', 'two recordings would be named a_b'),
  ],
)
def test_what_is_no_trace_csv_is_told_in_a_line(tmp_path, text, reason):
  (tmp_path / 'a.csv').write_text(text)
  with pytest.raises(DataError, match=reason) as error:
    convert.convert(tmp_path / 'a.csv', ['vtt'], tmp_path / 'out')
  assert '\n' not in str(error.value) and not list((tmp_path / 'out').glob('*/*'))
  with pytest.raises(DataError, match='absent.csv: cannot be read'):
    table.read(tmp_path / 'absent.csv')


def test_the_json_beside_a_clip_says_what_its_table_holds(tmp_path):
  predicted(tmp_path, probabilities(5), CLASSES, 'recording')
  about = {'clip': 'talk', 'targets': dict.fromkeys(CLASSES), 'step_seconds': 0.04}
  about |= {'files': {'video': '/a/talk.mp4'}, 'seconds': 0.19}
  (tmp_path / 'talk.json').write_text(json.dumps(about | {'most_probable': {'of': 'recording'}}))
  (found,) = table.read(tmp_path / 'talk.csv')
  assert found.shows == 'recording' and str(found.media) == '/a/talk.mp4' and found.outputs == CLASSES
  assert found.length == 0.19
  (tmp_path / 'talk.json').write_text(json.dumps(about | {'most_probable': {'of': 'years'}}))
  with pytest.raises(DataError, match='talk.json: no summary of a clip'):
    table.read(tmp_path / 'talk.csv')
  (tmp_path / 'talk.json').unlink()
  (found,) = table.read(tmp_path / 'talk.csv')
  assert found.shows == 'probabilities' and found.media is None


def test_predict_writes_what_convert_makes_of_its_csv_and_keeps_what_a_person_changed(tmp_path):
  network = small_network('speech')
  for name in 'ab':
    soundfile.write(
      tmp_path / f'{name}.wav', np.random.default_rng(0).normal(0, 0.1, 24_100), 16_000
    )  # a short last step
  arguments, out = [str(tmp_path / f'{name}.wav') for name in 'ab'], tmp_path / 'out'
  names = [name for name in formats.FORMATS if name != 'affwild2']
  (content, _) = analyse.analyse(network, arguments, out, further=names)
  written = [f'eaf/a{end}' for end in ('.csv', '.eaf', '_tsconf.xml')] + [f'muse/{k}/a.csv' for k in network.targets]
  assert set(written) <= set(content['formats']) == set(json.loads((out / 'a.json').read_text())['formats'])
  assert all((out / file).is_file() for file in content['formats'])
  convert.convert(out / 'a.csv', names, tmp_path / 'again')
  for file in content['formats']:
    if not file.startswith('eaf/') or file.endswith('/a.csv'):  # ELAN's documents have a date
      assert (tmp_path / 'again' / file).read_bytes() == (out / file).read_bytes(), file
  assert b'trained on simulated people' in (out / 'eaf' / 'a.csv').read_bytes()

  # A person goes on with one of them; a newer analysis replaces the others.
  (out / 'eaf' / 'a.eaf').write_text('mine')
  before = (out / 'a.json').read_bytes()
  with pytest.raises(
    DataError, match='1 of 2 clips refused.*a.eaf: is there already and no result of this program, or c'
  ):
    analyse.analyse(network, arguments, out, further=['eaf', 'vtt'])
  assert (out / 'eaf' / 'a.eaf').read_text() == 'mine' and (out / 'a.json').read_bytes() == before
  assert [path.name for path in (out / 'muse' / 'arousal').iterdir()] == ['a.csv']  # that of b would be of the past
  assert sorted(json.loads((out / 'b.json').read_text())['formats']) == [
    f'{file}' for file in ('eaf/b.csv', 'eaf/b.eaf', 'eaf/b_tsconf.xml', 'vtt/b.vtt')
  ]
  # Without formats nothing of the past is left but what was changed.
  analyse.analyse(network, arguments, out)
  assert [
    path.relative_to(out).as_posix() for path in out.rglob('*/*') if 'media' not in path.parts and path.is_file()
  ] == ['eaf/a.eaf']


@pytest.mark.slow
def test_elan_finds_what_plays(tmp_path):
  """Whatever the clip is: played as it is, under another suffix, or from a copy; with a picture or sound alone."""
  network, folder = small_network('speech'), tmp_path / 'in'
  folder.mkdir()
  noise, frames = np.random.default_rng(0).normal(0, 0.1, 24_000), clips.counted_frames(38)
  for suffix, subtype in (('wav', None), ('flac', None), ('ogg', 'VORBIS'), ('mp3', None), ('aiff', None)):
    soundfile.write(folder / f'{suffix} ä.{suffix}', noise, 16_000, subtype)
  clips.write_clip(folder / 'mp4.mp4', frames, sound=noise, rate=16_000, codec='libx264', sound_codec='aac')
  clips.write_clip(folder / 'mov.mov', frames, sound=noise, rate=16_000, codec='libx264', sound_codec='aac')
  clips.write_clip(folder / 'avi.avi', frames, sound=noise, rate=16_000, codec='mpeg4')
  clips.write_clip(folder / 'mkv.mkv', frames, sound=noise, rate=16_000)
  clips.write_clip(folder / 'm4a.m4a', sound=noise, rate=16_000, sound_codec='aac')
  clips.write_clip(folder / 'webm.webm', frames, sound=noise, rate=48_000, codec='libvpx', sound_codec='libopus')
  out = tmp_path / 'out'
  contents = analyse.analyse(network, [str(folder)], out, further=['eaf'])
  # A network that sees has the pictures at hand; one that hears makes a copy of the sound alone.
  contents += analyse.analyse(small_network('visual'), [str(folder / 'avi.avi')], tmp_path / 'seen', further=['eaf'])
  convert.convert(tmp_path / 'seen' / 'avi.csv', ['eaf'], tmp_path / 'else' / 'where')
  documents = [*sorted((out / 'eaf').glob('*.eaf')), *sorted(tmp_path.glob('seen/eaf/*.eaf'))]
  documents += [tmp_path / 'else' / 'where' / 'eaf' / 'avi.eaf']
  assert len(documents) == 11 + 2 and len(contents) == 11 + 1
  found = {}
  for document in documents:
    (media,) = pympi.Eaf(str(document)).get_linked_files()
    for url in ('MEDIA_URL', 'RELATIVE_MEDIA_URL'):
      place = (document.parent / unquote(media[url])).resolve()
      assert place.is_file() and playback.playable_as(place) == place.suffix, media
      found.setdefault(document.stem, set()).add((place.suffix, media['MIME_TYPE']))
  assert found == {
    'wav ä': {('.wav', 'audio/x-wav')},
    'flac ä': {('.flac', 'audio/flac')},
    'ogg ä': {('.ogg', 'audio/ogg')},
    'mp3 ä': {('.m4a', 'audio/mp4')},  # its encoder's delay is longer than a step
    'aiff ä': {('.m4a', 'audio/mp4')},
    'mp4': {('.mp4', 'video/mp4')},
    'mov': {('.mp4', 'video/mp4')},
    'avi': {('.m4a', 'audio/mp4'), ('.mp4', 'video/mp4')},
    'mkv': {('.m4a', 'audio/mp4')},
    'm4a': {('.m4a', 'audio/mp4')},
    'webm': {('.webm', 'video/webm')},
  }
  # The clip lies inside its page, or its copy was taken away: by name alone, and ELAN asks.
  analyse.analyse(network, [str(folder / 'mp4.mp4')], tmp_path / 'embedded', embed=True, further=['eaf'])
  (out / 'media' / 'mov.mp4').unlink()
  convert.convert(out / 'mov.csv', ['eaf'], tmp_path / 'again')
  for document, name in ((tmp_path / 'embedded', 'mp4.mp4'), (tmp_path / 'again', 'mov.mov')):
    (media,) = pympi.Eaf(str(document / 'eaf' / f'{name[:3]}.eaf')).get_linked_files()
    assert media['MEDIA_URL'] == media['RELATIVE_MEDIA_URL'] == f'./{name}'


def test_a_format_that_cannot_be_written_ends_before_any_work(tmp_path):
  soundfile.write(tmp_path / 'a.wav', np.zeros(3000), 16_000)
  with pytest.raises(UserError, match='--format=docx; expected some of csv'):
    analyse.analyse(small_network('speech'), [str(tmp_path / 'a.wav')], tmp_path / 'out', further=['docx'])
  assert not (tmp_path / 'out').exists()
