"""The description of the HTTP surface is whole, and can be read by those who read such descriptions."""

import json
import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from jsonschema import Draft202012Validator

from herd.protocols.openapi import OPERATIONS, document, template
from herd.protocols.openapi_schemas import ANSWERED, ASKED, UPLOADED
from herd.protocols.paths import ENDPOINTS, Endpoint, EndpointKind, find
from herd.protocols.stories import Event
from herd.types import Api
from tests.protocols.forms import FORMS_ONLY

DOCUMENT: dict[str, Any] = json.loads(document("1.2.3"))
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
DESCRIBED = [(path, method, what) for path, of in DOCUMENT["paths"].items() for method, what in of.items()]


def everything_in(value: Any) -> Iterator[Any]:
    """A value, and all that is in it."""
    yield value
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner:
        yield from everything_in(part)


def test_it_names_the_version_that_it_was_asked_for() -> None:
    assert (DOCUMENT["openapi"], DOCUMENT["info"]["version"]) == ("3.1.0", "1.2.3")


def test_every_endpoint_has_its_operations_and_there_are_no_others() -> None:
    served = sorted((template(endpoint), method.lower()) for endpoint in ENDPOINTS for method in endpoint.methods)
    assert sorted((path, method) for path, method, _ in DESCRIBED) == served


def test_what_is_said_beyond_the_table_is_said_of_endpoints_in_it() -> None:
    own = {endpoint.name for endpoint in ENDPOINTS if endpoint.kind is not EndpointKind.INFERENCE}
    assert set(OPERATIONS) == own
    assert set(ASKED) | set(UPLOADED) == set(ANSWERED) == set(Api)
    assert set(UPLOADED) - set(ASKED) == FORMS_ONLY


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)
def test_a_described_path_with_its_parameters_filled_in_leads_to_the_endpoint(endpoint: Endpoint) -> None:
    path = template(endpoint)
    names = re.findall(r"{(\w+)}", path)
    for name in names:
        path = path.replace(f"{{{name}}}", {"digest": "sha256:" + "0" * 64, "order": "drain"}.get(name, "x"))
    for method in endpoint.methods:
        assert find(method, path) is endpoint
        parameters = DOCUMENT["paths"][template(endpoint)][method.lower()]["parameters"]
        assert [one["name"] for one in parameters if one["in"] == "path"] == names


def test_operations_have_names_of_their_own() -> None:
    names = [what["operationId"] for _, _, what in DESCRIBED]
    assert len(set(names)) == len(names)


def test_what_it_refers_to_is_there() -> None:
    referred = {part["$ref"] for part in everything_in(DOCUMENT) if isinstance(part, dict) and "$ref" in part}
    assert referred
    assert {name.removeprefix("#/components/schemas/") for name in referred} <= set(SCHEMAS)


def test_every_schema_is_one() -> None:
    for part in everything_in(DOCUMENT):
        if isinstance(part, dict) and isinstance(part.get("schema"), dict):
            Draft202012Validator.check_schema(part["schema"])
    for schema in SCHEMAS.values():
        Draft202012Validator.check_schema(schema)


def test_every_kind_of_event_is_described() -> None:
    kinds = {SCHEMAS[event.__name__]["properties"]["kind"]["enum"][0] for event in get_args(Event)}
    assert {"placed", "ended"} < kinds
    assert len(kinds) == len(get_args(Event))


@pytest.mark.parametrize(
    ("path", "method", "error"),
    [("/api/chat", "post", "OllamaError"), ("/v1/chat/completions", "post", "OpenaiError")],
)
def test_errors_are_described_in_the_dialect_of_the_endpoint(path: str, method: str, error: str) -> None:
    answer = DOCUMENT["paths"][path][method]["responses"]["default"]
    assert answer["content"]["application/json"]["schema"] == {"$ref": f"#/components/schemas/{error}"}


def test_answers_to_head_have_no_body() -> None:
    bodies = [answer for _, method, what in DESCRIBED if method == "head" for answer in what["responses"].values()]
    assert bodies
    assert not [answer for answer in bodies if "content" in answer]
