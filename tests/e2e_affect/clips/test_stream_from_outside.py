"""A stream that is added from outside of the package is read from a clip, and named where the clip lacks it."""

import csv
import json

import numpy as np
import pytest
import soundfile

from data_prep import streams as prepared
from data_prep.core.errors import DataError
from data_prep.schema.fields import Field
from data_prep.streams.speech import Speech
from e2e_affect import streams
from e2e_affect.clips import analyse, model_card
from e2e_affect.streams.base import Stream
from e2e_affect.streams.speech import InSteps
from tests import clips
from tests.networks import random_network, small_config, small_network


class Stored(Speech):
  """How loud a step is."""

  name = 'loudness'

  def fields(self, grid, options):
    return Field('loudness', (2,)), Field('loudest', per='recording', default=1.0)


class Loudness(Stream):
  """[B, T, 2], of the loudest step, are features already."""

  name = 'loudness'
  part = False
  evidence = 'loudness'
  lack = 'loudness'
  phrase = 'loudness'
  track = 'a sound track'
  verb = 'listens'

  def inputs(self, batch, model, augment, keys):
    return {'loudness': batch['loudness'] / batch['loudest'][:, None, None]}

  def features(self, inputs, model, *, core, norm, dtype, train, keys):
    return inputs['loudness'].astype(dtype)

  def of_clip(self, clip):
    if clip.samples is None:
      return None
    rows = InSteps(clip.samples, clip.grid.samples_per_step)[:].astype(np.float32)
    loudness = np.stack([np.abs(rows).mean(axis=1), np.abs(rows).max(axis=1)], axis=1)
    return {'loudness': loudness, 'loudest': float(loudness.max())}

  def takes(self, fields, grid, model):
    return 'Mean and peak of each step.'

  def example(self, fields, grid):
    return 'loudness=values', 'float32 [T, 2]'


@pytest.fixture
def network(monkeypatch):
  monkeypatch.setattr(prepared, 'STREAMS', dict(prepared.STREAMS))
  prepared.register(Stored())
  streams.register(Loudness())
  yield random_network(small_config('loudness'))
  del streams.STREAMS['loudness']


def test_a_stream_from_outside_is_read_from_a_clip(network, tmp_path):
  samples = (np.random.default_rng(0).normal(size=640 * 70 + 99) * np.linspace(99, 9999, 640 * 70 + 99)).astype(
    np.int16
  )
  for name, content in (('a', samples), ('quiet', samples // 2)):
    soundfile.write(tmp_path / f'{name}.wav', content, 16_000)
  clips.write_clip(tmp_path / 'silent.mp4', clips.counted_frames(9), codec='libx264')
  message = 'silent.mp4: without a sound track, and this is a loudness network; use one that sees'
  with pytest.raises(DataError, match='1 of 3 clips refused.*' + message):
    analyse.analyse(network, [str(tmp_path)], tmp_path / 'out')
  with open(tmp_path / 'out' / 'a.csv', encoding='utf-8', newline='') as f:
    table = list(csv.DictReader(f))
  assert len(table) == 71 and np.std([float(row['arousal']) for row in table]) > 1e-4
  content = {name: json.loads((tmp_path / 'out' / f'{name}.json').read_text()) for name in ('a', 'quiet')}
  assert content['a']['model']['modalities'] == ['loudness'] and content['a']['face'] is None
  # Half as loud is the same, by the field per recording.
  means = [content[name]['targets']['valence']['raw']['mean'] for name in ('a', 'quiet')]
  assert means[0] == pytest.approx(means[1], abs=1e-3)
  assert '* Mean and peak of each step.' in model_card.card(network)


def test_other_networks_name_it_where_a_clip_lacks_theirs(network, tmp_path):
  soundfile.write(tmp_path / 'a.wav', np.zeros(3000), 16_000)
  with pytest.raises(DataError, match='without a picture, and this is a visual network; use one that hears or listens'):
    analyse.analyse(small_network('visual'), [str(tmp_path / 'a.wav')], tmp_path / 'out')
