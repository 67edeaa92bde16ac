"""How a fresh ResNet starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from e2e_affect.layers.batch_norm import MaskedBatchNorm
from e2e_affect.layers.resnet import Bottleneck


@pytest.mark.slow
def test_a_fresh_units_branch_has_a_quarter_of_its_shortcuts_deviation():
  unit = Bottleneck(4, 1, '1x1', MaskedBatchNorm, jnp.float32)
  x = jax.random.normal(jax.random.key(1), (20, 8, 8, 3))
  _, after = unit.init_with_output(jax.random.key(0), 100 * x, jnp.ones(20), True, capture_intermediates=True)
  deviation = {
    name: np.std(seen['__call__'][0], (0, 1, 2))
    for name, seen in after['intermediates'].items()
    if name in ('norm3', 'shortcut_norm')
  }
  np.testing.assert_allclose(deviation['norm3'], 0.25, rtol=0.01)
  np.testing.assert_allclose(deviation['shortcut_norm'], 1, rtol=0.01)
