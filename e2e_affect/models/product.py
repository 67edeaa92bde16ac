"""The matrix product that some convolutions are computed as."""

import jax


@jax.custom_vjp
def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """[..., C] and [C, O] -> [..., O].

  The kernel's gradient sums over rows as they lie. Autodiff asks for transposed ones, which XLA's CPU writes out, with
  all that they are made of: a third of a visual training step.
  """
  return x @ kernel


def _product_backward(residuals, gradient):
  x, kernel = residuals
  rows = lambda a: a.reshape(-1, a.shape[-1])
  return gradient @ kernel.T, jax.lax.dot_general(rows(x), rows(gradient), (((0,), (0,)), ((), ())))


product.defvjp(lambda x, kernel: (x @ kernel, (x, kernel)), _product_backward)
