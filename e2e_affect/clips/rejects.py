"""`rejects.jsonl`: which clips could not be analysed, and why; a line each, of earlier runs too."""

from collections.abc import Mapping
import json
import pathlib

from data_prep.core import atomic, json_text
from e2e_affect.clips import out_folder

REJECTS = 'rejects.jsonl'


def read(out: pathlib.Path) -> dict[tuple, dict]:
  """`out_folder.key_of` of the source -> row, of earlier runs.

  Raises:
    WorkdirError, DiskFullError: the folder cannot be written, or the file is another program's.
  """
  path = out / REJECTS
  with atomic.writing(path):
    try:
      data = path.read_bytes()
    except FileNotFoundError:
      data = b''
  if not _are_rejects(data):
    raise out_folder.foreign(path)
  rows = [json_text.parse(line) for line in data.splitlines()]
  return {out_folder.key_of(row['files']): row for row in rows}


def write(out: pathlib.Path, rejects: Mapping[tuple, dict]) -> None:
  """Writes the file whole or not at all; removes it where there are none."""
  path = out / REJECTS
  if rejects:
    atomic.write(path, ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rejects.values()))
  else:
    with atomic.writing(path):
      path.unlink(missing_ok=True)


def _are_rejects(data):
  try:
    rows = [json_text.parse(line) for line in data.splitlines()]
    return all(
      row.keys() == {'clip', 'files', 'reason'}
      and all(isinstance(text, str) for text in (row['clip'], row['reason'], *row['files'].values()))
      for row in rows
    )
  except (ValueError, AttributeError):
    return False
