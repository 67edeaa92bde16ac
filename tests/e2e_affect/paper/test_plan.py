"""The plan: what is needed for what, in which order, and what a child is told."""

import dataclasses
import pathlib
import re

import pytest

from data_prep.core.errors import DataError
from e2e_affect.paper import experiments, plan
from e2e_affect.paper.published import TABLES

OPTIONS = plan.Options(data=pathlib.Path('d'), out=pathlib.Path('o'), imagenet='w.pth', seeds=1)


def planned(**changes):
  return plan.plan(dataclasses.replace(OPTIONS, **changes), lambda config: 60.0)


def words(step):
  return dict(part.removeprefix('--config.').partition('=')[::2] for part in step.command)


def test_a_table_brings_what_its_networks_start_from_and_nothing_else():
  names = [step.name for step in planned(tables=('VI',), figures=())]
  assert names[:3] == ['speech', 'imagenet', 'visual']
  assert sorted(names) == sorted(
    [
      *('speech', 'imagenet', 'visual', 'fused', 'landmarks', 'geometric', 'final_fused', 'final_geometric'),
      *('svr_egemaps', 'strength_egemaps', 'svr_appearance', 'strength_appearance'),
      *('svr_geometry', 'strength_geometry', 'strength', 'staircase'),
    ]
  )


def test_every_step_comes_after_what_it_starts_from():
  steps = planned(beyond=True, seeds=2, data_avec=pathlib.Path('a'))
  made = set()
  for step in steps:
    for part in step.command:
      for value in map(pathlib.Path, re.findall(r'\bo/[\w/]+', part)):
        if value not in (step.folder, pathlib.Path('o/figures')):
          assert value in made, (step.name, part)
    made.add(step.folder)
  assert len({step.done for step in steps}) == len(steps)
  assert len({step.name for step in steps}) == len(steps)


def test_final_runs_are_twice_as_long_and_take_the_earlier_post_processing():
  of = {step.name: words(step) for step in planned()}
  for name, single in (('final_fused', 'fused'), ('final_geometric', 'geometric')):
    assert of[name]['epochs'] == '120' and of[name]['postprocessing_from'] == f'o/{single}'
    assert of[name]['data.train_on'] == "('train','validation')"
  of = {step.name: words(step) for step in planned(fields=(('epochs', '7'),))}
  assert (of['fused']['epochs'], of['final_fused']['epochs']) == ('7', '14')
  of = {step.name: words(step) for step in planned(demo=True, imagenet=None)}
  assert (of['geometric']['epochs'], of['final_geometric']['epochs']) == ('2', '1')
  assert 'pretrained' not in of['visual']


def test_a_seed_starts_from_its_own_seed_and_rivals_and_tools_are_made_once():
  steps = planned(seeds=3)
  of = {step.name: words(step) for step in steps}
  assert of['seed2/fused']['init_from.speech'] == 'o/seed2/speech' and of['seed2/fused']['seed'] == '2'
  assert 'seed' not in of['fused'] and of['fused']['init_from.speech'] == 'o/speech'
  assert of['seed1/visual']['pretrained'] == 'o/imagenet'
  assert {'svr_egemaps', 'landmarks', 'seed1/blstm_egemaps_ccc'} <= set(of)
  assert not {'seed1/svr_egemaps', 'seed1/landmarks', 'seed1/figure_2'} & set(of)


def test_the_challenges_people_have_runs_of_their_own():
  of = {step.name: words(step) for step in planned(data_avec=pathlib.Path('a'))}
  assert of['speech']['data.dir'] == 'd' and of['speech_avec']['data.dir'] == 'a'
  assert of['fused_avec']['init_from.speech'] == 'o/speech_avec'
  assert of['final_geometric_avec']['data.dir'] == of['svr_geometry_avec']['data.dir'] == 'o/geometric_data_avec'
  assert 'fused' not in of and 'geometric_data' not in str(of['svr_egemaps'])


def test_strength_models_read_the_runs_before_them():
  of = {step.name: words(step) for step in planned(data_avec=pathlib.Path('a'))}
  assert of['strength_geometry_avec']['strength.first'] == "('o/svr_geometry_avec',)"
  assert of['strength_video_avec']['strength.first'] == "('o/strength_appearance_avec','o/strength_geometry_avec')"


def test_of_150_steps_the_main_networks_are_but_in_the_demo():
  names = {step.name for step in planned(tables=('II',), figures=())}
  assert names == {'imagenet', 'speech', 'speech_75', 'speech_300', 'visual', 'visual_75', 'visual_300'}
  demo = planned(tables=('II',), figures=(), demo=True, imagenet=None)
  assert {step.experiment for step in demo} == set(experiments.rows_of('II'))
  for step in demo:  # every update of the demo sees the same 600 steps
    assert int(words(step)['data.sequence_steps']) * int(words(step)['batch_size']) == 600


def test_every_experiment_is_asked_for_by_some_table_row_or_figure():
  needed = {step.experiment for demo in (True, False) for step in planned(beyond=True, demo=demo)}
  assert needed == set(experiments.EXPERIMENTS)
  for table in TABLES:
    assert set(experiments.rows_of(table)) <= set(experiments.EXPERIMENTS)


def test_plan_json_is_read_as_it_was_written(tmp_path):
  options = dataclasses.replace(OPTIONS, out=tmp_path, tables=('III',), fields=(('batch_size', '3'),), seeds=2)
  plan.write(options, lambda config: 60.0)
  read, runs = plan.read(tmp_path)
  assert read == dataclasses.replace(options, fields=(['batch_size', '3'],))
  assert {'speech', 'seed1/final_geometric', 'staircase', 'fused_dropout_without_visual'} <= {run.name for run in runs}
  assert next(run for run in runs if run.name == 'speech_75').fields == {
    'data.sequence_steps': '75',
    'batch_size': '3',
  }
  (tmp_path / 'plan.json').write_text('{"options": {}}')
  with pytest.raises(DataError, match='damaged'):
    plan.read(tmp_path)
  with pytest.raises(DataError, match='not found'):
    plan.read(tmp_path / 'nowhere')
