"""Leaves in the wheel what it was built from, where the builder says so: BUILD_COMMIT and BUILD_DATE."""

import json
import os
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class BuildData(BuildHookInterface):
    """`davserver version` prints what stands in davserver/build.json."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        found = {"commit": os.environ.get("BUILD_COMMIT", ""), "built": os.environ.get("BUILD_DATE", "")}
        if any(found.values()) and version != "editable":
            written = Path(self.directory) / "build.json"
            written.parent.mkdir(parents=True, exist_ok=True)
            written.write_text(json.dumps(found) + "\n", encoding="utf-8")
            build_data["force_include"][str(written)] = "davserver/build.json"
