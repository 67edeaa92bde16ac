"""ECG and EDA: normalised over their recording as they are stored, then through the physiology network."""

import math

from data_prep.streams.physiology import samples_per_step
from e2e_affect.layers.physiology import PhysiologyNetwork
from e2e_affect.streams.base import Stream


class Physiology(Stream):
  """ECG [B, C+T+C, S] and EDA [B, C+T+C, Q] -> [B, T, D]; a clip has no sensors."""

  name = 'physiology'
  wide = ('ecg', 'eda', 'physiology_found')
  evidence = 'physiology_found'
  lack = 'ECG or EDA'
  phrase = 'ECG and EDA'

  def reach(self, model, grid):
    """See `Stream`."""
    options = model.physiology
    return options.long_taps // 2 + math.ceil(options.taps // 2 / samples_per_step('ecg', grid))

  def inputs(self, batch, model, augment, keys):
    """`ecg` [B, T', S], `eda` [B, T', Q] and `physiology_found` [B, T', 2], each 0 where its sensor gave nothing."""
    found = batch['physiology_found'] * batch['valid'][:, :, None]
    # Where a stream was taken away (absence.py), its samples are still there.
    return {
      'ecg': batch['ecg'] * found[:, :, :1],
      'eda': batch['eda'] * found[:, :, 1:],
      'physiology_found': found,
    }

  def features(self, inputs, model, *, core, norm, dtype, train, keys):
    """See `Stream`."""
    options = model.physiology
    network = PhysiologyNetwork(
      filters=options.filters,
      taps=options.taps,
      long_taps=options.long_taps,
      features=options.features,
      dropout_rate=options.dropout,
      dtype=dtype,
      name=self.name,
    )
    return network(inputs['ecg'], inputs['eda'], inputs['physiology_found'], train=train, keys=keys)[:, core]
