"""A web page in one file: styles and images inside, nothing fetched, light or dark as the reader's system is.

Whatever comes from outside is escaped here; `content` arguments are HTML already.
"""

import base64
from collections.abc import Mapping, Sequence
from html import escape
import json
import pathlib

_CSS = """
:root { color-scheme: light dark; --text: #1c1f23; --soft: #5c6470; --page: #f6f7f9; --card: #ffffff; --line: #e2e5ea;
  --accent: #0072b2; }
@media (prefers-color-scheme: dark) { :root { --text: #e8eaed; --soft: #a2aab5; --page: #15181c; --card: #1f2329;
  --line: #343a43; --accent: #6cb8e6; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 2rem 1rem 4rem; background: var(--page); color: var(--text);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 60rem; margin: 0 auto; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .3rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 0 0 .8rem; }
h3 { font-size: 1rem; margin: 1rem 0 .3rem; }
a { color: var(--accent); }
.warning { margin: .6rem 0 0; padding: .6rem .9rem; border: 2px solid #c8500a; border-radius: 8px; }
.soft, figcaption { color: var(--soft); font-size: .92rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; padding: 1.2rem 1.3rem;
  margin-top: 1.2rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .9rem .4rem 0; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; }
th { font-weight: 600; color: var(--soft); font-size: .88rem; }
tr.group th { color: var(--text); padding-top: 1rem; font-size: 1rem; }
tr.final td { font-weight: 600; }
table.text td { text-align: left; white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
figure { margin: 0 0 1.2rem; }
figure img { display: block; width: 100%; height: auto; border-radius: 8px; background: white; padding: .4rem; }
figcaption { margin-top: .4rem; }
ul { margin: .2rem 0; padding-left: 1.2rem; }
summary { cursor: pointer; font-weight: 600; }
code { overflow-wrap: anywhere; }
td .interval { color: var(--soft); font-weight: 400; margin-left: .6rem; }
@media (max-width: 600px) { body { padding: 1rem .6rem 3rem; } section { padding: 1rem .9rem; }
  th, td { padding-right: .45rem; font-size: .78rem; } th:last-child, td:last-child { padding-right: 0; }
  th, td:first-child { white-space: normal; }
  td .interval { display: block; margin: 0; font-size: .7rem; }
  table.text td { display: block; } table.text td:first-child { border: 0; padding-bottom: 0; color: var(--soft); } }
"""


def page(title: str, parts: Sequence[str]) -> str:
  """The whole document; `parts` are HTML."""
  return (
    '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
    '<meta name="viewport" content="width=device-width, initial-scale=1">'
    f'<title>{escape(title)}</title><style>{_CSS}</style></head>\n<body><main>\n'
    + '\n'.join(parts)
    + '\n</main></body></html>\n'
  )


def section(title: str, content: str) -> str:
  """A titled card."""
  return f'<section><h2>{escape(title)}</h2>{content}</section>'


def figure(path: pathlib.Path, caption: str) -> str:
  """The PNG inside the page, or nothing where there is no such file."""
  if not path.is_file():
    return ''
  image = base64.b64encode(path.read_bytes()).decode()
  return (
    f'<figure><img alt="{escape(caption)}" src="data:image/png;base64,{image}">'
    f'<figcaption>{escape(caption)}</figcaption></figure>'
  )


def text_table(values: Mapping) -> str:
  """Names and values; what is not text is shown as JSON."""
  rows = ''.join(
    f'<tr><td><code>{escape(str(key))}</code></td><td>{escape(_text(value))}</td></tr>' for key, value in values.items()
  )
  return f'<table class="text">{rows}</table>'


def _text(value):
  return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
