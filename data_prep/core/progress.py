"""How far long work is: a bar where somebody looks at a terminal, a line in the log now and then elsewhere."""

from collections.abc import Iterable, Iterator, Sized
import sys
import time
from typing import TypeVar

from absl import logging
import tqdm

_SECONDS = 10.0  # between two lines of the log

T = TypeVar('T')


def over(items: Iterable[T], words: str, unit: str, total: int | None = None) -> Iterator[T]:
  """Yields the items; says meanwhile how many are done and how long the rest will take.

  Args:
    items: to work on, one after the other.
    words: what is done.
    unit: what an item is, in one word.
    total: how many there are; their length where they have one.
  """
  if total is None and isinstance(items, Sized):
    total = len(items)
  if sys.stderr.isatty():
    yield from tqdm.tqdm(items, desc=words, unit=f' {unit}', total=total, leave=False)
    return
  begun = said = time.monotonic()
  for done, item in enumerate(items):
    now = time.monotonic()
    if done and now - said >= _SECONDS:
      said = now
      left = f' of {total}, {(now - begun) / done * (total - done):.0f} s left' if total else ''
      logging.info('%s: %d%s', words, done, left)
    yield item
