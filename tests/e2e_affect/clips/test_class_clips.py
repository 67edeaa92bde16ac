"""Clips by networks of classes: CSV, JSON, pages, index, export."""

import csv
import dataclasses
import json

import jax
import numpy as np
import pytest

from data_prep import streams as prepared
from data_prep.core.errors import UserError
from data_prep.schema.grid import PAPER
from e2e_affect import heads
from e2e_affect.clips import analyse, exported, model_card, network
from e2e_affect.clips.online import OnlineNetwork
from tests import clips, networks

NAMES = ('neutral', 'calm', 'happy', 'sad', 'angry', 'fearful', 'disgust', 'surprised')
TEMPERATURE = 2.5


def class_network(head, names=NAMES):
  """A speech network of classes with random parameters, and a temperature."""
  c = networks.small_config('speech')
  with c.unlocked():
    c.name, c.head, c.loss = 'classes', head, 'cross_entropy'
  of_data = prepared.layout(['emotion'], PAPER, ['speech'], classes={'emotion': names})
  variables = networks.random_variables(c, of_data)
  # A wide spread of logits: small ones would give all classes the same probability.
  kernel = variables['params']['recurrent']['head']['kernel']
  variables = jax.tree.map(lambda leaf: 12 * leaf if leaf is kernel else leaf, variables)
  r = {
    'uar': {'emotion': 0.6},
    'uar_interval': {'emotion': [0.5, 0.7]},
    'accuracy': {'emotion': 0.62},
    'calibration_error': {'emotion': 0.2},
  }
  return network.Network(
    c,
    variables,
    {
      'targets': ['emotion'],
      'label_scale': {'emotion': [1.0, 0.0]},
      'postprocessing': {
        'fitted_on': 'validation',
        'classes': {'emotion': list(names)},
        'temperature': TEMPERATURE,
        'negative_log_likelihood': {'raw': 1.5, 'calibrated': 1.25},
      },
      'results': {'test': {'raw': r, 'postprocessed': r | {'calibration_error': {'emotion': 0.05}}}},
      'checkpoint': {'step': 7, 'chosen_by': 'validation uar', 'validation_raw': {}},
      'commit': 'abc',
      'dataset': {
        'preparation': {'corpus': 'ravdess'},
        'partitions': {'train': {'recordings': 3, 'subjects': 2, 'hours': 0.5}},
        'grid': dataclasses.asdict(PAPER),
        'streams': {name: [*map(dataclasses.asdict, fields)] for name, fields in of_data.streams.items()},
        'classes': {'emotion': list(names)},
      },
    },
  )


def write_sound(path, seconds=3.0):
  rng = np.random.default_rng(0)
  sound = clips.tone(seconds, 16_000, 300) * np.repeat(rng.uniform(0.1, 1, round(seconds * 2)), 8000)
  clips.write_clip(path, sound=sound, rate=16_000)


@pytest.mark.parametrize('head', ['clip_classes', 'step_classes'])
def test_a_clip_gets_probabilities_of_classes(head, tmp_path, capsys):
  write_sound(tmp_path / 'a.wav')
  one = class_network(head)
  assert one.targets == list(NAMES)
  (summary,) = analyse.analyse(one, [str(tmp_path / 'a.wav')], tmp_path / 'out')
  with (tmp_path / 'out' / 'a.csv').open() as f:
    rows = list(csv.DictReader(f))
  assert len(rows) == 75
  raw, post = (np.array([[float(row[n + end]) for n in NAMES] for row in rows]) for end in ('', '_post'))
  for values in (raw, post):
    np.testing.assert_allclose(values.sum(1), 1, atol=1e-6)
  expected = raw ** (1 / TEMPERATURE)  # softmax(log p / T)
  np.testing.assert_allclose(post, expected / expected.sum(1, keepdims=True), atol=1e-6)
  assert (np.ptp(raw, axis=0) == 0).all() == (head == 'clip_classes') and np.ptp(raw[0]) > 0.05
  found = json.loads((tmp_path / 'out' / 'a.json').read_text())['most_probable']
  assert found == summary['most_probable'] and found['class'] == NAMES[post.mean(0).argmax()]
  assert found['probability'] == pytest.approx(post.mean(0).max(), abs=1e-5)
  if head == 'step_classes':
    shares = np.bincount(post.argmax(1), minlength=8) / 75
    np.testing.assert_allclose(list(found['share_of_steps'].values()), shares, atol=1e-5)
  assert f'most probable: {found["class"]} (' in capsys.readouterr().out

  page = (tmp_path / 'out' / 'a.html').read_text()
  for text in ('gets a probability of each class', f'Most probable: <b>{found["class"]}</b>', 'the temperature 2.5'):
    assert text in page, text
  assert ('Probabilities for the whole recording' in page) == (head == 'clip_classes')
  assert 'valence from unpleasant' not in page and 'class="plane"' not in page


