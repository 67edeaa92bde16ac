"""The JSON files of a folder as tables in Markdown.

python -m benchmarks.report --out=benchmarks/results --page=docs/speed.md
"""

import collections
import json
import pathlib
import sys

from absl import flags

from data_prep.core import atomic, cli

_UNITS = ((1 / 60, 'min', 100), (1, 's', 1), (1e3, 'ms', 0))
# What `--page` shows, in this order; the others have pages or tables of their own.
_ON_PAGE = ('step', 'recurrent', 'long_conv', 'input', 'prepare', 'predict', 'demo')
_BEGIN, _END = '<!-- made by benchmarks.report -->\n', '<!-- until here -->\n'


def table(results: list[dict]) -> str:
  """Of every row: our time, how many times as long each peer takes, the rate, and the goal, if there is one."""
  lines = ['| what | ours | the others take | rate | goal |', '|---|---|---|---|---|']
  for result in results:
    for row in result['rows']:
      ours = row['sides'][0]
      others = '; '.join(f'{name}: {_ratio(ratio)} ×' for name, ratio in row['ratios'].items())
      rate = [f'{_digits(row["rate"][0])} {row["rate"][1]}'] if 'rate' in row else []
      rate += [f'{row["gflop_per_second"]:.0f} GFLOP/s'] if 'gflop_per_second' in row else []
      rate += [f'{100 * row["share_of_peak"]:.0f} % of the peak'] if 'share_of_peak' in row else []
      rate += [f'{row["peak_gib"]} GiB'] if 'peak_gib' in row else []
      rate += [f'{100 * share:.0f} % {name}' for name, share in row.get('shares', {}).items() if share >= 0.005]
      lines.append(f'| {row["what"]} | {_times(ours)} | {others} | {"; ".join(rate)} | {_goal(row)} |')
  return '\n'.join(lines)


def _goal(row):
  """What was aimed at, and whether it was missed."""
  if 'goal' not in row:
    return ''
  name, bound = row['goal']
  if name == 'seconds':
    met, text = row['sides'][0]['median'] <= bound, f'at most {" ".join(_in_unit(bound, bound))}'
  elif name == 'rate':
    met, text = row['rate'][0] >= bound, f'{_digits(bound)} {row["rate"][1]}'
  elif name in row['ratios']:
    met, text = row['ratios'][name] >= bound, f'{bound} ×' if len(row['ratios']) == 1 else f'{name}: {bound} ×'
  else:
    return f'{name}: {bound} ×, not measured'
  return text if met else f'{text}, **missed**'


def provenance(results: list[dict]) -> list[str]:
  """Where and when they were measured, a line for each machine and day; the peaks are the lowest and the highest."""
  alike = collections.defaultdict(list)
  for result in results:
    versions = ', '.join(f'{name} {version}' for name, version in result['versions'].items())
    where = f'{result["date"]}, {result["cpu"]}, {result["cores"]} cores, device {result["device"]}; {versions}'
    alike[where].append(result)
  lines = []
  for where, of in alike.items():
    peaks = []
    for name in sorted({name for result in of for name in result['peak']}):
      values = [result['peak'][name] for result in of if name in result['peak']]
      peaks.append(f'{name.replace("_", " ")} {min(values):.0f} to {max(values):.0f}')
    lines.append(f'{", ".join(result["benchmark"] for result in of)}: {where}; peak {", ".join(peaks)}')
  return lines


def read(folder: str) -> list[dict]:
  """All results of a folder, sorted by name."""
  return [json.loads(path.read_text()) for path in sorted(pathlib.Path(folder).glob('*.json'))]


def _ratio(ratio):
  return f'{ratio:.2f}' if ratio < 10 else f'{ratio:.0f}'


def _times(side):
  (median, unit), *ends = (_in_unit(side[name], side['median']) for name in ('median', 'min', 'max'))
  return f'{median} {unit}' + (f' ({"–".join(end for end, _ in ends)})' if side['repeats'] > 1 else '')


def _in_unit(seconds, usual):
  """Seconds in the unit in which a person would say `usual`, and that unit."""
  return next((_digits(times * seconds), name) for times, name, least in _UNITS if usual >= least)


def _digits(number):
  """Three digits, as far as they are after the point."""
  return f'{number:.3g}' if number < 999.5 else f'{number:.0f}'


def main():
  """Prints the tables of the results in `--out`."""
  results = read(flags.FLAGS.out)
  if not results:
    sys.exit(
      f'error: {flags.FLAGS.out}: no results found; run `python -m benchmarks.all --out={flags.FLAGS.out}` first'
    )
  print(in_words(results))
  if flags.FLAGS.page:
    write_page(flags.FLAGS.page, results)


def in_words(results: list[dict]) -> str:
  """The table, and below it where and when the results were measured."""
  return '\n'.join([table(results), '', *(f'* {line}' for line in provenance(results))])


def write_page(path, results: list[dict]) -> None:
  """Puts the results that belong there into a page, in place of those that it has, between two comments."""
  path = pathlib.Path(path)
  before, _, rest = path.read_text(encoding='utf-8').partition(_BEGIN)
  _, end, after = rest.partition(_END)
  if not end:
    sys.exit(f'error: {path}: expected the lines `{_BEGIN.strip()}` and `{_END.strip()}`, between which results belong')
  by_name = {result['benchmark']: result for result in results}
  absent = [name for name in _ON_PAGE if name not in by_name]
  if absent:
    sys.exit(f'error: {path}: left as it is, results of {", ".join(absent)} are missing in {flags.FLAGS.out}')
  made = in_words([by_name[name] for name in _ON_PAGE])
  atomic.write(path, f'{before}{_BEGIN}\n{made}\n\n{_END}{after}')


def _define_flags():
  cli.define_path('out', None, 'Folder that the benchmarks wrote to.', required=True)
  cli.define_path('page', None, 'Page to write the table to, as docs/speed.md.')


if __name__ == '__main__':
  cli.run(main, _define_flags)
