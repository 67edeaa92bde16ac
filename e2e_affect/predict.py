"""From clips to traces and pages: `python -m e2e_affect.predict --workdir=RUN --out=DIR FILE_OR_FOLDER…`.

    --checkpoint=DIR   an exported network in place of a run
    --embed            pages that carry their clip inside
    --stream           16 kHz PCM from standard input, a line per step to standard output

For each clip DIR holds NAME.csv (a row per 40 ms), NAME.json (summary) and NAME.html (a page to watch); index.html
lists several; rejects.jsonl names what could not be analysed, and why.
Files there that no analysis wrote are left alone.
"""

import json
import os
import pathlib
import sys
import tempfile
import time
from collections.abc import Sequence

from absl import flags
from absl import logging
import jax
import tqdm

from data_prep import cli, clip as clips, playback
from data_prep.corpora.recording import Recording
from data_prep.errors import DataError, DiskFullError, UserError, WorkdirError
from e2e_affect import clip_files, clip_index, clip_page, clip_sources, network as networks, version
from e2e_affect.log import ours_or_warning
from e2e_affect.network import Network
from e2e_affect.traces import write_atomically, write_error

REJECTS = 'rejects.jsonl'
_LARGEST_EMBEDDED = 16 << 20  # bytes; a larger clip is embedded as its small copy


def predict(network: Network, arguments: Sequence[str], out, embed: bool = False) -> list[dict]:
  """Analyses clips one after the other and writes their files.

  Args:
    network: trained.
    arguments: files, folders, CSV lists; see `clip_sources.find`.
    out: folder, made where it is absent.
    embed: the clip inside of its page, not beside it.

  Returns:
    The summaries, as in the JSON files.

  Raises:
    DataError: at least one clip was refused; the others are done.
    WorkdirError, DiskFullError: `out` cannot be written, or holds another program's index.html or rejects.jsonl.
  """
  out = pathlib.Path(out)
  found = clip_sources.find(arguments, out)
  _prepare_folder(out, with_index=len(found) > 1)
  about = _about(network)
  summaries, sparklines, rejects = [], [], []
  for number, recording in enumerate(found, 1):
    label = f'{number}/{len(found)} {recording.recording}' if len(found) > 1 else recording.recording
    try:
      content, traces = _analyse(network, recording, out, embed, about, label)
      summaries.append(content)
      sparklines.append({target: clip_index.sparkline(traces[:, k]) for k, target in enumerate(network.targets)})
    except (WorkdirError, DiskFullError):
      raise  # the next clip would fare no better
    except UserError as e:
      rejects.append((recording, str(e)))
    except Exception as e:  # pylint: disable=broad-except  # one malformed file must not end the batch
      rejects.append((recording, f'{recording.video}: {type(e).__name__}: {e}'))
    else:
      _say(_line(out, content))
      continue
    clip_files.remove_results(out, recording.recording, recording.video)
    rows = [{'clip': r.recording, 'files': _files(r), 'reason': reason} for r, reason in rejects]
    write_atomically(out / REJECTS, ''.join(json.dumps(row, ensure_ascii=False) + '\n' for row in rows))
  if len(found) > 1:
    refused = [(recording.recording, reason) for recording, reason in rejects]
    clip_index.write_index(out, network.targets, summaries, sparklines, refused)
  if summaries:
    work = sum(sum(content['cost']['seconds'].values()) for content in summaries)
    factor = work / sum(content['seconds'] for content in summaries)
    _say(f'{len(summaries)} {"clip" if len(summaries) == 1 else "clips"}, {work:.1f} s of work, compilation among it; '
         f'real-time factor {factor:.2f}' + (f'; index: {out / "index.html"}' if len(found) > 1 else ''))
  if rejects:
    raise DataError(rejects[0][1] if len(found) == 1 else
                    f'{len(rejects)} of {len(found)} clips refused, reasons in {out / REJECTS}; the first: '
                    f'{rejects[0][1]}')
  return summaries


