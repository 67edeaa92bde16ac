"""Divisions of a corpus that has none of its own: folds by groups of speakers, whom no two partitions share."""

from collections.abc import Mapping, Sequence

from data_prep.core.errors import UserError


def rotating(groups: Mapping[str, Sequence[str]]) -> dict[str, dict[str, str]]:
  """A fold a group: its speakers are test, those of the next group validation (of the last: the first), the rest train.

  Args:
    groups: name of a fold, in order -> speakers.

  Returns:
    name of the fold -> speaker -> partition; see `Corpus.folds`.
  """
  names = list(groups)
  folds = {}
  for k, fold in enumerate(names):
    of_group = dict.fromkeys(names, 'train') | {names[(k + 1) % len(names)]: 'validation', fold: 'test'}
    folds[fold] = {speaker: of_group[name] for name, speakers in groups.items() for speaker in speakers}
  return folds


def leave_one_out(speakers: Sequence[str]) -> dict[str, dict[str, str]]:
  """`rotating`, every speaker a group; folds are named after the speaker that is tested."""
  return rotating({speaker: (speaker,) for speaker in sorted(set(speakers))})


def dealt(speakers: Sequence[str], count: int) -> dict[str, dict[str, str]]:
  """`rotating`, the sorted speakers dealt like cards into groups '1', '2', …: the k-th goes to group k mod `count`."""
  ordered = sorted(set(speakers))
  return rotating({str(k + 1): ordered[k::count] for k in range(count)})


def refuse_split(name: str, split, label_range) -> None:
  """Raises UserError where a split or a scale is given to a corpus whose folds and scale are known."""
  if split is not None:
    raise UserError(
      f'--split and --split_file are not for --corpus={name}: its data hold folds that share no speaker; choose one '
      'when you train, with --config.data.fold'
    )
  if label_range is not None:
    raise UserError(f'--label_range is not for --corpus={name}: its labels are known')
