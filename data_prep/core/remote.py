"""Addresses of buckets, gs://… and s3://…: each has a folder of this machine that mirrors it.

The program renames, locks and maps files, which no bucket can. So it works on folders: `local` gives that of an
address, `fetch` brings it up to date before it is used, and `send` takes to the bucket what the program changed, where
it says that something is whole. All below gs and s3 of the cache is mirrored: a path tells by itself whether it has
an address.

`transfers` knows of every file what it was at the last transfer: the version that the bucket gave it, and its stamp
here. So each side's changes are known, and a file that both changed is refused.
"""

from collections.abc import Callable, Iterable
import concurrent.futures
import contextlib
import functools
import hashlib
import os
import pathlib
import re
import sys
import time

from data_prep.core import atomic, bucket, lock, progress, transfers
from data_prep.core.errors import BucketError, UserError
from data_prep.core.transfers import Seen

CACHE = 'E2E_AFFECT_CACHE'  # the environment variable that names the folder of caches
EVERY_SECONDS = 60.0  # at least, between two sendings while a long command works
_ADDRESS = re.compile('([a-zA-Z][a-zA-Z0-9+.-]+):/')
_THREADS = 8
# Locks, what is still being written, damaged checkpoints that were set aside: none has a meaning elsewhere.
_PASSING = re.compile(r'lock|.*[.]lock|[.]predict-.*|.*[.]orbax-checkpoint-tmp.*|[0-9]+([.][0-9]+)?[.]corrupt')
_CHECKPOINT = re.compile(r'(?P<folder>(?:.*/)?checkpoints/[0-9]+)/.*')
# What makes a folder valid; it is not there while the folder is changed. A manifest is that of the files beside it.
_CHECKPOINT_SEAL, _DATA_SEAL = '_CHECKPOINT_METADATA', 'manifest.json'
_RESULTS = re.compile(r'(results.*|network|graph)[.]json')
_MADE_ANEW = ('.html', '.png')  # pages and figures: whoever wrote last is right
_NAMED_BESIDE = ('.csv', '.ckpt')  # files that are read with what lies beside them
_opened: dict[str, None] = {}  # folders whose changes are sent at the end of the program
_fetched: set[str] = set()


def cache() -> str:
  """The folder of mirrors and compiled code: $E2E_AFFECT_CACHE, or e2e_affect in the user's folder of caches."""
  home = os.environ.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')
  return os.path.realpath(os.environ.get(CACHE) or os.path.join(home, 'e2e_affect'))


def is_address(text: str) -> bool:
  """Whether a text is no path: it begins as an address does, of whatever kind."""
  return bool(_ADDRESS.match(text))


def local(address: str) -> str:
  """The path that mirrors an address; nothing is fetched.

  Raises:
    ValueError: it is no address of a bucket, or of what no file can be.
  """
  scheme, _, rest = address.partition('://')
  if scheme.lower() not in bucket.LIBRARIES or not rest:
    raise ValueError('an address, expected a path, gs://BUCKET/… or s3://BUCKET/…; write ./NAME for a folder so called')
  parts = rest.rstrip('/').split('/')
  if any(part in ('', '.', '..') or '\0' in part for part in parts):
    raise ValueError(
      'no file can have this name; expected gs://BUCKET/… or s3://BUCKET/… without empty parts, . and ..'
    )
  return os.path.join(cache(), scheme.lower(), *parts)


def named(path) -> str:
  """The address that a path mirrors, or the path where it mirrors none."""
  path = os.fspath(path)
  scheme, *parts = os.path.relpath(path, cache()).split(os.sep) if os.path.isabs(path) else ['']
  return f'{scheme}://{"/".join(parts)}' if scheme in bucket.LIBRARIES and parts else path


def in_words(text: str) -> str:
  """A text with addresses in the place of the paths that mirror them."""
  for scheme in bucket.LIBRARIES:
    text = text.replace(os.path.join(cache(), scheme, ''), f'{scheme}://')
  return text


def open_(path) -> None:
  """Fetches what a path mirrors, and has its changes sent at the end of the program; leaves other paths alone."""
  fetch(path)
  if root := _root(path):
    _opened[local(root)] = None


def opened() -> list[str]:
  """The paths whose changes are sent at the end of the program."""
  return list(_opened)


def send_opened(delete: bool = True) -> None:
  """`send` of all that was opened."""
  for path in _opened:
    send(path, delete=delete)


def fetch(path) -> None:
  """Fetches what the bucket has otherwise than the folder or file that mirrors it, once a program.

  Where the bucket has nothing, there is nothing here. What was changed here since the last transfer stays. Other paths
  are left alone.

  Raises:
    BucketError: the bucket cannot be read, or a file was changed on both sides.
    UserError: a name in it can be no file's, or the library is not installed.
    WorkdirError, DiskFullError: the mirror cannot be written.
  """
  root = _root(path)
  if root is None or root in _fetched:
    return
  with _held(root):
    for _ in range(3):
      if not _fetch(root):
        break
    else:
      raise BucketError(f'{root}: changes while it is fetched; wait until whoever writes there is done')
  _fetched.add(root)


