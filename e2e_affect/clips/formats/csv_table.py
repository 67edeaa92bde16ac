"""`csv`: the table itself, a file for each recording. Of use where one table holds several."""

import csv
import io
import pathlib

from data_prep.core import atomic
from e2e_affect.clips.formats.base import Format, Prediction


def write(folder: pathlib.Path, prediction: Prediction) -> None:
  """`NAME.csv` with every column of the table."""
  text = io.StringIO()
  writer = csv.writer(text, lineterminator='\n')
  writer.writerow(prediction.columns)
  writer.writerows(zip(*prediction.columns.values(), strict=True))
  atomic.write(folder / f'{prediction.recording}.csv', text.getvalue())


FORMAT = Format('csv', write)
