"""`eaf`: a document of ELAN, with the traces as curves and the episodes as tiers.

`NAME.eaf` has a tier of episodes for each trace. It links `NAME.csv`, the traces, and `NAME_tsconf.xml`, which tells
ELAN's time series viewer which columns to draw; both are read from the folder of the document, wherever it is moved to.
EAF is that of ELAN's schema 3.0 (http://www.mpi.nl/tools/elan/EAFv3.0.xsd). The configuration has no published schema:
its elements are those that ELAN 6 reads and writes (TSConfigurationParser, CSVServiceProvider, CSVReader). CSVReader
leaves out lines that begin with `#`, and takes times with a point as seconds.
"""

import datetime
import pathlib
from urllib.parse import quote
from xml.etree import ElementTree

from data_prep.core import atomic
from data_prep.media import playback
from e2e_affect.clips.formats import episodes
from e2e_affect.clips.formats.base import Format, Prediction

_SCHEMA = 'http://www.mpi.nl/tools/elan/EAFv3.0.xsd'
_TYPE = 'episodes'
_COLOURS = (
  '214,39,40',
  '31,119,180',
  '44,160,44',
  '148,103,189',
  '255,127,14',
  '23,190,207',
  '140,86,75',
  '127,127,127',
)


def write(folder: pathlib.Path, prediction: Prediction) -> None:
  """`NAME.eaf`, `NAME.csv` and `NAME_tsconf.xml`; times are in milliseconds."""
  name, now = prediction.recording, datetime.datetime.now().astimezone().isoformat(timespec='seconds')
  atomic.write(folder / f'{name}.csv', _traces(prediction))
  _write(folder / f'{name}_tsconf.xml', _configuration(prediction, now))
  _write(folder / f'{name}.eaf', _document(prediction, now))


def _traces(prediction):
  notes = [f'# trained on {prediction.trained_on}'] if prediction.trained_on else []
  columns = [prediction.texts(k) for k in range(len(prediction.outputs))]
  times = (f'{prediction.seconds(step):.3f}' for step in range(len(prediction.values)))
  rows = [','.join(row) for row in zip(times, *columns)]
  return '\n'.join([*notes, f'#time,{",".join(prediction.outputs)}', *rows]) + '\n'


def _configuration(prediction, now):
  low, high = (-1.0, 1.0) if prediction.shows == 'numbers' else (0.0, 1.0)
  low, high = min(low, float(prediction.values.min())), max(high, float(prediction.values.max()))
  root = ElementTree.Element('timeseries', date=now, version='1.0')
  source = ElementTree.SubElement(
    root,
    'tracksource',
    {'sample-type': 'Discontinuous Rate', 'source-url': f'./{prediction.recording}.csv', 'time-column': '0'},
  )
  provider = 'mpi.eudico.client.annotator.timeseries.csv.CSVServiceProvider'
  ElementTree.SubElement(source, 'property', key='provider', value=provider)
  for k, name in enumerate(prediction.outputs):
    track = ElementTree.SubElement(source, 'track', derivative='0', name=name)
    ElementTree.SubElement(track, 'property', key='detect-range', value='false')
    ElementTree.SubElement(ElementTree.SubElement(track, 'sample-position'), 'pos', col=str(k + 1), row='0')
    for tag in ('description', 'units'):
      ElementTree.SubElement(track, tag)
    ElementTree.SubElement(track, 'range', max=f'{high:g}', min=f'{low:g}')
    ElementTree.SubElement(track, 'color').text = _COLOURS[k % len(_COLOURS)]
  return root


def _document(prediction, now):
  tiers = episodes.tiers(prediction)
  root = ElementTree.Element(
    'ANNOTATION_DOCUMENT',
    {
      'AUTHOR': 'e2e_affect',
      'DATE': now,
      'FORMAT': '3.0',
      'VERSION': '3.0',
      'xmlns:xsi': 'http://www.w3.org/2001/XMLSchema-instance',
      'xsi:noNamespaceSchemaLocation': _SCHEMA,
    },
  )
  _header(root, prediction, tiers)
  edges = [step for tier in tiers for segment in tier.segments for step in (segment.first, segment.end)]
  order, slots = ElementTree.SubElement(root, 'TIME_ORDER'), {}
  # A slot for each edge, in the order of time: ELAN moves all edges that share one.
  for number, edge in enumerate(sorted(range(len(edges)), key=edges.__getitem__), 1):
    slots[edge] = f'ts{number}'
    time = str(round(1000 * prediction.seconds(edges[edge])))
    ElementTree.SubElement(order, 'TIME_SLOT', TIME_SLOT_ID=slots[edge], TIME_VALUE=time)
  count = 0
  for tier in tiers:
    element = ElementTree.SubElement(root, 'TIER', LINGUISTIC_TYPE_REF=_TYPE, TIER_ID=tier.name)
    for segment in tier.segments:
      annotation = ElementTree.SubElement(
        ElementTree.SubElement(element, 'ANNOTATION'),
        'ALIGNABLE_ANNOTATION',
        ANNOTATION_ID=f'a{count + 1}',
        TIME_SLOT_REF1=slots[2 * count],
        TIME_SLOT_REF2=slots[2 * count + 1],
      )
      ElementTree.SubElement(annotation, 'ANNOTATION_VALUE').text = segment.text
      count += 1
  ElementTree.SubElement(
    root, 'LINGUISTIC_TYPE', GRAPHIC_REFERENCES='false', LINGUISTIC_TYPE_ID=_TYPE, TIME_ALIGNABLE='true'
  )
  return root


def _header(root, prediction, tiers):
  header = ElementTree.SubElement(root, 'HEADER', MEDIA_FILE='', TIME_UNITS='milliseconds')
  if prediction.media:
    # What plays: ELAN's frameworks know fewer containers than FFmpeg. Where nothing does, by name alone: who gets the
    # document need not know where the clip was. ELAN looks for the name beside the document and at the relative place
    # (its method checkMedia), and asks where it finds nothing.
    place = quote(prediction.copy or f'./{prediction.media.name}')
    kind = playback.mime_type(place)
    ElementTree.SubElement(header, 'MEDIA_DESCRIPTOR', MEDIA_URL=place, MIME_TYPE=kind, RELATIVE_MEDIA_URL=place)
  for file, kind in ((f'{prediction.recording}.csv', 'text/plain'), (f'{prediction.recording}_tsconf.xml', 'text/xml')):
    # ELAN looks for a file of this name beside the document, and knows the traces by this very text.
    ElementTree.SubElement(
      header, 'LINKED_FILE_DESCRIPTOR', LINK_URL=f'./{file}', MIME_TYPE=kind, RELATIVE_LINK_URL=f'./{file}'
    )
  said = {'lastUsedAnnotationId': str(sum(len(tier.segments) for tier in tiers))}
  said |= {tier.name: tier.rule for tier in tiers}
  said |= {'trained on': prediction.trained_on} if prediction.trained_on else {}
  said |= {'notes': ' '.join(prediction.remarks)} if prediction.remarks else {}
  for name, text in said.items():
    ElementTree.SubElement(header, 'PROPERTY', NAME=name).text = text


def _write(path, root):
  ElementTree.indent(root)
  atomic.write(path, ElementTree.tostring(root, encoding='UTF-8', xml_declaration=True) + b'\n')


FORMAT = Format('eaf', write)
