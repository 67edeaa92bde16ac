"""JSON as files have it, which anybody may have written."""

import json
from typing import Any


def parse(text: str | bytes) -> Any:
  """What the text says.

  Raises:
    ValueError: it is no JSON, no UTF-8, or nested more deeply than Python goes.
  """
  try:
    return json.loads(text)
  except RecursionError:
    raise ValueError('nested too deeply') from None
  except UnicodeDecodeError as e:  # its repr is the whole file
    raise ValueError(str(e)) from None
