"""The grid: exact times and whole numbers of samples."""

import numpy as np
import pytest

from data_prep.schema.grid import Grid, PAPER


def test_the_papers_grid():
  assert (PAPER.samples_per_step, PAPER.record_seconds, PAPER.steps_per_second) == (640, 1.0, 25.0)
  assert (PAPER.steps(6.0), PAPER.records(150), PAPER.records(151)) == (150, 6, 7)


@pytest.mark.parametrize(
  'grid, step, time',
  [
    (PAPER, 3, '0.12'),
    (PAPER, 25, '1.00'),
    (PAPER, 123_456_789, '4938271.56'),
    (Grid(0.5, 16_000, 2), 3, '1.50'),
    (Grid(0.125, 16_000, 8), 1, '0.125'),
  ],
)
def test_times_are_exact(grid, step, time):
  assert grid.time(step) == time


@pytest.mark.parametrize(
  'step, pictures',
  [(0.01, 1), (0.04, 1), (0.05, 3), (0.12, 3), (0.125, 5), (0.2, 5), (0.48, 13), (0.5, 13), (60, 1501)],
)
def test_pictures_are_an_odd_number_and_at_most_40_ms_apart(step, pictures):
  grid = Grid(step, 16_000, 2)
  assert grid.pictures_per_step == pictures and grid.picture_seconds == pytest.approx(step / pictures, rel=1e-15)


def test_times_are_those_of_integers():
  steps = np.random.default_rng(0).integers(0, 10**7, 2000).tolist()
  assert [PAPER.time(step) for step in steps] == [f'{step * 4 // 100}.{step * 4 % 100:02d}' for step in steps]


@pytest.mark.parametrize(
  'values', [(0, 16_000, 25), (-0.04, 16_000, 25), (0.04, 0, 25), (0.04, 16_000, 0), (0.01, 50, 1), (0.03, 44_150, 25)]
)
def test_a_grid_that_is_none_is_refused(values):
  with pytest.raises(ValueError, match='expected positive numbers and a whole number of samples'):
    Grid(*values)
