"""``python -m lava_bsnn`` is the ``lava-bsnn`` command, as torchrun starts it."""

import sys

from .cli import main

sys.exit(main())
