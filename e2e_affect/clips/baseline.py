"""A person's own neutral clip: what the network says of it is taken from what it says of the person's other clips.

Levels shift with voice, face, camera and room. The difference to a calm recording of the same person under the same
conditions is free of what both share.
"""

from collections.abc import Sequence
import dataclasses
import pathlib

import numpy as np


@dataclasses.dataclass(frozen=True)
class Baseline:
  """What a network says of a neutral clip.

  Attributes:
    file: the clip.
    seconds: its length.
    targets: K names.
    means: [K] float64, of the final traces.
    notes: what a person should know of the clip.
  """

  file: pathlib.Path
  seconds: float
  targets: Sequence[str]
  means: np.ndarray
  notes: tuple[str, ...] = ()

  def columns(self, final: np.ndarray) -> dict[str, np.ndarray]:
    """`<target>_relative` [T] float32 of each target: final traces [T, K] of another clip, less the means."""
    relative = (final - self.means).astype(np.float32)
    return {f'{target}_relative': relative[:, k] for k, target in enumerate(self.targets)}

  def for_json(self) -> dict:
    """For the JSON of a clip."""
    means = {target: round(float(mean), 6) for target, mean in zip(self.targets, self.means, strict=True)}
    return {'file': str(self.file.resolve()), 'seconds': round(self.seconds, 3), 'means': means}

  @property
  def note(self) -> str:
    """What a person should know of the numbers."""
    means = ', '.join(f'{target} {mean:+z.2f}' for target, mean in zip(self.targets, self.means, strict=True))
    said = f' ({"; ".join(self.notes)})' if self.notes else ''
    return f'relative values: less the means of {self.file.name}, {means}'.replace('-', '−') + said
