"""What an evaluation takes from another run."""

import dataclasses
import json
import types

import pytest

from data_prep.core.errors import DataError
from data_prep.schema.grid import Grid, PAPER
from e2e_affect.evaluate import results
from e2e_affect.heads import HEADS
from e2e_affect.train import finish
from tests.networks import POSTPROCESSING, small_config


def test_postprocessing_of_another_grid_is_refused(tmp_path):
  config = small_config('speech')
  config.postprocessing_from = str(tmp_path)
  manifest = types.SimpleNamespace(targets=['arousal', 'valence'], grid=PAPER, classes={})
  (tmp_path / 'results.json').write_text(json.dumps({'postprocessing': POSTPROCESSING, 'checkpoint': {}}))
  assert finish.read_postprocessing(config, manifest) == POSTPROCESSING  # an older run: of the paper's grid
  dataset = {'targets': [], 'label_scale': {}, 'preparation': {}, 'partitions': {}, 'streams': {}}
  dataset['grid'] = dataclasses.asdict(Grid(0.5, 8000, 2))
  (tmp_path / 'dataset.json').write_text(json.dumps(dataset))
  with pytest.raises(DataError, match='fitted to steps of 0.5 s, the data have steps of 0.04 s; name another run'):
    finish.read_postprocessing(config, manifest)


def test_without_a_stream_the_postprocessing_is_that_of_the_other_run_without_it(tmp_path):
  config = small_config('speech', 'visual')
  config.postprocessing_from = str(tmp_path)
  manifest = types.SimpleNamespace(targets=['arousal', 'valence'], grid=PAPER, classes={})
  results.write_results(tmp_path, {'postprocessing': POSTPROCESSING, 'checkpoint': {}}, {}, HEADS['regression'], [])
  with pytest.raises(DataError, match='results_without_visual.json: not found; .*`--mode=evaluate --without=visual`'):
    finish.read_postprocessing(config, manifest, ('visual',))
  of_sound = json.loads(json.dumps(POSTPROCESSING))
  of_sound['targets']['arousal']['centring']['bias'] = 0.75
  content = {'postprocessing': of_sound, 'checkpoint': {}}
  results.write_results(tmp_path, content, {}, HEADS['regression'], [], ('visual',))
  assert finish.read_postprocessing(config, manifest, ('visual',)) == of_sound
  assert finish.read_postprocessing(config, manifest) == POSTPROCESSING
  assert results.read_results(tmp_path, ('visual',)) == content | {'without': ['visual']}
