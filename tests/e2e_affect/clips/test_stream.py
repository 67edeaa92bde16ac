"""The stream against whole recordings."""

import io
import os
import subprocess
import sys

import numpy as np
import pytest

from data_prep.core.errors import DataError, UserError
from data_prep.streams.speech import statistics
from e2e_affect.clips import exported, model_card, stream
from tests.e2e_affect.clips.test_network import sound
from tests.networks import small_network

REPO = __file__.rsplit('/tests/', 1)[0]


def streamed(network, samples, **options):
  return np.array(list(stream.predictions(stream.Stream(network, **options), io.BytesIO(samples.tobytes()), [])))


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
  running = stream.Stream(network)
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
  again = stream.Stream(network)
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
  with pytest.raises(UserError, match='this is a visual network; use one that hears'):
    stream.Stream(small_network('visual'))


def test_the_command(capsys):
  sink = io.StringIO()
  stream.run(small_network('speech'), io.BytesIO(sound(5).tobytes()), sink)
  lines = sink.getvalue().splitlines()
  assert lines[0] == 'time,arousal,valence' and [line.split(',')[0] for line in lines[1:]] == [
    '0.00',
    '0.04',
    '0.08',
    '0.12',
    '0.16',
  ]
  err = capsys.readouterr().err
  assert 'comes 80 ms after its end' in err and '5 steps (0.20 s); real-time factor' in err
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

  with pytest.raises(DataError, match='standard input cannot be read .Is a directory.; expected 16-bit PCM'):
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
