"""LibreOffice without a screen, with a profile and a user of its own, driven through UNO."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from realclients import tool

DRIVER = Path(__file__).parent / "office_driver.py"
#: Debian's, for which `python3-uno` is.
PYTHON = "/usr/bin/python3"

PROFILE = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry" xmlns:xs="http://www.w3.org/2001/XMLSchema"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
<item oor:path="/org.openoffice.UserProfile/Data"><prop oor:name="givenname" oor:op="fuse"><value>{given}</value></prop>
</item>
<item oor:path="/org.openoffice.UserProfile/Data"><prop oor:name="sn" oor:op="fuse"><value>{last}</value></prop></item>
</oor:items>
"""


class OfficeError(Exception):
    """What LibreOffice said."""


@dataclass(frozen=True)
class Done:
    """`value` is what the driver returned; `asked` what LibreOffice asked its user meanwhile."""

    value: Any
    asked: list[dict[str, Any]] = field(default_factory=list)


class Office:
    def __init__(self, folder: Path, given: str, last: str, *, before: Sequence[str] = ()) -> None:
        """A LibreOffice of a person, whose profile is in `folder`. `before`: what its command stands behind."""
        self.name = f"{given} {last}"
        soffice = tool("soffice")
        if not Path(PYTHON).exists() or subprocess.run([PYTHON, "-c", "import uno"], capture_output=True).returncode:
            pytest.skip(f"{PYTHON} has no `uno` (Debian: python3-uno)")
        (folder / "user").mkdir(parents=True)
        (folder / "user" / "registrymodifications.xcu").write_text(PROFILE.format(given=given, last=last))
        pipe = f"davserver-{uuid.uuid4().hex}"
        self._log = (folder / "log").open("w")
        self._office = subprocess.Popen(
            [
                *before, soffice, "--headless", "--norestore", "--nofirststartwizard", "--nologo",
                f"-env:UserInstallation=file://{folder}", f"--accept=pipe,name={pipe};urp;",
            ],
            stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
            env={**os.environ, "HOME": str(folder), "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        self._driver = subprocess.Popen(
            [PYTHON, str(DRIVER), pipe],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, bufsize=1,
        )  # fmt: skip
        try:
            self._answer(timeout=90)
        except BaseException:
            self.kill()
            raise

    def __call__(self, do: str, url: str, *logins: tuple[str, str], **values: Any) -> Done:
        """A method of the driver. `logins`: what its person says when asked for one, the last again and again."""
        assert self._driver.stdin is not None
        self._driver.stdin.write(json.dumps({"do": do, "url": url, "logins": logins, **values}) + "\n")
        return self._answer()

    def _answer(self, timeout: float = 60) -> Done:
        assert self._driver.stdout is not None
        if not select.select([self._driver.stdout], [], [], timeout)[0]:
            raise AssertionError(f"LibreOffice does not answer within {timeout} s")
        line = self._driver.stdout.readline()
        if not line:
            raise AssertionError(f"the driver of LibreOffice ended: {Path(self._log.name).read_text()}")
        answer = json.loads(line)
        if "error" in answer:
            raise OfficeError(answer["error"], answer["asked"])
        return Done(answer["ok"], answer["asked"])

    def kill(self) -> None:
        self._driver.kill()
        self._driver.wait(timeout=20)
        for stream in (self._driver.stdin, self._driver.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):
                stream.close()
        with suppress(ProcessLookupError):
            os.killpg(self._office.pid, signal.SIGKILL)
        self._office.wait(timeout=20)
        self._log.close()

    def __enter__(self) -> Office:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
