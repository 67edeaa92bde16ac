"""An LSTM layer of PyTorch in our names."""

import numpy as np

from e2e_affect.weights.tensors import Tensors


def take(
  tensors: Tensors, prefix: str, layer: int, inputs: int, units: int, ours: str, params: dict[str, np.ndarray]
) -> None:
  """Takes a layer. PyTorch's gates are i, f, g, o with two biases and no forget bias; ours i, g, f, o, and 1 is added.

  Args:
    tensors: of the file.
    prefix: name of the module: 'rnn.rnn'.
    layer: of the module, from 0.
    inputs, units: D and H.
    ours: name of our layer, 'recurrent/lstm_0'.
    params: name in our tree -> array; the layer's are added.
  """

  def gates(array):  # [4H, …] -> the same in our order
    i, f, g, o = np.split(array, 4)
    return np.concatenate([i, g, f, o])

  for theirs, name, columns in (('ih', 'kernel', inputs), ('hh', 'recurrent_kernel', units)):
    array = tensors.take(f'{prefix}.weight_{theirs}_l{layer}', (4 * units, columns), f'{ours}/{name}')
    params[f'{ours}/{name}'] = np.ascontiguousarray(gates(array).T)
  biases = [tensors.take(f'{prefix}.bias_{theirs}_l{layer}', (4 * units,), f'{ours}/bias') for theirs in ('ih', 'hh')]
  bias = gates(sum(biases))
  bias[2 * units : 3 * units] -= 1.0
  params[f'{ours}/bias'] = bias
