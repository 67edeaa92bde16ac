"""How long experiments took, in `times.json` of the folder, and how long those that are missing will take."""

from collections.abc import Mapping, Sequence
import json
import pathlib
import statistics

from data_prep.core import atomic, json_text
from e2e_affect.paper.experiments import EXPERIMENTS
from e2e_affect.paper.plan import Step

TIMES_FILE = 'times.json'


def read(out: pathlib.Path) -> dict[str, dict]:
  """Name of a step -> {'seconds': of wall clock, summed over its starts, 'ended': whether it came to its end}."""
  try:
    found = json_text.parse((out / TIMES_FILE).read_text(encoding='utf-8'))
    return {name: {'seconds': float(of['seconds']), 'ended': bool(of['ended'])} for name, of in found.items()}
  except (OSError, ValueError, KeyError, TypeError, AttributeError):
    return {}  # only estimates are lost


def add(out: pathlib.Path, name: str, seconds: float, ended: bool) -> None:
  """Adds the time of one start of a step."""
  times = read(out)
  before = times.get(name, {'seconds': 0.0})['seconds']
  times[name] = {'seconds': round(before + seconds, 1), 'ended': ended}
  atomic.write(out / TIMES_FILE, json.dumps(times, indent=1) + '\n')


def estimate(step: Step, steps: Sequence[Step], times: Mapping[str, dict], demo: bool) -> float | None:
  """Seconds that a whole run of a step takes; None: nothing is known of it.

  By the same experiment under another seed or split, where one has ended here; else, of the demo, by what it took on
  two cores when this was written, times how much slower or faster the others were here.
  """
  ended = [(other, times[other.name]['seconds']) for other in steps if times.get(other.name, {}).get('ended')]
  alike = [seconds for other, seconds in ended if other.experiment == step.experiment]
  if alike:
    return statistics.mean(alike)
  if not demo:
    return None
  usual = lambda of: 60 * EXPERIMENTS[of.experiment].minutes
  return usual(step) * statistics.median([seconds / usual(other) for other, seconds in ended] or [1.0])


def left(missing: Sequence[Step], steps: Sequence[Step], times: Mapping[str, dict], demo: bool) -> tuple[float, int]:
  """Seconds of the missing steps as far as they are known, and how many of them are not.

  A step that was interrupted has the time that it took already taken off.
  """
  total, unknown = 0.0, 0
  for step in missing:
    whole = estimate(step, steps, times, demo)
    if whole is None:
      unknown += 1
    else:
      total += max(whole - times.get(step.name, {'seconds': 0.0})['seconds'], 0.0)
  return total, unknown


def in_words(seconds: float) -> str:
  """'40 s', '12 min', '3 h 05 min'."""
  if seconds < 90:
    return f'{seconds:.0f} s'
  minutes = round(seconds / 60)
  return f'{minutes} min' if minutes < 90 else f'{minutes // 60} h {minutes % 60:02d} min'
