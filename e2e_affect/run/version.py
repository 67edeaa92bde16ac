"""Which code made a result."""

import importlib.metadata
import pathlib
import subprocess

_ROOT = pathlib.Path(__file__).resolve().parents[2]


def commit() -> str:
  """The commit of this checkout, with '+' where files differ from it; the package's version where it is installed."""

  def git(*arguments):
    return subprocess.run(['git', '-C', str(_ROOT), *arguments], capture_output=True, text=True, check=True).stdout

  # An installed package may lie in an environment inside of somebody else's repository: no .git beside it, no commit.
  if (_ROOT / '.git').exists():
    try:
      changed = git('status', '--porcelain', '--untracked-files=no').strip()
      return git('rev-parse', '--short=12', 'HEAD').strip() + ('+' if changed else '')
    except (OSError, subprocess.CalledProcessError):
      pass  # no git here, or not one that may read this folder
  return f'e2e_affect {importlib.metadata.version("e2e_affect")}'
