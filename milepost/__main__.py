"""`python -m milepost` is `milepost`."""

import sys

from milepost._cli import main

sys.exit(main())
