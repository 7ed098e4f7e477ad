from engine.simulator.faults import Faults, Order, Trouble


def test_an_order_strikes_as_often_as_it_says() -> None:
    faults = Faults()
    faults.add(Order(Trouble("status"), "anthropic", times=2))
    assert [len(faults.due("anthropic", (), number)) for number in range(4)] == [1, 1, 0, 0]
    assert faults.standing == ()


def test_an_order_fits_only_the_provider_and_the_model_it_names() -> None:
    faults = Faults()
    faults.add(Order(Trouble("status"), "anthropic", "opus"))
    assert faults.due("openai", ("opus",), 1) == ()
    assert faults.due("anthropic", ("haiku", "claude-haiku-4-5"), 1) == ()
    assert faults.due("anthropic", ("claude-opus-4-5", "opus"), 1) != ()


def test_a_rate_strikes_that_share_of_requests_and_the_same_ones_again() -> None:
    struck = []
    for _ in range(2):
        faults = Faults(seed=5)
        faults.add(Order(Trouble("cut"), rate=0.2))
        struck.append([bool(faults.due("x", (), number)) for number in range(1_000)])
    assert struck[0] == struck[1]
    assert 150 < sum(struck[0]) < 250


def test_delays_add_up_before_the_trouble_that_ends_a_request() -> None:
    faults = Faults()
    for kind in ("slow_headers", "slow_first_token", "cut", "status"):
        faults.add(Order(Trouble(kind)))
    assert [trouble.kind for trouble in faults.due("x", (), 1)] == ["slow_headers", "slow_first_token", "cut"]


def test_healing_one_provider_leaves_the_orders_of_others() -> None:
    faults = Faults()
    faults.add(Order(Trouble("cut"), "anthropic"))
    faults.add(Order(Trouble("cut"), "openai"))
    faults.heal("anthropic")
    assert [order.provider for order in faults.standing] == ["openai"]
    faults.heal()
    assert faults.standing == ()