def _prepare_folder(out, with_index):
  """Before any work: is the folder writable, and are the files of the whole batch absent, or of an earlier one?"""
  marks = [(REJECTS, clip_files.are_rejects)]
  if with_index:
    marks.append(('index.html', lambda data: clip_index.MARK.encode() in data))
  for name, known in marks:
    try:
      ours = known((out / name).read_bytes())
    except FileNotFoundError:
      continue
    except OSError as e:
      raise write_error(out / name, e) from None
    if not ours:
      raise WorkdirError(f'{out / name}: is there already and not of this program; left as it is: choose another --out')
  write_atomically(out / REJECTS, '')
  (out / REJECTS).unlink()


def _analyse(network, recording, out, embed, about, label):
  """One clip; returns its summary and its final traces [T, K]."""
  name = recording.recording
  clip_files.check_replaceable(out, name, [])
  with tempfile.TemporaryDirectory(prefix='.predict-', dir=out) as folder:  # not /tmp, which may be memory
    spool = pathlib.Path(folder)
    suffix = playback.playable_as(recording.video) if recording.audio is None else None
    if embed and recording.video.is_file() and recording.video.stat().st_size > _LARGEST_EMBEDDED:
      suffix = None
    if not embed:
      clip_files.check_replaceable(out, name, [f'{name}{end}' for end in ([suffix] if suffix else ['.mp4', '.m4a'])])
    copy = None if suffix else playback.Copy(spool)
    with tqdm.tqdm(desc=f'{label}: reading', unit=' steps', leave=False, disable=not sys.stderr.isatty()) as bar:
      def watch(frame):
        bar.update()
        if copy is not None:
          copy(frame)
      clip = clips.prepare(recording, spool, picture='visual' in network.modalities, watch=watch)
    _check_modalities(network, recording, clip)
    clip.notes.extend(clip_files.length_notes(network.about['postprocessing'], clip.steps))
    cost = dict(clip.cost)

    begin = time.perf_counter()
    with tqdm.tqdm(desc=f'{label}: network', total=clip.steps, unit=' steps', leave=False,
                   disable=not sys.stderr.isatty()) as bar:
      raw = network.predict(networks.Recording(
          steps=clip.steps, samples=clip.samples, audio_mean=clip.audio_mean, audio_std=clip.audio_std,
          faces=clip.crops, face_found=clip.face_found), progress=bar.update)
    post = network.postprocess(raw)
    cost['network'] = time.perf_counter() - begin

    begin = time.perf_counter()
    if embed:
      media = recording.video if suffix else copy.finish(clip.samples, spool / name)
    else:
      media = f'{clip_files.MEDIA_FOLDER}/{name}{suffix or copy.suffix}'
    content = clip_files.summary(name, _files(recording), clip, network.targets, raw, post, about, cost)
    clip_files.write_csv(out / f'{name}.csv', clip, network.targets, raw, post)
    clip_page.write_page(out / f'{name}.html', content, clip, raw, post, network, media)
    cost['writing'] = time.perf_counter() - begin

    begin = time.perf_counter()
    if not embed and suffix:
      playback.link(recording.video, out / media)
    elif not embed:
      copy.finish(clip.samples, out / clip_files.MEDIA_FOLDER / name)
    cost['preview'] = cost.get('preview', 0.0) + time.perf_counter() - begin
    content = clip_files.summary(name, _files(recording), clip, network.targets, raw, post, about, cost)
    clip_files.write_json(out / f'{name}.json', content)
    if clip.crops is not None:
      clip.crops.close()
  return content, raw if post is None else post


def _check_modalities(network, recording, clip):
  """A network needs at least one of the senses it was trained with."""
  here = {'speech': clip.samples is not None, 'visual': clip.crops is not None}
  if not any(here[modality] for modality in network.modalities):
    needed = {'speech': 'a sound track', 'visual': 'a picture'}
    raise DataError(f'{recording.video}: without {" and ".join(needed[m] for m in network.modalities)}, and this is a '
                    f'{" + ".join(network.modalities)} network; use one that '
                    f'{"sees" if clip.samples is None else "hears"}')


