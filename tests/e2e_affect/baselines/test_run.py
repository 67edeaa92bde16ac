"""A rival's folder: what is in it, what is kept, and what labels of test may change there."""

import dataclasses
import json
import re
import types

import numpy as np
import pytest

from data_prep.core.errors import UserError
from e2e_affect.baselines import base, registry, run, svr
from e2e_affect.report import __main__ as report
from e2e_affect.traces import table

pytestmark = pytest.mark.slow  # figures and intervals of three partitions


@pytest.fixture(autouse=True)
def features(monkeypatch):
  """A set of two columns a step, drawn by the recording's name."""

  def load(folder, manifest, name, options=None):
    steps = {shard.recording: shard.steps for shard in manifest.shards}
    rows = {one: np.random.default_rng(ord(one)).normal(size=(of, 2)).astype(np.float32) for one, of in steps.items()}
    return types.SimpleNamespace(standardised=rows.__getitem__)

  monkeypatch.setattr(base.store, 'load', load)
  monkeypatch.setattr(base.store, 'FEATURES', {'told': types.SimpleNamespace(defaults={})})


@pytest.fixture
def config(data_dir):
  c = svr.SVR.get_config()
  c.data.dir = data_dir
  c.features = {'told': {}}
  c.train_every = 1
  c.svr.complexity = (1e-3, 1e-1)
  c.svr.delay_seconds = (0.0, 0.2)
  return c


def _read(path):
  return json.loads(path.read_text())


def test_the_folder_is_that_of_a_run(tmp_path, config):
  content = run.train_and_evaluate(config, str(tmp_path / 'svr'))
  folder = tmp_path / 'svr'
  assert {'train', 'validation', 'test'} <= set(content) and _read(folder / 'results.json') == content
  assert _read(folder / 'config.json')['svr']['complexity'] == [1e-3, 1e-1]
  assert _read(folder / 'dataset.json')['partitions']['train']['recordings'] == 3
  assert len(_read(folder / 'search.json')['searches'][0]['tried']) == 4
  assert sorted(p.name for p in (folder / 'figures').iterdir()) == [
    f'{partition}_{kind}.png' for partition in ('test', 'train', 'validation') for kind in ('scatter', 'trace')
  ]
  page = (folder / 'report.html').read_text()
  assert 'SVR on told: 4 tried' in page and 'Training. The dotted line' not in page
  said = table.read_csv(folder / 'predictions' / 'test.csv', ['arousal', 'valence'])
  assert said['E'].shape == (70, 2)
  report.report([str(folder)], str(tmp_path / 'both.html'))
  assert 'svr' in (tmp_path / 'both.html').read_text()


def test_a_run_is_kept_unless_its_config_differs(tmp_path, config, monkeypatch):
  content = run.train_and_evaluate(config, str(tmp_path))

  def refuse(*_):
    raise AssertionError('fitted again')

  monkeypatch.setattr(registry.RIVALS['svr'], 'fit', refuse)
  assert run.train_and_evaluate(config, str(tmp_path)) == content
  begun = _read(tmp_path / 'config.json')
  del begun['data']['fold'], begun['head']  # as before there were folds, and rivals of classes
  (tmp_path / 'config.json').write_text(json.dumps(begun))
  assert run.train_and_evaluate(config, str(tmp_path)) == content
  config.svr.epsilon = 0.2
  with pytest.raises(UserError, match=r'svr.epsilon was 0.1, is 0.2\); choose'):
    run.train_and_evaluate(config, str(tmp_path))
  config.rival = 'oracle'
  with pytest.raises(UserError, match="rival = 'oracle', expected one of svr, "):
    run.train_and_evaluate(config, str(tmp_path))


def test_shuffled_labels_of_test_change_the_scores_of_test_alone(tmp_path, config, monkeypatch):
  run.train_and_evaluate(config, str(tmp_path / 'a' / 'svr'))
  read = base.Corpus.read

  def shuffled(folder, fold):
    corpus = read(folder, fold)
    rng = np.random.default_rng(0)
    test = [dataclasses.replace(r, gold=rng.permutation(r.gold)) for r in corpus.recordings['test']]
    return dataclasses.replace(corpus, recordings={**corpus.recordings, 'test': test})

  monkeypatch.setattr(base.Corpus, 'read', shuffled)
  run.train_and_evaluate(config, str(tmp_path / 'b' / 'svr'))
  a, b = tmp_path / 'a' / 'svr', tmp_path / 'b' / 'svr'
  for name in ('config.json', 'dataset.json', 'search.json', 'predictions/train.csv', 'predictions/validation.csv'):
    assert (a / name).read_bytes() == (b / name).read_bytes()
  for name in ('train_trace', 'train_scatter', 'validation_trace', 'validation_scatter'):
    assert (a / f'figures/{name}.png').read_bytes() == (b / f'figures/{name}.png').read_bytes()
  said = [table.read_csv(of / 'predictions' / 'test.csv', ['arousal', 'valence'])['E'] for of in (a, b)]
  np.testing.assert_array_equal(*said)
  results = [_read(of / 'results.json') for of in (a, b)]
  tests = [of.pop('test') for of in results]
  assert results[0] == results[1] and tests[0]['raw']['ccc'] != tests[1]['raw']['ccc']
  pages = [_without_test((of / 'report.html').read_text()) for of in (a, b)]
  assert pages[0] == pages[1]


def _without_test(page):
  """A report without its headline, the rows of test and the figures of test."""
  page, headlines = re.subn(r'<p class="soft">CCC on test.*?</p>', '', page)
  page, rows = re.subn(r'<tr class="group"><th colspan="5">Test .*?(?=<tr class="group">)', '', page, flags=re.DOTALL)
  page, figures = re.subn(r'<figure><img alt="[^"]*\btest[:;].*?</figure>', '', page, flags=re.DOTALL)
  assert (headlines, rows, figures) == (1, 1, 2)
  return page
