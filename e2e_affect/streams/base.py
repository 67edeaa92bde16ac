"""What every stream of the trainer says of itself."""

from collections.abc import Callable, Mapping
from typing import Any

from flax import linen as nn
import jax
import ml_collections
import numpy as np

from data_prep.core.errors import DataError
from data_prep.recordings.clip import Clip
from data_prep.schema.fields import Field
from data_prep.schema.grid import Grid


class Stream:
  """One kind of signal that a network takes, from the fields of a batch to features.

  Attributes:
    name: as in `config.model.modalities`; the fields of its records are those of `data_prep.streams`.
    part: whether the network has parameters of its own for it, under this name.
    wide: fields that come with context beside a chunk of a recording, because its filters see across steps.
    evidence: the field that is 0 throughout where a recording lacks the stream.
    lack: what such a recording has none of, in a word.
    shared: fields of `config.model.<name>` in which two networks must agree, beside the shapes of their parameters, for
      one to take the other's features.
    follows: fields that, left on 'auto', take the other network's value.
    phrase: what a network with it predicts from, in a sentence.
    track: what of a clip it is made of; None: no clip yields it.
    verb: what a network of it does with a clip.
    picture: whether the faces in a clip's picture must be followed for it.
    arrays: names of the arrays that a user hands to a network for it; the first is the one that counts.
    ends_early: whether it may be shorter than the recording, and is 0 from there on.
  """

  name: str
  part: bool = True
  wide: tuple[str, ...] = ()
  evidence: str
  lack: str
  shared: tuple[str, ...] = ()
  follows: tuple[str, ...] = ()
  phrase: str
  track: str | None = None
  verb: str = ''
  picture: bool = False
  arrays: tuple[str, ...] = ()
  ends_early: bool = False

  def reach(self, model: Any, grid: Grid) -> int:
    """Steps beside a chunk that its filters see, rounded up.

    Args:
      model: `config.model`.
      grid: of the recordings.
    """
    return 0

  def check(self, found: tuple[Field, ...] | None, config: Any) -> None:
    """Whether records hold what the network of a config takes.

    Args:
      found: fields of the stream in `config.data.dir`; None: it is not in the records.
      config: the whole config.

    Raises:
      DataError: they do not.
    """
    if found is None:
      raise DataError(
        f'{config.data.dir}: its records have no {self.name} stream, and config.model.modalities = '
        f'{tuple(config.model.modalities)}; prepare the recordings again with it, or train a network without it'
      )

  def inputs(
    self, batch: dict[str, jax.Array], model: Any, augment: Any, keys: jax.Array | None
  ) -> dict[str, jax.Array]:
    """From stored numbers to what `features` takes, on the device: normalisation, and augmentation in training.

    Args:
      batch: its fields [B, T, …] or [B], and `valid` [B, T'].
      model: `config.model`.
      augment: `config.augment`.
      keys: [B] PRNG keys, one a sequence, or None to evaluate.
    """
    raise NotImplementedError

  def features(
    self,
    inputs: dict[str, jax.Array],
    model: Any,
    *,
    core: slice,
    norm: Callable[..., nn.Module],
    dtype: Any,
    train: bool,
    keys: jax.Array | None,
  ) -> jax.Array:
    """[B, T, D], 0 where the recording lacks the stream; called inside of the network, whose submodule it makes.

    Args:
      inputs: what `inputs` returned for all streams, and `valid` [B, C+T+C].
      model: `config.model`, settled.
      core: the T steps without their context.
      norm: batch normalisation of the network's devices and type.
      dtype: of the computation.
      train: dropout on, batch statistics of this batch.
      keys: [B] PRNG keys of the sequences; only read in training.
    """
    raise NotImplementedError

  def of_clip(self, clip: Clip) -> dict[str, Any] | None:
    """Its fields of a clip, or None where the clip lacks it.

    Of a field per step, anything of which a slice of steps is an array [n, …]; per recording, a number.
    """
    return None

  def of_arrays(self, arrays: Mapping[str, np.ndarray], fields: tuple[Field, ...], grid: Grid) -> dict[str, Any]:
    """Its fields, as `of_clip` has them, of arrays that a user hands over.

    Args:
      arrays: those of `self.arrays` that are given, the first among them.
      fields: in the records that the network was trained on.
      grid: of the recording.

    Raises:
      ValueError: an array of another type or shape than the network takes: named, with what was expected.
    """
    raise NotImplementedError

  def amount(self, values: Mapping[str, Any]) -> str:
    """How much of it there is, in words, of what `of_arrays` returned."""
    raise NotImplementedError

  def takes(self, fields: tuple[Field, ...], grid: Grid, model: ml_collections.ConfigDict) -> str:
    """What a network takes of it: a sentence of the model card."""
    raise NotImplementedError

  def example(self, fields: tuple[Field, ...], grid: Grid) -> tuple[str, str]:
    """The argument that hands it over, and its type, for the model card: `audio=samples`, `int16 [N] at 16 kHz`."""
    raise NotImplementedError


def described(values: np.ndarray) -> str:
  """Type, and for numbers the span: what an error says of an array."""
  return f'{values.dtype}' + (f' from {values.min():g} to {values.max():g}' if values.dtype.kind in 'biuf' else '')
