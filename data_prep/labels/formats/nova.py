"""NOVA's and SSI's annotations: a header, `NAME.annotation`, and its data, `NAME.annotation~`.

    <annotation ssi-v="3">
      <info ftype="ASCII" size="7501"/>
      <meta annotator="Annotator"/>
      <scheme name="arousal" type="CONTINUOUS" sr="25" min="-1" max="1"/>
    </annotation>

A continuous scheme has a line `score;confidence` for each frame, or the two as float32 where `ftype` is BINARY. Frame i
has the time i / sr, as NOVA's documentation says. The target is the scheme's name. That the confidence changes nothing
is our reading, and that a score of NaN means no label.
"""

import pathlib
from xml.etree import ElementTree

import numpy as np

from data_prep.core.errors import DataError
from data_prep.labels.formats.base import Format, Rating


def beside(path: pathlib.Path) -> list[pathlib.Path]:
  """The file of data."""
  return [path.with_name(f'{path.name}~')]


def read(path: pathlib.Path, recording: str) -> list[Rating]:
  """One rating; `recording` is not needed.

  Raises:
    DataError: a file is absent or damaged, or the scheme is not continuous.
  """
  try:
    root = ElementTree.fromstring(path.read_bytes())
    (info,), (scheme,) = root.iter('info'), root.iter('scheme')
    kind, form, name = scheme.attrib['type'].upper(), info.attrib['ftype'].upper(), scheme.attrib['name']
    rate = float(scheme.attrib.get('sr', 'nan'))
  except (OSError, ElementTree.ParseError, KeyError, ValueError) as e:
    raise DataError(f'{path}: no annotation of NOVA ({getattr(e, "strerror", None) or repr(e)[:200]})') from None
  if kind != 'CONTINUOUS' or not rate > 0:
    raise DataError(f'{path}: a {kind.lower()} scheme; expected a continuous one with its rate, `sr`')
  (data,) = beside(path)
  try:
    if form == 'BINARY':
      scores = np.fromfile(data, '<f4').reshape(-1, 2)[:, 0].astype(np.float64)
    else:
      lines = data.read_text(encoding='utf-8').splitlines()
      scores = np.array([float(line.split(';')[0]) for line in lines if line.strip()])
    size = int(info.attrib.get('size', len(scores)))
  except (OSError, ValueError) as e:
    raise DataError(
      f'{data}: no data of NOVA ({getattr(e, "strerror", None) or e}); expected score;confidence'
    ) from None
  if not len(scores) or len(scores) != size:
    raise DataError(f'{data}: {len(scores)} frames, and {path.name} says {size}; save the annotation again')
  return [Rating(name, np.arange(len(scores)) / rate, scores)]


FORMAT = Format('.annotation', read, beside)
