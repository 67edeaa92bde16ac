"""The page of one clip: it plays, and traces, plane and face follow it. One file, plain canvas, nothing fetched.

All that moves is in assets/clip.js; this file gathers what it needs, small enough for recordings of any length.
"""

import base64
from html import escape
from importlib import resources
import json
import mimetypes
import pathlib
from urllib.parse import quote

import numpy as np

from data_prep.core import atomic
from data_prep.recordings.clip import Clip
from data_prep.schema.records import SAMPLE_RATE
from e2e_affect.clips.network import Network
from e2e_affect.clips.outputs import PAGE_MARK
from e2e_affect.report.page import page, section, text_table
from e2e_affect.traces import postprocess

MAX_CROPS = 750  # of some 5 KB each; a recording of over 30 s shows every second, every third, … crop
MAX_PIECES = 4000  # of the waveform
_PIECE_SAMPLES = 80  # 5 ms: the shortest piece
_PLANE = ('arousal', 'valence')


def write_page(
  path: pathlib.Path,
  content: dict,
  clip: Clip,
  raw: np.ndarray,
  post: np.ndarray | None,
  network: Network,
  media: str | pathlib.Path,
) -> None:
  """Writes NAME.html.

  Args:
    path: the file.
    content: of the clip's JSON file.
    clip: what the network was given.
    raw, post: [T, K] traces; post may be None.
    network: that made them.
    media: what to play: a path relative to the page, or a file to put inside of it.

  Raises:
    WorkdirError, DiskFullError: it cannot be written.
  """
  head = f'<h1>{escape(content["clip"])}</h1><p class="soft">{escape(_headline(content))}</p>'
  body = [
    f'<style>{asset("clip.css")}</style>',
    head,
    warning(content),
    *_stage(content, clip, media, network.targets),
    section('Summary', _summary(content)),
    section('What this shows', _meaning(content, network)),
    '<section><details><summary>Model and settings</summary>'
    + text_table({key: content[key] for key in ('files', 'model', 'label_scale', 'settings', 'commit', 'cost')})
    + '</details></section>',
  ]
  if isinstance(media, pathlib.Path):
    encoded = base64.b64encode(media.read_bytes()).decode()
    body.append(f'<script type="text/plain" id="embedded" data-type="{_mime(media.name)}">{encoded}</script>')
  data = json.dumps(_data(content, clip, raw, post, network), separators=(',', ':'))
  # The HTML parser ends a script at the first tag-like text inside of it.
  data = data.replace('<', '\\u003c')
  body += [f'{PAGE_MARK}{data}</script>', f'<script>{asset("clip.js")}</script>']
  atomic.write(path, page(content['clip'], body))


def warning(content: dict) -> str:
  """HTML: what a reader must know of the network first, or nothing."""
  words = content['model'].get('warning')
  return f'<p class="warning" role="note"><b>Not about people:</b> {escape(words)}.</p>' if words else ''


def asset(name: str) -> str:
  """A file of e2e_affect/clips/assets."""
  return resources.files('e2e_affect.clips').joinpath('assets', name).read_text(encoding='utf-8')


