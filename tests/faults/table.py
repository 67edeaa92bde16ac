"""A pytest plugin: the fault table with each row's result and time (`make faults`)."""

import collections
import re

_ROW = re.compile(r'::test_row_(\d+)_(\w+)')
_ROWS = 28
_WORDS = {'failed': 'FAILED', 'skipped': 'not run', 'passed': 'held'}


def pytest_terminal_summary(terminalreporter):
  """Prints the table: of several tests of a row, the worst result and the sum of their times."""
  rows = collections.defaultdict(list)
  for outcome in ('passed', 'failed', 'error', 'skipped'):
    for report in terminalreporter.stats.get(outcome, ()):
      if match := _ROW.search(report.nodeid):
        rows[int(match[1])].append((match[2].split('[')[0], report))
  seconds = collections.Counter()
  for outcome in ('passed', 'failed', 'error', 'skipped', ''):  # '' is setups and teardowns
    for report in terminalreporter.stats.get(outcome, ()):
      if match := _ROW.search(getattr(report, 'nodeid', '')):
        seconds[int(match[1])] += report.duration
  terminalreporter.section('faults')
  for number in range(1, _ROWS + 1):
    if not rows[number]:
      terminalreporter.write_line(f'{number:2d}  no test')
      continue
    outcomes = {report.outcome for _, report in rows[number]}
    worst = next(outcome for outcome in _WORDS if outcome in outcomes)
    names = ', '.join(dict.fromkeys(name.replace('_', ' ') for name, _ in rows[number]))
    why = {report.longrepr[2] for _, report in rows[number] if report.skipped and isinstance(report.longrepr, tuple)}
    reason = f': {"; ".join(sorted(why))}' if worst == 'skipped' else ''
    terminalreporter.write_line(f'{number:2d}  {_WORDS[worst]:8} {seconds[number]:6.1f} s  {names}{reason}')
  held = sum(1 for number in rows if rows[number] and all(r.outcome == 'passed' for _, r in rows[number]))
  terminalreporter.write_line(f'{held} of {_ROWS} rows held')
