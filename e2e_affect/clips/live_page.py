"""The page of a stream while it grows: a server on the loopback, and events that it sends to browsers."""

import base64
from collections.abc import Iterator, Sequence
import contextlib
import http.server
import json
import pathlib
import threading

import numpy as np

from data_prep.core.errors import UserError
from data_prep.face import jpeg
from e2e_affect.run.origin import SIMULATED

_ASSETS = pathlib.Path(__file__).parent / 'assets'
_HOST = '127.0.0.1'
_QUIET_SECONDS = 10.0  # without an event a comment is sent: a browser that has gone is noticed
_FACE_EVERY = 5  # steps between two faces on the page


class Page:
  """What browsers are told; a browser that comes late is told all from the start.

  Attributes:
    address: where the page is.
  """

  def __init__(self, address: str, about: dict):
    self.address = address
    self._changed = threading.Condition()
    self._events = [_event('about', about)]
    self._face: tuple[int, str | None] = (0, None)  # how many there have been, and the last
    self._rows = 0
    self._ended = False

  def add(self, values: np.ndarray, face: np.ndarray | None) -> None:
    """Adds a step.

    Args:
      values: [K], of the targets.
      face: uint8 [size, size, 3] RGB, or None where none was found.
    """
    with self._changed:
      self._events.append(_event('step', [round(float(value), 4) for value in values]))
      if self._rows % _FACE_EVERY == 0:
        picture = '' if face is None else base64.b64encode(jpeg.encode(face)).decode()
        self._face = self._face[0] + 1, _event('face', picture)
      self._rows += 1
      self._changed.notify_all()

  def end(self) -> None:
    """Nothing follows."""
    with self._changed:
      self._ended = True
      self._changed.notify_all()

  def events(self) -> Iterator[str]:
    """Yields all that was and will be told, as text of an event stream, until the end."""
    told = faces = 0
    while True:
      with self._changed:
        news = lambda: len(self._events) > told or self._face[0] > faces or self._ended
        self._changed.wait_for(news, _QUIET_SECONDS)
        text = self._events[told:]
        if self._face[0] > faces:
          text.append(str(self._face[1]))
        told, faces, ended = len(self._events), self._face[0], self._ended
      yield ''.join(text) or ': still here\n\n'
      if ended:
        yield _event('end', None)
        return


def _event(kind, content):
  return f'event: {kind}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n'


@contextlib.contextmanager
def serve(port: int, targets: Sequence[str], step_seconds: float, simulated: bool) -> Iterator[Page]:
  """Serves the page on the loopback while the body runs; no other machine can reach it.

  Args:
    port: of the loopback; 0: any that is free.
    targets: K names.
    step_seconds: between two values.
    simulated: whether the network learnt from a simulated corpus, which the page then says.

  Raises:
    UserError: the port cannot be had.
  """
  try:
    server = http.server.ThreadingHTTPServer((_HOST, port), _Handler)
  except (OSError, OverflowError) as e:
    raise UserError(f'--serve={port}: cannot be had ({getattr(e, "strerror", e)}); choose another port') from None
  about = {'targets': list(targets), 'seconds': step_seconds, 'warning': SIMULATED if simulated else ''}
  page = server.page = Page(f'http://{_HOST}:{server.server_port}/', about)  # type: ignore[attr-defined]
  thread = threading.Thread(target=server.serve_forever, daemon=True)
  thread.start()
  try:
    yield page
  finally:
    page.end()
    server.shutdown()
    server.server_close()  # waits for the last events to be sent


class _Handler(http.server.BaseHTTPRequestHandler):
  """The page at `/`, its events at `/events`."""

  timeout = 30  # seconds that a browser may take no event before it is given up

  def do_GET(self):
    """Answers; a request by another name than the loopback's is of another site that wants to read along."""
    port = self.server.server_port
    if self.headers.get('Host') not in (f'{_HOST}:{port}', f'localhost:{port}'):
      self.send_error(403)
    elif self.path == '/':
      self._send('text/html; charset=utf-8')
      colours = (_ASSETS / 'colours.css').read_text(encoding='utf-8')
      text = (_ASSETS / 'live.html').read_text(encoding='utf-8').replace('/* colours */', colours)
      self.wfile.write(text.encode())
    elif self.path == '/events':
      self._send('text/event-stream')
      with contextlib.suppress(OSError):  # the browser has gone
        for text in self.server.page.events():
          self.wfile.write(text.encode())
          self.wfile.flush()
    else:
      self.send_error(404)

  def _send(self, kind):
    self.send_response(200)
    self.send_header('Content-Type', kind)
    self.send_header('Cache-Control', 'no-store')
    self.send_header(
      'Content-Security-Policy',
      "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; connect-src 'self'",
    )
    self.end_headers()

  def log_message(self, *_):
    """Nothing: standard error has the stream's own lines."""
