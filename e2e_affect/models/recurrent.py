"""Recurrent network: features of every step in, targets out (paper, section III-D)."""

from flax import linen as nn
import jax
import jax.numpy as jnp

Carry = list[tuple[jax.Array, jax.Array]]  # per layer: cell state [B, H], hidden state [B, H]


class LSTM(nn.Module):
  """One LSTM layer; gates in the order input, candidate, forget, output, as in TensorFlow's cell.

  Attributes:
    units: H.
    peepholes: gates see the cell, as in the authors' code: input and forget the old one, output the new one.
    cell_clip: the cell is kept in ±cell_clip; 0 is no clip.
    dtype: of the two matrix products; the state and the sums over time are float32.
  """

  units: int
  peepholes: bool = False
  cell_clip: float = 0.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, carry: tuple[jax.Array, jax.Array]) -> tuple[tuple, jax.Array]:
    """[B, T, D] and the state before the first step -> the state after the last step and [B, T, H]."""
    glorot = nn.initializers.glorot_uniform()
    kernel = self.param('kernel', glorot, (x.shape[-1], 4 * self.units), jnp.float32)
    recurrent_kernel = self.param('recurrent_kernel', glorot, (self.units, 4 * self.units), jnp.float32)
    bias = self.param('bias', nn.initializers.zeros_init(), (4 * self.units,), jnp.float32)
    if self.peepholes:
      # TensorFlow draws peepholes as it draws the kernel; a vector has no Glorot fan, so its own scale.
      normal = nn.initializers.normal(0.01)
      w_i, w_f, w_o = (self.param(f'peephole_{gate}', normal, (self.units,), jnp.float32) for gate in 'ifo')
    # All that is not sequential, outside of the scan: [B, T, D] -> [T, B, 4H].
    projected = (x.astype(self.dtype) @ kernel.astype(self.dtype)).astype(jnp.float32) + bias
    recurrent = recurrent_kernel.astype(self.dtype)

    def step(state, inputs):
      cell, hidden = state
      gates = inputs + (hidden.astype(self.dtype) @ recurrent).astype(jnp.float32)
      i, j, f, o = jnp.split(gates, 4, axis=-1)
      if self.peepholes:
        i, f = i + w_i * cell, f + w_f * cell
      # Forget bias 1 is added at run time, as in TensorFlow: stored biases then mean the same.
      cell = nn.sigmoid(f + 1.0) * cell + nn.sigmoid(i) * jnp.tanh(j)
      if self.cell_clip:
        cell = jnp.clip(cell, -self.cell_clip, self.cell_clip)
      if self.peepholes:
        o = o + w_o * cell
      hidden = nn.sigmoid(o) * jnp.tanh(cell)
      return (cell, hidden), hidden

    carry, y = jax.lax.scan(step, carry, jnp.moveaxis(projected, 1, 0), unroll=5)
    return carry, jnp.moveaxis(y, 0, 1)


class RecurrentNetwork(nn.Module):
  """LSTM layers and a linear head.

  Attributes:
    num_targets: K.
    layers, units, peepholes, cell_clip, dtype: see `LSTM`.
  """

  num_targets: int
  layers: int = 2
  units: int = 256
  peepholes: bool = False
  cell_clip: float = 0.0
  dtype: jnp.dtype = jnp.float32

  @nn.compact
  def __call__(self, x: jax.Array, carry: Carry | None = None) -> tuple[jax.Array, Carry]:
    """Predicts the targets of every step.

    Args:
      x: [B, T, D] features.
      carry: the state that an earlier call returned, to go on where it ended; None starts from zero.

    Returns:
      [B, T, K] float32 and the state after the last step.
    """
    if x.ndim != 3:
      raise ValueError(f'recurrent: features [B, T, D] expected, got {x.shape}')
    if carry is None:
      carry = initial_carry(x.shape[0], self.layers, self.units)
    after = []
    for layer in range(self.layers):
      # [B, T, D] -> [B, T, H]
      state, x = LSTM(self.units, self.peepholes, self.cell_clip, self.dtype, name=f'lstm_{layer}')(x, carry[layer])
      after.append(state)
    # [B, T, H] -> [B, T, K]
    return nn.Dense(self.num_targets, name='head')(x), after


def initial_carry(batch: int, layers: int, units: int) -> Carry:
  """Zero states for `layers` layers of `units` cells."""
  zeros = jnp.zeros((batch, units), jnp.float32)
  return [(zeros, zeros) for _ in range(layers)]
