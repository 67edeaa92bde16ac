"""Buckets on this machine: emulators of S3 and of Google's store, as processes; no test of its own."""

import contextlib
import importlib.util
import os
import socket
import subprocess
import sys
import time

import pytest

from data_prep.core import bucket, remote

BUCKET = 'recordings'
_S3 = """
import sys, time
from moto.server import ThreadedMotoServer
ThreadedMotoServer(port=int(sys.argv[1]), verbose=False).start()
import boto3
boto3.client('s3').create_bucket(Bucket=sys.argv[2])
"""
_GS = """
import sys
from gcp_storage_emulator.server import create_server
create_server('127.0.0.1', int(sys.argv[1]), in_memory=True, default_bucket=sys.argv[2]).start()
"""
_KEPT = 'print("up", flush=True); import time; time.sleep(3600)'
# scheme -> the program, the libraries it needs, and the environment in which these find it
_EMULATORS = {
  's3': (
    _S3,
    ('s3fs', 'moto', 'flask_cors'),
    {
      'AWS_ENDPOINT_URL': 'http://127.0.0.1:{}',
      'AWS_ACCESS_KEY_ID': 'of-no-account',
      'AWS_SECRET_ACCESS_KEY': 'of-no-account',
      'AWS_DEFAULT_REGION': 'us-east-1',
      'AWS_MAX_ATTEMPTS': '1',
    },
  ),
  'gs': (
    _GS,
    ('gcsfs', 'gcp_storage_emulator'),
    # The emulator knows one kind of buckets, and cannot be asked for it.
    {'STORAGE_EMULATOR_HOST': 'http://127.0.0.1:{}', 'GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT': 'false'},
  ),
}


@contextlib.contextmanager
def emulated(scheme):
  """Sets the environment of a store that runs meanwhile, with one bucket in it; yields the bucket's address."""
  program, libraries, environment = _EMULATORS[scheme]
  absent = [name for name in libraries if importlib.util.find_spec(name) is None]
  if absent:
    pytest.skip(f'{", ".join(absent)} not here: `make install EXTRAS=test,remote,emulators` brings it')
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  environment = {name: value.format(port) for name, value in environment.items()}
  server = subprocess.Popen(
    [sys.executable, '-c', program + _KEPT, str(port), BUCKET],
    env=os.environ | environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    text=True,
  )
  try:
    while 'up' not in (line := server.stdout.readline()):
      assert line, 'the emulator has ended'
    with pytest.MonkeyPatch.context() as patch:
      for name, value in environment.items():
        patch.setenv(name, value)
      yield f'{scheme}://{BUCKET}'
  finally:
    server.kill()
    server.wait()
    bucket.library.cache_clear()


@contextlib.contextmanager
def machine(folder):
  """This process as one on another machine: its mirrors lie in `folder`, and it has fetched and sent nothing yet."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv(remote.CACHE, str(folder))
    for name in ('_opened', '_sent'):
      patch.setattr(remote, name, {})
    patch.setattr(remote, '_fetched', set())
    yield


def wait_for_clock():
  """Until a file that is written again has another time on every file system."""
  time.sleep(0.02)
