"""The JSON files of a folder as tables in Markdown.

python -m benchmarks.report --out=benchmarks/results
"""

import json
import pathlib
import sys

from absl import flags

from data_prep.core import cli


def table(results: list[dict]) -> str:
  """Of every row: ours in ms, how many times as long each peer takes, the rate, the share of the peak."""
  lines = ['| what | ours, ms | the others take | rate | of the measured peak |', '|---|---|---|---|---|']
  for result in results:
    for row in result['rows']:
      ours = row['sides'][0]
      others = '; '.join(f'{name}: {ratio:.3g} ×' for name, ratio in row['ratios'].items())
      rate = [f'{row["rate"][0]:.3g} {row["rate"][1]}'] if 'rate' in row else []
      rate += [f'{row["gflop_per_second"]:.3g} GFLOP/s'] if 'gflop_per_second' in row else []
      rate += [f'{row["peak_gib"]} GiB'] if 'peak_gib' in row else []
      share = f'{100 * row["share_of_peak"]:.0f} %' if 'share_of_peak' in row else ''
      lines.append(f'| {row["what"]} | {_ms(ours)} | {others} | {"; ".join(rate)} | {share} |')
  return '\n'.join(lines)


def provenance(result: dict) -> str:
  """Where and when one file was measured."""
  peaks = ', '.join(f'{name.replace("_", " ")} {value:.0f}' for name, value in result['peak'].items())
  versions = ', '.join(f'{name} {version}' for name, version in result['versions'].items())
  return (
    f'{result["benchmark"]}: {result["date"]}, {result["cpu"]}, {result["cores"]} cores, device {result["device"]}; '
    f'peak {peaks}; {versions}'
  )


def read(folder: str) -> list[dict]:
  """All results of a folder, sorted by name."""
  return [json.loads(path.read_text()) for path in sorted(pathlib.Path(folder).glob('*.json'))]


def _ms(side):
  return f'{1e3 * side["median"]:.4g} ({1e3 * side["min"]:.4g}–{1e3 * side["max"]:.4g})'


def main():
  """Prints the tables of the results in `--out`."""
  results = read(flags.FLAGS.out)
  if not results:
    sys.exit(
      f'error: {flags.FLAGS.out}: no results found; run `python -m benchmarks.all --out={flags.FLAGS.out}` first'
    )
  print(table(results))
  print()
  for result in results:
    print(f'* {provenance(result)}')


if __name__ == '__main__':
  cli.run(main, lambda: cli.define_path('out', None, 'Folder that the benchmarks wrote to.', required=True))