def _about(network) -> dict:
  fitted = network.about['postprocessing']
  return {'model': {'name': network.config.name, 'modalities': list(network.modalities),
                    'checkpoint': network.about['checkpoint'], 'exported_with': network.about['commit']},
          'label_scale': network.about['label_scale'],
          'postprocessing': fitted if fitted.get('fitted_on') else {'reason': fitted.get('reason')},
          'settings': {'dtype': network.config.dtype, 'device': jax.devices()[0].device_kind,
                       'chunk_seconds': network.config.evaluate_chunk_seconds},
          'commit': version.commit()}


def _files(recording: Recording) -> dict:
  return {kind: str(path) for kind, path in
          (('video', recording.video), ('audio', recording.audio), ('boxes', recording.boxes)) if path is not None}


def _line(out, content):
  """What a clip's line says."""
  parts, stages = [], set()
  for target, of in content['targets'].items():
    stages.add('post-processed' if of['postprocessed'] else 'raw')
    of = of['postprocessed'] or of['raw']
    parts.append(f'{target} {of["mean"]:+.2f} ({of["min"]:+.2f} … {of["max"]:+.2f})'.replace('-', '−'))
  parts = [f'{stages.pop()} means: {", ".join(parts)}']
  if content['face']:
    parts.append(f'face in {100 * content["face"]["share_of_steps"]:.0f} %')
  parts += content['notes']
  return f'{content["clip"]}: {content["seconds"]:.2f} s; {"; ".join(parts)} -> {out / content["clip"]}.html'


def _say(line):
  try:
    tqdm.tqdm.write(line)
    sys.stdout.flush()
  except BrokenPipeError:  # the files are what counts
    _drop_output()


def _drop_output():
  """Whoever read standard output has gone, as `head` does; what is still buffered must not fail at exit."""
  os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _network() -> Network:
  """The network that the flags name."""
  if bool(flags.FLAGS.workdir) == bool(flags.FLAGS.checkpoint):
    raise UserError('name the network: either --workdir=RUN or --checkpoint=EXPORTED_FOLDER')
  if flags.FLAGS.checkpoint:
    return networks.load(flags.FLAGS.checkpoint)
  from e2e_affect import export  # imports Orbax: seconds that an exported network need not wait for
  return export.from_run(flags.FLAGS.workdir)


def _define_flags():
  flags.DEFINE_string('workdir', None, 'Folder of the run whose best checkpoint predicts.')
  flags.DEFINE_string('checkpoint', None, 'Folder of an exported network, in place of --workdir.')
  flags.DEFINE_string('out', None, 'Folder to write to.')
  flags.DEFINE_bool('embed', False, 'Put the clips into their pages, which then can be passed on alone.')
  flags.DEFINE_bool('stream', False, 'Read 16 kHz mono signed 16-bit little-endian PCM from standard input.')


def main(*arguments) -> None:
  logging.get_absl_handler().addFilter(ours_or_warning)
  if flags.FLAGS.stream:
    if arguments or flags.FLAGS.out or flags.FLAGS.embed:
      raise UserError('--stream reads standard input and writes standard output; leave out --out, --embed and files')
    from e2e_affect import stream
    try:
      stream.run(_network(), sys.stdin.buffer, sys.stdout)
    except BrokenPipeError:
      _drop_output()
    return
  if not arguments:
    raise UserError('no clip given; expected `python -m e2e_affect.predict --workdir=RUN --out=DIR FILE_OR_FOLDER…`')
  if not flags.FLAGS.out:
    raise UserError('--out is missing: the folder to write to')
  predict(_network(), arguments, flags.FLAGS.out, flags.FLAGS.embed)


if __name__ == '__main__':
  cli.run(main, _define_flags, max_arguments=sys.maxsize)
