"""EMO-AffectNet's temporal networks, `FER_dinamic_LSTM_….pt`: LSTM, LSTM and a linear layer on the static's features.

They read windows of ten faces at five a second, so that no part of ours starts from them: all lies in `beside`.
"""

import dataclasses

import numpy as np

from e2e_affect.weights import emo_affectnet, torch_lstm
from e2e_affect.weights.tensors import Imported, nest, Stored, Tensors

FORMAT = "EMO-AffectNet's temporal network"
UNITS = (512, 256)  # of the two layers


def recognises(names) -> bool:
  """Whether these are the names of such a network."""
  return {'lstm1.weight_ih_l0', 'lstm2.weight_ih_l0', 'fc.weight'} <= set(names)


def convert(path, arrays: dict[str, Stored]) -> Imported:
  """Imports the network.

  Raises:
    DataError: it is not whole.
  """
  tensors = Tensors(path, arrays)
  params: dict[str, np.ndarray] = {}
  inputs = emo_affectnet.FEATURES
  for layer, units in enumerate(UNITS):
    torch_lstm.take(tensors, f'lstm{layer + 1}', 0, inputs, units, f'lstm_{layer}', params)
    inputs = units
  outputs = len(emo_affectnet.CLASSES)
  params['head/kernel'] = tensors.take('fc.weight', (outputs, inputs), 'head/kernel').T.copy()
  params['head/bias'] = tensors.take('fc.bias', (outputs,), 'head/bias')
  return dataclasses.replace(tensors.finish(FORMAT, {}, {}, {}), beside=nest(params))
