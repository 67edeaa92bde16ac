"""TensorFlow's warnings are hidden; to be imported before TensorFlow, by whoever has it imported by a library."""

import os

if os.environ.get('TF_CPP_MIN_LOG_LEVEL', '1') == '1':  # what JAX sets, which shows warnings
  os.environ['TF_CPP_MIN_LOG_LEVEL'] = '2'
