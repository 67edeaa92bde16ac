"""How many floating point operations the parts take: multiplications and additions, counted from the shapes.

Forward and backward together count as three times forward, less the gradients of inputs that nothing needs.
"""

from data_prep.face import cropping
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


def direct_conv(batch: int, length: int, taps: int, c_in: int, c_out: int) -> float:
  """Operations of the same convolution done directly, forward."""
  return 2 * batch * length * taps * c_in * c_out


def lstm(batch: int, steps: int, inputs: int, units: int, layers: int) -> float:
  """Operations forward; the gates' own are left out."""
  return sum(2 * batch * steps * 4 * units * (d + units) for d in [inputs] + [units] * (layers - 1))


def resnet50(width: int, size: int) -> float:
  """Operations of one frame forward: convolutions only, all as if done directly, which on a CPU not all are."""
  side = -(-size // 2)
  total = 2 * side**2 * 49 * 3 * width
  side, channels = -(-side // 2), width
  for stage, units in enumerate(resnet._BLOCKS):
    maps = width * 2**stage
    for unit in range(units):
      side = -(-side // 2) if stage and not unit else side
      total += 2 * side**2 * (channels * maps + 9 * maps**2 + 4 * maps**2)
      total += 2 * side**2 * channels * 4 * maps if not unit else 0
      channels = 4 * maps
  return total


def train_step(modality: str, batch: int, steps: int) -> float:
  """Operations of an update of the paper's networks: 'speech', 'visual' or 'fused'."""
  total, features = 0.0, 0
  if modality in ('speech', 'fused'):
    samples = steps * PAPER.samples_per_step
    total += 2 * 2 * batch * samples * 80 * 40  # the waveform needs no gradient
    total += long_conv(batch, samples // 2, 4000, 40, 40, backward=True)
    features += 1280
  if modality in ('visual', 'fused'):
    total += 3 * batch * steps * resnet50(64, cropping.FACE_SIZE)
    features += 2048
  return total + 3 * lstm(batch, steps, features, 256, 2)