def _root(path):
  """The address that is fetched for a path; None where it mirrors none."""
  root = named(path)
  root = root.rpartition('/')[0] if root.lower().endswith(_NAMED_BESIDE) else root
  return root if is_address(root) else None


def _fetch(root):
  """Fetches once; returns whether anything was fetched."""
  earlier, there = transfers.seen(cache(), root), _there(root, bucket.CHECK)
  here, seen = _here(root), transfers.seen(cache(), root)
  halves = _halves(there)
  wanted = []
  for name, (version, size) in there.items():
    if name in halves or earlier.get(name) != seen.get(name):  # or another program of this machine just sends it
      continue
    before = seen.get(name, Seen())
    changed_there = version != before.version and str(size) != before.pending
    changed_here = name in here and here[name] not in (before.stamp, before.pending)
    if changed_there and changed_here and not name.endswith(_MADE_ANEW) and not _is_same(name, size):
      raise BucketError(
        f'{name}: was changed there and here since the last transfer, as by two programs at one address; remove '
        f'{local(root)} to go on with what the bucket has'
      )
    if changed_there or name not in here:
      wanted.append(name)
  gone = [name for name in earlier.keys() - there.keys() if here.get(name) == seen.get(name, Seen()).stamp]
  if wanted:
    megabytes = sum(there[name][1] for name in wanted) / 1e6
    _say(f'{root}: {_count(wanted)}, {megabytes:.1f} MB, to {local(root)}')

  def get(name):
    version, size = there[name]
    path = pathlib.Path(local(name))
    with atomic.whole(path) as temporary, bucket.told(name, 'read', bucket.CHECK):
      bucket.call(name, 'get_file', os.fspath(temporary))
      found = temporary.stat().st_size
      if found != size:
        raise OSError(f'{found} bytes came, {size} expected: it was cut off, or changed meanwhile')
      stamp = _stamp(temporary)
      transfers.remember(cache(), {name: seen.get(name, Seen())._replace(pending=stamp)})
    transfers.remember(cache(), {name: Seen(version, stamp)})

  _each(get, wanted, 'fetching')
  for name in gone:
    pathlib.Path(local(name)).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
      os.removedirs(os.path.dirname(local(name)))
  transfers.forget(cache(), gone)
  return bool(wanted)


def send(path, *, delete: bool = True, every: float = 0) -> None:
  """Sends what was changed here: contents first, then the files that make them valid; then deletes what was deleted.

  Args:
    path: folder or file; one that mirrors nothing is left alone.
    delete: whether what was deleted here since it was fetched or sent is deleted there.
    every: seconds; nothing is sent where it was sent less long ago.

  Raises:
    BucketError: the bucket cannot be written, or another program changed a file there. Nothing here is touched.
  """
  root, now = named(path), time.monotonic()
  if not is_address(root) or not os.path.lexists(path) or now - _sent.get(root, -every) < every:
    return
  # One of a bucket: an address may lie in another one, and two programs may send the same file.
  with _held('/'.join(root.split('/')[:3])):
    _send(root, delete)
  _sent[root] = time.monotonic()


_sent: dict[str, float] = {}  # address -> when


def _send(root, delete):
  there, here, seen = _there(root, _kept(root)), _here(root), transfers.seen(cache(), root)
  halves = _halves(there)
  changed = [name for name in here if name not in seen or seen[name].stamp != here[name]]
  gone = (seen.keys() & there.keys()) - here.keys()
  deleted = [name for name in gone if there[name][0] == seen[name].version] if delete else []
  for name in changed:
    before = seen.get(name, Seen())
    if name in there and name not in halves and not name.endswith(_MADE_ANEW):
      version, size = there[name]
      if version != before.version and str(size) != before.pending:
        raise BucketError(
          f'{name}: another program changed it since this one read it: one at a time works at an address; the local '
          f'copy is {local(root)}'
        )
  # A half checkpoint, of a program that was killed, goes once this one has a checkpoint of that update.
  own = {_folder(name) for name in here}
  deleted += [name for name in halves - here.keys() if _folder(name) in own]
  touched = {_sealed_by(name) for name in (*changed, *deleted)}
  broken = [seal for seal in touched if seal in there]
  _delete(root, broken)
  changed += [seal for seal in broken if seal in here and seal not in changed]
  deleted = [name for name in deleted if name not in broken]
  twins = {seen[name].stamp: name for name in gone - set(broken)}
  transfers.forget(cache(), seen.keys() - there.keys() - here.keys())
  if changed:
    _say(f'{root}: {_count(changed)} from {local(root)}')

  def put(name):
    """Sends a file, or has the bucket copy it where it only has another name now."""
    path, stamp = local(name), _stamp(local(name))
    twin = twins.get(stamp)
    with bucket.told(name, 'written', _kept(root)):
      if stamp is None:
        return  # it has gone meanwhile
      bytes_ = stamp.split()[0]
      transfers.remember(cache(), {name: seen.get(name, Seen())._replace(pending=bytes_)})
      if twin and not name.endswith(_MADE_ANEW):
        bucket.copy(twin, name)
      else:
        try:
          bucket.call(name, 'put_file', path, first=True)
        except FileNotFoundError:
          if os.path.exists(path):
            raise
          return
      version, size = bucket.version(bucket.call(name, 'info'))
      if str(size) != bytes_ and stamp == _stamp(path):
        raise OSError(f'{size} bytes arrived, {bytes_} expected; perhaps another program writes there')
    transfers.remember(cache(), {name: Seen(version, stamp)})

  for rank in range(3):
    _each(put, [name for name in changed if _rank(name) == rank], 'sending')
  _delete(root, deleted)


