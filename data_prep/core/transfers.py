"""What every mirrored file was at its last transfer: so each side's changes are known."""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import os
import sqlite3
from typing import NamedTuple

from data_prep.core.errors import UserError

_FILE = 'state.sqlite3'


class Seen(NamedTuple):
  """A file at its last transfer; and of one that is under way, which a killed program leaves.

  Attributes:
    version: that the bucket gave it.
    stamp: of this machine.
    pending: bytes of what is being sent, or the stamp of what was just fetched.
  """

  version: str = ''
  stamp: str = ''
  pending: str = ''


def seen(folder: str, root: str) -> dict[str, Seen]:
  """Address -> the file, of all at or below an address.

  Args:
    folder: in which the record lies, as in the functions below; it is there.
    root: the address.

  Raises:
    UserError: the record cannot be used; so do the functions below.
  """
  with _database(folder) as database:
    rows = database.execute(
      'select * from files where name = ? or name > ? and name < ?', (root, f'{root}/', f'{root}0')
    ).fetchall()  # 0 comes after /
  return {name: Seen(*of) for name, *of in rows}


def remember(folder: str, files: Mapping[str, Seen]) -> None:
  """Writes down what files are now."""
  with _database(folder) as database:
    rows = [(name, *of) for name, of in files.items()]
    database.executemany('insert or replace into files values (?, ?, ?, ?)', rows)


def forget(folder: str, names: Iterable[str]) -> None:
  """As if there never had been such files."""
  with _database(folder) as database:
    database.executemany('delete from files where name = ?', [(name,) for name in names])


@contextlib.contextmanager
def _database(folder) -> Iterator[sqlite3.Connection]:
  path = os.path.join(folder, _FILE)
  try:
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as database:
      database.execute('pragma journal_mode = wal')  # a kill loses nothing, and a file costs no wait for the disk
      database.execute('pragma synchronous = normal')
      with database:
        database.execute(
          'create table if not exists files (name text primary key, version text, stamp text, pending text)'
        )
        yield database
  except sqlite3.Error as e:
    raise UserError(f'{path}: cannot be used ({e}); free some space, or remove {folder}') from None
