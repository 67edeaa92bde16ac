"""What the filters of the speech network learnt: responses of the short ones, modulation spectra of the long ones."""

import pathlib

import matplotlib
from matplotlib.figure import Figure
import numpy as np

from data_prep.core import atomic
from data_prep.core.errors import UserError
from e2e_affect.paper import trained
from e2e_affect.traces import figures

_FLOOR = -30.0  # dB: what is below looks alike
_LOWEST = 2.0  # Hz: one period in the paper's 500 ms
_COLOURS = 'Blues'
_SHORT_SIZE, _LONG_SIZE = 1600, 16_000  # points of the transforms, at least: of the paper's rates 10 and 0.5 Hz apart


def responses(kernel: np.ndarray, rate: float, size: int) -> tuple[np.ndarray, np.ndarray]:
  """Magnitude responses of filters.

  Args:
    kernel: [taps, …], as a convolution has it.
    rate: samples a second.
    size: points of the transform, even; at least four times the taps are taken.

  Returns:
    [N] frequencies in Hz from 0 to half of the rate, and [N, …] magnitudes at these.
  """
  size = max(size, 4 * kernel.shape[0])
  return np.fft.rfftfreq(size, 1 / rate), np.abs(np.fft.rfft(kernel.astype(np.float64), size, axis=0))


def modulation_spectra(kernel: np.ndarray, rate: float, size: int = _LONG_SIZE) -> tuple[np.ndarray, np.ndarray]:
  """Of each long filter [taps, C, M] the mean magnitude over its C inputs: [N] frequencies and [N, M]."""
  spectra = []
  for m in range(kernel.shape[2]):  # one at a time: all at once would take gigabytes
    frequencies, magnitudes = responses(kernel[:, :, m], rate, size)
    spectra.append(magnitudes.mean(axis=1))
  return frequencies, np.stack(spectra, axis=1)


def decibels(magnitudes: np.ndarray) -> np.ndarray:
  """[N, F] relative to the largest of each filter, no lower than -30; of a filter of zeros -30 everywhere."""
  top = magnitudes.max(axis=0, keepdims=True)
  with np.errstate(divide='ignore', invalid='ignore'):
    return np.nan_to_num(20 * np.log10(magnitudes / top), nan=_FLOOR, neginf=_FLOOR).clip(_FLOOR)


def figure(workdir: str | pathlib.Path, out_png: str | pathlib.Path) -> dict:
  """Draws the filters of a run's best checkpoint.

  Args:
    workdir: of a network with speech.
    out_png: the file to write.

  Returns:
    For JSON: `caption`; `short_centres` and `long_centres`, frequencies in Hz of the largest response of each filter,
    rising; `sample_rate`.

  Raises:
    UserError: no run there, or one whose speech network has other layers.
    CheckpointError: no usable checkpoint.
  """
  run = trained.Run.read(workdir)
  parameters = run.variables['params']['speech']
  if run.config.model.speech.variant == 'filterbank':
    raise UserError(
      f'{workdir}: its speech network begins as a spectrogram and has no long filters; the figure is of those with '
      "config.model.speech.variant = 'paper' or 'released'"
    )
  released = run.config.model.speech.variant == 'released'
  short = np.asarray(parameters['conv']['kernel'])[:, 0]  # [taps, F]
  long = np.asarray(parameters['conv_1']['kernel'] if released else parameters['long_conv_kernel'])
  rate = float(run.manifest.grid.sample_rate)

  frequencies, magnitudes = responses(short, rate, _SHORT_SIZE)
  order, short_centres = _sorted(frequencies, magnitudes)
  modulations, spectra = modulation_spectra(long, rate / 2)
  seen = modulations >= _LOWEST
  modulations, spectra = modulations[seen], spectra[seen]
  long_order, long_centres = _sorted(modulations, spectra)
  drawn = _draw(
    (frequencies / 1000, decibels(magnitudes)[:, order], 1000 * len(short) / rate),
    (modulations, decibels(spectra)[:, long_order], 2000 * len(long) / rate),
  )
  atomic.write(pathlib.Path(out_png), figures.png(drawn))
  return {
    'caption': (
      f'What the filters of the speech network learnt. Above: magnitude responses of the {short.shape[1]} short '
      f'filters, sorted by the frequency of their largest response. Below: modulation spectra of the {long.shape[2]} '
      f'long filters, which read rectified sound: mean magnitude over their {long.shape[1]} inputs, sorted alike. Each '
      'row is relative to its own maximum.'
    ),
    'short_centres': short_centres,
    'long_centres': long_centres,
    'sample_rate': rate,
  }


def _sorted(frequencies, magnitudes):
  """[N] and [N, F] -> the order of the filters by the frequency of their largest response, and these frequencies."""
  centres = frequencies[magnitudes.argmax(axis=0)]
  order = np.argsort(centres, kind='stable')
  return order, [round(float(centre), 2) for centre in centres[order]]


def _draw(short, long):
  with matplotlib.rc_context({**figures.STYLE, 'axes.grid': False}):
    drawn = Figure(figsize=(6, 7), layout='constrained')
    above, below = drawn.subplots(2, 1)
    for axes, (frequencies, levels, milliseconds), name in ((above, short, 'Short'), (below, long, 'Long')):
      image = axes.pcolormesh(
        frequencies,
        np.arange(levels.shape[1]) + 1,
        levels.T,
        cmap=_COLOURS,
        vmin=_FLOOR,
        vmax=0,
        shading='nearest',
        rasterized=True,
      )
      axes.set(title=f'{name} filters, {milliseconds:.3g} ms', ylabel='filter, sorted')
    above.set(xlabel='frequency [kHz]', xlim=(0, short[0][-1]))
    below.set(xlabel='modulation frequency [Hz]', xscale='log', xlim=(_LOWEST, long[0][-1]))
    below.xaxis.set_major_formatter('{x:g}')
    drawn.colorbar(image, ax=[above, below], label='magnitude [dB]', aspect=40, location='bottom')
  return drawn
