"""The 4000-tap convolution by blocks of transforms, against the backend's direct one; and other blocks.

python -m benchmarks.long_conv --out=benchmarks/results
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks import measure, work
from e2e_affect.layers import long_conv


def direct(x, kernel):
  """The backend's own convolution, as `long_conv` is called: [B, N, C_in] and [taps, C_in, C_out] -> [B, N, C_out]."""
  return jax.lax.conv_general_dilated(x, kernel, (1,), 'SAME', dimension_numbers=('NWC', 'WIO', 'NWC'))


def forward(conv, x, kernel, _):
  """The result alone; the gradient of the result, which `both` takes, is left aside."""
  return conv(x, kernel)


def both(conv, x, kernel, g):
  """Forward and both gradients."""
  y, pull = jax.vjp(conv, x, kernel)
  return y, *pull(g)


def errors(x, kernel, g, found) -> dict[str, float]:
  """Largest error of some channels of (y, d_x, d_kernel) against float64, relative to the largest value."""
  length, taps = x.shape[1], kernel.shape[0]
  n, left = length + taps - 1, (taps - 1) // 2
  transform = functools.partial(np.fft.rfft, n=n, axis=0)
  back = lambda spectrum: np.fft.irfft(spectrum, n, axis=0)
  x, g, kernel = (np.asarray(a, np.float64) for a in (x[0], g[0], kernel))
  x_f, g_f = transform(x), transform(g)
  # y[t] = Σ_k kernel[k] x[t + k − left], so that d_x is a convolution and d_kernel a correlation.
  cut = lambda a, first, size: np.take(a, np.arange(first, first + size) % n, axis=0)
  expected = {
    'forward': (
      found[0][0][:, :2],
      cut(back(np.einsum('fi,fio->fo', x_f, transform(kernel[:, :, :2]).conj())), -left, length),
    ),
    'd_x': (found[1][0][:, :2], cut(back(np.einsum('fo,fio->fi', g_f, transform(kernel[:, :2]))), left, length)),
    'd_kernel': (found[2][:, :2, :2], cut(back(x_f[:, :2, None] * g_f[:, None, :2].conj()), -left, taps)),
  }
  return {name: float(np.abs(ours - exact).max() / np.abs(exact).max()) for name, (ours, exact) in expected.items()}


def data(batch, length, taps, channels):
  """x [B, N, C], kernel [taps, C, C] and the gradient of the result [B, N, C], drawn from a fixed seed."""
  rng = np.random.default_rng(0)
  x, g = (jnp.asarray(rng.normal(size=(batch, length, channels)), jnp.float32) for _ in range(2))
  return x, jnp.asarray(rng.normal(size=(taps, channels, channels)) / 400, jnp.float32), g


def main(out, repeats, quick):
  """Writes `out/long_conv.json` of so many repeats, and `long_conv_blocks.json` of the choices of blocks.

  `quick` takes tiny sizes, to see that it runs.
  """
  length, taps, channels = (600, 40, 6) if quick else (48000, 4000, 40)
  rows, peaks = [], measure.peak(quick)
  for batch in (1,) if quick else (1, 4):
    arguments = data(batch, length, taps, channels)
    for name, part in (('forward', forward), ('forward + backward', both)):
      run = lambda conv: functools.partial(_wait, jax.jit(functools.partial(part, conv)), arguments)
      sides = [
        measure.Side('blocks of transforms', run(long_conv.long_conv)),
        measure.Side('lax.conv_general_dilated', run(direct), 1),
      ]
      gflop = work.long_conv(batch, length, taps, channels, channels, name != 'forward') * 1e-9
      more = errors(*arguments, jax.jit(functools.partial(both, long_conv.long_conv))(*arguments)) if batch == 1 else {}
      rows.append(
        measure.row(
          f'long convolution, {name}, batch {batch}',
          measure.alternate(sides, repeats),
          gflop=gflop,
          **({'error': more} if more else {}),
        )
      )
  measure.write(out, 'long_conv', rows, peaks)
  batches = (1,) if quick else (1, 2, 4, 8, 25)
  others = [_tables(batch, length, taps, channels, min(repeats, 3)) for batch in batches]
  measure.write(out, 'long_conv_blocks', others, peaks)


def _tables(batch, length, taps, channels, repeats):
  """What the constants of `long_conv` were chosen by: forward + backward with their choice, and with others."""
  arguments = data(batch, length, taps, channels)
  chosen = long_conv._BLOCK_PER_TAP, long_conv._COLUMNS
  choices = [chosen]
  choices += [(((float('inf'), per_tap),), chosen[1]) for per_tap in (2.0, 2.5, 3.0, 4.0)]
  choices += [(chosen[0], columns) for columns in (40, 64, 80, 100, 128)]
  sides = {}
  for long_conv._BLOCK_PER_TAP, long_conv._COLUMNS in choices:  # read while tracing
    blocks, hop, tail, columns = long_conv.block_table(batch, length, taps)
    name = f'{blocks} blocks of {hop + tail} × {columns}'
    if name not in sides:
      run = jax.jit(functools.partial(both, long_conv.long_conv)).lower(*arguments).compile()
      sides[name] = measure.Side(name, functools.partial(_wait, run, arguments))
  long_conv._BLOCK_PER_TAP, long_conv._COLUMNS = chosen
  return measure.row(
    f'long convolution, forward + backward by other blocks, batch {batch}',
    measure.alternate([*sides.values()], repeats),
  )


def _wait(run, arguments):
  return jax.block_until_ready(run(*arguments))


if __name__ == '__main__':
  measure.run(main)
