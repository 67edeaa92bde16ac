"""The command that draws a figure: what it leaves, and that its modules are there."""

import importlib
import json
import sys
import types

import pytest

from e2e_affect.paper import draw, experiments


def test_what_is_said_of_a_figure_comes_last(tmp_path, monkeypatch):
  def figure(workdir, out_png):
    assert not (tmp_path / 'out' / 'figure_3.json').exists()
    out_png.parent.mkdir()
    out_png.write_bytes(b'a picture')
    return {'caption': f'of {workdir.name}', 'rho': [0.5]}

  monkeypatch.setitem(draw.FIGURES, 'figure_3', 'made_for_this_test')
  monkeypatch.setitem(sys.modules, 'made_for_this_test', types.SimpleNamespace(figure=figure))
  draw.draw('figure_3', tmp_path / 'run', tmp_path / 'out')
  about = json.loads((tmp_path / 'out' / 'figure_3.json').read_text())
  assert about == {'run': str(tmp_path / 'run'), 'caption': 'of run', 'rho': [0.5]}
  assert (tmp_path / 'out' / 'figure_3.png').read_bytes() == b'a picture'


def test_every_figure_of_the_plan_can_be_drawn():
  assert {name for names in experiments.FIGURES.values() for name in names} == set(draw.FIGURES)
  for module in draw.FIGURES.values():
    assert callable(importlib.import_module(module).figure)


@pytest.mark.parametrize('name', experiments.FIGURES)
def test_figures_are_of_networks(name):
  for figure in experiments.FIGURES[name]:
    (network,) = experiments.EXPERIMENTS[figure].needs
    assert experiments.EXPERIMENTS[network].kind == experiments.NETWORK
