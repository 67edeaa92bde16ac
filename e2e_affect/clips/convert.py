"""From a trace CSV to files of other programs, all of them or none."""

from collections.abc import Sequence
import dataclasses
import os
import pathlib
import tempfile

from data_prep.core import atomic, cli
from data_prep.core.errors import DataError, WorkdirError
from e2e_affect.clips import formats
from e2e_affect.clips.formats import table

_SPOOL = '.convert-'


def convert(path: pathlib.Path, names: Sequence[str], out: pathlib.Path) -> list[pathlib.Path]:
  """Writes the recordings of a trace CSV in other formats.

  Args:
    path: the CSV of a clip, or of a run's partition.
    names: of formats.
    out: folder in which each format gets a folder.

  Returns:
    The files.

  Raises:
    UserError: a format cannot hold these values, is unknown, or its library is absent.
    DataError: the CSV cannot be read, two recordings in it have one name, or one lacks what the format needs.
    WorkdirError, DiskFullError: `out` cannot be written, or a file is there already: people edit such files.
  """
  predictions = table.read(path)
  formats.check(names, predictions[0].outputs, predictions[0].shows)
  recordings = [prediction.recording for prediction in predictions]
  doubled = next((name for name in recordings if recordings.count(name) > 1), None)
  if doubled:
    raise DataError(f'{path}: two recordings would be named {doubled}; rename one')
  with atomic.writing(out):
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_SPOOL, dir=out) as folder:
      spool = pathlib.Path(folder)
      for prediction in predictions:
        formats.write(names, spool, _seen_from(out, path.parent, prediction))
      written = sorted(file.relative_to(spool) for file in spool.rglob('*') if file.is_file())
      for file in written:
        if os.path.lexists(out / file):
          raise WorkdirError(f'{out / file}: is there already; left as it is: move it away, or choose another --out')
      for file in written:
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        (spool / file).replace(out / file)
  kinds = ', '.join(str(out / name) for name in names)
  cli.say(f'{path}: {len(predictions)} {"recording" if len(predictions) == 1 else "recordings"} -> {kinds}')
  return [out / file for file in written]


def _seen_from(out, folder, prediction):
  """The prediction of a table in a folder, for formats whose folders lie in `out`."""
  if prediction.copy is None:
    return prediction
  copy = os.path.relpath(folder.resolve() / 'format' / prediction.copy, out.resolve() / 'format')
  return dataclasses.replace(prediction, copy=pathlib.Path(copy).as_posix())
