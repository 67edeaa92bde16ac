"""The files of each clip: its JSON of numbers, how all get to their places, and which an earlier analysis wrote."""

from collections.abc import Collection, Mapping, Sequence
import hashlib
import json
import os
import pathlib
import re
from urllib.parse import unquote

import numpy as np

from data_prep.core import atomic, json_text
from data_prep.core.errors import DataError
from data_prep.recordings.clip import Clip
from data_prep.schema.grid import Grid
from data_prep.schema.manifest import inside
from e2e_affect.clips import clip_csv
from e2e_affect.clips.baseline import Baseline

MEDIA_FOLDER = 'media'
FURTHER = 'formats'  # folder of the spool: what is below it goes to the folder of results
PAGE_MARK = '<script type="application/json" id="data">'  # every page of a clip has it
_SUFFIXES = ('json', 'csv', 'html')
Traces = tuple[Clip, np.ndarray, np.ndarray | None]  # what a network was given; raw and post-processed [T, K] of it
_LARGEST_JSON = 4 << 20  # bytes; ours have some thousands


def summary(
  name: str,
  source: dict,
  digest: dict,
  clip: Clip,
  targets: Sequence[str],
  shows: str,
  traces: Sequence[Traces],
  about: dict,
  baseline: Baseline | None,
  cost: dict,
) -> dict:
  """The content of the JSON file; see `by_person`.

  Args:
    name: of the clip.
    source: its files, resolved.
    digest: bytes, time and SHA-256 of each.
    clip, targets: as in `clip_csv.write`.
    shows: what the traces are, see `Head`.
    traces: of the clip, or of each of its people.
    about: what the network is: model, checkpoint, label scale, post-processing, commit, settings.
    baseline: a neutral clip of the person, or None.
    cost: seconds of work by kind.
  """
  parts = [_of_one(one, targets, shows, raw, post, baseline) for one, raw, post in traces]
  return {
    'clip': name,
    'files': source,
    'content': digest,
    'steps': clip.steps,
    'seconds': round(clip.seconds, 3),
    'step_seconds': clip.grid.step_seconds,
    **({'people': parts} if clip.people else parts[0]),
    'sound': None
    if clip.samples is None
    else {'mean_int16': clip.audio_mean / clip.audio_gain, 'std_int16': clip.audio_std / clip.audio_gain},
    'notes': clip.notes,
    **about,
    **({'baseline': baseline.for_json()} if baseline else {}),
    'cost': {
      'seconds': {kind: round(value, 3) for kind, value in cost.items()},
      'real_time_factor': round(sum(cost.values()) / clip.seconds, 4),
    },
  }


def _of_one(clip, targets, shows, raw, post, baseline):
  """What is said of one face, and where there may be several people, of whom."""

  def numbers(values):
    return {
      name: round(float(f(values)), 6)
      for name, f in (('mean', np.mean), ('std', np.std), ('min', np.min), ('max', np.max))
    }

  face = None
  if clip.crops is not None:
    face = {
      'share_of_steps': round(float(np.mean(clip.face_found > 0)), 6),
      'mean_confidence': round(float(clip.face_found.mean()), 6),
      'frame_size': clip.frame_size,
    }
  person = {}
  if clip.person is not None:
    first = np.flatnonzero(clip.face_found)[0]
    person = {
      'person': clip.person,
      'first_seen': float(clip.grid.time(first)),
      'first_box': [round(float(value), 1) for value in clip.boxes[first]],
      'speaks': clip.speaks,
      'notes': clip.notes,
    }
  relative = baseline.columns(raw if post is None else post) if baseline else {}
  return {
    **person,
    'targets': {
      target: {
        'raw': numbers(raw[:, k]),
        'postprocessed': numbers(post[:, k]) if post is not None else None,
        **({'relative': numbers(relative[f'{target}_relative'])} if baseline else {}),
      }
      for k, target in enumerate(targets)
    },
    **({} if shows == 'numbers' else {'most_probable': _most_probable(targets, shows, raw if post is None else post)}),
    'face': face,
  }


def by_person(content: dict) -> list[dict]:
  """The content of a JSON file as one clip's, or that of each person as if it were a clip's own.

  `clip` then names the person, too, and `page` is the clip's name.

  Raises:
    KeyError, TypeError: it is no content of ours.
  """
  return [
    {
      **content,
      **one,
      'clip': f'{content["clip"]}, person {one["person"]:d}',
      'page': content['clip'],
      'notes': content['notes'] + one['notes'],
    }
    for one in content.get('people', ())
  ] or [content]


def table_of(name: str, person: int | None) -> str:
  """Name of the CSV of a clip, or of one of its people."""
  return f'{name}.csv' if person is None else f'{name}.person{person:d}.csv'


def _most_probable(classes, shows, probabilities):
  """The class with the highest mean probability, and how often each is the most probable one."""
  mean = probabilities.mean(0)
  share = np.bincount(probabilities.argmax(1), minlength=len(classes)) / len(probabilities)
  return {
    'class': classes[mean.argmax()],
    'probability': round(float(mean.max()), 6),
    'of': 'recording' if shows == 'recording' else 'steps',
    **({} if shows == 'recording' else {'share_of_steps': dict(zip(classes, share.round(6).tolist(), strict=True))}),
  }


def write_json(path: pathlib.Path, content: dict) -> None:
  """Writes it whole or not at all."""
  atomic.write(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + '\n')


