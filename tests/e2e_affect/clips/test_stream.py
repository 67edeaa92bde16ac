"""The stream against whole recordings."""

import csv
import io
import os
import subprocess
import sys
import types
import urllib.error
import urllib.request

import numpy as np
import pytest

from data_prep.core.errors import DataError, UserError
from data_prep.corpora.recording import Recording
from data_prep.face import tracker
from data_prep.recordings import clip, live
from data_prep.schema.grid import PAPER
from data_prep.streams.speech import statistics
from e2e_affect.clips import analyse, exported, incoming, live_page, model_card, stream
from e2e_affect.clips.online import OnlineNetwork
from tests import clips
from tests.e2e_affect.clips.test_network import sound
from tests.networks import small_network

REPO = __file__.rsplit('/tests/', 1)[0]


def streamed(network, samples, **options):
  return np.array(list(stream.predictions(OnlineNetwork(network, **options), io.BytesIO(samples.tobytes()), [])))


@pytest.mark.parametrize('modalities', [('speech',), pytest.param(('speech', 'visual'), marks=pytest.mark.slow)])
def test_the_stream_is_the_whole_recording_where_its_loudness_is_known(modalities):
  network = small_network(*modalities)
  samples = sound(61)[:-217]  # the last step is short
  traces = network(audio=samples)
  online = streamed(network, samples, statistics=statistics(samples))
  assert online.shape == (61, 2)
  np.testing.assert_allclose(online, np.stack([traces['arousal'], traces['valence']], axis=1), atol=1e-5)


def test_delay_and_running_loudness():
  network = small_network('speech')
  running = OnlineNetwork(network)
  # 600 taps at 8 kHz after the middle and 4 at 16 kHz: 602 samples, of which a step has 320.
  assert running.ahead == 2
  samples = sound(40).reshape(40, 640)
  outputs = [running(piece) for piece in samples]
  assert [o is None for o in outputs[:4]] == [True, True, False, False]
  # After 38 steps of the same noise the loudness so far is nearly that of the whole.
  known = streamed(network, samples.ravel(), statistics=statistics(samples.ravel()))
  assert np.abs(outputs[-1] - known[37]).max() < 0.02
  # A prediction never changes with what comes later than `ahead`.
  other = samples.copy()
  other[20:] = 0
  again = OnlineNetwork(network)
  np.testing.assert_array_equal([again(piece) for piece in other[:20]][-1], outputs[19])


def test_silence_after_a_short_last_step_is_not_heard():
  network = small_network('speech')
  samples = sound(1)[:300]
  heard = streamed(network, samples)
  np.testing.assert_allclose(heard, streamed(network, samples, statistics=statistics(samples)), atol=1e-6)


def test_silence_and_errors():
  assert np.isfinite(streamed(small_network('speech'), np.zeros(3000, np.int16))).all()
  sink = io.StringIO()
  with pytest.raises(DataError, match='ends within a sample'):
    stream.run(small_network('speech'), io.BytesIO(bytes(2 * 1280 + 3)), sink)
  assert len(sink.getvalue().splitlines()) == 1 + 3  # what is known comes before the error


def test_pcm_is_nothing_to_a_network_that_only_sees():
  sees = types.SimpleNamespace(hears=False, sees=True, grid=PAPER)
  with pytest.raises(DataError, match='standard input is no container, and a picture is wanted; send Matroska'):
    list(incoming.steps(sees, live.Source(io.BytesIO(bytes(2 * 1280)))))


def test_the_command(capsys):
  sink = io.StringIO()
  stream.run(small_network('speech'), io.BytesIO(sound(5).tobytes()), sink)
  lines = sink.getvalue().splitlines()
  assert lines[0] == 'time,arousal,valence,trained_on,face_found'
  assert all(line.endswith(',simulated people,') for line in lines[1:])  # nothing is seen
  assert [line.split(',')[0] for line in lines[1:]] == [
    '0.00',
    '0.04',
    '0.08',
    '0.12',
    '0.16',
  ]
  err = capsys.readouterr().err
  assert 'comes 80 ms after its end' in err and '5 steps (0.20 s); real-time factor' in err and '; latency ' in err
  with pytest.raises(DataError, match='standard input is empty'):
    stream.run(small_network('speech'), io.BytesIO(), io.StringIO())


