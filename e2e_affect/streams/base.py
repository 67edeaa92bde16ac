"""What every stream of the trainer says of itself."""

from collections.abc import Callable
from typing import Any

from flax import linen as nn
import jax

from data_prep.core.errors import DataError
from data_prep.schema.fields import Field


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
    follows: fields that are as that other network has them where they are left on 'auto'.
  """

  name: str
  part: bool = True
  wide: tuple[str, ...] = ()
  evidence: str
  lack: str
  shared: tuple[str, ...] = ()
  follows: tuple[str, ...] = ()

  def reach(self, model: Any) -> int:
    """Samples of sound beside a chunk that its filters see.

    Args:
      model: `config.model`.
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
