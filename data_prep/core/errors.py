"""Errors that a user can cause: one line, no traceback, an exit code that scripts can tell apart."""

import errno

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Library -> the extra of setup.cfg that brings it.
_EXTRAS = {
  **dict.fromkeys(('opensmile', 'skimage', 'sklearn', 'threadpoolctl'), 'features'),
  **dict.fromkeys(('pyarrow', 'pympi'), 'formats'),
  **dict.fromkeys(('onnx', 'onnxruntime'), 'onnx'),
  **dict.fromkeys(('importlib_resources', 'pydub'), 'tfds'),
  **dict.fromkeys(('fsspec', 'gcsfs', 's3fs'), 'remote'),
  'mtcnn': 'landmarks',
  'apache_beam': 'beam',
}


class UserError(Exception):
  """Something the user can mend. The message says what was found, what was expected and what to do."""

  exit_code = 64  # usage or config


class DataError(UserError):
  """Bad or missing data: labels, media, shards."""

  exit_code = 65


class HostLostError(UserError):
  """Of several hosts that train together, another one is lost."""

  exit_code = 69


class BucketError(UserError):
  """A bucket cannot be read or written, or two programs write to one address."""

  exit_code = 69


class CheckpointError(UserError):
  """No usable checkpoint."""

  exit_code = 66


class WorkdirError(UserError):
  """The output folder cannot be written."""

  exit_code = 73


class DiskFullError(UserError):
  """No space is left for a checkpoint or a shard."""

  exit_code = 74


class LockedError(UserError):
  """Another process holds the workdir."""

  exit_code = 75


def of_import(error: ImportError) -> UserError:
  """The user's error for a library that is not installed.

  Raises:
    ImportError: it is of this program's own files: a fault of the program, or of the installation.
  """
  library = (error.name or '').partition('.')[0]
  if library in ('', 'data_prep', 'e2e_affect'):
    raise error
  extra = _EXTRAS.get(library)
  brings = f"`pip install 'e2e_affect[{extra}]'` brings it" if extra else 'install what setup.cfg asks for'
  return UserError(f'{library}: not installed; {brings}')


def of_path(error: OSError) -> UserError:
  """The user's error for one of the system that names a path, and came where nobody awaited it.

  Raises:
    OSError: it names none: a fault of the program.
  """
  if error.filename is None:
    raise error
  if error.errno in _FULL:
    return write_error(error.filename, error)
  return UserError(f'{error.filename}: cannot be used ({error.strerror}); mend that, or name another path')


def write_error(path, error: OSError) -> UserError:
  """The user's error for a file that could not be written."""
  if error.errno in _FULL:
    return DiskFullError(f'{path}: no space left ({error.strerror}); free some, then run again: what is done is kept')
  return WorkdirError(f'{path}: cannot be written ({error.strerror or error}); choose another folder')
