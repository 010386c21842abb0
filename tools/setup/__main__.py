"""Entry point. Kept to syntax that old Pythons can read, so that they can say what is wrong."""

import os
import shutil
import sys

WANTED = (3, 11)
NEWER = ("python3.14", "python3.13", "python3.12", "python3.11")

if sys.version_info < WANTED:
    for name in NEWER:
        found = shutil.which(name)
        if found:
            os.execv(found, [found, "-m", "tools.setup", *sys.argv[1:]])
    sys.exit(
        "Python {}.{} or newer is needed, this is {}.{}: install one, or name it: make PYTHON=/path/to/python3".format(
            *(WANTED + tuple(sys.version_info[:2]))
        )
    )

from tools.setup.main import main  # noqa: E402  (only now is it known that this Python can read it)

sys.exit(main(sys.argv[1:]))
