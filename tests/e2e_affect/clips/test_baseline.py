"""Values relative to a person's own neutral clip."""

import csv
import json
import re

import numpy as np
import pytest
import soundfile

from data_prep.core.errors import UserError
from e2e_affect.clips import analyse
from e2e_affect.clips.formats import table
from tests import clips
from tests.e2e_affect.clips.test_class_clips import class_network
from tests.networks import network_with_band


@pytest.fixture
def sounds(tmp_path):
  calm, talk = tmp_path / 'calm.wav', tmp_path / 'talk.wav'
  soundfile.write(calm, 0.1 * clips.tone(2, 16_000), 16_000)
  soundfile.write(talk, clips.tone(3, 16_000, hertz=990), 16_000)
  return calm, talk


def columns(path):
  with open(path, encoding='utf-8', newline='') as file:
    rows = list(csv.DictReader(file))
  return {name: np.array([float(row[name]) for row in rows]) for name in rows[0] if re.match('arousal|valence', name)}


def test_the_means_of_the_neutral_clip_are_subtracted(sounds, tmp_path):
  calm, talk = sounds
  network = network_with_band('speech')
  analyse.analyse(network, [str(calm)], tmp_path / 'plain')
  (content,) = analyse.analyse(network, [str(talk)], tmp_path / 'out', neutral=calm)
  neutral, found = columns(tmp_path / 'plain' / 'calm.csv'), columns(tmp_path / 'out' / 'talk.csv')
  for target in ('arousal', 'valence'):
    mean = neutral[f'{target}_post'].mean()
    np.testing.assert_allclose(found[f'{target}_relative'], found[f'{target}_post'] - mean, atol=1e-6)
    assert content['baseline']['means'][target] == pytest.approx(mean, abs=2e-6)
    of = content['targets'][target]
    assert of['relative']['mean'] == pytest.approx(of['postprocessed']['mean'] - mean, abs=3e-6)
  assert content['baseline']['file'] == str(calm.resolve()) and content['baseline']['seconds'] == 2
  (note,) = [note for note in content['notes'] if note.startswith('relative values')]
  assert 'less the means of calm.wav, arousal ' in note
  assert json.loads((tmp_path / 'out' / 'talk.json').read_text())['baseline'] == content['baseline']
  page = (tmp_path / 'out' / 'talk.html').read_text()
  assert note in page and len(re.findall('arousal, relative', page)) == 1


def test_the_table_is_one_for_other_programs(sounds, tmp_path):
  calm, talk = sounds
  analyse.analyse(network_with_band('speech'), [str(talk)], tmp_path / 'out', neutral=calm)
  (tmp_path / 'alone').mkdir()
  alone = (tmp_path / 'out' / 'talk.csv').rename(tmp_path / 'alone' / 'talk.csv')
  (prediction,) = table.read(alone)
  assert prediction.outputs == ('arousal', 'valence')


def test_it_is_for_numbers(sounds, tmp_path):
  with pytest.raises(UserError, match='--baseline subtracts numbers'):
    analyse.analyse(class_network('clip_classes'), [str(sounds[1])], tmp_path / 'out', neutral=sounds[0])
