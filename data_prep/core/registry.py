"""Tables of what there is of a kind, which code outside of this project adds to."""

from typing import TypeVar

T = TypeVar('T')


def add(table: dict[str, T], kind: str, name: str, entry: T) -> None:
  """Adds an entry behind those that there are.

  Args:
    table: name -> entry; the order of its names is that of registration.
    kind: what the table holds, in a word, for the message.
    name: of the entry.
    entry: to be added.

  Raises:
    ValueError: there is one of that name.
  """
  if name in table:
    raise ValueError(f'a {kind} {name!r} is registered already')
  table[name] = entry
