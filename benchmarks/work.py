"""How many floating point operations the parts take, and how many bytes an update moves, counted from the shapes.

Operations are multiplications and additions. XLA's own count of a compiled program leaves out what cuDNN and cuBLAS do.

Forward and backward together count as three times forward, less the gradients of inputs that nothing needs.
"""

import ml_collections

from data_prep.schema.grid import PAPER
from e2e_affect.layers import resnet
from e2e_affect.layers.long_conv import block_table


def long_conv(batch: int, length: int, taps: int, c_in: int, c_out: int, backward: bool) -> float:
  """Operations of the blocked convolution: its transforms, which are matrix products, and the product over channels."""
  blocks, hop, tail, columns = block_table(batch, length, taps)
  frequencies, rows = (hop + tail) // 2 + 1, batch * blocks  # as many times `columns`

  def transform(count, channels):
    return 2 * frequencies * columns * channels * (2 * count + 4 * columns)

  transforms = (
    transform(hop + tail, rows * c_in) + transform(-(-taps // columns), c_in * c_out) + transform(hop, rows * c_out)
  )
  product = 2 * frequencies * columns * 2 * rows * 2 * c_in * c_out
  return 2 * transforms + 3 * product if backward else transforms + product


def long_conv_values(batch: int, length: int, taps: int, c_in: int, c_out: int) -> int:
  """Values that the products of the blocked convolution take, forward, and those of its result."""
  blocks, hop, tail, columns = block_table(batch, length, taps)
  spectrum = 2 * ((hop + tail) // 2 + 1) * columns  # and as many halfway to it
  signal = c_in * ((hop + tail) * columns + 2 * spectrum) + c_out * (2 * spectrum + hop * columns)
  return batch * blocks * signal + c_in * c_out * (taps + 2 * spectrum)


def direct_conv(batch: int, length: int, taps: int, c_in: int, c_out: int) -> float:
  """Operations of the same convolution done directly, forward."""
  return 2 * batch * length * taps * c_in * c_out


def lstm(batch: int, steps: int, inputs: int, units: int, layers: int) -> float:
  """Operations forward; the gates' own are left out."""
  return sum(2 * batch * steps * 4 * units * (d + units) for d in [inputs] + [units] * (layers - 1))


def _resnet50_convs(width, size):
  """Of each convolution: side of its result, taps, maps that it reads, maps that it makes."""
  side = -(-size // 2)
  yield side, 49, 3, width
  side, channels = -(-side // 2), width
  for stage, units in enumerate(resnet._BLOCKS):
    maps = width * 2**stage
    for unit in range(units):
      side = -(-side // 2) if stage and not unit else side
      yield from ((side, 1, channels, maps), (side, 9, maps, maps), (side, 1, maps, 4 * maps))
      if not unit:
        yield side, 1, channels, 4 * maps
      channels = 4 * maps


def resnet50(width: int, size: int) -> float:
  """Operations of one frame forward: convolutions only, all as if done directly, which on a CPU not all are."""
  return sum(2 * side**2 * taps * read * made for side, taps, read, made in _resnet50_convs(width, size))


def resnet50_values(width: int, size: int) -> int:
  """Values that the convolutions make of one frame."""
  return sum(side**2 * made for side, _, _, made in _resnet50_convs(width, size))


def train_step(model: ml_collections.ConfigDict, batch: int, steps: int) -> float:
  """Operations of an update of the paper's speech, visual or fused network, of `config.model`."""
  total, features = 0.0, 0
  if 'speech' in model.modalities:
    speech, samples = model.speech, steps * PAPER.samples_per_step
    total += 2 * 2 * batch * samples * speech.taps * speech.filters  # the waveform needs no gradient
    total += long_conv(batch, samples // 2, speech.long_taps, speech.filters, speech.filters, backward=True)
    features += PAPER.samples_per_step // 2 * speech.filters // speech.pool_channels
  if 'visual' in model.modalities:
    total += 3 * batch * steps * resnet50(model.visual.width, model.visual.image_size)
    features += 32 * model.visual.width
  return total + 3 * lstm(batch, steps, features, model.recurrent.units, model.recurrent.layers)


def moved(model: ml_collections.ConfigDict, batch: int, steps: int, itemsize: int, parameters: int) -> float:
  """Bytes that an update reads and writes at least, where all between two products, or sums, is fused into them.

  * ResNet: 14 passes over what each convolution makes. Forward it is written, read for mean and variance, read to be
    normalised, written, read by the next convolution. Backward, batch normalisation reads it and the gradient twice and
    writes a gradient; the convolution reads that twice and its input, and writes the input's gradient.
  * Speech: 5 passes over what the first convolution makes, and 4 over what each product of the second one's transforms
    takes, which is float32: written, read, and the same of its gradient.
  * Adam: parameter and both moments read and written, the gradient read, in float32.

  The recurrent part's are left out.

  Args:
    model: `config.model`, of the paper's speech, visual or fused network.
    batch, steps: of it.
    itemsize: bytes of a value of the computation's type.
    parameters: their number.
  """
  total = 7.0 * 4 * parameters
  if 'speech' in model.modalities:
    speech, samples = model.speech, steps * PAPER.samples_per_step
    total += 5 * itemsize * batch * samples * speech.filters
    total += 4 * 4 * long_conv_values(batch, samples // 2, speech.long_taps, speech.filters, speech.filters)
  if 'visual' in model.modalities:
    total += 14 * itemsize * batch * steps * resnet50_values(model.visual.width, model.visual.image_size)
  return total
