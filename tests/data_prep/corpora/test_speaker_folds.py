"""Folds by speakers: who is tested with whom."""

from data_prep.corpora import speaker_folds


def of(folds, name):
  found = {}
  for speaker, partition in folds[name].items():
    found.setdefault(partition, []).append(speaker)
  return {partition: ''.join(sorted(speakers)) for partition, speakers in found.items()}


def test_groups_rotate():
  folds = speaker_folds.rotating({'x': 'ab', 'y': 'c', 'z': 'def'})
  assert of(folds, 'x') == {'test': 'ab', 'validation': 'c', 'train': 'def'}
  assert of(folds, 'z') == {'test': 'def', 'validation': 'ab', 'train': 'c'}


def test_speakers_are_dealt_like_cards():
  folds = speaker_folds.dealt('gfedcba', 3)
  assert list(folds) == ['1', '2', '3']
  assert of(folds, '1') == {'test': 'adg', 'validation': 'be', 'train': 'cf'}
  assert of(folds, '3') == {'test': 'cf', 'validation': 'adg', 'train': 'be'}


def test_validation_grows_until_it_has_the_classes_of_train():
  said = [
    (speaker, label) for speaker, labels in {'a': 'xy', 'b': 'x', 'c': 'y', 'd': 'xy'}.items() for label in labels
  ]
  folds = speaker_folds.leave_one_out(said)
  assert list(folds) == ['a', 'b', 'c', 'd']
  assert of(folds, 'a') == {'test': 'a', 'validation': 'bc', 'train': 'd'}
  assert of(folds, 'c') == {'test': 'c', 'validation': 'd', 'train': 'ab'}
  assert of(folds, 'd') == {'test': 'd', 'validation': 'a', 'train': 'bc'}
  # Only a has z: where a is in train, no validation has all. It stays at the next speaker, and training says so.
  folds = speaker_folds.leave_one_out([*said, ('a', 'z')])
  assert of(folds, 'b') == {'test': 'b', 'validation': 'c', 'train': 'ad'}
  assert of(folds, 'd') == {'test': 'd', 'validation': 'a', 'train': 'bc'}
