"""Hand-crafted features as streams: what `data_prep.features` makes of a corpus, straight to the recurrent part.

They are no fields of the records but lie beside them, standardised on the train partition; `e2e_affect.input.corpus`
joins them to what the records hold.
"""

from flax import linen as nn

from e2e_affect.streams.base import Stream

FIRST_RUNS = 'first_runs'  # the set that is what other runs said, `config.features.first_runs`


class FeatureSet(Stream):
  """One set of `data_prep.features`, [B, T, D] of one field that is named as the set is.

  A set wider than `config.model.features.project_to` goes through a linear layer of so many outputs: a kernel from
  thousands of functionals to the gates of an LSTM would be most of the network and of its time.
  """

  part = False
  phrase = 'features'

  def __init__(self, name: str):
    """
    Args:
      name: of the set.
    """
    self.name = self.evidence = name
    self.lack = f'{name} features'

  def inputs(self, batch, model, augment, keys):
    """See `Stream`."""
    return {self.name: batch[self.name]}

  def features(self, inputs, model, *, core, norm, dtype, train, keys):
    """See `Stream`."""
    x, width = inputs[self.name].astype(dtype), model.features.project_to
    if width and x.shape[-1] > width:
      # [B, T, D] -> [B, T, P]; without a bias, so that what is 0 stays 0
      x = nn.Dense(width, use_bias=False, kernel_init=nn.initializers.glorot_uniform(), dtype=dtype, name=self.name)(x)
    return x
