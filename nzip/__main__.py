"""``python -m nzip``: the same as the program ``nzip``."""

import sys

from .cli.program import main

sys.exit(main())
