"""What readers of released corpora share: options that are not theirs, partitions, files by their stem."""

from collections.abc import Iterable
import hashlib
import pathlib

from data_prep.core.errors import UserError
from data_prep.corpora.recording import read_split_file


def partitions_of_file(corpus: str, split, label_range) -> dict[str, str] | None:
  """id -> partition of `--split_file`; None: the corpus's own split.

  Raises:
    UserError: a named split or a scale is given: the corpus has its own.
    DataError: of the file.
  """
  if label_range is not None:
    raise UserError('--label_range is for --corpus=csv; the scale of the others is known')
  if isinstance(split, str):
    raise UserError(f'--split={split} is for --corpus=recola; --corpus={corpus} takes --split_file')
  if split is None:
    return None
  found = read_split_file(split) if isinstance(split, pathlib.Path) else split
  return {name: partition for partition, names in found.items() for name in names}


def partition_of(subject: str) -> str:
  """Partition of a person where a corpus has no official split: about 60, 20 and 20 % of people.

  It follows from the name alone (SHA-256), so that copies of which parts are absent are split alike.
  """
  share = int.from_bytes(hashlib.sha256(subject.encode()).digest()[:8], 'big') / 2**64
  return 'train' if share < 0.6 else 'validation' if share < 0.8 else 'test'


def by_stem(folders: Iterable[pathlib.Path], endings: Iterable[str]) -> dict[str, pathlib.Path]:
  """Stem -> file with one of the endings in these folders, those that there are; the first folder and ending first."""
  found: dict[str, pathlib.Path] = {}
  for folder in folders:
    for ending in endings:
      for path in sorted(folder.glob(f'*{ending}')):
        found.setdefault(path.stem, path)
  return found
