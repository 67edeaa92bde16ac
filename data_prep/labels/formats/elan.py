"""ELAN's documents: tiers whose annotations are numbers, and linked time series.

A tier is a target if all its annotations are numbers; an annotation holds from its begin to its end. Tiers of words are
left alone. Linked time series are the tracks that `NAME_tsconf.xml` describes, of CSV files beside the document; each
is a target. The document is read by pympi-ling (extra `formats`). The configuration and the CSV are read as ELAN 6 does
it: lines that begin with `#` are left out, and times are hours:minutes:seconds, seconds where they have a point, or
milliseconds. Tracks with an offset or a derivative are refused: what ELAN draws then is not in the file.
"""

import contextlib
import pathlib
from urllib.parse import unquote
import warnings
from xml.etree import ElementTree

import numpy as np

from data_prep.core.errors import DataError
from data_prep.labels.formats.base import Format, of_segments, Rating
from data_prep.schema.manifest import inside

_CONFIGURATION = '_tsconf.xml'
_READ_FOR_FORMAT = 20  # rows that tell how times are written, as in ELAN's CSVReader


def beside(path: pathlib.Path) -> list[pathlib.Path]:
  """The linked files that lie beside the document."""
  with _pympi(path):
    names = [_name(link['LINK_URL']) for link in _document(path).linked_file_descriptors]
  files = [inside(path.parent, name, path) for name in names]
  return [file for file in dict.fromkeys(files) if file.is_file()]


def read(path: pathlib.Path, recording: str) -> list[Rating]:
  """The ratings of tiers and tracks, in the order of the document; `recording` is not needed.

  Raises:
    DataError: a file is damaged, an annotation has no time, or a track cannot be read as it is.
    ModuleNotFoundError: pympi-ling is not installed.
  """
  document = _document(path)
  ratings = []
  for tier in document.get_tier_names():
    with _pympi(path):
      found = document.get_annotation_data_for_tier(tier)
    try:
      segments = [(begin, end, float(text)) for begin, end, text, *_ in found]
    except ValueError:
      continue  # a tier of words
    if any(time is None for segment in segments for time in segment):
      raise DataError(f'{path}: tier {tier} has an annotation without times; expected a tier that is aligned with time')
    if segments:
      ratings.append(of_segments(path, tier, [(begin / 1000, end / 1000, value) for begin, end, value in segments]))
  for configuration in beside(path):
    if configuration.name.endswith(_CONFIGURATION):
      ratings += _tracks(path, configuration)
  return ratings


def _document(path):
  import pympi

  with _pympi(path), warnings.catch_warnings():
    warnings.simplefilter('ignore')  # of versions of the format that the library does not know
    return pympi.Eaf(str(path))


@contextlib.contextmanager
def _pympi(path):
  """Turns whatever the library raises where a document is not as it expects; it has no error of its own."""
  try:
    yield
  except DataError:
    raise
  except Exception as e:
    raise DataError(f'{path}: no document of ELAN ({repr(e)[:200]})') from None


def _name(url):
  return pathlib.PurePosixPath(unquote(url).replace('\\', '/')).name


def _tracks(path, configuration):
  ratings = []
  try:
    for source in ElementTree.fromstring(configuration.read_bytes()).iter('tracksource'):
      if int(source.get('time-origin') or 0):
        raise DataError(f'{configuration}: an offset of {source.get("time-origin")} ms; shift the times in the file')
      file, time = (
        inside(path.parent, _name(source.attrib['source-url']), configuration),
        int(source.attrib['time-column']),
      )
      rows = _rows(file)
      for track in source.iter('track'):
        if int(track.get('derivative') or 0):
          raise DataError(f'{configuration}: {track.get("name")} is a derivative; expected the values themselves')
        column = int(track.find('sample-position/pos').attrib['col'])
        rating = Rating(
          track.attrib['name'], _seconds([row[time] for row in rows]), _values([row[column] for row in rows])
        )
        if not (np.diff(rating.times) > 0).all():
          raise DataError(f'{file}: the times do not increase')
        ratings.append(rating)
  except (OSError, ElementTree.ParseError, ValueError, KeyError, IndexError, AttributeError) as e:
    raise DataError(
      f'{configuration}: no time series of ELAN ({getattr(e, "strerror", None) or repr(e)[:200]})'
    ) from None
  return ratings


def _rows(file):
  """The cells of each row that has a time; a header has none."""
  lines = [line for line in file.read_text(encoding='utf-8-sig').splitlines() if line and not line.startswith('#')]
  delimiter = max('\t;,', key=lambda sign: sum(line.count(sign) for line in lines[:10]))
  rows = [line.split(delimiter) for line in lines]
  return rows[1:] if rows and not any(cell.strip()[:1].isdigit() for cell in rows[0]) else rows


def _seconds(texts):
  clocks = sum(':' in text for text in texts[:_READ_FOR_FORMAT])
  points = sum('.' in text and ':' not in text for text in texts[:_READ_FOR_FORMAT])
  if clocks > len(texts[:_READ_FOR_FORMAT]) / 2:
    return np.array([sum(float(part) * 60**k for k, part in enumerate(reversed(text.split(':')))) for text in texts])
  return np.array(texts, np.float64) / (1 if points >= len(texts[:_READ_FOR_FORMAT]) / 2 else 1000)


def _values(texts):
  return np.array([text.strip() or 'nan' for text in texts], np.float64)


FORMAT = Format('.eaf', read, beside)