def test_the_stream_restarts_where_evaluation_does():
  network = small_network('speech')
  config = network.config.copy_and_resolve_references()
  config.model.recurrent.restart_steps = 17
  network = type(network)(config, network.variables, network.about)
  samples = sound(50)
  traces = network(audio=samples)
  online = streamed(network, samples, statistics=statistics(samples))
  np.testing.assert_allclose(online, np.stack([traces['arousal'], traces['valence']], axis=1), atol=1e-5)


@pytest.mark.parametrize('delay', [3, 70])  # 70: longer than the sound
def test_with_a_label_delay_stream_and_prediction_are_moved_later(delay):
  network = small_network('speech')
  config = network.config.copy_and_resolve_references()
  config.data.label_delay_steps = delay
  moved = type(network)(config, network.variables, network.about)
  samples = sound(61)
  before, traces = (np.stack([n(audio=samples)[t] for t in network.targets], axis=1) for n in (network, moved))
  first = np.tile(before[:1], (delay, 1))
  np.testing.assert_array_equal(traces, np.concatenate([first, before])[:61])
  online = streamed(moved, samples, statistics=statistics(samples))
  assert online.shape == (61, 2)
  np.testing.assert_allclose(online, traces, atol=1e-5)
  # 0.04 s a step: 0.12 s and 2.8 s
  assert f'what they said {0.04 * delay:g} s later' in model_card.card(moved)
  assert 'Raters react late' not in model_card.card(network)


def test_an_input_that_cannot_be_read_is_said_so():
  class Folder:
    def read(self, count):
      raise IsADirectoryError(21, 'Is a directory')

  with pytest.raises(
    DataError, match='standard input cannot be read .Is a directory.; expected a container, or 16-bit PCM'
  ):
    stream.run(small_network('speech'), Folder(), io.StringIO())


@pytest.mark.slow  # a command
def test_an_output_that_no_disk_takes_or_nobody_reads_gives_no_traceback(tmp_path):
  exported.save(small_network('speech'), tmp_path / 'network')
  command = [sys.executable, '-m', 'e2e_affect.predict', f'--checkpoint={tmp_path / "network"}', '--stream']
  kwargs = {'cwd': REPO, 'input': bytes(3 * 1280), 'stderr': subprocess.PIPE, 'check': False}
  with open('/dev/full', 'wb') as full:
    done = subprocess.run(command, stdout=full, **kwargs)
  assert done.returncode == 74 and done.stderr.splitlines()[-1].startswith(b'error: standard output: no space left')
  read, write = os.pipe()
  os.close(read)
  done = subprocess.run(command, stdout=write, **kwargs)
  os.close(write)
  assert done.returncode == 0 and b'Traceback' not in done.stderr


def container(folder, steps, samples=None):
  """A Matroska file of noise for a picture, with faces of nobody, and the sound; its bytes."""
  frames = list(np.random.default_rng(4).integers(0, 255, (steps, 48, 64, 3), dtype=np.uint8))
  sound_of = None if samples is None else samples / 32768
  clips.write_clip(folder / 'v.mkv', frames, sound=sound_of, rate=16_000)
  return (folder / 'v.mkv').read_bytes()


@pytest.fixture
def faces_everywhere(monkeypatch):
  """The tracker finds the whole picture, every seventh step excepted: small networks then have what to see."""

  def step(self, frame):
    self.count = getattr(self, 'count', -1) + 1
    if self.count % 7 != 3:
      self.crop = np.ascontiguousarray(np.resize(frame, (96, 96, 3)))
    return self.crop, 0.0 if self.count % 7 == 3 else 0.8, None

  monkeypatch.setattr(tracker.FaceTracker, 'step', step)


@pytest.mark.slow
@pytest.mark.parametrize('modalities', [('visual',), ('speech', 'visual')])
def test_a_container_is_heard_and_seen_as_its_file(modalities, tmp_path, faces_everywhere):
  network = small_network(*modalities)
  samples = sound(40)
  data = container(tmp_path, 40, samples)
  recording = Recording('v', '', '', video=tmp_path / 'v.mkv', audio=None)
  file = clip.read(recording, tmp_path, picture=True)
  heard = {'audio': np.array(file.samples)} if 'speech' in modalities else {}
  traces = network(faces=file.crops[:], face_found=file.face_found, **heard)
  online = OnlineNetwork(network, statistics=(file.audio_mean, file.audio_std))
  assert online.ahead == (2 if heard else 0)
  costs = []
  said = np.array(list(stream.predictions(online, io.BytesIO(data), costs)))
  np.testing.assert_allclose(said, np.stack([traces['arousal'], traces['valence']], axis=1), atol=1e-5)
  assert said.std(axis=0).min() > 1e-4 and len(costs) == 40 + online.ahead


