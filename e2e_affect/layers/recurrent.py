"""Recurrent network: features of every step in, targets out (paper, section III-D)."""

import functools
from typing import NamedTuple

from flax import linen as nn
import jax
import jax.numpy as jnp

from data_prep.core.errors import UserError
from e2e_affect.layers import cpu_kernels


class Carry(NamedTuple):
  """State between two steps.

  Attributes:
    layers: cell state [B, H] and hidden state [B, H] of each; of bidirectional networks that of forward reading. Last,
      where there is a pool, sum and maximum [B, H] so far.
    steps: [B] int32, taken since the start of the recording.
  """

  layers: list[tuple[jax.Array, jax.Array]]
  steps: jax.Array


class LSTM(nn.Module):
  """One LSTM layer; gates in the order input, candidate, forget, output, as in TensorFlow's cell.

  NOTE(paper): section III-D initialises by Glorot's method, which is made for inputs of mean 0 and variance 1. Features
  behind a ReLU and a maximum are neither, and would open or close most gates for good. The cells would then sum up,
  over a whole recording, what is constant in a person. A fifth of Glorot's range for the input kernels keeps the gates
  where they can learn: .848 instead of .801 test CCC of arousal (docs/departures.md). An `input_scale` of 1 is the
  paper's. Recurrent kernels are Glorot's.

  Attributes:
    units: H.
    peepholes: gates see the cell, as in the authors' code: input and forget the old one, output the new one.
    cell_clip: the cell is kept in ±cell_clip; 0 is no clip.
    dtype: of the two matrix products; the state and the sums over time are float32.
    input_scale: range that the input kernel is drawn from, over Glorot's.
  """

  units: int
  peepholes: bool = False
  cell_clip: float = 0.0
  dtype: jnp.dtype = jnp.float32
  input_scale: float = 0.2

  @nn.compact
  def __call__(
    self, x: jax.Array, carry: tuple[jax.Array, jax.Array], keep: jax.Array | None = None, repeats: int = 1
  ) -> tuple[tuple, jax.Array]:
    """[B, T, D] and the state before the first step -> the state after the last step and [B, repeats · T, H].

    Before the steps for which `keep` [B, T] is False, the state becomes zero. x is read `repeats` times, one after the
    other.
    """
    glorot = nn.initializers.variance_scaling(self.input_scale**2, 'fan_avg', 'uniform')
    kernel = self.param('kernel', glorot, (x.shape[-1], 4 * self.units), jnp.float32)
    recurrent_kernel = self.param(
      'recurrent_kernel', nn.initializers.glorot_uniform(), (self.units, 4 * self.units), jnp.float32
    )
    bias = self.param('bias', nn.initializers.zeros_init(), (4 * self.units,), jnp.float32)
    peepholes = None
    if self.peepholes:
      # TensorFlow draws peepholes as it draws the kernel; a vector has no Glorot fan, so its own scale.
      normal = nn.initializers.normal(0.01)
      peepholes = jnp.stack([self.param(f'peephole_{gate}', normal, (self.units,), jnp.float32) for gate in 'ifo'])
    # All that is not sequential, outside of the scan: [B, T, D] -> [B, T, 4H], repeated. Forget bias 1 is added at run
    # time, as in TensorFlow: stored biases then mean the same.
    projected = (x.astype(self.dtype) @ kernel.astype(self.dtype)).astype(jnp.float32)
    projected += bias + jnp.repeat(jnp.array([0.0, 0.0, 1.0, 0.0]), self.units)
    projected = jnp.tile(projected, (1, repeats, 1))  # one product for all readings
    arguments = projected, recurrent_kernel.astype(self.dtype), peepholes, *carry, self.cell_clip
    # Restarts are for evaluation: the derivative that `recurrence` brings does without them.
    y, cell, hidden = recurrence(*arguments) if keep is None else _recurrence_forward(*arguments, keep)[0]
    return (cell, hidden), y


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def recurrence(
  projected: jax.Array,
  kernel: jax.Array,
  peepholes: jax.Array | None,
  cell: jax.Array,
  hidden: jax.Array,
  cell_clip: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """The sequential part of a layer, with a derivative that is as fast as the recurrence itself.

  Autodiff would add to the kernel's gradient in every step; here it is one matrix product over all steps. Unrolling
  the loop gained nothing on a CPU and doubled the time to compile.

  Args:
    projected: [B, T, 4H] float32, what inputs and biases give to the gates.
    kernel: [H, 4H], from the hidden state to the gates; its type is that of the product.
    peepholes: [3, H] of the gates input, forget and output, or None.
    cell, hidden: [B, H] float32, the state before the first step.
    cell_clip: see `LSTM`.

  Returns:
    The hidden states [B, T, H], and the cell and hidden state [B, H] after the last step.
  """
  return _recurrence_forward(projected, kernel, peepholes, cell, hidden, cell_clip)[0]


def _recurrence_forward(projected, kernel, peepholes, cell, hidden, cell_clip, keep=None):
  product = _product_in_a_loop(kernel, rows=len(cell))

  def step(state, inputs):
    if keep is not None:
      inputs, kept = inputs
      state = [jnp.where(kept[:, None], part, 0) for part in state]
    cell, hidden = state
    gates = inputs + product(hidden)
    if peepholes is not None:
      w_i, w_f, w_o = peepholes
      gates += jnp.concatenate([w_i * cell, jnp.zeros_like(cell), w_f * cell, jnp.zeros_like(cell)], axis=-1)
    activated = _activate(gates)
    i, j, f, o = jnp.split(activated, 4, axis=-1)
    cell = f * cell + i * j
    if cell_clip:
      cell = jnp.clip(cell, -cell_clip, cell_clip)
    if peepholes is not None:  # the output gate sees the new cell
      o = nn.sigmoid(gates[:, -o.shape[1] :] + w_o * cell)
      activated = jnp.concatenate([i, j, f, o], axis=-1)
    hidden = o * jnp.tanh(cell)
    return (cell, hidden), (activated, cell, hidden)

  inputs = jnp.moveaxis(projected, 1, 0)
  (last_cell, last_hidden), (activated, cells, y) = jax.lax.scan(
    step, (cell, hidden), inputs if keep is None else (inputs, keep.T)
  )
  residuals = activated, jnp.concatenate([cell[None], cells]), jnp.concatenate([hidden[None], y]), kernel, peepholes
  return (jnp.moveaxis(y, 0, 1), last_cell, last_hidden), residuals


def _recurrence_backward(cell_clip, residuals, gradients):
  activated, cells, hiddens, kernel, peepholes = residuals
  d_y, d_cell, d_hidden = gradients
  before, after = cells[:-1], cells[1:]
  product = _product_in_a_loop(kernel.T, rows=len(d_cell))

  def step(state, inputs):
    d_cell, d_hidden = state
    d_y, activated, before, after, tanh_cell = inputs
    i, j, f, o = jnp.split(activated, 4, axis=-1)
    d_hidden += d_y
    d_o = d_hidden * tanh_cell * o * (1 - o)
    d_cell += d_hidden * o * (1 - tanh_cell**2)
    if peepholes is not None:
      d_cell += d_o * peepholes[2]
    if cell_clip:
      d_cell = jnp.where(jnp.abs(after) < cell_clip, d_cell, 0.0)
    d_i, d_j, d_f = d_cell * j * i * (1 - i), d_cell * i * (1 - j**2), d_cell * before * f * (1 - f)
    d_cell *= f
    if peepholes is not None:
      d_cell += d_i * peepholes[0] + d_f * peepholes[1]
    d_gates = jnp.concatenate([d_i, d_j, d_f, d_o], axis=-1)
    return (d_cell, product(d_gates)), d_gates

  inputs = jnp.moveaxis(d_y, 1, 0), activated, before, after, jnp.tanh(after)
  (d_cell, d_hidden), d_gates = jax.lax.scan(step, (d_cell, d_hidden), inputs, reverse=True)
  d_kernel = jnp.einsum(
    'tbh,tbg->hg', hiddens[:-1].astype(kernel.dtype), d_gates.astype(kernel.dtype), preferred_element_type=jnp.float32
  ).astype(kernel.dtype)
  d_peepholes = None
  if peepholes is not None:
    d_i, _, d_f, d_o = jnp.split(d_gates, 4, axis=-1)
    d_peepholes = jnp.stack([(d * c).sum((0, 1)) for d, c in ((d_i, before), (d_f, before), (d_o, after))])
  return jnp.moveaxis(d_gates, 0, 1), d_kernel, d_peepholes, d_cell, d_hidden


recurrence.defvjp(_recurrence_forward, _recurrence_backward)


def _product_in_a_loop(kernel, rows):
  """A function that multiplies [rows, I] by the kernel [I, O], in the kernel's type; the result is float32.

  On a CPU XLA would transpose the kernel, or cut it in tiles, in every step: the barriers keep that out of the loop.
  For two or three rows its matrix products are slow there: with 256 cells they take 15 to 28 µs, and sums over tiles of
  64 columns 12.
  """
  outputs, tile = kernel.shape[1], 64
  if rows in (2, 3) and outputs % tile == 0 and outputs > tile and kernel.dtype == jnp.float32 and cpu_kernels.serve():
    tiles = jax.lax.optimization_barrier(kernel.reshape(-1, outputs // tile, tile).swapaxes(0, 1))
    return lambda x: (x[:, None, :, None] * tiles).sum(2).reshape(rows, outputs)
  kernel = jax.lax.optimization_barrier(kernel)
  return lambda x: (x.astype(kernel.dtype) @ kernel).astype(jnp.float32)


def _activate(gates):
  """[B, 4H] input, candidate, forget and output before activation -> after; sigmoid(x) = (tanh(x / 2) + 1) / 2.

  One tanh for all gates at once, which compilers vectorise better than sigmoids of slices.
  """
  is_candidate = jnp.repeat(jnp.array([False, True, False, False]), gates.shape[-1] // 4)
  tanh = jnp.tanh(gates * jnp.where(is_candidate, 1.0, 0.5))
  return jnp.where(is_candidate, tanh, 0.5 * tanh + 0.5)


class RecurrentNetwork(nn.Module):
  """LSTM layers and a linear head.

  Attributes:
    num_outputs: O.
    layers, units, peepholes, cell_clip, dtype, input_scale: see `LSTM`.
    restart_steps: the state becomes zero again every so many steps of a recording; 0: never.
    bidirectional: each layer reads forwards and, with parameters of its own, backwards; the next takes both readings,
      [B, T, 2H]. What lies ahead of a step then counts, so that a recording must come whole.
    pool: the head takes mean and maximum of what was read so far, negative values as 0. Without LSTM layers this is of
      the features, of which there must be as many as units. See `_pooled`.
  """

  num_outputs: int
  layers: int = 2
  units: int = 256
  peepholes: bool = False
  cell_clip: float = 0.0
  dtype: jnp.dtype = jnp.float32
  input_scale: float = 0.2
  restart_steps: int = 0
  bidirectional: bool = False
  pool: bool = False

  @nn.compact
  def __call__(
    self, x: jax.Array, carry: Carry | None = None, lengths: jax.Array | None = None, repeats: int = 1
  ) -> tuple[jax.Array, Carry]:
    """Predicts every step.

    Args:
      x: [B, T, D] features.
      carry: the state that an earlier call returned, to go on where it ended; None starts from zero. Backward reading
        always starts from zero.
      lengths: [B] steps of each sequence that count, from its first one on; backward reading begins at the last of
        them. None: all T.
      repeats: times that x is read, one after the other; above 1 of LSTM layers that read forwards without restarts.

    Returns:
      [B, repeats · T, O] float32 and the state after the last step.

    Raises:
      ValueError: x is not [B, T, D], or restarts or repeats were asked of a network that has none.
      UserError: a pool without LSTM layers is of another number of features than `units`.
    """
    if x.ndim != 3:
      raise ValueError(f'recurrent: features [B, T, D] expected, got {x.shape}')
    if self.bidirectional and self.restart_steps:
      raise ValueError(f'recurrent: restart_steps = {self.restart_steps}, expected 0 of a bidirectional network')
    if repeats > 1 and (self.bidirectional or self.restart_steps or self.pool):
      raise ValueError(f'recurrent: repeats = {repeats}, expected 1 with bidirectional, restart_steps or pool')
    if carry is None:
      carry = initial_carry(x.shape[0], self.layers + self.pool, self.units)
    keep = None
    if self.restart_steps:
      # [B, T], counted from the recording's start, whatever the chunks
      keep = (carry.steps[:, None] + jnp.arange(x.shape[1])) % self.restart_steps != 0
    steps = carry.steps + repeats * x.shape[1]
    layer_of = lambda name: LSTM(self.units, self.peepholes, self.cell_clip, self.dtype, self.input_scale, name=name)
    after = []
    for layer in range(self.layers):
      # [B, T, D] -> [B, T, H], of the first layer [B, repeats · T, H]
      state, y = layer_of(f'lstm_{layer}')(x, carry.layers[layer], keep, repeats if layer == 0 else 1)
      after.append(state)
      if self.bidirectional:
        # [B, T, D] -> [B, T, 2H]
        zeros = initial_carry(x.shape[0], 1, self.units).layers[0]
        _, backward = layer_of(f'lstm_{layer}_backward')(reverse(x, lengths), zeros)
        y = jnp.concatenate([y, reverse(backward, lengths)], axis=-1)
      x = y
    head = nn.Dense(self.num_outputs, name='head')
    if self.pool:
      if x.shape[2] != self.units:
        raise UserError(
          f'config.model.recurrent.units = {self.units}, and without an LSTM layer the pool is of {x.shape[2]} '
          f'features; set --config.model.recurrent.units={x.shape[2]}'
        )
      y, state = _pooled(head, nn.relu(x.astype(jnp.float32)), carry.layers[-1], carry.steps)
      return y, Carry([*after, state], steps)
    # [B, T, H] -> [B, T, O]
    return head(x), Carry(after, steps)


def _pooled(head, x, state, steps):
  """Outputs of which the mean over the steps so far is the head of mean and maximum of what was read so far.

  So a head of whole recordings, which takes the mean of the outputs, gets that of the whole recording's pool, and a
  recording may come in chunks. An output alone is what its step changes: t · f(steps 1 to t) − (t − 1) · f(1 to t − 1).

  Args:
    head: f, [B, T, 2H] -> [B, T, O].
    x: [B, T, H], at least 0.
    state: [B, H] sum and maximum before the first step.
    steps: [B] before the first step.

  Returns:
    [B, T, O], and the state after the last step.
  """
  total, largest = state
  sums = total[:, None] + jnp.cumsum(x, axis=1)
  tops = jnp.maximum(largest[:, None], jax.lax.cummax(x, axis=1))
  count = (steps[:, None] + 1 + jnp.arange(x.shape[1]))[:, :, None].astype(jnp.float32)
  of = lambda sums, tops, count: count * head(jnp.concatenate([sums / jnp.maximum(count, 1), tops], axis=-1))
  said = of(sums, tops, count)
  before = of(total[:, None], largest[:, None], count[:, :1] - 1)
  return said - jnp.concatenate([before, said[:, :-1]], axis=1), (sums[:, -1], tops[:, -1])


def reverse(x: jax.Array, lengths: jax.Array | None = None) -> jax.Array:
  """[B, T, D] with the first `lengths` [B] steps of each sequence backwards in time, and the rest where it was.

  Read so, a sequence begins with its own last step and not with what fills it up. None: all steps.
  """
  if lengths is None:
    return x[:, ::-1]
  step = jnp.arange(x.shape[1])
  lengths = lengths.astype(step.dtype)[:, None]
  return jnp.take_along_axis(x, jnp.where(step < lengths, lengths - 1 - step, step)[:, :, None], axis=1)


def initial_carry(batch: int, layers: int, units: int) -> Carry:
  """Zero states for `layers` layers of `units` cells, a pool among them."""
  zeros = jnp.zeros((batch, units), jnp.float32)
  return Carry([(zeros, zeros) for _ in range(layers)], jnp.zeros(batch, jnp.int32))