def waveform(samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
  """Lowest and highest sample of each of at most `MAX_PIECES` equal pieces, int [P], −127 … 127 of full scale."""
  length = max(_PIECE_SAMPLES, -(-len(samples) // MAX_PIECES))
  starts = np.arange(0, len(samples), length)
  pieces = (samples[first : first + length] for first in starts)
  low, high = np.array([(piece.min(), piece.max()) for piece in pieces], np.float64).T
  return np.floor(low * 127 / 32768).astype(int), np.ceil(high * 127 / 32768).astype(int)


def lost_spans(found: np.ndarray) -> list[list[int]]:
  """[first, end) of every run of steps without a face; `found` [T]."""
  lost = np.concatenate([[0], (found == 0).astype(int), [0]])
  edges = np.flatnonzero(np.diff(lost))
  return edges.reshape(-1, 2).tolist()


def _data(content, clip, raw, post, network) -> dict:
  """All that clip.js reads; numbers as short as a screen can tell apart."""
  rounded = lambda values: [round(float(v), 4) for v in values]
  data = {
    'steps': clip.steps,
    'targets': {
      target: {'raw': rounded(raw[:, k]), 'post': None if post is None else rounded(post[:, k])}
      for k, target in enumerate(network.targets)
    },
    'wave': None,
    'lost': [],
  }
  if clip.samples is not None and clip.audio_std:
    low, high = waveform(clip.samples)
    data['wave'] = {'low': low.tolist(), 'high': high.tolist(), 'seconds': len(clip.samples) / SAMPLE_RATE}
  if clip.crops is not None:
    data |= {
      'lost': lost_spans(clip.face_found),
      'found': [round(float(v), 2) for v in clip.face_found],
      'frame_size': clip.frame_size,
      'crops': _crops(clip, network.config),
      'boxes': [None if np.isnan(box).any() else [round(float(v)) for v in box] for box in clip.boxes],
    }
  return data


def _crops(clip, config):
  """The crops of every n-th step, each picture once."""
  every = -(-clip.steps // MAX_CROPS)
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
    f'{content["seconds"]:.2f} s, {content["steps"]} steps of 40 ms',
    f'{" + ".join(model["modalities"])} network “{model["name"]}”, step {model["checkpoint"]["step"]}',
  ]
  return ' · '.join([*parts, *content['notes']])


def _stage(content, clip, media, targets):
  """Clip, plane and face side by side, traces below; of a sound, traces and plane side by side."""
  name = media.name if isinstance(media, pathlib.Path) else media
  source = '' if isinstance(media, pathlib.Path) else f' src="{escape(quote(media))}"'
  message = (
    '<p class="message" id="message" hidden>The clip cannot be played here: is '
    f'<code>{escape(name)}</code> still beside this page? The traces can be read without it.</p>'
  )
  traces = _traces(content, targets)
  seen = _mime(name).startswith('video')
  if seen:
    width, height = clip.frame_size or (16, 9)
    box = '<div class="box" id="box"></div>' if clip.crops is not None else ''
    parts = [
      f'<div class="panel screen" id="screen"><div class="frame" style="--ratio:{width}/{height}">'
      f'<video id="media" preload="auto" playsinline{source}></video>{box}</div>{message}</div>'
    ]
  else:
    parts = [f'<div><audio id="media" preload="auto"{source}></audio>{message}{traces}</div>']
  if set(_PLANE) <= set(targets):
    parts.append(
      '<figure class="panel"><canvas id="plane" class="square" role="img" aria-label="Valence from left to '
      'right, arousal from bottom to top"></canvas><figcaption>The tail is the last 3 s'
      '</figcaption></figure>'
    )
  if clip.crops is not None:
    parts.append(
      '<figure class="panel seen" id="seen"><canvas id="crop" class="square" role="img" aria-label="Face '
      'crop"></canvas><figcaption>What the network saw: <span id="confidence"></span></figcaption></figure>'
    )
  if seen:
    return [f'<div class="stage">{"".join(parts)}</div>', traces]
  return [f'<div class="stage sound">{"".join(parts)}</div>']


def _traces(content, targets):
  """Buttons, legend and the plot."""
  legend = [
    f'<li><i style="background:{_colour(target)}"></i>{escape(target)} <b id="value-{escape(target)}"></b></li>'
    for target in targets
  ]
  if any(of['postprocessed'] for of in content['targets'].values()):
    legend.append('<li><i class="thin"></i>raw</li>')
  if content['sound'] and content['sound']['std_int16']:
    legend.append('<li><i class="block" style="background:var(--wave)"></i>sound</li>')
  if content['face'] and content['face']['share_of_steps'] < 1:
    legend.append('<li><i class="block lost"></i>no face</li>')
  return f"""<div class="panel traces">
<div class="bar"><button id="play" type="button">Play</button><span class="clock" id="time"></span>
<ul class="legend">{''.join(legend)}</ul></div>
<div class="plot" id="plot" role="slider" tabindex="0" aria-label="Time" aria-valuemin="0"
 aria-valuemax="{content['steps'] * 0.04:.2f}"><canvas id="traces"></canvas><div class="cursor" id="cursor"></div></div>
<p class="soft hint">Click or drag in the traces to seek.<span class="keys"> <kbd>space</kbd> plays and stops,
<kbd>←</kbd> <kbd>→</kbd> move by 1 s, with <kbd>shift</kbd> by 5 s.</span></p></div>"""


def _summary(content):
  rows = ['<tr><th>target</th><th>mean</th><th>deviation</th><th>lowest</th><th>highest</th></tr>']
  for target, stages in content['targets'].items():
    for stage, of in stages.items():
      if of is not None:
        words = f'{target}, {stage.replace("postprocessed", "post-processed")}'
        numbers = (f'{of["mean"]:+.3f}', f'{of["std"]:.3f}', f'{of["min"]:+.3f}', f'{of["max"]:+.3f}')
        rows.append(
          f'<tr><td class="swatch" style="--swatch:{_colour(target)}">{escape(words)}</td>'
          + ''.join(f'<td>{number.replace("-", "−")}</td>' for number in numbers)
          + '</tr>'
        )
  face = content['face']
  words = (
    f'<p>A face in {100 * face["share_of_steps"]:.1f} % of the steps, mean confidence '
    f'{face["mean_confidence"]:.2f}.</p>'
    if face
    else ''
  )
  return f'<div class="scroll"><table>{"".join(rows)}</table></div>{words}'


def _meaning(content, network):
  fitted = network.about['postprocessing']
  parts = [
    '<p>Each step of 40 ms gets a value on the scale −1 … 1 of the gold standard that the network was trained '
    'on: arousal from calm to excited, valence from unpleasant to pleasant. It is what raters would have been '
    'expected to say, not what the person feels, and not a probability; people and rooms unlike those of the '
    'training shift it by amounts that nobody has measured. The plots reach as far as the largest value.</p>'
  ]
  if fitted.get('fitted_on'):
    kept = [
      f'{target}: {sentence}'
      for target, sentences in postprocess.in_words(fitted).items()
      for sentence in sentences
      if ': validation CCC' in sentence
    ]
    parts.append(
      '<p>Strong lines are post-processed, as it served the validation recordings best; thin ones are what '
      'the network said.</p>'
      + (
        '<ul>' + ''.join(f'<li>{escape(line)}</li>' for line in kept) + '</ul>'
        if kept
        else '<p>No step of it was worth keeping: both are the same.</p>'
      )
    )
  else:
    parts.append(f'<p>Nothing was post-processed: {escape(str(fitted.get("reason")))}.</p>')
  if content['face'] and content['face']['share_of_steps'] < 1:
    parts.append('<p>Where no face was found (shaded) the picture is masked, and the last crop stays in view.</p>')
  return ''.join(parts)


def _colour(target):
  return f'var(--{target})' if target in _PLANE else 'var(--other)'


def _mime(name):
  suffix = pathlib.PurePath(name).suffix
  ours = {'.m4a': 'audio/mp4', '.flac': 'audio/flac', '.webm': 'video/webm'}
  return ours.get(suffix) or mimetypes.guess_type(name)[0] or 'application/octet-stream'
