"""A headless Chromium for tests of pages, driven over its DevTools pipe: nothing to install beside the browser."""

import base64
import contextlib
import json
import os
import shutil
import subprocess
import time

BINARY = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')


class Browser:
  """One page.

  Attributes:
    events: (method, parameters) of all that the page reported.
  """

  def __init__(self, folder):
    """
    Args:
      folder: for the browser's profile.
    """
    # The browser reads commands from its descriptor 3 and writes replies to 4, each ended by a zero byte.
    command_read, self._command = os.pipe()
    self._reply, reply_write = os.pipe()
    flags = [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--mute-audio',
      '--remote-debugging-pipe',
      f'--user-data-dir={folder}',
      '--no-first-run',
      '--disable-background-networking',
      '--autoplay-policy=no-user-gesture-required',
      '--disable-component-update',
      '--disable-dev-shm-usage',
      'about:blank',
    ]
    launch = 'exec 3<&"$1" 4>&"$2"; shift 2; exec "$@"'
    self._process = subprocess.Popen(
      ['bash', '-c', launch, 'bash', str(command_read), str(reply_write), BINARY, *flags],
      pass_fds=(command_read, reply_write),
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
    )
    os.close(command_read)
    os.close(reply_write)
    self.events, self._rest, self._number, self._session = [], b'', 0, None
    target = next(t for t in self._call('Target.getTargets')['targetInfos'] if t['type'] == 'page')
    self._session = self._call('Target.attachToTarget', targetId=target['targetId'], flatten=True)['sessionId']
    for domain in ('Page', 'Runtime', 'Network', 'Log'):
      self._call(f'{domain}.enable')

  def __enter__(self):
    return self

  def __exit__(self, *_):
    with contextlib.suppress(OSError):
      self._call('Browser.close')
    try:
      self._process.wait(10)
    except subprocess.TimeoutExpired:
      self._process.kill()
    os.close(self._command)
    os.close(self._reply)

  def size(self, width, height, scheme='light'):
    """Sets the viewport in CSS pixels and the colour scheme, 'light' or 'dark'."""
    self._call(
      'Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=width < 600
    )
    self._call('Emulation.setEmulatedMedia', features=[{'name': 'prefers-color-scheme', 'value': scheme}])

  def open(self, path):
    """Opens a file and waits until it is loaded."""
    self.events.clear()
    self._call('Page.navigate', url=path.resolve().as_uri())
    self.wait('document.readyState === "complete"')

  def run(self, script):
    """The value of a JavaScript expression."""
    result = self._call('Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True, userGesture=True)
    assert 'exceptionDetails' not in result, result
    return result['result'].get('value')

  def wait(self, condition, seconds=20):
    """Waits until a JavaScript expression is true."""
    end = time.monotonic() + seconds
    while not self.run(condition):
      assert time.monotonic() < end, f'never true: {condition}'
      time.sleep(0.05)

  def click(self, x, y):
    """Presses and releases the left button at CSS pixels of the viewport."""
    for kind in ('mousePressed', 'mouseReleased'):
      self._call('Input.dispatchMouseEvent', type=kind, x=x, y=y, button='left', buttons=1, clickCount=1)

  def key(self, key, shift=False):
    """Presses and releases a key, named as in KeyboardEvent.key."""
    for kind in ('keyDown', 'keyUp'):
      self._call('Input.dispatchKeyEvent', type=kind, key=key, code='Space' if key == ' ' else key, modifiers=8 * shift)

  def screenshot(self, path):
    """Writes a PNG of the whole page."""
    height = self.run('document.documentElement.scrollHeight')
    width = self.run('window.innerWidth')
    shot = self._call(
      'Page.captureScreenshot',
      captureBeyondViewport=True,
      clip={'x': 0, 'y': 0, 'width': width, 'height': height, 'scale': 1},
    )
    path.write_bytes(base64.b64decode(shot['data']))

  def complaints(self):
    """What the page threw or wrote to the console as a warning or an error."""
    self.run('0')  # all before it has arrived
    of = lambda method: [parameters for name, parameters in self.events if name == method]
    bad = [str(p['exceptionDetails']) for p in of('Runtime.exceptionThrown')]
    bad += [str(p['args']) for p in of('Runtime.consoleAPICalled') if p['type'] in ('error', 'warning')]
    return bad + [p['entry']['text'] for p in of('Log.entryAdded') if p['entry']['level'] in ('error', 'warning')]

  def requests(self):
    """Addresses of all that the page asked for."""
    self.run('0')
    return [p['request']['url'] for m, p in self.events if m == 'Network.requestWillBeSent']

  def _call(self, method, **parameters):
    self._number += 1
    message = {'id': self._number, 'method': method, 'params': parameters}
    if self._session:
      message['sessionId'] = self._session
    os.write(self._command, json.dumps(message).encode() + b'\0')
    while True:
      while b'\0' not in self._rest:
        piece = os.read(self._reply, 1 << 16)
        if not piece:
          raise OSError('the browser has gone')
        self._rest += piece
      line, self._rest = self._rest.split(b'\0', 1)
      reply = json.loads(line)
      if reply.get('id') == self._number:
        assert 'error' not in reply, f'{method}: {reply["error"]}'
        return reply['result']
      if 'method' in reply:
        self.events.append((reply['method'], reply.get('params', {})))
