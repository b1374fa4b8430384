from herd.actors.ids import Ids


def test_the_same_seed_gives_the_same_ids() -> None:
    first, second = Ids(7), Ids(7)
    assert [first.request() for _ in range(5)] == [second.request() for _ in range(5)]
    assert Ids(7).request() != Ids(8).request()


def test_an_id_that_the_client_chose_is_kept_if_it_is_fit_for_logs_and_headers() -> None:
    ids = Ids(1)
    assert ids.request("trace:1/a.b_c-d=e@f+g") == "trace:1/a.b_c-d=e@f+g"
    for unfit in ("", " ", "a b", "ä", "a\nb", "x" * 129, "<script>", "a\n"):
        assert ids.request(unfit).startswith("req_")


def test_a_clients_id_takes_nothing_from_the_seeded_source() -> None:
    plain, chosen = Ids(3), Ids(3)
    chosen.request("mine")
    assert plain.request() == chosen.request()


def test_tickets_and_streams_are_never_given_twice() -> None:
    ids = Ids(1)
    assert len({ids.ticket() for _ in range(100)}) == 100
    assert [ids.stream() for _ in range(3)] == [1, 2, 3]
