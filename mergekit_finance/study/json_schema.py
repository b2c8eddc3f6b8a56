"""The JSON schema of study.yml, with which editors complete and check keys.

`study.schema.json` holds it, so that files can refer to it. pydantic describes values as they are after
validation; the forms that a file may use besides are added here: one value for a list, a path for an expert,
a number for a bound, a mapping for a task, and `licence`.
"""

from pathlib import Path

from mergekit_finance.files import Json, JsonObject
from mergekit_finance.study.config import Study

SCHEMA_FILE = Path(__file__).with_name("study.schema.json")
ENTRY, EXPERT, BOUND = "TaskEntry", "StudyExpert", "Bound"


def study_schema() -> JsonObject:
    """Return the JSON schema (draft 2020-12) of study.yml."""
    described: JsonObject = Study.model_json_schema(by_alias=True)
    schema = _with_single_values(described)
    definitions = _object(schema["$defs"])
    bound = _object(definitions[BOUND])
    points = _object(_object(bound["properties"])["points"])
    definitions[EXPERT] = {"anyOf": [{"type": "string"}, _aliased(_object(definitions[EXPERT]))]}
    definitions[BOUND] = {"anyOf": [points, bound]}
    definitions[ENTRY] = _task_entry(_object(definitions["TaskSettings"]))
    properties = _object(schema["properties"])
    for key in ("tasks", "retention", "probes"):
        properties[key] = _of_entries(_object(properties[key]))
    schema = _aliased({**schema, "properties": properties})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "$defs": definitions,
        "title": "study.yml of mergekit-finance",
        "description": "The base, experts, operators and tasks of a study. Explained in docs/study.md.",
    }


def _with_single_values(schema: JsonObject) -> JsonObject:
    """Return a schema in which every list of values may also be one value.

    A value may then match several alternatives of a union, so `oneOf` becomes `anyOf`.
    """
    content = {"anyOf" if key == "oneOf" else key: _nested(value) for key, value in schema.items()}
    if content.get("type") != "array" or "items" not in content:
        return content
    about = {key: value for key, value in content.items() if key in ("title", "description", "default")}
    values = {key: value for key, value in content.items() if key not in about}
    return {"anyOf": [values, values["items"]], **about}


def _nested(value: Json) -> Json:
    if isinstance(value, dict):
        return _with_single_values(value)
    return [_nested(item) for item in value] if isinstance(value, list) else value


def _aliased(schema: JsonObject) -> JsonObject:
    """Return an object's schema with `licence` beside every `license`."""
    properties = _object(schema["properties"])
    others = {
        name.replace("license", "licence"): value for name, value in properties.items() if "license" in name
    }
    return {**schema, "properties": properties | others}


def _task_entry(settings: JsonObject) -> JsonObject:
    """Return the schema of an entry of a list of tasks: a name, or a mapping with `task`."""
    name: JsonObject = {"type": "string", "description": "name of an lm-eval task or group"}
    mapping = {
        **settings,
        "title": ENTRY,
        "properties": {"task": name, **_object(settings["properties"])},
        "required": ["task"],
    }
    return {"anyOf": [name, mapping]}


def _of_entries(tasks: JsonObject) -> JsonObject:
    """Return the schema of a list of tasks; without a list only a name is accepted."""
    about = {key: value for key, value in tasks.items() if key != "anyOf"}
    entries: JsonObject = {"type": "array", "maxItems": 1000, "items": {"$ref": f"#/$defs/{ENTRY}"}}
    return {"anyOf": [entries, {"type": "string"}], **about}


def _object(value: Json) -> JsonObject:
    if not isinstance(value, dict):
        raise TypeError(f"not an object: {value!r}")
    return dict(value)
