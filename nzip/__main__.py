"""``python -m nzip``."""

import sys

from ._main import main

sys.exit(main())
