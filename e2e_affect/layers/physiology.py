"""Physiology network: ECG and EDA in, features of every step out."""

from flax import linen as nn
import jax
import jax.numpy as jnp

from e2e_affect.layers.cpu_kernels import largest
from e2e_affect.layers.dropout import dropout


class PhysiologyNetwork(nn.Module):
  """Two convolutions over the whole sequence: beats of the heart, then the time between them and rises of the EDA.

  NOTE(paper): the paper has no physiology. The first filters see a QRS complex, and the largest response within a step
  tells whether there was a beat in it; the second ones see 1.6 s of such responses beside the EDA, so that the time
  between beats is within their sight. Longer trends are for the recurrent part.

  Attributes:
    filters: channels of the first convolution.
    taps: of the first convolution, samples of the ECG.
    long_taps: of the second convolution, steps.
    features: D, channels of the second convolution.
    dropout_rate: of the features, in training.
    dtype: of the computation; parameters are float32.
  """

  filters: int = 16
  taps: int = 25
  long_taps: int = 41
  features: int = 64
  dropout_rate: float = 0.5
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(
    self, ecg: jax.Array, eda: jax.Array, found: jax.Array, *, train: bool = False, keys: jax.Array | None = None
  ) -> jax.Array:
    """Computes the features of every step.

    Args:
      ecg: [B, T, S] normalised ECG, 0 where there is none.
      eda: [B, T, Q] normalised EDA, likewise.
      found: [B, T, 2], 1 where a step has ECG, and where it has EDA; 0 outside of the recording.
      train: dropout on.
      keys: [B] PRNG keys of the sequences; only read in training.

    Returns:
      [B, T, D], 0 at steps that have neither.
    """
    if ecg.ndim != 3 or eda.shape[:2] != ecg.shape[:2] or found.shape != (*ecg.shape[:2], 2):
      raise ValueError(
        f'physiology: ecg [B, T, S], eda [B, T, Q] and found [B, T, 2] expected, got {ecg.shape}, {eda.shape} and '
        f'{found.shape}'
      )
    batch, steps, samples = ecg.shape
    found = found.astype(self.dtype)
    # [B, T, S] -> [B, T·S, 1] -> [B, T·S, F]
    x = ecg.reshape(batch, steps * samples, 1).astype(self.dtype)
    x = nn.Conv(self.filters, (self.taps,), dtype=self.dtype, name='conv')(x)
    # [B, T·S, F] -> [B, T, F]; a step without ECG, and one outside of the recording, holds nothing of the bias.
    x = nn.relu(largest(x.reshape(batch, steps, samples, self.filters), 2)) * found[:, :, :1]
    # -> [B, T, F + Q + 2] -> [B, T, D]
    x = jnp.concatenate([x, eda.astype(self.dtype), found], axis=-1)
    x = nn.relu(nn.Conv(self.features, (self.long_taps,), dtype=self.dtype, name='long_conv')(x))
    x = jnp.where(found.any(axis=-1, keepdims=True), x, 0)
    return dropout(x, keys, self.dropout_rate) if train else x
