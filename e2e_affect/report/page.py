"""A web page in one file: styles and images inside, nothing fetched, light or dark as the reader's system is.

The HTML is in Jinja2 templates: `report/templates/` has the frame of every page and the pages of runs, `clips/assets/`
those of clips. What comes from outside is escaped by the environment; `| safe` is for the program's own files, and for
what a head says of its numbers.
"""

import base64
from collections.abc import Mapping
from importlib import resources
import json
import pathlib

import jinja2

_PACKAGE = 'e2e_affect'


def asset(name: str) -> str:
  """The text of a file of the package, named by its path there: 'clips/assets/clip.css'."""
  return resources.files(_PACKAGE).joinpath(name).read_text(encoding='utf-8')


_ENVIRONMENT = jinja2.Environment(
  loader=jinja2.FunctionLoader(asset),
  autoescape=True,
  undefined=jinja2.StrictUndefined,
  trim_blocks=True,
  lstrip_blocks=True,
  keep_trailing_newline=True,
)
_ENVIRONMENT.globals['asset'] = asset
_ENVIRONMENT.policies['json.dumps_kwargs'] = {'separators': (',', ':')}  # the order of names stays: it is the targets'


def render(template: str, **values) -> str:
  """The whole document; `template` is named like an asset, and every value that it shows is escaped."""
  return _ENVIRONMENT.get_template(template).render(values)


def figure(path: pathlib.Path, caption: str) -> dict[str, str] | None:
  """A PNG for `show_figure` of parts.html, or None where there is no such file."""
  if not path.is_file():
    return None
  return {'image': base64.b64encode(path.read_bytes()).decode(), 'caption': caption}


def text_rows(values: Mapping) -> list[tuple[str, str]]:
  """Names and values for `text_table` of parts.html; what is not text is shown as JSON."""
  return [
    (str(key), value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
    for key, value in values.items()
  ]
