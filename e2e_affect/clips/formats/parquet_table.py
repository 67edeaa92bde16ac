"""`parquet`: the table with typed columns, for pandas, Polars, R and databases."""

import pathlib

from data_prep.core import atomic
from e2e_affect.clips.formats.base import Format, Prediction


def write(folder: pathlib.Path, prediction: Prediction) -> None:
  """`NAME.parquet` with every column of the table.

  `time` is float64, other numbers are float32 as the network says them, texts are texts; empty cells are null.
  """
  import pyarrow
  from pyarrow import parquet

  cells = {'recording': [prediction.recording] * len(prediction.values), **prediction.columns}
  columns = {name: _typed(pyarrow, name, [cell or None for cell in of]) for name, of in cells.items()}
  with atomic.whole(folder / f'{prediction.recording}.parquet') as temporary:
    parquet.write_table(pyarrow.table(columns), temporary)


def _typed(pyarrow, name, cells):
  if name == 'recording':  # which may be a number
    return pyarrow.array(cells, pyarrow.string())
  kind = pyarrow.float64() if name == 'time' else pyarrow.float32()
  try:
    return pyarrow.array([None if cell is None else float(cell) for cell in cells], kind)
  except ValueError:
    return pyarrow.array(cells, pyarrow.string())


FORMAT = Format('parquet', write, libraries=('pyarrow',))
