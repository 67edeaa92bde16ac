"""Where a network comes from: on what people it was trained, and under what licence. Every output says it from here."""

from collections.abc import Mapping, Sequence
import dataclasses

from data_prep import corpora

# What every output of a network of simulated people says.
SIMULATED = (
  'this network learnt from a simulated corpus, from drawings of people and not from people: its values say '
  'nothing about a person'
)
# What every page of numbers about such networks says.
SIMULATED_NUMBERS = (
  'Simulated people: voices and faces drawn by this program, with labels that follow from them. The numbers show that '
  'everything runs and learns. They say nothing of real people'
)


@dataclasses.dataclass(frozen=True)
class Origin:
  """On whom a network was trained.

  Attributes:
    simulated: on drawings; then nothing else here is about people.
    people: a sentence each: who, how many, in what language, acted or spontaneous.
    licence: of the recordings, and so of what is made of them.
    scores: published scores, of a network that others trained.
    network: its name, where others trained it; else ''.
  """

  simulated: bool
  people: tuple[str, ...]
  licence: str
  scores: tuple[str, ...] = ()
  network: str = ''

  @property
  def line(self) -> str:
    """All in one line, for the record of a run."""
    return f'{"SIMULATED PEOPLE, " * self.simulated}{"; ".join(self.people)}; licence: {self.licence}'

  def for_json(self) -> dict:
    """For the JSON and the page of a result."""
    said = {'people': list(self.people), 'licence': self.licence, 'published_scores': list(self.scores)}
    return {name: value for name, value in said.items() if value}


def of(
  dataset: Mapping,
  published: Mapping | None = None,
  simulated: bool | None = None,
  train_on: Sequence[str] = ('train',),
) -> Origin:
  """Where a network comes from.

  Args:
    dataset: of the run, as `workdir.describe` has it; {} where an older run does not say.
    published: `origin` of `network.json`, of a network that others trained.
    simulated: of `network.json`; None: older exports have no such field, and their dataset says it.
    train_on: partitions that it learnt from; nobody is in two of them.
  """
  if published:
    lines = lambda name: tuple(map(str, published.get(name, ())))
    return Origin(
      simulated=False,
      people=lines('people'),
      licence=str(published.get('licence', '')),
      scores=lines('scores'),
      network=str(published.get('network', '')),
    )
  preparation = dataset.get('preparation') or {}
  known = dataset.get('partitions') or {}
  learnt = [known[name] for name in train_on if name in known]
  people, hours = (sum(of[field] for of in learnt) for field in ('subjects', 'hours'))
  amount = f'{people} to train on, {round(hours, 3):g} h' if learnt else 'how many is unknown'
  if preparation.get('simulated', False) if simulated is None else simulated:
    return Origin(True, (f'nobody: voices and faces drawn by a program ({amount})',), 'Apache-2.0, as the program')
  name = preparation.get('corpus', 'unknown')
  entry = corpora.READERS.get(name)
  they = (entry and entry.people) or 'who they are, their language, and whether they act, this program does not know'
  licence = (entry and entry.licence) or 'that of the recordings, which this program does not know: ask their owners'
  return Origin(False, (f'corpus {name}: {amount}; {they}',), licence)
