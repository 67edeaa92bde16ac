"""Divisions of a corpus that has none of its own: folds by groups of speakers, whom no two partitions share."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from data_prep.core.errors import UserError


def rotating(groups: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
  """A fold a group: its speakers are test, those of the next group validation (of the last: the first), the rest train.

  Args:
    groups: name of a fold, in order -> speakers.

  Returns:
    name of the fold -> speaker -> partition; see `Corpus.folds`.
  """
  names = list(groups)
  return {fold: _fold(groups, (fold,), (names[(k + 1) % len(names)],)) for k, fold in enumerate(names)}


def leave_one_out(said: Iterable[tuple[str, str]]) -> dict[str, dict[str, str]]:
  """As `rotating`, a group a speaker; a fold is named after the speaker that is tested.

  A single speaker may lack a class, and validation must have all that train has. The speakers after the next one join
  validation until it has them; where that would leave none for train, it stays at the next one.

  Args:
    said: speaker and class of every recording; the class is the same everywhere where there are none.
  """
  classes: dict[str, set[str]] = {}
  for speaker, label in said:
    classes.setdefault(speaker, set()).add(label)
  speakers = sorted(classes)
  groups = {speaker: (speaker,) for speaker in speakers}
  has = lambda of: set().union(*(classes[speaker] for speaker in of))
  folds = {}
  for k, tested in enumerate(speakers):
    others = speakers[k + 1 :] + speakers[:k]
    enough = (n for n in range(1, len(others)) if has(others[n:]) <= has(others[:n]))
    folds[tested] = _fold(groups, (tested,), others[: next(enough, 1)])
  return folds


def dealt(speakers: Iterable[str], count: int) -> dict[str, dict[str, str]]:
  """As `rotating`, the sorted speakers dealt like cards: the first is tested in fold 1, the second in fold 2, …

  Args:
    speakers: all that the corpus has, so that those whom a copy lacks change no fold.
    count: of folds.
  """
  ordered = sorted(speakers)
  return rotating({str(k + 1): ordered[k::count] for k in range(count)})


def _fold(groups, test: Collection[str], validation: Collection[str]) -> dict[str, str]:
  """speaker -> partition, of groups that are test, validation, or neither."""
  partition_of = dict.fromkeys(groups, 'train') | dict.fromkeys(validation, 'validation') | dict.fromkeys(test, 'test')
  return {speaker: partition_of[group] for group, speakers in groups.items() for speaker in speakers}


def refuse_split(name: str, split, label_range) -> None:
  """Raises UserError where a split or a scale is given to a corpus whose folds and scale are known."""
  if split is not None:
    raise UserError(
      f'--split and --split_file are not for --corpus={name}: its data hold folds that share no speaker; choose one '
      'when you train, with --config.data.fold'
    )
  if label_range is not None:
    raise UserError(f'--label_range is not for --corpus={name}: its labels are known')
