"""The model card of an exported network: what it was trained on, its results, its limits, its licence."""

import dataclasses

from e2e_affect import streams
from e2e_affect.clips.network import Network
from e2e_affect.traces import band

_MEANING = """\
Each step of {milliseconds:g} ms gets {targets}, on the scale −1 … 1 of the gold standard that the network was trained
on. It was trained to follow what several raters agreed on, not what a person feels. The output is not clipped and may
pass the ends of the scale a little. It is not a probability, and its level depends on the corpus: compare moments of
one recording rather than people of different recordings."""

_WHOLE = ' Every step of a recording gets the same: the mean of its steps.'

_CLASSES = """\
{what} gets a probability of each class: {classes}; they sum to 1. A class is what actors were asked to play or raters
called it, as the corpus has it, not what a person feels. What is none of these classes it calls by one of them."""

# Red on GitHub, and wherever Markdown keeps styles.
_SIMULATED = """\
> [!CAUTION]
> <b style="color: #c00000">Not about people.</b> Trained on a **simulated corpus**: voices and faces drawn by a
> program, with labels put in by formulas. It shows that the system works. **It says nothing about people** and must
> not be used on them."""

_LIMITS = """\
* It knows the people, the language, the room, the camera and the microphone of its corpus. Elsewhere its errors are
  unknown until measured against ratings from there.
* It sees one face, cut out as in training, and hears one mixed sound track: whoever speaks is taken for that face.
* Without a face (confidence 0), or without sound, that part of the input is masked, and the memory of the recurrent
  part slowly forgets: the trace stays finite and means little."""

_NO_DECISIONS = """\
* It must not decide about people: hiring, insurance, policing, education, border control, medicine. In many places
  inferring emotions at work or in schools is forbidden by law."""


_PUBLISHED = """\
Each step of {milliseconds:g} ms gets a probability of each of seven expressions: {targets}; they sum to 1.
{how}
Where no face was found they are 1/7 each. They say what a rater would call a face, not what the person feels, and they
are not calibrated: .9 does not mean right nine times in ten."""
_HOW = {
  False: 'Every face is judged by itself.',
  True: """\
The network reads windows of ten faces, 2 s, that overlap by half; the probabilities of a step are the mean of the
windows that see it. A window at the end of a clip repeats its last face. So a step's values depend on up to 2 s before
and after it.""",
}
_PUBLISHED_INPUT = """\
A face crop of {size}×{size} pixels RGB, five times a second, of the picture in the middle of each fifth of a second;
it passes through a JPEG of quality 95. What is cut out is {width:g} of the side of our tracker's square box wide and
{height:g} high, resized without keeping the aspect: so large are the boxes of MTCNN against ours, measured on nine
people. The authors use another detector, or the hull of a face mesh, and the published scores were reached with those
crops, not with ours. A step without a face shows the last face before it."""
_PUBLISHED_LIMITS = """\
* It knows seven words for a face. What is none of these it calls by one of them.
* It knows the faces of its corpora. Elsewhere its errors are unknown until measured against ratings from there.
* It knows nothing of what is said, of the situation, or of the person."""


def card(network: Network, about_file: str = 'network.json', use: str | None = None) -> str:
  """The model card, in Markdown.

  Args:
    network: trained.
    about_file: the file beside the card that says more.
    use: how to use what lies beside the card; None: as an exported network.
  """
  return _published(network) if network.origin.network else _own(network, about_file, use or _use(network))


