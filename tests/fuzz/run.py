"""Spoils files of every kind that the program reads, with fixed seeds: it takes them or refuses them in one line.

    python -m tests.fuzz                           # the full counts: `make fuzz`
    python -m tests.fuzz --count=20                # 20 of each kind
    python -m tests.fuzz --only=media,weights:123  # one kind; one mutation, as a finding names it

Crashes, hangs, too much memory, exceptions that nobody foresaw, and faults that went unnoticed are findings; any ends
it with exit code 1. The work is done by processes with limits, so that none takes this one along.
"""

import collections
import contextlib
import functools
import pathlib
import random
import tempfile
import time
import traceback
import warnings

from data_prep.core import cli, pool
from data_prep.core.errors import UserError
from tests.fuzz import kinds

CHUNK = 50  # mutations a task
# Of a task; alone, the memory is that of both processes: 2 GiB.
LIMITS = pool.Limits(memory=1 << 30, processor_seconds=300, seconds=600)
LONGEST_LINE = 700  # characters of a refusal
SLOWEST = 30.0  # seconds of the processor for one mutation; a hang meets the limit of its task
_checks: dict[str, kinds.Check] = {}


def work(folder: str, task: tuple[str, int, int]) -> tuple[int, int, list[str]]:
  """Tries the mutations [first, last) of a kind; returns how many were taken, how many refused, and what was found."""
  kind, first, last = task
  warnings.simplefilter('ignore')
  own = pathlib.Path(tempfile.mkdtemp(dir=folder))
  if kind not in _checks:
    _checks[kind] = kinds.KINDS[kind][0](own)
  taken = refused = 0
  found = []
  at = pathlib.Path(folder) / f'{kind}_{first}'
  for number in range(first, last):
    at.write_text(str(number))  # a crash of this process is that of this mutation
    begun = time.process_time()
    try:
      _checks[kind](random.Random(f'{kind}:{number}'))
      taken += 1
    except UserError as e:
      refused += 1
      if '\n' in str(e) or len(str(e)) > LONGEST_LINE:
        found.append(f'{kind}:{number}: no line: {str(e)[:300]!r}')
    except Exception:
      found.append(f'{kind}:{number}: {traceback.format_exc()}')
    if time.process_time() - begun > SLOWEST:
      found.append(f'{kind}:{number}: took {time.process_time() - begun:.0f} s of the processor')
  return taken, refused, found


def tasks(name: str, count: int | None) -> list[tuple[str, int, int]]:
  """(kind, first, last) of each task of KIND or KIND:NUMBER."""
  kind, _, number = name.partition(':')
  if kind not in kinds.KINDS:
    raise UserError(f'{kind}: no such kind; expected some of {", ".join(kinds.KINDS)}')
  first, last = (int(number), int(number) + 1) if number else (0, count or kinds.KINDS[kind][1])
  return [(kind, begin, min(begin + CHUNK, last)) for begin in range(first, last, CHUNK)]


def main() -> int:
  """Runs them; returns the exit code."""
  parser = cli.Parser(__doc__)
  parser.add_argument('--count', type=int, metavar='N', help='Mutations of each kind; default: the full counts.')
  parser.add_argument('--only', metavar='A,B', help='Some of the kinds, or KIND:NUMBER; default: all.')
  asked = parser.parse_args()
  all_of = [tasks(name, asked.count) for name in (asked.only.split(',') if asked.only else kinds.KINDS)]
  findings = 0
  cli.say(f'{"kind":12} {"tried":>6} {"taken":>6} {"refused":>8} {"findings":>9} {"seconds":>8}')
  for of_kind in all_of:
    begun = time.monotonic()
    counts = collections.Counter(tried=sum(last - first for _, first, last in of_kind))
    with tempfile.TemporaryDirectory(prefix='fuzz-', ignore_cleanup_errors=True) as folder:
      # Fresh processes for each kind: the libraries of all together would be most of the memory.
      of_folder = functools.partial(work, folder)
      list(pool.run(of_folder, [(of_kind[0][0], 0, 0)], jobs=1))  # makes files that all processes take
      with contextlib.closing(pool.run(of_folder, of_kind, jobs=2, limits=LIMITS)) as results:
        for (kind, first, _), result in results:
          if isinstance(result, pool.Crashed):
            at = pathlib.Path(folder) / f'{kind}_{first}'
            result = 0, 0, [f'{kind}:{at.read_text() if at.exists() else first}: {result}']
          taken, refused, found = result
          counts.update(taken=taken, refused=refused, findings=len(found))
          for line in found:
            cli.complain(line)
    findings += counts['findings']
    numbers = f'{counts["tried"]:6} {counts["taken"]:6} {counts["refused"]:8} {counts["findings"]:9}'
    cli.say(f'{of_kind[0][0]:12} {numbers} {time.monotonic() - begun:8.0f}')
  return 1 if findings else 0