def test_several_clips_have_an_index_of_classes(tmp_path):
  for name in 'ab':
    write_sound(tmp_path / f'{name}.wav', 2.0)
  analyse.analyse(class_network('clip_classes'), [str(tmp_path / f'{name}.wav') for name in 'ab'], tmp_path / 'out')
  index = (tmp_path / 'out' / 'index.html').read_text()
  assert 'most probable' in index and 'arousal' not in index and 'Traces run from' not in index
  # Results of a network of numbers beside them: each has its columns.
  write_sound(tmp_path / 'c.wav', 2.0)
  analyse.analyse(networks.small_network('speech'), [str(tmp_path / 'c.wav')], tmp_path / 'out')
  index = (tmp_path / 'out' / 'index.html').read_text()
  for text in ('most probable', 'arousal, mean', 'a.html', 'c.html', 'Traces run from'):
    assert text in index, text


@pytest.mark.parametrize('head', ['clip_classes', 'step_classes'])
def test_an_exported_network_of_classes_is_the_same(head, tmp_path):
  one = class_network(head)
  exported.save(one, tmp_path / 'exported')
  again = exported.load(tmp_path / 'exported')
  audio = clips.tone(2.0, 16_000, 300).astype(np.float32)
  before, after = one(audio=audio), again(audio=audio)
  assert list(after) == ['time', *NAMES, *(f'{name}_post' for name in NAMES)]
  for name, values in before.items():
    np.testing.assert_array_equal(after[name], values)
  card = (tmp_path / 'exported' / 'README.md').read_text()
  assert card == model_card.card(again)
  for text in (
    'a probability of each class: neutral, calm',
    '| test | 0.600 | 0.500 … 0.700 | 0.620 | 0.200 | 0.050 |',
  ):
    assert text in card, text
  assert 'scale −1 … 1' not in card


def test_prediction_is_the_mean_of_the_logits():
  steps, clip = class_network('step_classes'), class_network('clip_classes')
  audio = clips.tone(2.0, 16_000, 300).astype(np.float32)
  of_steps, of_clip = steps(audio=audio), clip(audio=audio)
  # Both have the same parameters. The logarithm of a probability is a logit but for a number that the classes share.
  mean = np.mean([np.log(of_steps[name].astype(np.float64)) for name in NAMES], axis=1)
  expected = np.exp(mean) / np.exp(mean).sum()
  np.testing.assert_allclose([of_clip[name][0] for name in NAMES], expected, rtol=1e-4)


def test_classes_are_not_streamed():
  with pytest.raises(UserError, match="--stream writes numbers as they come.*'clip_classes'; use one of regression"):
    OnlineNetwork(class_network('clip_classes'))


def test_a_clip_gets_one_number_for_the_whole():
  c = networks.small_config('speech')
  with c.unlocked():
    c.head = 'clip_regression'
  one = networks.random_network(c)
  one.about['postprocessing'] = {'fitted_on': None, 'reason': 'none', 'band': {**networks.BAND, 'of': 'recordings'}}
  said = one(audio=clips.tone(2.0, 16_000, 300).astype(np.float32))
  np.testing.assert_allclose(said['valence_high'], said['valence'] + 0.5, atol=1e-6)  # around raw values
  assert '% of the recordings inside' in model_card.card(one)
  assert np.ptp(said['arousal']) == 0 and heads.of(c).shows == 'numbers'
  assert 'the mean of its steps' in model_card.card(one)