def _published(network):
  """Of a network that others trained."""
  origin, about, targets = network.origin, network.about, ', '.join(network.targets)
  temporal, crop = about['published'].endswith('temporal'), network.crop
  files = ' and '.join(f'`{name}`' for name in about['origin']['files'])
  parts = [
    f'# {network.config.name}: {targets} from the face',
    f'{origin.network}. Imported by this program from {files}; nothing was trained here.',
    '## Output',
    _PUBLISHED.format(milliseconds=1000 * network.layout.grid.step_seconds, targets=targets, how=_HOW[temporal]),
    '## Input',
    _PUBLISHED_INPUT.format(**dataclasses.asdict(crop)),
    '## Training data',
    _bullets(origin.people),
    '## Results',
    _bullets(origin.scores),
    'They are published; this program has not repeated them.',
    '## Limits',
    f'{_PUBLISHED_LIMITS}\n{_NO_DECISIONS}',
    '## Licence',
    origin.licence,
    '## Use',
    _use(network),
    f'Imported with {about["commit"]}.',
  ]
  return '\n\n'.join(parts) + '\n'


def _bullets(lines):
  return '\n'.join(f'* {line}' for line in lines)


def _own(network: Network, about_file: str, use: str) -> str:
  """Of a network that this program trained."""
  config, about, grid = network.config, network.about, network.layout.grid
  dataset, targets, simulated = about['dataset'], network.targets, network.simulated
  rows = ['| partition | recordings | subjects | hours |', '|---|---|---|---|']
  rows += [
    f'| {name} | {of["recordings"]} | {of["subjects"]} | {of["hours"]:g} |'
    for name, of in dataset['partitions'].items()
  ]
  corpus = dataset['preparation'].get('corpus', 'unknown')
  heard_and_seen = ' and '.join(stream.phrase for stream in streams.of(config.model))
  parts = [
    f'# {config["name"]}: {", ".join(targets)} from {heard_and_seen}',
    _SIMULATED if simulated else None,
    '## Output',
    _meaning(network),
    _delay(config.data.label_delay_steps, grid) if network.shows != 'recording' else None,
    _scale(about['label_scale']) if network.shows == 'numbers' else None,
    '## Input',
    _input(network),
    '## Training data',
    f'Corpus layout: `{corpus}`' + (', simulated' if simulated else '') + '; faces and gold '
    f'standard as `{about_file}` says under `dataset`.',
    f'People: {"; ".join(network.origin.people)}.',
    f'Licence of the recordings: {network.origin.licence}.',
    '\n'.join(rows),
    '## Results',
    _results(about) if network.shows == 'numbers' else _results_of_classes(about),
    '## Post-processing',
    _postprocessing(network),
    *_uncertainty(network),
    '## Limits',
    f'{_LIMITS}\n{_NO_DECISIONS}',
    '## Licence',
    _licence(simulated),
    '## Use',
    use,
    f'Architecture: Tzirakis et al. (2017), *End-to-End Multimodal Emotion Recognition Using Deep Neural Networks*. '
    f'Checkpoint: update {about["checkpoint"]["step"]}, chosen by {about["checkpoint"]["chosen_by"]}. '
    f'Exported with {about["commit"]}.',
  ]
  return '\n\n'.join(part for part in parts if part) + '\n'


_USE = """\
```bash
python -m e2e_affect.predict --checkpoint=THIS_FOLDER --out=DIR CLIP…
```

```python
import e2e_affect
network = e2e_affect.load('THIS_FOLDER')
traces = network({arguments})  # {types}
```"""


def _delay(steps, grid):
  if not steps:
    return None
  seconds = float(steps * grid.step)
  return (
    f'Raters react late: it learnt of each step what they said {seconds:g} s later. Traces are moved later by as much, '
    f'so that they stand where the raters would have said it; the first {seconds:g} s hold the first value.'
  )


def _scale(label_scale):
  moved = {target: scale for target, scale in label_scale.items() if list(scale) != [1.0, 0.0]}
  if not moved:
    return "The scale is the corpus's own."
  lines = [f'{target}: own scale = (output − {offset:g}) / {gain:g}' for target, (gain, offset) in moved.items()]
  return "The corpus's own scale was mapped to −1 … 1; back: " + '; '.join(lines) + '.'


def _input(network):
  layout, model = network.layout, network.config.model
  return '\n'.join(f'* {stream.takes(layout.streams[stream.name], layout.grid, model)}' for stream in streams.of(model))


