"""Runs the interop tests one after the other and closes with a count."""
import argparse
import faulthandler
import os
import subprocess
import sys
import tempfile
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))


class Printed(unittest.TestResult):
    """A line for each test as it ends."""

    def __init__(self):
        super().__init__()
        self.passed = 0

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()
        faulthandler.dump_traceback_later(120, exit=True)

    def stopTest(self, test):
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()

    def line(self, test, word):
        whole = getattr(test, "test_case", test)
        title = whole.shortDescription() or str(whole)
        if whole is not test:
            title += " " + test._subDescription()
        took = time.monotonic() - getattr(self, "began", time.monotonic())
        print(f"  {word}  {type(whole).__name__}: {title} ({took:.1f} s)", flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        self.line(test, "ok     ")

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line(test, f"skipped ({reason})")

    def addFailure(self, test, error):
        super().addFailure(test, error)
        self.failed(test, self.failures)

    def addError(self, test, error):
        super().addError(test, error)
        self.failed(test, self.errors)

    def addSubTest(self, test, subtest, error):
        super().addSubTest(test, subtest, error)
        if error is not None:
            several = self.failures if issubclass(error[0], test.failureException) else self.errors
            self.failed(subtest, several)

    def failed(self, test, several):
        self.line(test, "FAILED ")
        print("".join(f"      {line}\n" for line in several[-1][1].splitlines()[-12:]), flush=True)


def main():
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--binary", required=True, help="the meshproxy to test")
    options.add_argument("-k", metavar="WORD", action="append",
                         help="only tests whose module, class or name holds this")
    arguments = options.parse_args()
    os.environ["MESHPROXY"] = os.path.abspath(arguments.binary)
    if not os.access(os.environ["MESHPROXY"], os.X_OK):
        sys.exit(f"{arguments.binary} is not there or can't be run")

    with tempfile.TemporaryDirectory(prefix="interop-certs-") as certs:
        os.environ["INTEROP_CERTS"] = certs
        subprocess.run([os.path.join(REPO, "scripts", "make-certs"), certs], check=True)
        loader = unittest.TestLoader()
        if arguments.k:
            loader.testNamePatterns = [f"*{word}*" for word in arguments.k]
        suite = loader.discover(HERE, pattern="test_*.py", top_level_dir=HERE)
        result = Printed()
        suite.run(result)
    # A test that failed in several of its parts is one that failed.
    failed = result.testsRun - result.passed - len(result.skipped)
    failed += 1 if result.testsRun == 0 else 0
    print(f"{result.passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
