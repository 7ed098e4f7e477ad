"""What only one provider can read goes back to it, over sockets."""

import re
import time
from typing import Any

import httpx
import pytest


def post(house: Any, path: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{house.url}{path}", json=body, timeout=20)


@pytest.mark.parametrize("stream", [False, True])
def test_a_reply_that_is_gone_on_from_is_sought_where_it_is_kept(house: Any, stream: bool) -> None:
    first = post(house, "/v1/responses", model="sol", input="hi", stream=stream)
    assert first.status_code == 200, first.text
    reply = re.search(r'"id":\s*"(resp[^"]*)"', first.text)
    assert reply is not None
    time.sleep(0.1)  # what is remembered is written down behind the answer
    second = post(house, "/v1/responses", model="opus", input="and?", previous_response_id=reply[1])
    assert second.headers["x-weave-model"] == "sol"
    assert "holds the provider" in second.headers["x-weave-reason"]
    assert len({one.path for one in house.simulator.received}) == 1


def test_a_compaction_is_refused_by_who_cannot_open_it(house: Any) -> None:
    history = [{"type": "compaction", "encrypted_content": "zzz"}, {"role": "user", "content": "and?"}]
    forced = httpx.post(
        f"{house.url}/v1/responses",
        json={"model": "sol", "input": history},
        headers={"x-weave-model": "opus"},
        timeout=20,
    )
    assert forced.status_code == 400
    assert "compaction" in forced.json()["error"]["message"]
    assert not house.simulator.received
    served = post(house, "/v1/responses", model="opus", input=history)
    assert served.headers["x-weave-model"] == "sol"
