from engine.core.catalog import Binding, Catalog, Endpoint, Model, Price
from engine.documents import check_shape, read
from engine.policy.catalog import Page, check_catalogs, names_in, read_catalogs


def page(text: str, file: str = "catalog.yaml") -> Page:
    document, problems = read("apiVersion: weave/v1\nkind: Catalog\nmetadata: {name: c}\n" + text, file)
    assert document is not None, problems
    data, shape = check_shape(document, "schemas/catalog.v1.schema.json")
    assert not shape
    return Page(document, data)


ONE = page(
    """\
endpoints:
  here: {protocol: openai-chat, dialect: vllm, base_url: "http://localhost:8000/v1/", headers: {x-team: core}}
models:
  big:
    tier: frontier
    context: 1000
    output: 100
    can: [tools, vision]
    usd: {in: 3, out: 15, cached: 0.3}
    served_by: [{endpoint: here, id: big-1, weight: 2}]
""",
)
TWO = page(
    """\
models:
  little: {tier: small, context: 10, output: 1, served_by: [{endpoint: here, id: little-1}]}
aliases: {"big-*": big}
""",
    "more.yaml",
)


def test_catalogs_become_one_in_the_order_they_are_written() -> None:
    assert read_catalogs([ONE, TWO]) == Catalog(
        {"here": Endpoint("here", "openai-chat", "http://localhost:8000/v1", "", "vllm", {"x-team": "core"})},
        {
            "big": Model(
                "big",
                "frontier",
                1000,
                100,
                frozenset({"tools", "vision"}),
                Price(input=3, output=15, cache_read=0.3, cache_write=3),
                (Binding("here", "big-1", 2),),
            ),
            "little": Model("little", "small", 10, 1, frozenset(), Price(), (Binding("here", "little-1"),)),
        },
        {"big-*": "big"},
    )
    assert names_in([ONE, TWO], "models") == ("big", "little")


def test_names_are_known_across_files() -> None:
    assert [problem.code for problem in check_catalogs([ONE, TWO])] == ["WV309"]
    assert [problem.code for problem in check_catalogs([TWO])] == ["WV309", "WV302", "WV301"]


def test_an_endpoint_says_how_long_its_cache_stays_warm() -> None:
    text = "endpoints: {a: {protocol: openai-chat, cache_ttl: 1h}, b: {protocol: openai-chat}}"
    endpoints = read_catalogs([page(text)]).endpoints
    assert (endpoints["a"].cache_ttl_seconds, endpoints["b"].cache_ttl_seconds) == (3600.0, 300.0)


def test_an_endpoint_without_an_address_is_at_its_dialects_own() -> None:
    one = page(
        """\
endpoints:
  groq: {protocol: openai-chat, dialect: groq, api_key_env: GROQ_API_KEY}
  openai: {protocol: openai-chat}
  own: {protocol: openai-chat, dialect: groq, base_url: "https://proxy.example/v1"}
"""
    )
    assert list(check_catalogs([one])) == []
    assert {name: endpoint.base_url for name, endpoint in read_catalogs([one]).endpoints.items()} == {
        "groq": "https://api.groq.com/openai/v1",
        "openai": "https://api.openai.com/v1",
        "own": "https://proxy.example/v1",
    }
