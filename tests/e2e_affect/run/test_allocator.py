import platform
import subprocess
import sys

import pytest

_RESIDENT_AFTER_FREEING = """
import numpy as np
from e2e_affect.run import allocator
if {kept}:
  assert allocator.keep_memory()
block = np.ones(64 << 20, np.uint8)
del block
print(int(open('/proc/self/statm').read().split()[1]) * 4096 >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != 'glibc', reason='mallopt is of glibc')
def test_what_is_freed_stays_with_the_program():
  resident = {
    kept: int(subprocess.check_output([sys.executable, '-c', _RESIDENT_AFTER_FREEING.format(kept=kept)], text=True))
    for kept in (False, True)
  }
  assert resident[True] - resident[False] > 60  # MiB
