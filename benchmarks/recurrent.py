"""The LSTM, forward and backward, against Flax's optimised cell, PyTorch's layer and, on a GPU, cuDNN's.

python -m benchmarks.recurrent --out=benchmarks/results
"""

from flax import linen as nn
import jax
from jax.experimental import rnn
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, work
from e2e_affect.layers.recurrent import LSTM


class Ours(nn.Module):
  units: int
  layers: int

  @nn.compact
  def __call__(self, x):
    for _ in range(self.layers):
      zeros = jnp.zeros((x.shape[0], self.units))
      _, x = LSTM(self.units)(x, (zeros, zeros))
    return x


class Flax(nn.Module):
  units: int
  layers: int

  @nn.compact
  def __call__(self, x):
    for _ in range(self.layers):
      x = nn.RNN(nn.OptimizedLSTMCell(self.units))(x)
    return x


def jax_side(module, x, g):
  """Forward, and the gradients of parameters and inputs."""
  variables = jax.jit(module.init)(jax.random.key(0), x)

  @jax.jit
  def both(variables, x, g):
    y, pull = jax.vjp(module.apply, variables, x)
    return y, pull(g)

  return lambda: jax.block_until_ready(both(variables, x, g))


def cudnn_side(x, g, units, layers):
  """The same of `jax.experimental.rnn`, which is cuDNN's and so for GPUs alone."""
  batch, steps, inputs = x.shape
  weights = rnn.init_lstm_weight(jax.random.key(0), inputs, units, layers, bidirectional=False)
  zeros, lengths = jnp.zeros((layers, batch, units)), jnp.full(batch, steps, jnp.int32)

  @jax.jit
  def both(weights, x, g):
    lstm = lambda w, x: rnn.lstm(x, zeros, zeros, w, lengths, inputs, units, layers, 0.0, False)[0]
    y, pull = jax.vjp(lstm, weights, x)
    return y, pull(g)

  return lambda: jax.block_until_ready(both(weights, x, g))


def torch_side(torch, x, g, units, layers):
  """Forward and backward of PyTorch's LSTM on the same x [B, T, D] and gradient g [B, T, H], to call repeatedly."""
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  layer = torch.nn.LSTM(x.shape[2], units, layers, batch_first=True).to(device)
  x = torch.tensor(np.asarray(x), device=device, requires_grad=True)
  g = torch.tensor(np.asarray(g), device=device)

  def both():
    layer.zero_grad()
    x.grad = None
    layer(x)[0].backward(g)
    return x.grad.sum().item()  # waits for the device

  return both


def main(out, repeats, quick):
  """Writes `out/recurrent.json` of so many repeats; `quick` takes tiny sizes, to see that it runs."""
  torch = measure.torch_or_none()
  steps, units, layers = (6, 5, 2) if quick else (150, 256, 2)
  rows = []
  for batch, inputs in ((2, 7),) if quick else ((2, 1280), (2, 3328), (25, 1280), (25, 3328)):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(batch, steps, inputs)), jnp.float32)
    g = jnp.asarray(rng.normal(size=(batch, steps, units)), jnp.float32)
    sides = [
      measure.Side('own derivative, one product for the weights', jax_side(Ours(units, layers), x, g)),
      measure.Side('nn.RNN(nn.OptimizedLSTMCell)', jax_side(Flax(units, layers), x, g)),
    ]
    if jax.default_backend() == 'gpu':
      sides.append(measure.Side('jax.experimental.rnn (cuDNN)', cudnn_side(x, g, units, layers)))
    if torch:
      sides.append(measure.Side('torch.nn.LSTM', torch_side(torch, x, g, units, layers)))
    rows.append(
      measure.row(
        f'LSTM {layers} × {units}, {steps} steps, {inputs} inputs, batch {batch}, forward + backward',
        measure.alternate(sides, repeats),
        gflop=3e-9 * work.lstm(batch, steps, inputs, units, layers),
        goal=('torch.nn.LSTM', 1.0) if batch > 2 else None,
      )
    )
  measure.write(out, 'recurrent', rows, measure.peak(quick))


if __name__ == '__main__':
  measure.run(main)
