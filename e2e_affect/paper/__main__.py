"""The page of the paper's tables: `python -m e2e_affect.paper OUT`, of a folder that `e2e-affect reproduce` filled.

Writes `paper.json`, `paper.md` and `paper.html` there. What runs is not its job: it shows what there is.
"""

import json

from data_prep.core import atomic, cli
from data_prep.core.errors import UserError


def main(out: str = '') -> None:
  """Writes the three files.

  Args:
    out: the folder.
  """
  if not out:
    raise UserError('expected the folder that `e2e-affect reproduce` filled')
  from e2e_affect.paper import pages, plan, tables

  folder = cli.argument(out)
  options, runs = plan.read(folder)
  content = tables.contents(options, runs)
  atomic.write(folder / 'paper.json', json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + '\n')
  atomic.write(folder / 'paper.md', pages.markdown(content))
  atomic.write(folder / 'paper.html', pages.html(content, folder))
  cli.say(f'tables: {folder / "paper.html"}')


if __name__ == '__main__':
  cli.run(main, lambda: None, max_arguments=1)
