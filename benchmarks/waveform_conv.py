"""The first convolution and the pooling after it, against the backend's; and the convolution by other windows.

    python -m benchmarks.waveform_conv --out=benchmarks/results
"""

import functools

from flax import linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure
from e2e_affect.models import speech


def backend_conv(x, kernel):
  """The backend's own, as `waveform_conv` is called: [B, N] and [taps, F] -> [B, N, F]."""
  return jax.lax.conv_general_dilated(x[:, :, None], kernel[:, None], (1,), 'SAME',
                                      dimension_numbers=('NWC', 'WIO', 'NWC'))


def largest(y):
  """The pooling by our maximum: [B, N, F] -> [B, N / 2, F]."""
  return speech.largest(y.reshape(len(y), -1, 2, y.shape[2]), 2)


def both(f, g, *arguments):
  """Forward and the gradient of the last argument, of the kernel for a convolution: the waveform needs none."""
  y, pull = jax.vjp(functools.partial(f, *arguments[:-1]), arguments[-1])
  return y, *pull(g)


def main(out, repeats, quick):
  samples, taps, filters = (640, 9, 4) if quick else (96000, 80, 40)
  rows = []
  for batch in (1,) if quick else (1, 4, 25):
    rng = np.random.default_rng(0)
    draw = lambda *shape: jnp.asarray(rng.normal(size=shape), jnp.float32)
    x, kernel, g = draw(batch, samples), draw(taps, filters), draw(batch, samples, filters)
    side = lambda name, f, *arguments: measure.Side(
        name, functools.partial(_wait, jax.jit(functools.partial(both, f)).lower(*arguments).compile(), arguments))
    sides, chosen = [], speech._RESULTS
    for speech._RESULTS in (chosen, 8, 32):  # read while tracing
      sides.append(side(f'windows of {speech._RESULTS} results', speech.waveform_conv, g, x, kernel))
    speech._RESULTS = chosen
    sides.append(side('lax.conv_general_dilated', backend_conv, g, x, kernel))
    rows.append(measure.row(f'first convolution, forward + backward, batch {batch}', measure.alternate(sides, repeats),
                            gflop=2 * 2e-9 * batch * samples * taps * filters))  # as if done directly
    y, g = g, draw(batch, samples // 2, filters)
    sides = [side('own derivative', largest, g, y),
             side('flax.linen.max_pool', lambda y: nn.max_pool(y, (2,), (2,)), g, y)]
    rows.append(measure.row(f'maximum over two samples, forward + backward, batch {batch}',
                            measure.alternate(sides, repeats)))
  measure.write(out, 'waveform_conv', rows, measure.peak(quick))


def _wait(run, arguments):
  return jax.block_until_ready(run(*arguments))


if __name__ == '__main__':
  measure.run(main)
