"""Run a command with a limit: `python -m tools.within SECONDS COMMAND...`.

pytest-timeout ends a test that hangs; this ends a run as a whole that has become too slow to be of use.
"""

import os
import signal
import subprocess
import sys

TIMED_OUT = 124


def main(arguments: list[str]) -> int:
    seconds, argv = float(arguments[0]), arguments[1:]
    # A group of its own, so that test workers and the engines that they started end with it.
    process = subprocess.Popen(argv, process_group=0)

    def stop(signal_number: int) -> None:
        try:
            os.killpg(process.pid, signal_number)
        except ProcessLookupError:
            return

    signal.signal(signal.SIGTERM, lambda *_: stop(signal.SIGTERM))
    try:
        return process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        print(f"ended after {seconds:.0f} s, the limit of a whole run: {' '.join(argv)}", file=sys.stderr)
        stop(signal.SIGKILL)
        process.wait()
        return TIMED_OUT
    except KeyboardInterrupt:
        stop(signal.SIGINT)
        try:
            return process.wait(timeout=10)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            stop(signal.SIGKILL)
            return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
