"""Everybody in a stream: a network's state for each person, and the sound for all."""

from collections.abc import Mapping
import dataclasses

import numpy as np

from e2e_affect.clips.online import OnlineNetwork

# Who is out of the picture for longer has no traces until the face is back: within some 5 s without a face a network is
# where it would be without the person, and what a step costs does not grow with all who ever passed by.
GONE_SECONDS = 10.0


@dataclasses.dataclass
class _Present:
  """A person's network, and the steps in which the person was seen first and last."""

  network: OnlineNetwork
  first: int
  last: int


class Everybody:
  """A network that takes one step of sound and of all faces at a time, and keeps a state for each person.

  What it says of a person is what `predict --faces=all` would say of a file, as far as one can say live: the person's
  state begins as that of a network which heard all before and saw nobody. The sound, which costs most, is heard once.

  Attributes:
    ahead, grid, hears, sees, detector: as those of the network.
  """

  def __init__(self, network: OnlineNetwork):
    """
    Args:
      network: fresh.
    """
    self._nobody = network  # hears, and sees nobody
    self.ahead, self.grid, self.hears, self.sees = network.ahead, network.grid, network.hears, network.sees
    self.detector = network.detector
    self._people: dict[int, _Present] = {}
    self._taken = 0

  def __call__(
    self, samples: np.ndarray | None, seen: Mapping[int, tuple[np.ndarray, float]] = {}
  ) -> dict[int, np.ndarray] | None:
    """Takes the next step; returns the predictions of the step that lies `ahead` before it.

    Args:
      samples: as `OnlineNetwork` takes them.
      seen: number of a person -> face and confidence, as `OnlineNetwork` takes them, of all who are seen.

    Returns:
      Number -> [K] float32 of everybody who was seen by then and is not gone for longer than `GONE_SECONDS`, in the
      order of numbers; None as long as no step has enough sound after it.
    """
    for number in seen:
      if number not in self._people:
        self._people[number] = _Present(self._nobody.fork(), self._taken, self._taken)
      self._people[number].last = self._taken
    heard = self._nobody.hear(samples)
    self._nobody.say(heard, None, 0.0)
    step, said = self._taken - self.ahead, {}
    for number, one in sorted(self._people.items()):
      prediction = one.network.say(heard, *seen.get(number, (None, 0.0)))
      if prediction is not None and step >= one.first:
        said[number] = prediction
      if (step - one.last) * self.grid.step_seconds >= GONE_SECONDS:
        del self._people[number]
    self._taken += 1
    return said if step >= 0 else None
