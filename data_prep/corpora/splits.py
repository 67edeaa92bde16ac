"""Which subject belongs to which partition of RECOLA.

RECOLA's release names no partitions. `RECOLA_FULL` is the split the paper was trained on, all 46 subjects, as
found in the history of the authors' repository and in its issue 1; `RECOLA_AVEC` is the same for the 27 subjects
of the AVEC 2015/2016 challenges (train, dev and test in the order of `train_1` … `test_9`). The labels of the test
subjects were never public, so most users hold fewer subjects than these lists name.
"""


def _ids(numbers: str) -> tuple[str, ...]:
  return tuple(f'P{number}' for number in numbers.split())


RECOLA_FULL = {
  'train': _ids('25 15 16 17 18 21 23 37 39 41 46 50 51 55 56 60'),
  'validation': _ids('14 19 24 26 28 30 34 40 42 43 44 45 52 64 65'),
  'test': _ids('54 53 13 20 22 32 38 47 48 49 57 58 59 62 63'),
}

RECOLA_AVEC = {
  'train': _ids('16 21 23 25 37 39 41 46 56'),
  'validation': _ids('19 26 28 30 34 42 45 64 65'),
  'test': _ids('13 20 32 38 47 49 53 59 63'),
}