def length_notes(fitted: Mapping, steps: int, grid: Grid) -> list[str]:
  """Notes on what a clip is too short for.

  Args:
    fitted: what `postprocess.fit` returned, or `{'fitted_on': None}`.
    steps: of the clip.
    grid: of the steps.
  """
  notes = []
  if float(steps * grid.step) < 0.25:
    notes.append('shorter than 0.25 s: too short to mean anything')
  for name in ('median_filter', 'time_shift') if fitted.get('fitted_on') else ():
    for target, of in fitted.get('targets', {}).items():
      if of[name]['kept'] and steps < 2 * of[name]['steps']:
        notes.append(
          f'shorter than twice the {name.replace("_", " ")} of {float(of[name]["steps"] * grid.step):.2f} s: '
          f'trust the raw {target}'
        )
  return notes


def further(spool: pathlib.Path) -> dict[str, str]:
  """Path in the folder of results -> SHA-256 of each file in a further format that a clip got."""
  return {
    path.relative_to(spool / FURTHER).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
    for path in sorted((spool / FURTHER).rglob('*'))
    if path.is_file()
  }


def check_replaceable(out: pathlib.Path, name: str, media: Sequence[str], further: Collection[str] = ()) -> None:
  """Raises DataError where a file of a clip would replace one that no analysis wrote, or that was changed since.

  Args:
    out: folder.
    name: of the clip.
    media: names that its copy may get.
    further: paths in the folder of files in further formats.
  """
  ours = _ours(out, name)
  for path in [*_paths(out, name), *(out / MEDIA_FOLDER / file for file in media), *(out / file for file in further)]:
    if os.path.lexists(path) and path not in ours:
      changed = ', or changed since' if path.relative_to(out).as_posix() in further else ''
      raise DataError(
        f'{path}: is there already and no result of this program{changed}; left as it is: choose another --out'
      )


def commit(spool: pathlib.Path, out: pathlib.Path, name: str) -> None:
  """Moves the results of a clip to their places, over those of an earlier analysis; raises OSError.

  All of them were written before, in the same file system, so that a full disk or a signal leaves the earlier ones as
  they are. The JSON comes first: whatever lies there, it tells the source. Files in further formats are known by their
  digests in it: the earlier ones are gone before it is replaced, the new ones come after it.
  """
  ours = _ours(out, name)
  earlier = [path for path in ours if path.parent == out / MEDIA_FOLDER]
  for path in _known_further(out, name):
    path.unlink()
  media = sorted((spool / MEDIA_FOLDER).iterdir()) if (spool / MEDIA_FOLDER).is_dir() else []
  for path in media:
    (out / MEDIA_FOLDER).mkdir(exist_ok=True)
    (out / MEDIA_FOLDER / path.name).unlink(missing_ok=True)  # a link may lie there, of the same file
    path.replace(out / MEDIA_FOLDER / path.name)
  for suffix in _SUFFIXES:
    if (spool / f'{name}.{suffix}').exists():
      (spool / f'{name}.{suffix}').replace(out / f'{name}.{suffix}')
    elif out / f'{name}.{suffix}' in ours:  # the table of an earlier analysis: now each person has one
      (out / f'{name}.{suffix}').unlink()
  for file in further(spool):
    (out / file).parent.mkdir(parents=True, exist_ok=True)
    (spool / FURTHER / file).replace(out / file)
  for path in earlier:
    if path.name not in [file.name for file in media]:
      path.unlink(missing_ok=True)


def read_summaries(out: pathlib.Path) -> dict[str, dict]:
  """Name -> content of its JSON file, for every result in a folder; `files` and `content` are {} where damaged."""
  found = {}
  for path in sorted(out.glob('*.json')):
    try:
      data = path.read_bytes() if path.stat().st_size <= _LARGEST_JSON else b''
    except OSError:
      continue
    if _is_json(data):
      content = json_text.parse(data)
      for field, kind in (('files', str), ('content', dict)):
        values = content.get(field)
        fits = isinstance(values, dict) and all(isinstance(value, kind) for value in values.values())
        content[field] = values if fits else {}
      found[path.stem] = content
  return found


def half_results(out: pathlib.Path) -> list[str]:
  """Names of incomplete results: an analysis wrote a table or a page, and no JSON file tells their source."""
  names = {path.stem for suffix in ('csv', 'html') for path in out.glob(f'*.{suffix}')}
  return [name for name in sorted(names - {'index'}) if not os.path.lexists(out / f'{name}.json') and _ours(out, name)]


def _paths(out, name):
  return [out / f'{name}.{suffix}' for suffix in _SUFFIXES]


def _ours(out, name):
  """Which files of a clip an analysis wrote; the copy of the clip and files in further formats are among them."""
  ours = _known_further(out, name)
  for path, known in zip(_paths(out, name), (_is_json, clip_csv.is_ours, _is_page), strict=True):
    try:
      data = path.read_bytes()
    except OSError:
      continue
    if known(data):
      ours.append(path)
      if path.suffix == '.html':  # written before the copy: a copy that no page names is not ours
        ours += [
          out / MEDIA_FOLDER / pathlib.PurePath(unquote(source.decode())).name
          for source in re.findall(f' src="{MEDIA_FOLDER}/([^"]+)"'.encode(), data)
        ]
  return ours


def _known_further(out, name):
  """Files in further formats that the JSON of a clip names, as they were written."""
  try:
    content = json_text.parse((out / f'{name}.json').read_bytes())
    known = {inside(out, file, out / f'{name}.json'): digest for file, digest in content.get('formats', {}).items()}
  except (OSError, ValueError, AttributeError, DataError):
    return []
  return [
    path for path, digest in known.items() if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest
  ]


def _is_json(data):
  try:
    return {'clip', 'step_seconds', 'cost'} <= json_text.parse(data).keys()
  except (ValueError, AttributeError):
    return False


def _is_page(data):
  return PAGE_MARK.encode() in data
