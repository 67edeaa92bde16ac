"""The optimiser: how a gradient changes the parameters."""

import ml_collections
import optax


def of(config: ml_collections.ConfigDict) -> optax.GradientTransformation:
  """Adam at a fixed rate (paper, section V)."""
  return optax.adam(config.learning_rate)