@pytest.mark.slow
def test_the_columns_are_those_of_the_file(tmp_path, faces_everywhere):
  trained = small_network('speech', 'visual')
  people = type(trained)(trained.config, trained.variables, {**trained.about, 'simulated': False})
  data = container(tmp_path, 40, sound(40))
  for of, name in ((trained, 'drawings'), (people, 'people')):
    sink = io.StringIO()
    stream.run(of, io.BytesIO(data), sink)
    analyse.analyse(of, [str(tmp_path / 'v.mkv')], tmp_path / name)
    said = list(csv.DictReader(io.StringIO(sink.getvalue())))
    file = list(csv.DictReader((tmp_path / name / 'v.csv').open(newline='')))
    for column in ('time', 'trained_on', 'face_found'):
      assert [row.get(column) for row in said] == [row.get(column) for row in file]
    assert {row['face_found'] for row in said} == {'0.000', '0.800'} and ('trained_on' in said[0]) == (of is trained)
    assert [column for column in file[0] if column in said[0]] == list(said[0])  # in the same order


def test_a_container_for_a_network_that_hears(tmp_path):
  network = small_network('speech')
  data = container(tmp_path, 5, sound(12))
  assert len(list(stream.predictions(OnlineNetwork(network), io.BytesIO(data), []))) == 12
  data = container(tmp_path, 5)
  with pytest.raises(DataError, match='with no sound and no picture that is wanted'):
    stream.run(network, io.BytesIO(data), io.StringIO())


@pytest.mark.slow  # a command
def test_the_page_grows_while_a_container_comes_in(tmp_path):
  exported.save(small_network('speech', 'visual'), tmp_path / 'network')
  data = container(tmp_path, 75, sound(75))
  child = subprocess.Popen(
    [sys.executable, '-m', 'e2e_affect.predict', f'--checkpoint={tmp_path / "network"}', '--stream', '--serve=0'],
    cwd=REPO,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )
  said = []
  while not said or b'the page is at ' not in said[-1]:
    said.append(child.stderr.readline())
    assert said[-1], said
  assert b'comes 80 ms after its end' in b''.join(said)
  address = said[-1].decode().split()[-1]
  with urllib.request.urlopen(address, timeout=60) as answer:
    assert b'new EventSource' in answer.read()
  with urllib.request.urlopen(address + 'events', timeout=60) as answer:
    child.stdin.write(data[: len(data) // 2])
    child.stdin.flush()
    lines = (line.decode() for line in answer)
    events = [next(lines)]
    while events.count('event: step\n') < 10:  # before all has come
      events.append(next(lines))
    child.stdin.write(data[len(data) // 2 :])
    child.stdin.close()
    events += lines
  out, err = child.stdout.read(), child.stderr.read()
  assert child.wait() == 0, err
  rows = out.decode().splitlines()
  assert (
    len(rows) == 1 + 75 and events.count('event: step\n') == 75 and events[-3:-1] == ['event: end\n', 'data: null\n']
  )
  assert '"warning": "this network learnt from a simulated corpus' in events[1] and b'real-time factor' in err


def test_the_page_is_for_this_machine_alone():
  with live_page.serve(0, ['arousal'], 0.04, False) as page:
    port = int(page.address.rstrip('/').rpartition(':')[2])
    assert page.address == f'http://127.0.0.1:{port}/'
    for path, host, code in (('', 'other.example', 403), ('../setup.cfg', f'127.0.0.1:{port}', 404)):
      request = urllib.request.Request(page.address + path, headers={'Host': host})
      with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=20)
      assert refused.value.code == code
    with pytest.raises(
      UserError, match=f'^--serve={port}: cannot be had .Address already in use.; choose another port'
    ):
      with live_page.serve(port, [], 0.04, False):
        pass


def test_who_comes_late_is_told_all():
  with live_page.serve(0, ['arousal', 'valence'], 0.04, False) as page:
    for value in (0.5, -0.25):
      page.add(np.float32([value, 0.125]), None)
    with urllib.request.urlopen(page.address + 'events', timeout=20) as answer:
      page.end()
      told = answer.read().decode().split('\n\n')
  assert told[1:3] == ['event: step\ndata: [0.5, 0.125]', 'event: step\ndata: [-0.25, 0.125]']
  assert told[-2] == 'event: end\ndata: null'
