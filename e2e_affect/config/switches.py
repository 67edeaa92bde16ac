"""Fields of `config.model` for which published weights need one value: on 'auto' they take it."""

from typing import Any

import ml_collections

from data_prep.core.errors import UserError

# What 'auto' (of numbers 0, of tuples ()) means where there are no weights to follow.
DEFAULTS = {
  'visual.stride_on': '1x1',
  'visual.stem_padding': 'SYMMETRIC',
  'visual.stem_pool_padding': 'SAME',
  'visual.batch_norm': 'train',
  'visual.batch_norm_epsilon': 1e-5,
  'visual.mean': (0.485, 0.456, 0.406),
  'visual.std': (0.229, 0.224, 0.225),
}
_AUTO = ('auto', 0.0, ())


def settled(model: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """A copy of `config.model` in which no field is 'auto' any more."""
  return follow(model, {})


def follow(model: ml_collections.ConfigDict, sources: dict[str, dict], preferred: dict | None = None):
  """A copy of `config.model` with what the weights that a training starts from need.

  Args:
    model: fields on 'auto' take the value needed, else the preferred or default one; others must have it already.
    sources: where the weights are from -> {'visual.stride_on': value}.
    preferred: values that fields on 'auto' take where no source needs one.

  Raises:
    UserError: the config contradicts a source, or one source another.
  """
  model = ml_collections.ConfigDict(model).unlock()
  by_field: dict[str, tuple[str, Any]] = {}
  for source, needed in sources.items():
    for field, value in needed.items():
      first, known = by_field.setdefault(field, (source, value))
      if known != value:
        raise UserError(
          f'{first} needs config.model.{field} = {known!r}, {source} needs {value!r}; start from weights '
          'that go together'
        )
  for field in {**DEFAULTS, **by_field}:
    part, name = field.split('.')
    source, value = by_field.get(field, ('', (preferred or {}).get(field, DEFAULTS.get(field))))
    if field in DEFAULTS and model[part][name] in _AUTO:
      model[part][name] = value
    elif source and model[part][name] != value:
      leave = ', or leave it on auto' if field in DEFAULTS else ''
      raise UserError(
        f'config.model.{field} = {model[part][name]!r}, but {source} needs {value!r}; '
        f'set --config.model.{field}={value}{leave}'
      )
  return model.lock()
