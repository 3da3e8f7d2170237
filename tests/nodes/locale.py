"""The English locale, written down from the schemas."""

import json


def english(schemas):
    """The content of `locales/en/nodeDefs.json`; a dot in a key would become an underscore."""
    nodes = {schema.node_id: _node(schema) for schema in schemas}
    return json.dumps(nodes, ensure_ascii=False, indent=1) + "\n"


def _node(schema):
    return {
        "display_name": schema.display_name,
        "description": schema.description,
        "inputs": {entry.id: _entry(entry) for entry in schema.inputs},
        "outputs": {str(index): _entry(output) for index, output in enumerate(schema.outputs)},
    }


def _entry(entry):
    name = entry.display_name or entry.id
    return {"name": name, "tooltip": entry.tooltip}
