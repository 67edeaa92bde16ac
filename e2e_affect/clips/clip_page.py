"""The page of one clip: while the clip plays, traces, plane and face follow. One file, plain canvas, nothing fetched.

What is seen is in assets/clip.html, all that moves in assets/clip.js, the colours in assets/colours.css. This file
gathers what they need, and keeps it small for recordings of any length.
"""

import base64
from collections.abc import Sequence
import pathlib
from typing import Any
from urllib.parse import quote

import numpy as np

from data_prep.core import atomic
from data_prep.media import playback
from data_prep.recordings.clip import Clip
from e2e_affect.clips import clip_files
from e2e_affect.clips.clip_files import PAGE_MARK, Traces
from e2e_affect.clips.network import Network
from e2e_affect.report.page import render, text_rows
from e2e_affect.traces import band

MAX_CROPS = 750  # of all people, some 5 KB each; of one over 30 s every second, every third, … crop is shown
MAX_PIECES = 4000  # of the waveform
_PIECE_SECONDS = 0.005  # the shortest piece
_PLANE = ('arousal', 'valence')
CLASS_COLOURS = 8  # of colours.css; a ninth class would have the colour of the first
PERSON_COLOURS = 6  # the same of people


def write_page(
  path: pathlib.Path,
  content: dict,
  clip: Clip,
  traces: Sequence[Traces],
  network: Network,
  media: str | pathlib.Path,
) -> None:
  """Writes NAME.html.

  Args:
    path: the file.
    content: of the clip's JSON file.
    clip: what the network was given.
    traces: of the clip, or of each of its people.
    network: that made them.
    media: what to play: a path relative to the page (str), or a file to put inside it (Path).

  Raises:
    WorkdirError, DiskFullError: it cannot be written.
  """
  fitted = network.about['postprocessing']
  own_notes = [one['notes'] for one in content.get('people', ())] or [[]]
  people = [
    _person(one, notes, network.shows) for one, notes in zip(clip_files.by_person(content), own_notes, strict=True)
  ]
  html = render(
    'clips/assets/clip.html',
    title=content['clip'],
    headline=_headline(content),
    warning=content['model'].get('warning'),
    origin=content['model']['trained_on'],
    media=_media(media),
    crops=traces[0][0].crops is not None,
    several=bool(clip.people),
    people=people,
    ratio='{}/{}'.format(*(clip.frame_size or (16, 9))),
    published=bool(network.origin.network),
    plane=set(_PLANE) <= set(network.targets),
    shows=network.shows,
    targets={target: _colour(network.shows, k, target) for k, target in enumerate(network.targets)},
    legend={
      'raw': network.shows == 'numbers' and traces[0][2] is not None,
      'band': f'{100 * network.band["level"]:g} % band' if 'half_width' in network.band else None,
      'sound': bool(content['sound'] and content['sound']['std_int16']),
      'lost': any(person['face'] and not person['always'] for person in people),
      'unheard': any(one.speaks is not None for one, *_ in traces),
      'held': any(any(_held(network, target).values()) for target in network.targets if network.shows != 'recording'),
    },
    step=_milliseconds(content),
    end=f'{content["steps"] * content["step_seconds"]:.2f}',
    kept=_kept(network, fitted, clip.grid) if fitted.get('fitted_on') else None,
    reason=fitted.get('reason'),
    band=band.in_words(network.band, network.targets),
    settings=text_rows(_settings(content)),
    page_mark=PAGE_MARK,
    data=_data(clip, traces, network),
  )
  atomic.write(path, html)


