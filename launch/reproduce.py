"""`e2e-affect reproduce` of this checkout: see e2e_affect/paper/reproduce.py.

python launch/reproduce.py --data=data/recola --out=runs/recola --imagenet=resnet_v1_50.ckpt
"""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from e2e_affect.paper import reproduce

if __name__ == '__main__':
  reproduce.command()