def _kept(root):
  return f'nothing is lost: the local copy is {local(root)}; mend that and run the same command again'


def _delete(root, names):
  def remove(name):
    with bucket.told(name, 'deleted', _kept(root)):
      with contextlib.suppress(FileNotFoundError):
        bucket.call(name, 'rm_file')
    transfers.forget(cache(), [name])

  _each(remove, names, 'deleting')


def _sealed_by(name):
  """The address of the seal of what a file belongs to."""
  of_checkpoint = _CHECKPOINT.fullmatch(name)
  return f'{of_checkpoint["folder"]}/{_CHECKPOINT_SEAL}' if of_checkpoint else f'{name.rpartition("/")[0]}/{_DATA_SEAL}'


def _folder(name):
  of_checkpoint = _CHECKPOINT.fullmatch(name)
  return of_checkpoint and of_checkpoint['folder']


def _halves(there):
  """What belongs to checkpoints that were not sent whole."""
  return {name for name in there if _folder(name) and f'{_folder(name)}/{_CHECKPOINT_SEAL}' not in there}


def _rank(name):
  """When a file is sent: what makes others valid comes after them."""
  last = name.rpartition('/')[2]
  return 2 if last in (_CHECKPOINT_SEAL, _DATA_SEAL) or _RESULTS.fullmatch(last) else int(last.endswith('.json'))


def _is_same(name, size):
  """Whether the bucket has just what is here: the program was killed after a transfer, before it wrote that down."""
  path = pathlib.Path(local(name))
  if path.stat().st_size != size:
    return False
  with bucket.told(name, 'read', bucket.CHECK):
    return hashlib.sha256(bucket.call(name, 'cat_file')).digest() == hashlib.sha256(path.read_bytes()).digest()


def _there(root, advice):
  """Address -> (version, bytes) of all files of the bucket at or below an address."""
  files = bucket.listing(root, advice)
  for name in files:
    try:
      local(name)
    except ValueError as e:
      raise UserError(f'{name}: {e}; rename it in the bucket') from None
  return {name: of for name, of in files.items() if not _is_passing(name[len(root) :])}


def _here(root):
  """Address -> stamp of all files of this machine at or below an address."""
  path = local(root)
  found = [path] if os.path.isfile(path) else []
  for folder, folders, files in os.walk(path):
    folders[:] = [name for name in folders if not _is_passing(name)]
    found += [os.path.join(folder, name) for name in files if not _is_passing(name)]
  stamps = {named(file): _stamp(file) for file in found if not os.path.islink(file)}
  return {name: stamp for name, stamp in stamps.items() if stamp}


def _is_passing(name):
  return any(_PASSING.fullmatch(part) or atomic.is_temporary(pathlib.PurePath(part)) for part in name.split('/'))


def _stamp(path):
  """'bytes time inode' of a file: another one once it is written to or replaced, the same once it is renamed."""
  try:
    stat = os.stat(path)
  except FileNotFoundError:
    return None
  return f'{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}'


def _each(work: Callable[[str], None], names: Iterable[str], words: str) -> None:
  """Calls `work(name)` of all names, several at once."""
  threads = concurrent.futures.ThreadPoolExecutor(_THREADS)
  try:
    waiting = [threads.submit(work, name) for name in names]
    for done in progress.over(concurrent.futures.as_completed(waiting), words, 'files', len(waiting)):
      done.result()
  finally:
    threads.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _held(root):
  """One transfer at a time of an address; others wait, and then find it done."""
  path = pathlib.Path(cache()) / 'locks' / f'{hashlib.sha256(root.encode()).hexdigest()[:16]}.lock'
  waiting = functools.partial(_say, f'{root}: another process transfers it; waiting')
  with lock.held(path, f'{cache()} (${CACHE} names it)', str, waiting):
    yield


def _count(names):
  return f'{len(names)} file{"" if len(names) == 1 else "s"}'


def _say(line):
  with contextlib.suppress(OSError):
    print(line, file=sys.stderr, flush=True)
