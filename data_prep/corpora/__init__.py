"""Readers of corpora, by the name that `--corpus` takes."""

from collections.abc import Sequence
import dataclasses
import pathlib
from typing import Any, Protocol

from data_prep.core import registry
from data_prep.core.errors import UserError
from data_prep.corpora import (
  afewva,
  affwild2,
  avec2016,
  case,
  crema_d,
  emodb,
  iemocap,
  muse,
  omg,
  own,
  ravdess,
  recola,
  sewa,
  tfds_sets,
)
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


@dataclasses.dataclass(frozen=True)
class Entry:
  """A corpus as `--corpus` knows it.

  Attributes:
    read: see `Reader`; where there is a choice of targets it takes `targets`, too.
    needs: what `--source` is, for `--corpus=help`.
    targets: sets of targets to choose from by `--targets`, the default first; empty: there is no choice.
    people: who they are, their language, whether they act, as networks of the corpus say it; '': not known.
    licence: of the recordings, likewise.
  """

  read: Any
  needs: str = ''
  targets: Sequence[tuple[str, ...]] = ()
  people: str = ''
  licence: str = ''


READERS: dict[str, Entry] = {}


def register(
  name: str,
  read: Reader,
  needs: str = '',
  targets: Sequence[tuple[str, ...]] = (),
  people: str = '',
  licence: str = '',
) -> None:
  """Adds a corpus; see `Entry`.

  Raises:
    ValueError: there is one of that name.
  """
  registry.add(READERS, 'corpus', name, Entry(read, needs, targets, people, licence))


for _entry in (
  ('recola', recola.read, recola.NEEDS, (), recola.PEOPLE, recola.LICENCE),
  ('avec2016', avec2016.read, avec2016.NEEDS, (), avec2016.PEOPLE, avec2016.LICENCE),
  ('csv', own.read, own.NEEDS),
  ('ravdess', ravdess.read, ravdess.NEEDS, (), ravdess.PEOPLE, ravdess.LICENCE),
  ('sewa', sewa.read, sewa.NEEDS, (), sewa.PEOPLE, sewa.LICENCE),
  ('muse', muse.read, muse.NEEDS, (), muse.PEOPLE, muse.LICENCE),
  ('affwild2', affwild2.read, affwild2.NEEDS, (), affwild2.PEOPLE, affwild2.LICENCE),
  ('afewva', afewva.read, afewva.NEEDS, (), afewva.PEOPLE, afewva.LICENCE),
  ('omg', omg.read, omg.NEEDS, (), omg.PEOPLE, omg.LICENCE),
  ('case', case.read, case.NEEDS, (), case.PEOPLE, case.LICENCE),
  ('emodb', emodb.read, emodb.NEEDS, emodb.TARGETS, emodb.PEOPLE, emodb.LICENCE),
  ('crema_d', crema_d.read, crema_d.NEEDS, crema_d.TARGETS, crema_d.PEOPLE, crema_d.LICENCE),
  ('iemocap', iemocap.read, iemocap.NEEDS, iemocap.TARGETS, iemocap.PEOPLE, iemocap.LICENCE),
  ('tfds:crema_d', tfds_sets.CREMA_D, tfds_sets.NEEDS, (), crema_d.PEOPLE, crema_d.LICENCE),
  ('tfds:savee', tfds_sets.SAVEE, tfds_sets.NEEDS_BY_HAND, (), tfds_sets.SAVEE_PEOPLE, tfds_sets.SAVEE_LICENCE),
):
  register(*_entry)


def in_words() -> str:
  """A paragraph a corpus: its name, what it needs, the targets to choose from, who speaks, and the licence."""
  lines = []
  for name, entry in READERS.items():
    lines.append(f'--corpus={name}\n    --source: {entry.needs}')
    if entry.targets:
      lines.append(f'    --targets: {" or ".join(",".join(targets) for targets in entry.targets)}')
    lines += [f'    {word}: {said}' for word, said in (('people', entry.people), ('licence', entry.licence)) if said]
  return '\n'.join(lines)


def read(name: str, source, *, split=None, label_range=None, targets: Sequence[str] = ()) -> Corpus:
  """Finds the recordings of a corpus; see `Reader`.

  Args:
    name: of the corpus.
    source, split, label_range: see `Reader`.
    targets: one of the sets that the corpus offers; (): its first.

  Raises:
    DataError: `source` is no such corpus, a subject is in two partitions, or a fold leaves one out.
    UserError: there is no corpus of this name, or an argument is not for it.
  """
  if name not in READERS:
    raise UserError(f'--corpus={name}; expected one of {", ".join(READERS)}; --corpus=help says what each needs')
  entry, chosen = READERS[name], {}
  if targets and tuple(targets) not in entry.targets:
    offered = ' or '.join(','.join(of) for of in entry.targets) or 'none: leave it out'
    raise UserError(f'--targets={",".join(targets)}; --corpus={name} offers {offered}')
  if entry.targets:
    chosen = {'targets': tuple(targets) or entry.targets[0]}
  found = entry.read(source, split=split, label_range=label_range, **chosen)
  check_subjects(found.recordings)
  check_folds(found.recordings, found.folds)
  return found
