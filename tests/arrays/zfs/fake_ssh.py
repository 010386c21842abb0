"""In the place of ssh: runs the far command on this machine, or fails as OpenSSH does. The first argument is a folder.

`<folder>/log`: a line of JSON for each start. `<folder>/<host>`: how that host behaves: {"say": TEXT, "status": N}, {"hang": true},
{"greet": TEXT, ...}; a host without a file works. `<folder>/pids`: the processes.
"""

import itertools
import json
import os
import socket
import sys
import time
from pathlib import Path


def main() -> int:
    folder, words = Path(sys.argv[1]), sys.argv[2:]
    with (folder / "log").open("a") as log:
        log.write(json.dumps(words) + "\n")
    options = dict(word.partition("=")[::2] for before, word in itertools.pairwise(words) if before == "-o")
    host = words[words.index("--") + 1]
    behaviour = folder / host
    how = json.loads(behaviour.read_text()) if behaviour.exists() else {}
    if how.get("hang"):
        time.sleep(600)
    if "say" in how:
        sys.stderr.write(how["say"])
        return int(how["status"])
    if options.get("ControlMaster") == "yes":
        # The socket stays when its process has ended: all that the tests ask of it is that it is there.
        socket.socket(socket.AF_UNIX).bind(options["ControlPath"])
        return 0
    if "-O" in words:
        return 0
    if "greet" in how:
        sys.stdout.write(how["greet"])
        sys.stdout.flush()
    return os.execvp("sh", ["sh", "-c", words[-1]])


if __name__ == "__main__":
    sys.exit(main())
