"""The paper's numbers: their sums were summed from the text of the paper by another program."""

import pytest

from e2e_affect.paper.experiments import EXPERIMENTS
from e2e_affect.paper.published import TABLES, TARGETS


@pytest.mark.parametrize(
  'number, rows, test, validation',
  [
    ('II', 6, (0, 0), (3.005, 2.104)),
    ('III', 8, (3.197, 1.600), (4.008, 1.881)),
    ('IV', 8, (2.029, 1.108), (6.359, 3.612)),
    ('V', 12, (1.315, 2.007), (5.396, 6.699)),
    ('VI', 4, (2.957, 2.431), (3.045, 2.190)),
  ],
)
def test_the_columns_sum_to_what_is_printed(number, rows, test, validation):
  table = TABLES[number]
  assert len(table.rows) == rows
  for k, target in enumerate(TARGETS):
    of = lambda partition: sum(scores[target] for row in table.rows if (scores := getattr(row, partition)))
    assert of('test') == pytest.approx(test[k], abs=1e-9)
    assert of('validation') == pytest.approx(validation[k], abs=1e-9)


def test_rows_are_run_or_exist_as_published_numbers_alone():
  alone = {'Povolny', 'Video', 'Brady', 'Weber', 'Somandepalli'}
  for table in TABLES.values():
    for row in table.rows:
      assert len(row.features) == len(table.columns) - 1
      assert (row.experiment is None) == (row.predictor.split()[0] in alone)
      assert row.experiment is None or row.experiment in EXPERIMENTS
    assert set(table.ours) <= {row.experiment for row in table.rows}
