"""Evaluates policies by the Open Policy Agent.

Reads a list of {"policy", "inputs"}, and writes for each policy the set `data.strongroom.access.deny` for each input.
The packages of tests/requirements-opa.txt are in a folder of their own beside the interpreter's.
"""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(sys.prefix) / "opa"))
from opa_bindings import OpaEngine  # noqa: E402

answers = []
for asked in json.load(sys.stdin):
    with OpaEngine() as engine:
        engine.add_policy("generated.rego", asked["policy"])
        document = "strongroom.access.deny"
        answers.append([engine.eval_document(document, given) for given in asked["inputs"]])
json.dump(answers, sys.stdout)
