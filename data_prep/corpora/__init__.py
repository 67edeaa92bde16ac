"""Readers of corpora, by the name that `--corpus` takes."""

import pathlib
from typing import Protocol

from data_prep.core import registry
from data_prep.core.errors import UserError
from data_prep.corpora import avec2016, own, recola
from data_prep.corpora.recording import check_folds, check_subjects, Corpus


class Reader(Protocol):
  """Finds the recordings of a corpus."""

  def __call__(self, source, *, split: str | pathlib.Path | None, label_range: tuple[float, float] | None) -> Corpus:
    """Reads no media, and of labels at most the names of their columns.

    Args:
      source: of `--source`.
      split: name of one of the corpus's splits, or a file, see `recording.read_split_file`; None: its own.
      label_range: (low, high) of the labels; None: that of the corpus.

    Raises:
      DataError: `source` is no corpus of this kind.
      UserError: an argument is not for this corpus.
    """
    ...


READERS: dict[str, Reader] = {}


def register(name: str, reader: Reader) -> None:
  """Adds a corpus.

  Raises:
    ValueError: there is one of that name.
  """
  registry.add(READERS, 'corpus', name, reader)


for _name, _reader in (('recola', recola.read), ('avec2016', avec2016.read), ('csv', own.read)):
  register(_name, _reader)


def read(name: str, source, *, split=None, label_range=None) -> Corpus:
  """Finds the recordings of a corpus; see `Reader`.

  Raises:
    DataError: `source` is no such corpus, a subject is in two partitions, or a fold leaves one out.
    UserError: there is no corpus of this name, or an argument is not for it.
  """
  if name not in READERS:
    raise UserError(f'--corpus={name}; expected one of {", ".join(READERS)}')
  found = READERS[name](source, split=split, label_range=label_range)
  check_subjects(found.recordings)
  check_folds(found.recordings, found.folds)
  return found
