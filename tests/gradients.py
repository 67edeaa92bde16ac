"""Gradients to compare."""

import jax


def value_and_gradients(f, weight, *args):
  """Value and gradients of sum(weight · f(*args))."""
  return jax.jit(jax.value_and_grad(lambda *a: (weight * f(*a)).sum(), argnums=tuple(range(len(args)))))(*args)