def _use(network):
  layout = network.layout
  examples = [stream.example(layout.streams[stream.name], layout.grid) for stream in streams.of(network.config.model)]
  return _USE.format(
    arguments=', '.join(argument for argument, _ in examples), types='; '.join(kind for _, kind in examples)
  )


def _meaning(network):
  grid, names = network.layout.grid, network.targets
  if network.shows == 'numbers':
    meaning = _MEANING.format(targets=' and '.join(names), milliseconds=1000 * grid.step_seconds)
    return meaning + _WHOLE * (network.config.head == 'clip_regression')
  what = 'A recording as a whole' if network.shows == 'recording' else f'Each step of {1000 * grid.step_seconds:g} ms'
  return _CLASSES.format(what=what, classes=', '.join(names))


def _results_of_classes(about):
  rows = [
    '| partition | UAR | 95 % interval | accuracy | calibration error raw | calibrated |',
    '|---|---|---|---|---|---|',
  ]
  for partition, entry in about['results'].items():
    for target, uar in ((entry['raw'] or {}).get('uar') or {}).items():
      raw, interval = entry['raw'], entry['raw']['uar_interval'][target]
      between = f'{interval[0]:.3f} … {interval[1]:.3f}' if interval else '–'
      post = f'{entry["postprocessed"]["calibration_error"][target]:.3f}' if entry['postprocessed'] else '–'
      rows.append(
        f'| {partition} | {uar:.3f} | {between} | {raw["accuracy"][target]:.3f} | '
        f'{raw["calibration_error"][target]:.3f} | {post} |'
      )
  if len(rows) == 2:
    return 'None: the run was not evaluated on labelled data.'
  return '\n'.join(rows) + (
    '\n\nUAR is the unweighted mean of the recalls of the classes; the interval is a bootstrap over subjects. The '
    'calibration error is the mean distance between the highest probability and how often it is right, in 15 bins.'
  )


def _results(about):
  rows = ['| partition | target | CCC raw | CCC post-processed | 95 % interval |', '|---|---|---|---|---|']
  for partition, entry in about['results'].items():
    for target, raw in ((entry['raw'] or {}).get('ccc') or {}).items():
      final = entry['postprocessed'] or entry['raw']
      post = f'{entry["postprocessed"]["ccc"][target]:.3f}' if entry['postprocessed'] else '–'
      interval = final['ccc_interval'][target]
      between = f'{interval[0]:.3f} … {interval[1]:.3f}' if interval else '–'
      rows.append(f'| {partition} | {target} | {raw:.3f} | {post} | {between} |')
  if len(rows) == 2:
    return 'None: the run was not evaluated on labelled data.'
  return '\n'.join(rows) + (
    '\n\nCCC over all steps of a partition, concatenated; the interval is a bootstrap over its subjects.'
  )


def _postprocessing(network):
  params, grid = network.about['postprocessing'], network.layout.grid
  if not params.get('fitted_on'):
    return f'None: {params.get("reason")}.'
  both_ways = '; looks both ways in time, so it needs the whole recording' if network.shows == 'numbers' else ''
  lines = [f'Fitted on {params["fitted_on"]}{both_ways}.']
  for target, sentences in network.head.in_words(params, grid).items():
    lines += [f'* {target}: {sentence}' for sentence in sentences]
  return '\n'.join(lines)


def _uncertainty(network):
  said = band.in_words(network.band, network.targets)
  return ['## Uncertainty', f'{said[0]} It says nothing of people of another kind.', _bullets(said[1:])] if said else []


def _licence(simulated):
  if simulated:
    return 'Code and parameters: Apache-2.0.'
  return (
    'Code: Apache-2.0. The parameters come from recordings of people: whether and how they may be passed on is '
    'for the licence of that corpus, and the consent of its people, to say. **Ask its owners first.**'
  )
