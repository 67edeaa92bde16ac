"""How far raters are apart, as labels: against NumPy, from RECOLA's layout to the records."""

import dataclasses

import numpy as np
import pytest

from data_prep.core.errors import DataError, UserError
from data_prep.corpora.recording import Corpus, LabelSource, Recording, with_spread
from data_prep.corpora.settings import Settings
from data_prep.recordings import labels
from data_prep.schema.grid import PAPER


def rated(folder, raters, seed=0, low=-0.5, high=0.5):
  """A label file of 50 rows, and its ratings [50, R]."""
  ratings = np.random.default_rng(seed).uniform(low, high, (50, raters)).round(6)
  rows = [f'{0.04 * (i + 1):.2f},' + ','.join(map(str, row)) for i, row in enumerate(ratings)]
  path = folder / f'{raters}_{seed}.csv'
  path.write_text('time,' + ','.join(f'FM{r}' for r in range(raters)) + '\n' + '\n'.join(rows) + '\n')
  return path, ratings


def corpus_of(*paths, label_range=(-1.0, 1.0)):
  sources = tuple(LabelSource(target, path) for target, path in zip(('arousal', 'valence'), paths, strict=True))
  return Corpus([Recording('A', 'A', 'train', None, None, sources)], [], label_range=label_range)


def placed(corpus):
  settings = Settings(corpus.targets, corpus.label_range, 0.2, None, 'mean', 1, target_ranges=corpus.target_ranges)
  (recording,) = corpus.recordings
  found = labels.read(recording, settings)
  return labels.place(recording, found, settings, 50)[:2], settings


@pytest.mark.parametrize('label_range, unit', [((-1.0, 1.0), 1.0), ((0.0, 4.0), 0.5)])
def test_the_spread_is_the_standard_deviation_in_the_unit_of_the_stored_target(tmp_path, label_range, unit):
  low, high = label_range
  arousal, valence = (rated(tmp_path, 6, seed, low, high) for seed in (1, 2))
  corpus = with_spread(corpus_of(arousal[0], valence[0], label_range=label_range))
  assert corpus.targets == ('arousal', 'valence', 'arousal_spread', 'valence_spread')
  (label, mask), settings = placed(corpus)
  assert mask.all()
  for k, (_, ratings) in enumerate((arousal, valence)):
    middle = (low + high) / 2
    np.testing.assert_allclose(label[:, k], (ratings.mean(axis=1) - middle) * unit, atol=1e-6)
    np.testing.assert_allclose(label[:, 2 + k], ratings.std(axis=1) * unit, atol=1e-6)
  gains = {name: scale for name, scale in settings.label_scale().items() if 'spread' in name}
  assert gains == {'arousal_spread': [unit, 0.0], 'valence_spread': [unit, 0.0]}


def test_raters_as_far_apart_as_can_be_fill_half_of_the_scale(tmp_path):
  path = tmp_path / 'two.csv'
  path.write_text('time,a,b\n' + ''.join(f'{0.04 * (i + 1):.2f},-1,1\n' for i in range(50)))
  (label, _), _ = placed(with_spread(corpus_of(path, path)))
  assert (label[:, 2:] == 1).all() and not label[:, :2].any()


def test_without_raters_it_is_refused(tmp_path):
  one, six = rated(tmp_path, 1)[0], rated(tmp_path, 6)[0]
  with pytest.raises(DataError, match=f'{one.name}: 1 rater; expected two or more.*leave --spread out'):
    placed(with_spread(corpus_of(one, six)))
  named = corpus_of(six, six)
  sources = tuple(dataclasses.replace(source, column=source.target) for source in named.recordings[0].labels)
  named = dataclasses.replace(named, recordings=[dataclasses.replace(named.recordings[0], labels=sources)])
  with pytest.raises(UserError, match='--spread: no label file of this corpus has raters'):
    with_spread(named)


def test_the_rest_of_the_corpus_stays(tmp_path):
  path, _ = rated(tmp_path, 3)
  before = corpus_of(path, path)
  after = with_spread(before)
  assert after.recordings[0].labels[:2] == before.recordings[0].labels
  assert dataclasses.replace(after, targets=before.targets, target_ranges={}, recordings=before.recordings) == before
  assert after.grid == PAPER
