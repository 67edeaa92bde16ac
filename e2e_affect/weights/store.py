"""Imported weights on disk: one safetensors file that holds the parameters and, in its header, how they are used."""

import hashlib
import json
import os
import pathlib

import numpy as np
import safetensors
import safetensors.numpy

from data_prep.core.errors import DataError, DiskFullError, UserError, WorkdirError
from e2e_affect.weights import limits, safetensors_file
from e2e_affect.weights.tensors import Imported, nest

FILE = 'weights.safetensors'
_HEADER = 'e2e_affect'
_VERSION = 1


def write(out, imported: Imported, source) -> pathlib.Path:
  """Writes `out/weights.safetensors`, whole or not at all.

  Args:
    out: folder; made if absent.
    imported: what to write.
    source: the file it was imported from; its name is kept.

  Raises:
    WorkdirError, DiskFullError: it cannot be written.
  """
  path = pathlib.Path(out) / FILE
  flat = {
    f'{kind}/{name}': np.ascontiguousarray(leaf)
    for kind, tree in (('params', imported.params), ('batch_stats', imported.batch_stats))
    for name, leaf in _flat(tree).items()
  }
  header = {
    'version': _VERSION,
    'format': imported.format,
    'source': pathlib.Path(source).name,
    'sha256': digest(flat),
    'switches': imported.switches,
  }
  temporary = path.with_name(f'.{FILE}.{os.getpid()}.tmp')
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary.write_bytes(safetensors.numpy.save(flat, metadata={_HEADER: json.dumps(header)}))
    temporary.replace(path)
  except OSError as e:
    temporary.unlink(missing_ok=True)
    error = DiskFullError if e.errno == 28 else WorkdirError
    raise error(f'{path}: cannot be written ({e.strerror}); choose another --out') from None
  return path


def read_header(path) -> dict:
  """What is said of imported weights: `format`, `source`, `sha256` and `switches`.

  Args:
    path: folder that `import_weights` wrote, or the file in it.

  Raises:
    UserError: not found, or not imported yet. DataError: damaged.
  """
  file = _file(path)
  try:
    safetensors_file.check_header(file)
    with safetensors.safe_open(file, framework='numpy') as f:
      text = (f.metadata() or {}).get(_HEADER)
  except (safetensors.SafetensorError, OSError, ValueError) as e:
    raise _not_imported(file, e) from None
  if text is None:
    raise _not_imported(file, 'a safetensors file of another program')
  try:
    header = limits.read_json(text)
    if header['version'] != _VERSION:
      raise DataError(
        f'{file}: version {limits.short(repr(header["version"]))}, this program reads {_VERSION}; import '
        'the weights again'
      )
    as_set = lambda value: tuple(value) if isinstance(value, list) else value  # JSON has no tuples
    switches = {str(name): as_set(value) for name, value in header['switches'].items()}
    return {'format': header['format'], 'source': header['source'], 'sha256': header['sha256'], 'switches': switches}
  except (ValueError, KeyError, TypeError, AttributeError) as e:
    raise _not_imported(file, f'header damaged: {e!r}') from None


def read(path) -> tuple[dict, dict]:
  """Parameters and running statistics, nested, by the network's own names.

  Raises:
    UserError: not found, or not imported yet. DataError: damaged.
  """
  header, file = read_header(path), _file(path)
  try:
    flat = safetensors.numpy.load_file(file)
  except (safetensors.SafetensorError, OSError, ValueError, TypeError, LookupError, AttributeError) as e:
    raise _not_imported(file, e) from None
  if digest(flat) != header['sha256']:
    raise DataError(f'{file}: its SHA-256 differs from the one in its header; import the weights again')
  tree = nest(flat)
  return tree.get('params', {}), tree.get('batch_stats', {})


def digest(flat: dict[str, np.ndarray]) -> str:
  """SHA-256 over (name, type, shape, bytes) of every array, sorted by name."""
  sha = hashlib.sha256()
  for name, array in sorted(flat.items()):
    sha.update(f'{name} {array.dtype} {array.shape}\n'.encode())
    sha.update(np.ascontiguousarray(array).tobytes())
  return sha.hexdigest()


def _flat(tree, prefix=''):
  flat = {}
  for name, value in tree.items():
    flat |= _flat(value, f'{prefix}{name}/') if isinstance(value, dict) else {prefix + name: value}
  return flat


def _file(path):
  path = pathlib.Path(path)
  file = path / FILE if path.is_dir() else path
  if not file.is_file():
    raise UserError(f'{file}: not found; expected what `python -m e2e_affect.import_weights FILE --out=DIR` wrote')
  return file


def _not_imported(file, reason):
  return UserError(
    f'{file}: no imported weights ({limits.short(str(reason), 100)}); make them with '
    '`python -m e2e_affect.import_weights FILE --out=DIR`'
  )
