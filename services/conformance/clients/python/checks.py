"""The frame of the programs that run one Python client each against a broker.

    PROGRAM checks BROKERS                         runs every check, and prints a line for each
    PROGRAM member BROKERS GROUP TOPIC PROTOCOL    is a member of a group until its standard input ends

The lines are those that the other languages' programs print too; the Go package conformance reads them.
"""
import logging
import os
import sys
import threading

FIRST_TIMESTAMP = int(os.environ["FIRST_TIMESTAMP"])  # recent, or retention would take the records
LIMIT = 60  # seconds that a check may take


class Nothing(Exception):
    """The client has no such thing."""


def say(*words):
    sys.stdout.write(" ".join(" ".join(map(str, words)).split("\n")) + "\n")
    sys.stdout.flush()


class Warnings(logging.Handler):
    """Reports what a client warns of, and writes everything else to the standard error."""

    def emit(self, record):
        text = self.format(record)
        if record.levelno >= logging.WARNING:
            say("log", record.levelname, record.name, text)
        print(record.levelname, record.name, text, file=sys.stderr)


def watch(name, level=logging.DEBUG):
    logger = logging.getLogger(name)
    logger.setLevel(level)
    logger.addHandler(Warnings())
    return logger


def want(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: {got!r}, want {wanted!r}")


def key(i):
    return None if i % 10 == 3 else b"key %d" % i


def value(i):
    return None if i % 10 == 7 else b"value %d %s" % (i, b"x" * 100)


def headers(i, null=None):
    return [("n", b"%d" % i), ("null", null)]


def same(i, k, v, h, timestamp, null=None):
    """Fails unless a record is the i-th of those that every program writes. null stands for a null header where the client has none."""
    want(f"key of record {i}", k, key(i))
    want(f"value of record {i}", v, value(i))
    want(f"headers of record {i}", list(h), headers(i, null))
    want(f"timestamp of record {i}", timestamp, FIRST_TIMESTAMP + i)


def in_order(values):
    """Fails unless each of the seven sequences 0, 7, 14, … is in order and whole."""
    last = {}
    for n in values:
        want(f"what follows {last.get(n % 7)}", n, last.get(n % 7, n % 7 - 7) + 7)
        last[n % 7] = n


def run(version, checks, member):
    """Runs a program. checks are functions of the brokers by name."""
    if sys.argv[1] == "member":
        ended = threading.Event()

        def wait():
            sys.stdin.read()
            ended.set()

        threading.Thread(target=wait, daemon=True).start()
        member(*sys.argv[2:6], ended)
        say("closed")
        return
    say("version", version)
    only = sys.argv[3:]
    for name, check in checks.items():
        if only and name not in only:
            continue
        try:
            check(sys.argv[2])
            say("ok", name)
        except Nothing as e:
            say("none", f"{name}: {e}")
        except Exception as e:  # whatever it is, it is the check's result
            logging.getLogger("checks").debug("check failed", exc_info=e)
            say("FAIL", f"{name}: {type(e).__name__}: {e}")