def waveform(samples: np.ndarray, sample_rate: int) -> tuple[np.ndarray, np.ndarray]:
  """The lowest and the highest sample of each of P equal pieces: two int [P], ±127 at the loudest; P ≤ `MAX_PIECES`."""
  length = max(1, round(_PIECE_SECONDS * sample_rate), -(-len(samples) // MAX_PIECES))
  starts = np.arange(0, len(samples), length)
  pieces = (samples[first : first + length] for first in starts)
  low, high = np.array([(piece.min(), piece.max()) for piece in pieces], np.float64).T
  # Relative to the loudest sample, not to full scale: there, a quiet recording would be a block of two values.
  loudest = max(-low.min(), high.max(), 1)
  return np.floor(low * 127 / loudest).astype(int), np.ceil(high * 127 / loudest).astype(int)


def packed(values: np.ndarray) -> dict[str, Any]:
  """Numbers in a third of the place that their digits take: 16-bit integers in Base64, and what each counts.

  An hour of one person is 90,000 steps of nine numbers.
  """
  scale = float(np.abs(values).max(initial=0)) / 32767 or 1.0
  return {'scale': scale, 'data': base64.b64encode(np.rint(values / scale).astype('<i2').tobytes()).decode()}


def lost_spans(found: np.ndarray) -> list[list[int]]:
  """[first, end) of every run of steps without a face; `found` [T]."""
  lost = np.concatenate([[0], (found == 0).astype(int), [0]])
  edges = np.flatnonzero(np.diff(lost))
  return edges.reshape(-1, 2).tolist()


def _settings(content) -> dict:
  """What the JSON says of network and settings; files by name alone, as a page is passed on."""
  said = {key: content[key] for key in ('files', 'model', 'label_scale', 'settings', 'commit', 'cost')}
  said['files'] = {kind: pathlib.PurePath(path).name for kind, path in content['files'].items()}
  if speakers := content['settings'].get('speakers'):
    said['settings'] = content['settings'] | {'speakers': pathlib.PurePath(speakers).name}
  return said


def _held(network, target) -> dict[str, int]:
  """In how many steps at the start the raw and the final trace repeat their first value, as they are shifted later."""
  return {'raw': network.config.data.label_delay_steps, 'post': network.held[target]}


def _person(content, notes, shows) -> dict:
  """What the page says of one person, with notes of the person's own, or of a clip of one."""
  face = content['face']
  head, rows = _summary(content)
  return {
    'number': content['person'] if 'page' in content else None,
    'notes': notes,
    'first_seen': f'{content.get("first_seen", 0.0):.2f}',
    'colour': f'var(--person-{(content.get("person", 1) - 1) % PERSON_COLOURS})',
    'face': face and {'share': f'{100 * face["share_of_steps"]:.1f}', 'confidence': f'{face["mean_confidence"]:.2f}'},
    'always': bool(face and face['share_of_steps'] == 1),
    'bars': _bars(content) if shows == 'recording' else None,
    'most_probable': content.get('most_probable'),
    'head': head,
    'rows': rows,
  }


def _data(clip, traces, network) -> dict:
  """All that clip.js reads."""
  data = {
    'shows': network.shows,
    'steps': clip.steps,
    'step_seconds': clip.grid.step_seconds,
    'band': network.band.get('half_width'),
    'wave': None,
    'frame_size': clip.frame_size,
    'people': [_data_of_one(clip, one, raw, post, network) for one, raw, post in traces],
  }
  if clip.samples is not None and clip.audio_std:
    low, high = waveform(clip.samples, clip.grid.sample_rate)
    data['wave'] = {'low': low.tolist(), 'high': high.tolist(), 'seconds': len(clip.samples) / clip.grid.sample_rate}
  return data


def _data_of_one(clip, one, raw, post, network):
  """What clip.js reads of one person, or of a clip of one."""
  data = {
    'number': one.person if clip.people else None,
    'targets': {
      target: {
        'raw': packed(raw[:, k]),
        'post': None if post is None else packed(post[:, k]),
        'held': _held(network, target),
      }
      for k, target in enumerate(network.targets)
    },
    'speaks': one.speaks,
    'lost': [],
    'crops': None,
  }
  if one.crops is not None:
    data |= {
      'lost': lost_spans(one.face_found),
      'found': packed(one.face_found),
      'crops': _crops(one, network.config, MAX_CROPS // max(1, len(clip.people))),
      'boxes': packed(np.nan_to_num(one.boxes)),  # 0 where the face is lost
    }
  return data


def _crops(clip, config, most):
  """The crops of every n-th step, each picture once, and at most so many."""
  every = -(-clip.steps // most)
  images, index, last = [], [], None
  for step in range(0, clip.steps, every):
    if last is None or not clip.crops.same(step, last):
      images.append(base64.b64encode(clip.crops.jpeg(step)).decode())
    index.append(len(images) - 1)
    last = step
  size = config.model.visual.image_size
  return {
    'every': every,
    'images': images,
    'index': index,
    'size': size,
    'zoom': round(size * config.augment.resize) / size,
  }


def _headline(content):
  model = content['model']
  parts = [
    f'{content["seconds"]:.2f} s, {content["steps"]} steps of {_milliseconds(content)}',
    f'{" + ".join(model["modalities"])} network “{model["name"]}”'
    + (f', update {step}' if (step := model['checkpoint']['step']) else ''),  # 0: others trained it
  ]
  return ' · '.join([*parts, *content['notes']])


def _milliseconds(content):
  return f'{1000 * content["step_seconds"]:g} ms'


def _media(media):
  """What plays: its address, or its content in Base64 where it lies inside the page."""
  inside = isinstance(media, pathlib.Path)
  name = media.name if inside else media
  return {
    'name': name,
    'type': playback.mime_type(name),
    'seen': playback.mime_type(name).startswith('video'),
    'source': None if inside else quote(media),
    'inside': base64.b64encode(media.read_bytes()).decode() if inside else None,
  }


def _summary(content):
  """The titles of the table and its rows: a target and a stage each, with four numbers."""
  if 'most_probable' in content:
    return _summary_of_classes(content)
  rows = []
  for target, stages in content['targets'].items():
    for stage, of in stages.items():
      if of is not None:
        numbers = (f'{of["mean"]:+.3f}', f'{of["std"]:.3f}', f'{of["min"]:+.3f}', f'{of["max"]:+.3f}')
        rows.append(
          {
            'target': target,
            'stage': stage.replace('postprocessed', 'post-processed'),
            'numbers': [number.replace('-', '−') for number in numbers],
          }
        )
  return ('target', 'mean', 'SD', 'lowest', 'highest'), rows


def _summary_of_classes(content):
  """The titles of the table and a row a class: probabilities raw and calibrated, means where steps have their own."""
  shares = content['most_probable'].get('share_of_steps')
  calibrated = any(of['postprocessed'] for of in content['targets'].values())
  head = ['class', 'raw', *['calibrated'] * calibrated]
  head += ['lowest', 'highest', 'most probable in'] if shares else []
  rows = []
  for name, of in content['targets'].items():
    final = of['postprocessed'] or of['raw']
    numbers = [f'{of["raw"]["mean"]:.3f}', *[f'{final["mean"]:.3f}'] * calibrated]
    numbers += [f'{final["min"]:.3f}', f'{final["max"]:.3f}', f'{100 * shares[name]:.0f} %'] if shares else []
    rows.append({'target': name, 'stage': '', 'numbers': numbers})
  return head, rows


def _colour(shows, k, target):
  if shows != 'numbers':
    return f'var(--class-{k % CLASS_COLOURS})'
  return f'var(--{target})' if target in _PLANE else 'var(--other)'


def _bars(content):
  """Class, its probability and where its bar ends, the most probable first; of a whole recording."""
  final = {name: (of['postprocessed'] or of['raw'])['mean'] for name, of in content['targets'].items()}
  ordered = sorted(final.items(), key=lambda pair: -pair[1])
  return [{'name': name, 'text': f'{p:.2f}', 'width': f'{100 * p:.1f}'} for name, p in ordered]


def _kept(network, fitted, grid):
  """What of the post-processing was worth keeping, a line each."""
  return [
    f'{target}: {sentence}'
    for target, sentences in network.head.in_words(fitted, grid).items()
    for sentence in sentences
    if network.shows != 'numbers' or ': validation CCC' in sentence
  ]
