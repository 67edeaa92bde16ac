"""The stores behind gs:// and s3://, by fsspec; each fault is one line that names the address."""

from collections.abc import Iterator
import contextlib
import errno
import functools
import importlib
import logging
from typing import Any

from data_prep.core.errors import BucketError, UserError

LIBRARIES = {'gs': 'gcsfs', 's3': 's3fs'}
CHECK = 'check the name, the credentials and the connection'
_OF_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


def listing(root: str, advice: str) -> dict[str, tuple[str, int]]:
  """Address -> (version, bytes) of all files at or below an address; none where there is nothing.

  Args:
    root: the address.
    advice: what an error says at its end.

  Raises:
    BucketError: there is no such bucket, or it cannot be read.
  """
  with told(root, 'read', advice):
    _store(root).invalidate_cache()
    found = call(root, 'find', detail=True)
    if not found:  # nothing there yet, or no such bucket?
      with contextlib.suppress(PermissionError):
        _store(root).ls(_key(root).partition('/')[0])
    scheme = root.partition('://')[0]
    named = {f'{scheme}://{key}': info for key, info in found.items() if info['type'] == 'file'}
    return {
      name: version(info)
      for name, info in named.items()
      if not name.endswith('/') and (name == root or name.startswith(f'{root}/'))
    }


def call(address: str, method: str, *arguments, first: bool = False, **options) -> Any:
  """A method of the store about an address; `first`: its path stands behind the first argument."""
  key = _key(address)
  return getattr(_store(address), method)(*((*arguments, key) if first else (key, *arguments)), **options)


def version(info: dict) -> tuple[str, int]:
  """The version that the store gave a file, and its bytes.

  Args:
    info: what fsspec says of it.
  """
  found = info.get('generation') or info.get('ETag') or info.get('etag')
  if not found:
    raise OSError(f'the store tells no version of it, but {sorted(info)}')
  return str(found), int(info['size'])


@contextlib.contextmanager
def told(address: str, what: str, advice: str) -> Iterator[None]:
  """Turns whatever a store raises into the user's error; that of a full disk here stays."""
  try:
    yield
  except (UserError, ModuleNotFoundError):
    raise
  except Exception as e:  # libraries of several stores, each with types of its own
    if isinstance(e, OSError) and e.errno in _OF_DISK:
      raise
    reason = (str(e).strip().splitlines() or [''])[0][:200]
    raise BucketError(f'{address}: cannot be {what} ({type(e).__name__}: {reason}); {advice}') from None


def copy(old: str, new: str) -> None:
  """Has the store copy a file."""
  call(old, 'cp_file', _key(new))


def _key(address):
  return address.partition('://')[2]


def _store(address):
  return library(address.partition('://')[0])


@functools.cache
def library(scheme: str) -> Any:
  """fsspec's store of a scheme.

  Raises:
    ModuleNotFoundError: its library is not installed.
  """
  for name in ('botocore', 'aiobotocore', 'google', 'gcsfs', 's3fs'):  # what they raise becomes one line: see `told`
    logging.getLogger(name).setLevel(logging.CRITICAL)
  importlib.import_module(LIBRARIES[scheme])
  import fsspec

  return fsspec.filesystem(scheme, use_listings_cache=False, skip_instance_cache=True)
