"""Where a network comes from, as every output says it."""

import pytest

from data_prep import corpora
from e2e_affect.run import origin


def dataset(corpus, **more):
  return {
    'preparation': {'corpus': corpus, **more},
    'partitions': {'train': {'recordings': 5, 'subjects': 3, 'hours': 0.25}},
  }


@pytest.mark.parametrize('name', sorted(set(corpora.READERS) - {'csv'}))
def test_every_corpus_says_who_speaks(name):
  """Number, language or what stands for it, acted or spontaneous, licence; of one's own recordings nothing is known."""
  found = origin.of(dataset(name))
  assert not found.simulated and found.licence == corpora.READERS[name].licence != ''
  (people,) = found.people
  assert people.startswith(f'corpus {name}: 3 to train on, 0.25 h; ')
  assert any(word in people for word in ('acted', 'spontaneous', 'improvised')), people


def test_what_is_not_known_is_said():
  for found in (origin.of(dataset('csv')), origin.of(dataset('of a later version'))):
    assert 'this program does not know' in found.people[0] and 'ask their owners' in found.licence
  assert 'how many is unknown' in origin.of({}).people[0]


def test_whoever_was_trained_on_counts():
  partitions = {'train': {'subjects': 16, 'hours': 0.991}, 'validation': {'subjects': 4, 'hours': 0.2501}}
  found = origin.of({'partitions': partitions}, train_on=('train', 'validation'))
  assert found.people[0].startswith('corpus unknown: 20 to train on, 1.241 h; ')


def test_simulated_people_are_nobody():
  found = origin.of(dataset('recola', simulated=True))
  assert found.simulated and found.people == ('nobody: voices and faces drawn by a program (3 to train on, 0.25 h)',)
  assert found.line.startswith('SIMULATED PEOPLE, nobody') and 'French' not in found.line
  assert origin.of(dataset('recola'), simulated=True).simulated  # as `network.json` says it
  assert not origin.of(dataset('recola', simulated=True), simulated=False).simulated


def test_a_published_network_says_it_of_itself():
  found = origin.of({}, {'network': 'N', 'people': ['a', 'b'], 'licence': 'L', 'scores': ['s']})
  assert found == origin.Origin(False, ('a', 'b'), 'L', ('s',), 'N')
  assert found.for_json() == {'people': ['a', 'b'], 'licence': 'L', 'published_scores': ['s']}
