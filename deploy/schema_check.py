#!/usr/bin/env python3
"""Validates every event a sink received against the JSON Schemas that the gateway prints."""
import json
import sys

import jsonschema

alert, event, bodies = sys.argv[1:4]
validators = [jsonschema.Draft202012Validator(json.load(open(path))) for path in (alert, event)]
count = 0
for line in open(bodies):
    body = json.loads(line)
    validators[0].validate(body["data"])
    validators[1].validate(body)
    count += 1
if count == 0:
    sys.exit("no events")
print(f"{count} events and their records are valid")
