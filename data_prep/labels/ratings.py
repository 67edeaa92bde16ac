"""Labels of a recording that are not one table of text: files of other programs, and folders with a file a rater.

    labels/anna_1.eaf                       one file; what it holds several times is of several raters
    labels/anna_1/eva.csv, max.csv          a file a rater, with the targets by their names
    labels/anna_1/arousal/eva.csv, max.csv  a file a rater and target, whatever its column is called (CARMA: `Rating`)

In a folder with files of a program that `formats` knows, others are left alone: ELAN keeps its linked tables there.
"""

import pathlib

import numpy as np

from data_prep.core.errors import DataError
from data_prep.labels import columns, formats, label_files, resample
from data_prep.labels.formats import Rating
from data_prep.labels.label_files import Table
from data_prep.schema.grid import PAPER
from data_prep.schema.manifest import inside

_TEXT = ('.csv', '.tsv', '.txt', '.arff')


def is_one_table(path: pathlib.Path) -> bool:
  """Whether a path of labels is for `label_files`, and not for this module."""
  return not path.is_dir() and formats.of(path) is None


def files(path: pathlib.Path) -> list[pathlib.Path]:
  """Every file that labels are read from.

  Raises:
    DataError: a file that names others is damaged, or a path leads out of the folder.
  """
  found = [path] if not path.is_dir() else [file for _, file in _of_folder(path)]
  return [other for file in found for other in (file, *_beside(file))]


def _beside(file):
  format = formats.of(file)
  return format.beside(file) if format else []


def read(path: pathlib.Path, recording: str) -> list[Rating]:
  """What all raters say of a recording.

  Args:
    path: file or folder.
    recording: its name, by which a file of several recordings is searched.

  Raises:
    DataError: a file is damaged, or there is no label at all.
  """
  found: list[Rating] = []
  for target, file in _of_folder(path) if path.is_dir() else [(None, path)]:
    ratings = _of_file(file, recording)
    if target is not None:
      own = [rating for rating in ratings if rating.target.casefold() == target.casefold()] or ratings
      if len(own) != 1:
        raise DataError(
          f'{file}: {len(own)} traces, {", ".join(rating.target for rating in own)[:200]}; expected one in the folder '
          f'of {target}'
        )
      ratings = [Rating(target, own[0].times, own[0].values)]
    found += ratings
  if not found:
    raise DataError(f'{path}: no labels in numbers')
  return found


def targets(path: pathlib.Path, recording: str) -> tuple[str, ...]:
  """Names of the targets, in the order of the files; arguments and errors as `read`."""
  names = {rating.target.casefold(): rating.target for rating in reversed(read(path, recording))}
  return tuple(reversed(names.values()))


def parse(path: pathlib.Path, target: str, recording: str) -> Table:
  """All raters' traces of a target, a column each, at the times of the one with the most rows.

  Between two rows of a rater is a line; NaN before the first and after the last, and in holes.

  Raises:
    DataError: as `read`, or nobody rated this target.
  """
  raters = [rating for rating in read(path, recording) if rating.target.casefold() == target.casefold()]
  if not raters:
    raise DataError(f'{path}: no {target}; expected it as in most of the recordings')
  times = max((rating.times for rating in raters), key=len)
  return columns.table(path, {f'{k}': _at(times, of) for k, of in enumerate(raters)}, times)


def _at(times, rating):
  values = np.interp(times, rating.times, rating.values, np.nan, np.nan)
  after = np.clip(np.searchsorted(rating.times, times), 1, max(1, len(rating.times) - 1))
  gaps = np.diff(rating.times, prepend=rating.times[0])[after % len(rating.times)]
  values[(gaps > resample.longest_gap(rating.times, PAPER)) & ~np.isin(times, rating.times)] = np.nan
  return values


def _of_folder(folder):
  """(target, or None, file) of each file, in the order of their names."""
  found = []
  for entry in sorted(folder.iterdir()):
    if entry.is_dir():
      found += [(entry.name, file) for file in _files(entry)]
  return [(None, file) for file in _files(folder)] + found


def _files(folder):
  entries = [inside(folder, entry.name, folder) for entry in sorted(folder.iterdir()) if entry.name[0] != '.']
  entries = [entry for entry in entries if entry.is_file()]
  of_programs = [entry for entry in entries if formats.of(entry)]
  return of_programs or [entry for entry in entries if entry.suffix.lower() in _TEXT]


def _of_file(file, recording):
  format = formats.of(file)
  if format:
    return format.read(file, recording)
  table = label_files.read_table(file, low=-np.inf, high=np.inf)
  return [Rating(name, table.times, table.values[:, k]) for k, name in enumerate(table.columns)]
