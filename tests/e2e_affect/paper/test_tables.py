"""The cells: held against NumPy on made traces; what did not run says so; nothing is invented."""

import json

import numpy as np
import pytest

from data_prep.core.errors import DataError
from e2e_affect.paper import __main__, plan, tables
from e2e_affect.paper import runs as of_runs
from e2e_affect.paper.experiments import EXPERIMENTS
from e2e_affect.traces import bootstrap
from tests.e2e_affect.paper import folders


def ccc(traces, k):
  """Float64, by the formula of the paper's equation (3)."""
  p, g = (
    np.concatenate([getattr(t, name)[:, k] for t in traces]).astype(np.float64) for name in ('prediction', 'gold')
  )
  return 2 * np.mean((p - p.mean()) * (g - g.mean())) / (p.var() + g.var() + (p.mean() - g.mean()) ** 2)


@pytest.fixture
def made(made_folder, made_runs):
  """Options, runs, and the content of `paper.json`."""
  return *made_runs, json.loads((made_folder / 'paper.json').read_text())


def row(content, number, experiment):
  return next(row for row in table(content, number)['rows'] if row.get('experiment') == experiment)


def table(content, number):
  return next(table for table in content['tables'] if table['number'] == number)


def test_a_cell_is_the_mean_of_the_seeds_beside_what_is_published(made):
  options, runs, content = made
  cell = row(content, 'III', 'speech')['cells']['arousal']['test']
  of_seeds = [
    ccc(of_runs.traces_of(run, 'test', cell['stage'], options.data), 0) for run in runs if run.experiment == 'speech'
  ]
  assert len(of_seeds) == 2 and cell['values'] == pytest.approx(of_seeds, abs=1e-6)
  assert cell['mean'] == pytest.approx(np.mean(of_seeds), abs=1e-6)
  assert cell['deviation'] == pytest.approx(np.std(of_seeds, ddof=1), abs=1e-6)
  assert cell['published'] == 0.699 and cell['difference'] == pytest.approx(cell['mean'] - 0.699)
  low, high = cell['interval']
  assert low < cell['mean'] < high
  assert row(content, 'IV', 'speech')['cells']['arousal']['test']['published'] == 0.715


def test_a_rival_has_one_run_and_the_interval_of_its_results(made):
  options, runs, content = made
  of = row(content, 'III', 'svr_compare')
  assert [run['link'] for run in of['runs']] == ['svr_compare/report.html']
  results = json.loads((options.out / 'svr_compare' / 'results.json').read_text())
  stage = 'postprocessed' if results['test']['postprocessed'] else 'raw'
  assert of['cells']['valence']['test']['interval'] == results['test'][stage]['ccc_interval']['valence']


def test_rows_say_whether_they_ran(made):
  content = made[2]
  for number, experiment, status in (
    ('V', 'rvm_geometry', 'not run'),
    ('V', 'svr_geometry', 'ran'),
    ('V', None, 'published'),
  ):
    for of in (of for of in table(content, number)['rows'] if of.get('experiment') == experiment):
      assert of['status'] == status
      assert bool(of['cells']) == (status == 'ran')
  assert row(content, 'V', 'rvm_geometry')['published']['validation'] == {'arousal': 0.467, 'valence': 0.571}
  assert [of['predictor'] for of in content['beyond'] if of['status'] == 'not run'] == [
    'Modality dropout, picture alone'
  ]


def test_final_networks_show_the_validation_of_the_networks_before(made):
  options, _, content = made
  cell = row(content, 'VI', 'final_fused')['cells']['arousal']
  before = [
    json.loads((options.out / folder / 'results.json').read_text())['validation'] for folder in ('fused', 'seed1/fused')
  ]
  expected = [(of['postprocessed'] or of['raw'])['ccc']['arousal'] for of in before]
  assert cell['validation']['values'] == expected


def test_the_best_of_what_ran_is_marked_once_a_target(made):
  content = made[2]
  for number in ('III', 'IV', 'V', 'VI'):
    for target in ('arousal', 'valence'):
      cells = [of['cells'][target]['test'] for of in table(content, number)['rows'] if of['cells']]
      best = [cell['mean'] for cell in cells if cell['best']]
      assert best == [max(cell['mean'] for cell in cells)]
  assert sum(of['cells']['arousal']['validation']['best'] for of in table(content, 'II')['rows']) == 2  # two networks


def test_ours_is_held_against_every_rival_that_ran(made):
  options, runs, content = made
  compared = table(content, 'III')['comparisons']
  assert len(compared) == 2 * 7
  # The stage that the tables show, of both seeds of ours and the one run of the rival.
  of = {
    name: [
      of_runs.traces_of(run, 'test', row(content, 'III', name)['cells']['arousal']['test']['stage'], options.data)
      for run in runs
      if run.experiment == name and run.done.exists()
    ]
    for name in ('speech', 'svr_egemaps')
  }
  assert [len(traces) for traces in of.values()] == [2, 1]
  expected = bootstrap.better(of['speech'], of['svr_egemaps'], seed=0)
  against_bad = [of for of in compared if of['other'] == 'a: SVR, eGeMAPS']
  assert [of['target'] for of in against_bad] == ['arousal', 'valence']
  for k, found in enumerate(against_bad):
    assert found['ours'] == 'b: Proposed, raw signal' and found['difference'] > 0.1
    assert found['p'] == expected.p[k] and found['difference'] == expected.difference[k]
    assert found['interval'] == list(expected.interval[k])
  assert not table(content, 'II')['comparisons']


def test_the_delay_is_chosen_by_validation(made):
  of = made[2]['beyond'][0]
  assert set(of['searched']) == {'speech', *(f'speech_delay_{steps}' for steps in (50, 100))}
  assert of['experiment'] == max(of['searched'], key=of['searched'].get) and of['cells']['arousal']['test']


def test_searches_stand_there_and_a_rival_without_one_is_refused(made):
  options, runs, content = made
  assert {search['name'] for search in content['searches']} == {
    run.name for run in runs if EXPERIMENTS[run.experiment].kind == 'rival' and run.name != 'rvm_geometry'
  }
  moved = options.out / 'svr_egemaps' / 'search.json'
  moved.rename(options.out / 'kept.json')
  with pytest.raises(DataError, match=r'svr_egemaps/search\.json'):
    tables.searches(options, runs)
  (options.out / 'kept.json').rename(moved)


def test_an_empty_folder_gives_pages_of_published_numbers(tmp_path, capsys):
  options = plan.Options(data=folders.make_data(tmp_path / 'data', simulated=False), out=tmp_path / 'out', seeds=1)
  plan.write(options, lambda config: 60.0)
  __main__.main(str(options.out))
  content = json.loads((options.out / 'paper.json').read_text())
  assert {of['status'] for table in content['tables'] for of in table['rows']} == {'published', 'not run'}
  assert not any(of['cells'] for table in content['tables'] for of in table['rows'])
  assert content['corpus']['name'] == 'RECOLA' and not content['stages'] and not content['searches']
  assert capsys.readouterr().out == f'tables: {options.out / "paper.html"}\n'
  for name in ('paper.html', 'paper.md'):
    page = (options.out / name).read_text()
    assert 'imulated' not in page and 'not run' in page and 'published' in page and '0.699' in page


def test_damage_is_named(made):
  options, runs, _ = made
  path = options.out / 'svr_geometry' / 'predictions' / 'test.csv'
  before = path.read_text()
  path.write_text(before.replace('test_0', 'someone'))
  of_runs.traces.cache_clear()
  with pytest.raises(DataError, match='recording someone is not in the data'):
    tables.contents(options, runs)
  path.write_text(before)
