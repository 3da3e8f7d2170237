"""Every workflow against the schemas of its nodes, without a host."""

import re
from pathlib import Path

import pytest

from ..nodes.loaded import NODES
from .ui_format import CORE, FRONTEND_ONLY, WORKFLOWS, node_type, read, to_api

TYPES = {**CORE, **{node.GET_SCHEMA().node_id: node_type(node.GET_SCHEMA()) for node in NODES}}


def named(path):
    return Path(path).stem


@pytest.fixture(params=WORKFLOWS, ids=named)
def workflow(request):
    return read(request.param)


def nodes_by_id(workflow):
    return {node["id"]: node for node in workflow["nodes"]}


def test_the_promised_workflows_are_there():
    promised = {"quickstart", "edit_motion", "paste_back"}
    promised |= {"kdtalker", "liveportrait_from_starter", "swap_renderer"}
    promised |= {"ksdiff", "ksdiff_liveportrait", "keyframes"}
    promised |= {"moditalker", "mtov_from_any_motion"}
    assert promised <= set(map(named, WORKFLOWS))


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_each_workflow_has_a_thumbnail(path):
    thumbnail = path.with_suffix(".jpg")
    assert thumbnail.read_bytes()[:3] == b"\xff\xd8\xff"
    assert thumbnail.stat().st_size < 300_000


def test_format_and_counters(workflow):
    assert workflow["version"] == 0.4
    nodes, links = [n["id"] for n in workflow["nodes"]], [link[0] for link in workflow["links"]]
    assert len(set(nodes)) == len(nodes)
    assert len(set(links)) == len(links)
    assert workflow["last_node_id"] >= max(nodes)
    assert workflow["last_link_id"] >= max(links)


def test_every_node_is_known_and_says_where_it_comes_from(workflow):
    for node in workflow["nodes"]:
        assert node["type"] in TYPES
        assert node["properties"]["Node name for S&R"] == node["type"]
        if node["type"] not in FRONTEND_ONLY:
            ours = node["type"].startswith("Soliloquy")
            assert node["properties"]["cnr_id"] == ("soliloquy" if ours else "comfy-core")


def test_links_agree_with_both_of_their_ends(workflow):
    nodes = nodes_by_id(workflow)
    for number, source, out, target, into, kind in workflow["links"]:
        assert number in nodes[source]["outputs"][out]["links"]
        assert nodes[target]["inputs"][into]["link"] == number
        assert TYPES[nodes[source]["type"]].outputs[out] == kind
        end = nodes[target]["inputs"][into]
        if "widget" in end:
            widget = next(w for w in TYPES[nodes[target]["type"]].widgets if w.name == end["name"])
            assert widget.type == kind
        else:
            assert TYPES[nodes[target]["type"]].sockets[end["name"]][0] == kind


def test_no_link_is_claimed_that_does_not_exist(workflow):
    known = {link[0] for link in workflow["links"]}
    for node in workflow["nodes"]:
        claimed = {i["link"] for i in node["inputs"] if i["link"] is not None}
        for output in node["outputs"]:
            claimed |= set(output["links"] or [])
        assert claimed <= known


def test_sockets_are_complete_and_in_order(workflow):
    for node in workflow["nodes"]:
        kind = TYPES[node["type"]]
        plugs = {i["name"]: i for i in node["inputs"] if "widget" not in i}
        assert list(plugs) == list(kind.sockets)
        assert [output["type"] for output in node["outputs"]] == list(kind.outputs)
        for name, (_, required) in kind.sockets.items():
            assert plugs[name]["link"] is not None or not required, f"{node['type']}.{name}"


def test_widgets_have_the_right_number_and_values(workflow):
    for node in workflow["nodes"]:
        widgets, values = TYPES[node["type"]].widgets, node.get("widgets_values", [])
        assert len(values) == len(widgets), node["type"]
        for widget, value in zip(widgets, values, strict=True):
            assert widget.accepts(value), f"{node['type']}.{widget.name} = {value!r}"


def test_the_order_is_topological(workflow):
    order = {node["id"]: node["order"] for node in workflow["nodes"]}
    assert sorted(order.values()) == list(range(len(order)))
    assert all(order[source] < order[target] for _, source, _, target, _, _ in workflow["links"])


def test_nodes_and_groups_do_not_lie_on_each_other(workflow):
    boxes = [(*node["pos"], *node["size"]) for node in workflow["nodes"]]
    for index, one in enumerate(boxes):
        for other in boxes[index + 1 :]:
            apart = (
                one[0] + one[2] <= other[0]
                or other[0] + other[2] <= one[0]
                or one[1] + one[3] <= other[1]
                or other[1] + other[3] <= one[1]
            )
            assert apart, (one, other)


def test_a_note_explains_and_the_graph_ends_in_a_result(workflow):
    kinds = {node["type"] for node in workflow["nodes"]}
    assert "MarkdownNote" in kinds
    assert kinds & {"SaveVideo", "PreviewImage"}


def test_no_machine_is_mentioned(workflow):
    text = str(workflow)
    assert not re.search(r"/(home|root|Users|tmp|work)/|[A-Z]:\\\\", text)


def test_the_translation_for_the_http_interface_names_every_value(workflow):
    prompt = to_api(workflow, TYPES)
    assert not {node["class_type"] for node in prompt.values()} & FRONTEND_ONLY
    for node in prompt.values():
        kind = TYPES[node["class_type"]]
        assert set(node["inputs"]) <= {w.name for w in kind.widgets} | set(kind.sockets)
        assert {n for n, (_, required) in kind.sockets.items() if required} <= set(node["inputs"])
